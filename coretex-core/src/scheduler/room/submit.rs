//! Letting a job in, and taking it out again.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Held, Outcome, Placed, PoolState, Refusal, Scheduler, Submitted, pool::Dirty};
use crate::{
    job::JobId,
    scheduler::{
        micros,
        placement::{self, Ask, NoPlace},
        queue::{Pass, Ticket},
        worker::{Ending, WorkerIndex},
    },
};

impl Scheduler {
    /// A job wants a worker: it gets one at once, waits, or is refused. Submitting a job again that waits or has a lease
    /// changes nothing and answers the same. What else the step led to is almost always nothing: a job that time alone let
    /// go, since the last [`Scheduler::tick`].
    #[must_use]
    pub fn submit(&mut self, ask: Ask, now: Timestamp, seed: u64) -> (Submitted, Outcome) {
        let mut outcome = Outcome::default();
        let answer = self.admit(ask, now, seed, &mut outcome);
        (answer, outcome)
    }

    fn admit(&mut self, ask: Ask, now: Timestamp, seed: u64, outcome: &mut Outcome) -> Submitted {
        let now = now.as_microsecond();
        if let Some(known) = self.known(&ask.job.id) {
            return known;
        }
        let job = &ask.job;
        let preferred = ask.placement.preferred_pool.as_deref();
        let pools = match self.routes.pools_of(job.topic.as_str(), &job.meta.requires, preferred, job.id.as_str()) {
            Ok(pools) => pools,
            Err(no_route) => return Submitted::Refused(no_route.into()),
        };
        let pools: Vec<u32> = pools.iter().map(|name| self.pool_index(name)).collect();
        let ask = Arc::new(ask);
        let rules = self.routes.clone();
        let pass = Arc::new(self.gates.enter(&ask, rules.limits()));
        let mut home: Option<(bool, u32)> = None;
        let shut = self.gates.blocked(&pass, now).is_some();
        for index in pools.iter().copied() {
            let Some(pool) = self.pool(index) else { continue };
            if pool.state == PoolState::Draining {
                continue;
            }
            let ready = pool.serves() && !pool.queue.has_ready();
            let found = if ready && !shut { self.find(index, &ask, now, seed) } else { self.serves(index, &ask, now) };
            match found {
                Ok(worker) if ready && !shut => {
                    if let Some(pool) = self.pool_mut(index) {
                        pool.meter.arrived(now);
                    }
                    let placed = self.grant(index, worker, ask, pass, now, now);
                    return Submitted::Placed(placed);
                }
                // The first pool that serves such jobs, or else the first.
                Ok(_) | Err(NoPlace::Busy) if home.is_none_or(|(serves, _)| !serves) => home = Some((true, index)),
                Err(NoPlace::NoWorkers) if home.is_none() => home = Some((false, index)),
                _ => {}
            }
        }
        let refusal = match home {
            Some((_, index)) => self.full(index, &ask),
            None => pools
                .first()
                .and_then(|index| self.pool(*index))
                .map(|pool| Refusal::NoWorkers { pool: pool.name.clone(), waited: 0 }),
        };
        if let Some(refusal) = refusal {
            self.gates.leave(&pass, now);
            return Submitted::Refused(refusal);
        }
        let index = home.map_or(0, |(_, index)| index);
        let id = ask.job.id.clone();
        self.enqueue(index, ask, pass, now, now);
        let mut dirty = Dirty::default();
        dirty.add(index);
        self.pump(&mut dirty, now, seed, outcome);
        match outcome.placed.iter().position(|placed| placed.ask.job.id == id) {
            Some(at) => Submitted::Placed(outcome.placed.remove(at)),
            None => Submitted::Waiting { pool: self.pool(index).map(|pool| pool.name.clone()).unwrap_or_default() },
        }
    }

    fn known(&self, id: &JobId) -> Option<Submitted> {
        if let Some((pool, _)) = self.waiting.get(id) {
            return Some(Submitted::Waiting { pool: self.pool(*pool)?.name.clone() });
        }
        let held = self.held.get(id)?;
        let worker = self.fleet.at(held.worker)?;
        Some(Submitted::Placed(Placed {
            ask: held.ask.clone(),
            pool: self.pool(held.pool)?.name.clone(),
            worker: worker.id.clone(),
            direct: worker.direct,
            waited: Duration::ZERO,
        }))
    }

    /// Whether the queue of a pool takes no more.
    fn full(&self, index: u32, ask: &Ask) -> Option<Refusal> {
        let pool = self.pool(index)?;
        let config = self.routes.pool(&pool.name);
        let waiting = pool.queue.len();
        let tenant = ask.job.tenant.as_str();
        if pool.queue.of_tenant(tenant) >= config.max_queue_per_tenant {
            let limit = "max_queue_per_tenant".into();
            let tenant = ask.job.tenant.shared();
            return Some(Refusal::TenantLimit { pool: pool.name.clone(), tenant, limit, waited: 0 });
        }
        (waiting >= config.max_queue).then(|| Refusal::Overloaded { pool: pool.name.clone(), waiting, waited: 0 })
    }

    /// Puts a job into the queue of a pool.
    pub(super) fn enqueue(&mut self, index: u32, ask: Arc<Ask>, pass: Arc<Pass>, since: i64, now: i64) {
        self.numbers += 1;
        let number = self.numbers;
        let Some(pool) = self.pools.get_mut(index as usize) else { return };
        let bound = since.saturating_add(micros(self.routes.pool(&pool.name).max_wait));
        let expires_at = ask.deadline_at.map_or(bound, |deadline| deadline.min(bound));
        self.waiting.insert(ask.job.id.clone(), (index, number));
        pool.meter.arrived(now);
        pool.queue.push(Ticket::new(ask, pass, (since, number), expires_at), now);
    }

    /// A worker of the pool for the job.
    pub(super) fn find(&self, pool: u32, ask: &Ask, now: i64, seed: u64) -> Result<WorkerIndex, NoPlace> {
        let Some(pool) = self.pool(pool) else { return Err(NoPlace::NoWorkers) };
        placement::place(&self.survey(&pool.name, ask, now, seed))
    }

    /// Whether workers of the pool serve such jobs, with or without room. Stops at the first.
    fn serves(&self, pool: u32, ask: &Ask, now: i64) -> Result<WorkerIndex, NoPlace> {
        let name = self.pool(pool).map(|pool| pool.name.clone()).unwrap_or_default();
        let rules = self.fleet.rules();
        let serve = self.fleet.of_pool(&name).any(|worker| match placement::fit(ask, worker, now, rules) {
            Ok(()) => true,
            Err(misfit) => misfit.passes(),
        });
        Err(if serve { NoPlace::Busy } else { NoPlace::NoWorkers })
    }

    /// Gives a job to a worker: from here on it has a lease.
    pub(super) fn grant(
        &mut self,
        pool: u32,
        worker: WorkerIndex,
        ask: Arc<Ask>,
        pass: Arc<Pass>,
        since: i64,
        now: i64,
    ) -> Placed {
        self.gates.take(&pass, now);
        self.fleet.take(worker, ask.keys(), ask.job.adapter_id.as_ref(), now);
        let waited = now.saturating_sub(since).max(0);
        let name = match self.pools.get_mut(pool as usize) {
            Some(pool) => {
                pool.running += 1;
                pool.meter.waited(waited, now);
                pool.name.clone()
            }
            None => "".into(),
        };
        let (id, direct) =
            self.fleet.at(worker).map_or_else(|| ("".into(), false), |found| (found.id.clone(), found.direct));
        let held = Held { ask: ask.clone(), pass, worker, pool, since: now };
        self.held.insert(ask.job.id.clone(), held);
        let waited = Duration::from_micros(u64::try_from(waited).unwrap_or(0));
        Placed { ask, pool: name, worker: id, direct, waited }
    }

    /// A lease is over: the slot is free and goes to whoever is next. `took` teaches how long such jobs take. A job that has
    /// no lease changes nothing, so that repeats are harmless.
    pub fn finish(
        &mut self,
        job: &JobId,
        ending: Ending,
        took: Option<Duration>,
        now: Timestamp,
        seed: u64,
    ) -> Outcome {
        let now = now.as_microsecond();
        let mut outcome = Outcome::default();
        let Some(held) = self.held.remove(job) else { return outcome };
        self.fleet.give_back(held.worker, held.ask.keys(), ending, now);
        self.gates.release(&held.pass);
        self.gates.leave(&held.pass, now);
        if let Some(took) = took {
            self.latencies.observe(&held.ask.job.topic.shared(), held.worker, took, now);
        }
        if let Some(pool) = self.pool_mut(held.pool) {
            pool.running = pool.running.saturating_sub(1);
            if let Some(took) = took {
                pool.meter.took(took);
            }
        }
        let mut dirty = Dirty::default();
        self.worker_changed(held.worker, now, &mut dirty);
        self.pump(&mut dirty, now, seed, &mut outcome);
        outcome
    }

    /// A waiting job wants no worker any more. A job that does not wait changes nothing.
    pub fn withdraw(&mut self, job: &JobId, now: Timestamp, seed: u64) -> Outcome {
        let now = now.as_microsecond();
        let mut outcome = Outcome::default();
        let Some((index, number)) = self.waiting.remove(job) else { return outcome };
        let Some(pool) = self.pools.get_mut(index as usize) else { return outcome };
        if let Some((ticket, _)) = pool.queue.remove(number, &mut self.gates) {
            self.gates.leave(&ticket.pass, now);
        }
        let mut dirty = Dirty::default();
        dirty.add(index);
        self.pump(&mut dirty, now, seed, &mut outcome);
        outcome
    }
}
