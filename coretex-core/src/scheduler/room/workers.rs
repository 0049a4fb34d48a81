//! What workers say, and what an operator says about them.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Outcome, Scheduler, pool::Dirty};
use crate::{
    job::JobId,
    protocol::{Handshake, Heartbeat},
    scheduler::worker::WorkerIndex,
};

impl Scheduler {
    /// A heartbeat: the worker is there, with this load. O(1) while nothing waits in its pools.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Timestamp, seed: u64) -> Outcome {
        let now = now.as_microsecond();
        let index = self.fleet.heartbeat(beat, &self.routes, now);
        self.look_at(index, now, seed)
    }

    /// A handshake: the worker's topics, version and whether it listens on its own address.
    pub fn handshake(&mut self, handshake: &Handshake, now: Timestamp, seed: u64) -> Outcome {
        let now = now.as_microsecond();
        let index = self.fleet.handshake(handshake, &self.routes, now);
        self.look_at(index, now, seed)
    }

    /// A worker said goodbye, or its connection is gone: it gets nothing more. Its leases end as theirs end, not here.
    pub fn worker_left(&mut self, id: &str) {
        self.fleet.left(id);
    }

    /// Lets a worker finish what it has, or gives it jobs again. Whether there is such a worker.
    pub fn drain_worker(&mut self, id: &str, draining: bool, now: Timestamp, seed: u64) -> Option<Outcome> {
        let index = self.fleet.drain(id, draining)?;
        Some(self.look_at(Some(index), now.as_microsecond(), seed))
    }

    /// Jobs that have a lease with a worker, to be judged when it goes missing. O(leases).
    #[must_use]
    pub fn held_by(&self, worker: &str) -> Vec<JobId> {
        let Some(index) = self.fleet.index(worker) else { return Vec::new() };
        let mut jobs: Vec<JobId> =
            self.held.iter().filter(|(_, held)| held.worker == index).map(|(job, _)| job.clone()).collect();
        jobs.sort();
        jobs
    }

    /// Workers that have been silent for too long and still hold leases.
    #[must_use]
    pub fn missing(&self, now: Timestamp) -> Vec<Arc<str>> {
        let now = now.as_microsecond();
        let rules = self.fleet.rules();
        let missing = |worker: &&crate::scheduler::WorkerView| {
            worker.leased() > 0 && worker.state(now, rules) == crate::scheduler::WorkerState::Missing
        };
        let mut ids: Vec<Arc<str>> = self.fleet.workers().filter(missing).map(|worker| worker.id.clone()).collect();
        ids.sort();
        ids
    }

    fn look_at(&mut self, worker: Option<WorkerIndex>, now: i64, seed: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(worker) = worker else { return outcome };
        let mut dirty = Dirty::default();
        self.worker_changed(worker, now, &mut dirty);
        self.pump(&mut dirty, now, seed, &mut outcome);
        outcome
    }
}
