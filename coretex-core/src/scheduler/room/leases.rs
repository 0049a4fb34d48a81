//! Leases that end, change hands, or are about to be lost.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Outcome, Scheduler, pool::Dirty};
use crate::{
    job::JobId,
    scheduler::{Ask, Ending, WorkerState},
};

impl Scheduler {
    /// Ends whatever a job has here, its lease or its wait. A job that has neither changes nothing.
    pub fn release(
        &mut self,
        job: &JobId,
        ending: Ending,
        took: Option<Duration>,
        now: Timestamp,
        seed: u64,
    ) -> Outcome {
        if self.waiting.contains_key(job) {
            return self.withdraw(job, now, seed);
        }
        self.finish(job, ending, took, now, seed)
    }

    /// Another worker than the one chosen took the job: the lease is moved to it, whether or not it has a free slot. A job
    /// without a lease, or whose worker it is, changes nothing.
    pub fn rebind(&mut self, job: &JobId, worker: &str, now: Timestamp, seed: u64) -> Outcome {
        let now = now.as_microsecond();
        let mut outcome = Outcome::default();
        let Some((before, ask)) = self.held.get(job).map(|held| (held.worker, held.ask.clone())) else {
            return outcome;
        };
        let Some(after) = self.fleet.enter(worker).filter(|after| *after != before) else { return outcome };
        self.fleet.expect(after, now);
        self.fleet.give_back(before, ask.keys(), Ending::Unknown, now);
        self.fleet.take(after, ask.keys(), ask.job.adapter_id.as_ref(), now);
        if let Some(held) = self.held.get_mut(job) {
            held.worker = after;
        }
        let mut dirty = Dirty::default();
        self.worker_changed(before, now, &mut dirty);
        self.pump(&mut dirty, now, seed, &mut outcome);
        outcome
    }

    /// A worker that has something is expected to speak from now on; it is known from here on, whether or not it has spoken.
    pub fn expect_worker(&mut self, worker: &str, now: Timestamp) {
        if let Some(index) = self.fleet.enter(worker) {
            self.fleet.expect(index, now.as_microsecond());
        }
    }

    /// A worker said something other than a heartbeat, which shows that it is there. One that is not known stays so.
    pub fn renew(&mut self, worker: &str, now: Timestamp) {
        if let Some(index) = self.fleet.index(worker) {
            self.fleet.expect(index, now.as_microsecond());
        }
    }

    /// What a job that waits or has a lease asked.
    #[must_use]
    pub fn asked(&self, job: &JobId) -> Option<Arc<Ask>> {
        if let Some(held) = self.held.get(job) {
            return Some(held.ask.clone());
        }
        let (pool, number) = self.waiting.get(job)?;
        self.pool(*pool)?.queue.waits(*number).map(|(ticket, _)| ticket.ask.clone())
    }

    /// When the next worker that holds leases counts as missing unless it is heard of. O(workers).
    #[must_use]
    pub fn next_silence(&self, now: Timestamp) -> Option<Timestamp> {
        let (now, rules) = (now.as_microsecond(), self.fleet.rules());
        let live = self.fleet.workers().filter(|worker| worker.leased() > 0);
        let at = live
            .filter(|worker| worker.state(now, rules) != WorkerState::Missing)
            .map(|worker| worker.silent_at(rules).saturating_add(1))
            .min()?;
        Timestamp::from_microsecond(at).ok()
    }

    /// Jobs that wait in a pool.
    #[must_use]
    pub fn waiting_in(&self, pool: &str) -> usize {
        self.by_name.get(pool).and_then(|index| self.pool(*index)).map_or(0, |pool| pool.queue.len())
    }
}
