//! Looking in: why a job waits, why this worker, how a pool does.

use std::sync::Arc;

use jiff::Timestamp;

use super::{PoolState, Scheduler};
use crate::{
    job::JobId,
    scheduler::{
        NoRoute,
        autoscale::{PoolNow, Signals},
        placement::{Ask, Explanation, NoPlace},
        queue::{LimitReached, Waits},
        worker::WorkerState,
    },
};

/// A waiting job.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitView {
    /// Its pool.
    pub pool: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// When it is given up.
    pub until: Timestamp,
    /// What it waits for.
    pub reason: Reason,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A limit.
    Limit(LimitReached),
    /// A worker that serves such jobs.
    Workers,
    /// A free slot, and its turn.
    Slot,
    /// That its pool goes on.
    Paused,
}

/// A job under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The pool.
    pub pool: Arc<str>,
    /// The worker.
    pub worker: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

impl Scheduler {
    /// Why a job waits; `None` when it does not.
    #[must_use]
    pub fn waiting(&self, job: &JobId, now: Timestamp) -> Option<WaitView> {
        let (index, number) = self.waiting.get(job)?;
        let pool = self.pool(*index)?;
        let (ticket, waits) = pool.queue.waits(*number)?;
        let now = now.as_microsecond();
        let gate = match waits {
            Some(Waits::Gate(gate)) => Some(gate),
            _ => self.gates.blocked(&ticket.pass, now),
        };
        let reason = match gate.and_then(|gate| self.gates.reached(gate)) {
            Some(limit) => Reason::Limit(limit),
            None if pool.state == PoolState::Paused => Reason::Paused,
            None => match self.find(*index, &ticket.ask, now, 0) {
                Err(NoPlace::NoWorkers) => Reason::Workers,
                _ => Reason::Slot,
            },
        };
        Some(WaitView {
            pool: pool.name.clone(),
            since: Timestamp::from_microsecond(ticket.order.0).ok()?,
            until: Timestamp::from_microsecond(ticket.expires_at).unwrap_or(Timestamp::MAX),
            reason,
        })
    }

    /// Where a job has its lease; `None` when it has none.
    #[must_use]
    pub fn lease(&self, job: &JobId) -> Option<LeaseView> {
        let held = self.held.get(job)?;
        Some(LeaseView {
            pool: self.pool(held.pool)?.name.clone(),
            worker: self.fleet.at(held.worker)?.id.clone(),
            since: Timestamp::from_microsecond(held.since).ok()?,
        })
    }

    /// What would be decided about a job now, and why, in each pool that may take it, the best first. The same survey
    /// that decides, with somebody listening.
    ///
    /// # Errors
    /// [`NoRoute`] when no pool may.
    pub fn explain(&self, ask: &Ask, now: Timestamp, seed: u64) -> Result<Vec<Explanation>, NoRoute> {
        let (job, now) = (&ask.job, now.as_microsecond());
        let preferred = ask.placement.preferred_pool.as_deref();
        let pools = self.routes.pools_of(job.topic.as_str(), &job.meta.requires, preferred, job.id.as_str())?;
        Ok(pools.into_iter().map(|name| self.survey(&name.clone(), ask, now, seed).explain(name)).collect())
    }

    /// Jobs that wait, in all pools.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Jobs under a lease, in all pools.
    #[must_use]
    pub fn running(&self) -> usize {
        self.held.len()
    }

    /// Jobs of a tenant under a lease: neither the job that asks nor one that waits for a person is among them.
    #[must_use]
    pub fn running_of(&self, tenant: &str) -> u32 {
        self.gates.of_tenant(tenant)
    }

    /// Jobs under a lease that a keyed limit counts under `key`.
    #[must_use]
    pub fn counted(&self, limit: &str, key: &str) -> u32 {
        self.gates.in_use(limit, key)
    }

    #[cfg(test)]
    pub(crate) fn kept_keys(&self) -> (usize, usize) {
        self.gates.len()
    }

    /// Whether a pool works; `None` for a pool that nobody has used.
    #[must_use]
    pub fn pool_state(&self, pool: &str) -> Option<PoolState> {
        self.by_name.get(pool).and_then(|index| self.pool(*index)).map(|pool| pool.state)
    }

    /// The signals of a pool, for an autoscaler; `None` for a pool that nobody has used. Reading them is an observation:
    /// what is needed now is remembered for `scale_down_seconds`.
    pub fn signals(&mut self, pool: &str, now: Timestamp) -> Option<Signals> {
        let now = now.as_microsecond();
        let index = *self.by_name.get(pool)?;
        let rule = self.routes.pool(pool).autoscale;
        let mut seen = PoolNow::default();
        for worker in self.fleet.of_pool(pool) {
            if worker.state(now, self.fleet.rules()) == WorkerState::Live {
                seen.workers += 1;
                seen.slots += worker.slots;
            }
        }
        let pool = self.pool_mut(index)?;
        seen.backlog = pool.queue.len();
        seen.running = pool.running;
        let name = pool.name.clone();
        Some(pool.meter.read(&name, seen, &rule, now))
    }
}
