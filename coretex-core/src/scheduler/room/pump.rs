//! Letting go what can go: gates that opened, slots that became free, and what waited too long.

use jiff::Timestamp;

use super::{
    Outcome, Refusal, Scheduler,
    pool::{Dirty, Pool},
};
use crate::scheduler::{
    placement::{self, Ask, Known, NoPlace, Survey},
    queue::{Attempt, FlowRef, GateId, Served, Ticket, Waits},
    worker::WorkerIndex,
};

impl Scheduler {
    /// Time has passed: rates open, jobs rise and are given up, workers go missing or come out of quarantine. Calling it
    /// too often or too seldom costs time and never correctness.
    pub fn tick(&mut self, now: Timestamp, seed: u64) -> Outcome {
        let now = now.as_microsecond();
        let mut outcome = Outcome::default();
        for index in 0..self.pools.len() {
            self.expire(index, now, &mut outcome);
        }
        self.gates.wake_due(now);
        for id in self.fleet.forget(now) {
            self.latencies.forget(id);
        }
        let found = self.look_everywhere(now, seed);
        outcome.placed = found.placed;
        outcome
    }

    /// When [`Scheduler::tick`] has something to do, at the latest: a heartbeat's time from now while anybody waits.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let queues = self.pools.iter().filter_map(|pool| pool.queue.next_due());
        let beat = (!self.waiting.is_empty())
            .then(|| now.as_microsecond().saturating_add(super::super::micros(self.fleet.rules().beat)));
        let at = queues.chain(self.gates.next_due()).chain(beat).min()?;
        Timestamp::from_microsecond(at).ok()
    }

    fn expire(&mut self, index: usize, now: i64, outcome: &mut Outcome) {
        loop {
            let Some(pool) = self.pools.get_mut(index) else { return };
            let Some((ticket, waits)) = pool.queue.next_expired(&mut self.gates, now) else { return };
            self.waiting.remove(&ticket.ask.job.id);
            let refusal = self.why_given_up(index, &ticket, waits, now);
            self.gates.leave(&ticket.pass, now);
            outcome.refused.push((ticket.ask, refusal));
        }
    }

    fn why_given_up(&self, index: usize, ticket: &Ticket, waits: Option<Waits>, now: i64) -> Refusal {
        let waited = u64::try_from(now.saturating_sub(ticket.order.0) / 1_000_000).unwrap_or(0);
        let (pool, waiting) =
            self.pools.get(index).map_or_else(|| ("".into(), 0), |pool| (pool.name.clone(), pool.queue.len()));
        let gate = match waits {
            Some(Waits::Gate(gate)) => self.gates.reached(gate),
            // One that never came to its turn may stand before a gate all the same.
            _ => self.gates.blocked(&ticket.pass, now).and_then(|gate| self.gates.reached(gate)),
        };
        match gate {
            Some(limit) if limit.by_tenant => {
                let tenant = ticket.ask.job.tenant.shared();
                Refusal::TenantLimit { pool, tenant, limit: limit.rule, waited }
            }
            Some(limit) => Refusal::KeyLimit { limit, waited },
            None => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                match self.find(index, &ticket.ask, now, 0) {
                    Err(NoPlace::NoWorkers) => Refusal::NoWorkers { pool, waited },
                    _ => Refusal::Overloaded { pool, waiting, waited },
                }
            }
        }
    }

    /// Looks at every pool and worker.
    pub(super) fn look_everywhere(&mut self, now: i64, seed: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut dirty = Dirty::default();
        for index in 0..self.pools.len() {
            let Self { pools, fleet, gates, .. } = self;
            if let Some(pool) = pools.get_mut(index) {
                pool.look_again(u32::try_from(index).unwrap_or(u32::MAX), gates);
                if pool.queue.len() == 0 {
                    continue;
                }
                for worker in fleet.of_pool(&pool.name) {
                    pool.queue.wake_fitting(|ask| placement::fit(ask, worker, now, fleet.rules()).is_ok());
                }
            }
            dirty.add(u32::try_from(index).unwrap_or(u32::MAX));
        }
        self.pump(&mut dirty, now, seed, &mut outcome);
        outcome
    }

    /// A worker may have room: its pools are looked at, and who was parked for want of such a worker comes back.
    pub(super) fn worker_changed(&mut self, worker: WorkerIndex, now: i64, dirty: &mut Dirty) {
        let Self { pools, fleet, by_name, routes, gates, .. } = self;
        let Some(worker) = fleet.at(worker) else { return };
        for name in fleet.pools_of(worker, routes) {
            let Some(index) = by_name.get(&name) else { continue };
            let Some(pool) = pools.get_mut(*index as usize) else { continue };
            pool.look_again(*index, gates);
            if pool.queue.len() > 0 {
                pool.queue.wake_fitting(|ask| placement::fit(ask, worker, now, fleet.rules()).is_ok());
                dirty.add(*index);
            }
        }
    }

    /// Serves `dirty` pools, and those that gates let somebody back to, until nothing can go.
    pub(super) fn pump(&mut self, dirty: &mut Dirty, now: i64, seed: u64, outcome: &mut Outcome) {
        loop {
            while let Some((gate, flow)) = self.next_woken(now) {
                let back = self.pool_mut(flow.pool).is_some_and(|pool| pool.queue.unpark(flow.flow, gate));
                if back {
                    dirty.add(flow.pool);
                } else {
                    // It is gone: the next may come.
                    self.gates.check_later(gate, flow.pool);
                }
            }
            let Some(index) = dirty.take_after(self.turn) else { return };
            self.turn = index;
            if self.serve_one(index, now, seed, outcome) {
                dirty.add(index);
            }
        }
    }

    fn next_woken(&mut self, now: i64) -> Option<(GateId, FlowRef)> {
        let Self { pools, gates, .. } = self;
        let mut stalled = Vec::new();
        let serves = |pool: u32| pools.get(pool as usize).is_some_and(Pool::serves);
        let woken = gates.next_woken(now, serves, |pool, gate| stalled.push((pool, gate)));
        for (pool, gate) in stalled {
            if let Some(pool) = pools.get_mut(pool as usize) {
                pool.stalled_at(gate);
            }
        }
        woken
    }

    /// Serves one job of a pool; whether there may be another.
    fn serve_one(&mut self, index: u32, now: i64, seed: u64, outcome: &mut Outcome) -> bool {
        let drawn = seed.wrapping_add(outcome.placed.len() as u64);
        let Self { pools, gates, fleet, latencies, routes, .. } = self;
        let Some(pool) = pools.get_mut(index as usize) else { return false };
        if !pool.serves() {
            return false;
        }
        let strategy = routes.pool(&pool.name).strategy.strategy();
        let crew = fleet.crew(&pool.name);
        let mut full = false;
        let served = pool.queue.next(gates, now, |ask| {
            let known = Known { now, topic: latencies.topic(ask.job.topic.as_str()) };
            match placement::place(&Survey { ask, fleet, crew, strategy, known, seed: drawn }) {
                Ok(worker) => Attempt::Taken(worker),
                Err(_) if fleet.has_room(crew, now) => Attempt::NoFit,
                Err(_) => {
                    full = true;
                    Attempt::Full
                }
            }
        });
        if full {
            pool.is_full();
        }
        let (ticket, worker) = match served {
            Served::Job(ticket, worker) => (ticket, worker),
            Served::Again => return true,
            Served::Nothing => return false,
        };
        self.waiting.remove(&ticket.ask.job.id);
        let placed = self.grant(index, worker, ticket.ask, ticket.pass, ticket.order.0, now);
        outcome.placed.push(placed);
        true
    }

    pub(super) fn survey<'a>(&'a self, pool: &str, ask: &'a Ask, now: i64, seed: u64) -> Survey<'a> {
        Survey {
            ask,
            fleet: &self.fleet,
            crew: self.fleet.crew(pool),
            strategy: self.routes.pool(pool).strategy.strategy(),
            known: Known { now, topic: self.latencies.topic(ask.job.topic.as_str()) },
            seed,
        }
    }
}
