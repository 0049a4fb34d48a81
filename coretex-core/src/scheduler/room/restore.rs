//! Rebuilding the scheduler after a restart or a takeover: from leases and waiting jobs, which are durable.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Held, Scheduler};
use crate::scheduler::placement::Ask;

impl Scheduler {
    /// A lease from before: the slot is taken, whether or not the worker has been heard of since. `false` when there is
    /// no room for another worker, or the job is known already.
    ///
    /// What is learnt (rates, latencies, breakers) starts anew: it is advice, and never what correctness stands on.
    pub fn restore_lease(&mut self, ask: Ask, pool: &str, worker: &str, since: Timestamp, now: Timestamp) -> bool {
        let now = now.as_microsecond();
        if self.waiting.contains_key(&ask.job.id) || self.held.contains_key(&ask.job.id) {
            return false;
        }
        let Some(worker) = self.fleet.enter(worker) else { return false };
        self.fleet.expect(worker, now);
        let index = self.pool_index(&pool.into());
        let ask = Arc::new(ask);
        let routes = self.routes.clone();
        let pass = Arc::new(self.gates.enter(&ask, routes.limits()));
        self.gates.hold(&pass);
        self.fleet.take(worker, ask.keys(), ask.job.adapter_id.as_ref(), now);
        if let Some(pool) = self.pool_mut(index) {
            pool.running += 1;
        }
        let held = Held { ask: ask.clone(), pass, worker, pool: index, since: since.as_microsecond() };
        self.held.insert(ask.job.id.clone(), held);
        true
    }

    /// A job that waited before: it keeps its place, its age and its wait bound. Call [`Scheduler::tick`] when all are back:
    /// nothing is placed before. `false` when the job is known already.
    pub fn restore_waiting(&mut self, ask: Ask, pool: &str, since: Timestamp, now: Timestamp) -> bool {
        if self.waiting.contains_key(&ask.job.id) || self.held.contains_key(&ask.job.id) {
            return false;
        }
        let index = self.pool_index(&pool.into());
        let ask = Arc::new(ask);
        let routes = self.routes.clone();
        let pass = Arc::new(self.gates.enter(&ask, routes.limits()));
        self.enqueue(index, ask, pass, since.as_microsecond(), now.as_microsecond());
        true
    }
}
