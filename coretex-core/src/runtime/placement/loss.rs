//! Workers that are gone, and what becomes of what they had.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Desk, Shared};
use crate::{
    job::{JobId, JobInput},
    runtime::ControlPlane,
    scheduler::WorkerState,
};

impl Desk {
    /// Workers that are missing and have something.
    pub(super) fn missing(&self, now: Timestamp) -> impl Iterator<Item = Arc<str>> {
        let mut missing = self.scheduler.missing(now);
        let fleet = self.scheduler.fleet();
        let is_missing = |worker: &&Arc<str>| {
            let state = fleet.worker(worker).map(|view| view.state(now.as_microsecond(), fleet.rules()));
            state.is_none_or(|state| state == WorkerState::Missing)
        };
        missing.extend(self.bindings.judged().filter(is_missing).cloned());
        missing.sort();
        missing.dedup();
        missing.into_iter()
    }

    /// When the next worker that has something counts as missing.
    pub(super) fn next_silence(&self, now: Timestamp) -> Option<Timestamp> {
        let fleet = self.scheduler.fleet();
        let bound = self.bindings.judged().filter_map(|worker| fleet.worker(worker));
        let bound = bound.map(|worker| worker.silent_at(fleet.rules()).saturating_add(1)).min();
        let bound = bound.and_then(|at| Timestamp::from_microsecond(at).ok());
        [bound, self.scheduler.next_silence(now)].into_iter().flatten().min()
    }

    /// Everything that a worker has.
    pub(super) fn held_by(&self, worker: &str) -> Vec<JobId> {
        let mut jobs = self.scheduler.held_by(worker);
        jobs.extend(self.bindings.of_worker(worker));
        jobs.sort();
        jobs.dedup();
        jobs
    }
}

impl Shared {
    /// Takes everything that a worker has away from it; gives the jobs. Each begins its next attempt, within its bounds.
    pub(super) fn lose(self: &Arc<Self>, worker: &str, reason: &str) -> Vec<JobId> {
        let jobs = self.placement.look(|desk| desk.held_by(worker));
        if !jobs.is_empty() {
            tracing::warn!(worker, reason, jobs = jobs.len(), "a worker lost its jobs");
        }
        let (worker, reason): (Arc<str>, Arc<str>) = (worker.into(), reason.into());
        for job in &jobs {
            self.post(job, JobInput::Lost { worker: worker.clone(), reason: reason.clone() });
        }
        jobs
    }
}

impl ControlPlane {
    /// Says that a worker in another process is connected: what it works on is given to others when it is lost. For
    /// whoever holds the connections of workers; a heartbeat over a bus that leaves the process says the same.
    pub fn worker_joined(&self, worker: &str) {
        let shared = self.shared();
        let now = shared.now();
        shared.placement.turn_on();
        shared.placement.step(now, |desk| {
            desk.bindings.set_remote(worker);
            desk.scheduler.expect_worker(worker, now);
        });
    }

    /// Says that a worker is gone: its connection broke, or its process ended. It gets nothing more until it is heard of
    /// again, and each job that it has begins its next attempt at once; gives those jobs, so that whoever holds their
    /// deliveries does not make them once more. What it says of those later counts for nothing.
    pub fn worker_lost(&self, worker: &str, reason: &str) -> Vec<JobId> {
        let shared = self.shared();
        shared.placement.step(shared.now(), |desk| desk.scheduler.worker_left(worker));
        shared.lose(worker, reason)
    }
}
