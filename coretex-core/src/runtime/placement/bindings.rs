//! Who works on what, of jobs that take no slot: as workers said, kept in memory.
//!
//! It is only looked at for workers in other processes, because those are lost while we are not.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::job::JobId;

#[derive(Debug, Default)]
pub(super) struct Bindings {
    of: HashMap<JobId, Arc<str>>,
    by: HashMap<Arc<str>, BTreeSet<JobId>>,
    /// Workers in other processes.
    remote: HashSet<Arc<str>>,
}

/// Most workers in other processes that are told apart; a flood of made-up ids must not fill the memory.
const MOST_REMOTE: usize = 10_000;

impl Bindings {
    pub(super) fn bind(&mut self, job: &JobId, worker: &Arc<str>) {
        self.unbind(job);
        self.of.insert(job.clone(), worker.clone());
        self.by.entry(worker.clone()).or_default().insert(job.clone());
    }

    pub(super) fn unbind(&mut self, job: &JobId) {
        let Some(worker) = self.of.remove(job) else { return };
        if let Some(jobs) = self.by.get_mut(&worker) {
            jobs.remove(job);
            if jobs.is_empty() {
                self.by.remove(&worker);
            }
        }
    }

    /// What `worker` works on, in order.
    pub(super) fn of_worker(&self, worker: &str) -> Vec<JobId> {
        self.by.get(worker).into_iter().flatten().cloned().collect()
    }

    /// Workers in other processes that work on something.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by.keys().filter(|worker| self.remote.contains(*worker))
    }

    /// Notes that a worker is in another process.
    pub(super) fn set_remote(&mut self, worker: &str) {
        if !self.remote.contains(worker) && self.remote.len() < MOST_REMOTE {
            self.remote.insert(worker.into());
        }
    }

    pub(super) fn is_remote(&self, worker: &str) -> bool {
        self.remote.contains(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_bound_to_one_worker_and_only_those_elsewhere_are_judged() {
        let mut bindings = Bindings::default();
        let (job, other) = (JobId::parse("j1").unwrap(), JobId::parse("j2").unwrap());
        bindings.bind(&job, &"a".into());
        bindings.bind(&other, &"a".into());
        bindings.bind(&job, &"b".into());
        assert_eq!((bindings.of_worker("a"), bindings.of_worker("b")), (vec![other.clone()], vec![job.clone()]));
        assert_eq!(bindings.judged().count(), 0);
        bindings.set_remote("b");
        assert_eq!(bindings.judged().collect::<Vec<_>>(), [&Arc::from("b")]);
        bindings.unbind(&job);
        assert_eq!((bindings.judged().count(), bindings.of_worker("b").len()), (0, 0));
    }
}
