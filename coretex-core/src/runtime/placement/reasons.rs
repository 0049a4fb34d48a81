//! Why a job waits for a slot, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Desk, Shared};
use crate::{
    job::JobId,
    runtime::ControlPlane,
    scheduler::{Reason, Verdict, WaitView},
    workflow::WaitCause,
};

/// How many jobs have a slot, and how many wait for one, in all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlacementCounts {
    /// Jobs under a lease.
    pub leased: usize,
    /// Jobs that wait.
    pub waiting: usize,
}

/// What a job that waits for a slot waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacementWait {
    /// The pool that it waits in.
    pub pool: String,
    /// `workers`, `slot`, `limit` or `paused`.
    pub reason: &'static str,
    /// The same for people.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is given up.
    pub until: Timestamp,
}

impl Desk {
    fn placement_wait(&self, job: &JobId, now: Timestamp) -> Option<PlacementWait> {
        let WaitView { pool, since, until, reason } = self.scheduler.waiting(job, now)?;
        let waiting = self.scheduler.waiting_in(&pool);
        let (jobs, verb) = if waiting == 1 { ("job", "waits") } else { ("jobs", "wait") };
        let (reason, detail) = match reason {
            Reason::Limit(limit) => ("limit", format!("the limit `{}` is reached for `{}`", limit.rule, limit.key)),
            Reason::Paused => ("paused", format!("pool `{pool}` is paused; {waiting} {jobs} {verb} there")),
            Reason::Slot => ("slot", format!("pool `{pool}` has no free slot for it; {waiting} {jobs} {verb} there")),
            Reason::Workers => {
                let others = self.misfits(job, &pool, now);
                let others = if others.is_empty() { String::new() } else { format!(": {others}") };
                ("workers", format!("pool `{pool}` has no live worker for it{others}"))
            }
        };
        Some(PlacementWait { pool: pool.to_string(), reason, detail, since, until })
    }

    /// Why the workers of the pool do not fit, each reason with the number of workers.
    fn misfits(&self, job: &JobId, pool: &str, now: Timestamp) -> String {
        let explained = self.scheduler.asked(job).and_then(|ask| self.scheduler.explain(&ask, now, 0).ok());
        let explained = explained.into_iter().flatten().find(|explained| *explained.pool == *pool);
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for passed in explained.into_iter().flat_map(|explained| explained.workers) {
            if let Verdict::Unfit { reason, .. } = passed.verdict {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        let told = reasons.into_iter().map(|(reason, count)| match count {
            1 => format!("of one {reason}"),
            count => format!("of {count} {reason}"),
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

impl Shared {
    /// Completes what is told of a job that waits for a slot.
    pub(in crate::runtime) fn tell_placement(&self, cause: &mut WaitCause) {
        let WaitCause::Placement { job_id, pool, reason, detail, until, .. } = cause else { return };
        let Ok(job) = JobId::parse(job_id) else { return };
        let now = self.now();
        if let Some(wait) = self.placement.look(|desk| desk.placement_wait(&job, now)) {
            (*pool, *reason, *detail, *until) =
                (Some(wait.pool), Some(wait.reason), Some(wait.detail), Some(wait.until));
        }
    }
}

impl ControlPlane {
    /// How many jobs have a slot, and how many wait for one.
    #[must_use]
    pub fn placement_counts(&self) -> PlacementCounts {
        self.shared()
            .placement
            .look(|desk| PlacementCounts { leased: desk.scheduler.running(), waiting: desk.scheduler.backlog() })
    }
}
