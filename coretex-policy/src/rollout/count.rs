//! What two policies said, counted, and when that is bad.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use coretex_core::policy::{Decision, Outcome, PolicyRequest};
use serde::{Deserialize, Serialize};

use super::Arm;

/// Most differences that are kept.
const SAMPLES: usize = 64;

/// What both policies said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that both judged.
    pub asked: u64,
    /// Requests for which the candidate's decision counted.
    pub decided_by_candidate: u64,
    /// Requests on which they differ in more than the snapshot.
    pub differ: u64,
    /// The live one denied.
    pub live_denied: u64,
    /// The candidate denied.
    pub candidate_denied: u64,
    /// The candidate permits what the live one does not.
    pub loosened: u64,
    /// A rule of the candidate could not be judged, which denies.
    pub candidate_unclear: u64,
}

/// A request on which they differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its job.
    pub job_id: String,
    /// Its topic.
    pub topic: String,
    /// Its tenant.
    pub tenant: String,
    /// Whose decision counted.
    pub arm: Arm,
    /// What the live policy says.
    pub live: Decision,
    /// What the candidate says.
    pub candidate: Decision,
}

/// When a candidate does harm. Shares are of the requests asked, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests before anything is judged.
    pub at_least: u64,
    /// The candidate may deny this share more than the live policy does.
    pub denied_more: f64,
    /// This share may be unclear.
    pub unclear: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_least: 100, denied_more: 0.05, unclear: 0.0 }
    }
}

/// What counts say of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum Health {
    /// Too few requests to tell.
    TooEarly,
    /// Within its limits.
    Good,
    /// Beyond one.
    Harmful {
        /// Which, with the numbers.
        why: String,
    },
}

impl Limits {
    /// Judges counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shares of counts below 2^53")]
    pub fn judge(&self, counts: &Counts) -> Health {
        if counts.asked < self.at_least.max(1) {
            return Health::TooEarly;
        }
        let share = |count: u64| count as f64 / counts.asked as f64;
        let more = share(counts.candidate_denied) - share(counts.live_denied);
        let unclear = share(counts.candidate_unclear);
        if unclear > self.unclear {
            let why = format!(
                "{:.1} % of requests cannot be judged by the candidate, {:.1} % may",
                unclear * 100.0,
                self.unclear * 100.0
            );
            return Health::Harmful { why };
        }
        if more > self.denied_more {
            let why = format!(
                "the candidate denies {:.1} % more of the requests, {:.1} % may be",
                more * 100.0,
                self.denied_more * 100.0
            );
            return Health::Harmful { why };
        }
        Health::Good
    }
}

/// Counts while requests are judged, without waiting for anybody.
#[derive(Debug, Default)]
pub(super) struct Counted {
    asked: AtomicU64,
    decided_by_candidate: AtomicU64,
    differ: AtomicU64,
    live_denied: AtomicU64,
    candidate_denied: AtomicU64,
    loosened: AtomicU64,
    candidate_unclear: AtomicU64,
    samples: Mutex<Vec<Difference>>,
}

impl Counted {
    /// Decisions with whether a rule could not be judged.
    pub(super) fn add(
        &self,
        request: &PolicyRequest<'_>,
        live: &(Decision, bool),
        candidate: &(Decision, bool),
        arm: Arm,
    ) {
        let count = |counter: &AtomicU64, is: bool| {
            if is {
                counter.fetch_add(1, Relaxed);
            }
        };
        let ((live, _), (candidate, unclear)) = (live, candidate);
        let differ = !same(live, candidate);
        count(&self.decided_by_candidate, arm == Arm::Candidate);
        count(&self.differ, differ);
        count(&self.live_denied, live.outcome == Outcome::Deny);
        count(&self.candidate_denied, candidate.outcome == Outcome::Deny);
        count(&self.loosened, candidate.outcome.permits() && !live.outcome.permits());
        count(&self.candidate_unclear, *unclear);
        self.asked.fetch_add(1, Relaxed);
        if differ
            && let Ok(mut samples) = self.samples.try_lock()
            && samples.len() < SAMPLES
        {
            samples.push(Difference {
                job_id: request.job_id.to_owned(),
                topic: request.topic.to_owned(),
                tenant: request.tenant.to_owned(),
                arm,
                live: live.clone(),
                candidate: candidate.clone(),
            });
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            asked: self.asked.load(Relaxed),
            decided_by_candidate: self.decided_by_candidate.load(Relaxed),
            differ: self.differ.load(Relaxed),
            live_denied: self.live_denied.load(Relaxed),
            candidate_denied: self.candidate_denied.load(Relaxed),
            loosened: self.loosened.load(Relaxed),
            candidate_unclear: self.candidate_unclear.load(Relaxed),
        }
    }

    pub(super) fn differences(&self) -> Vec<Difference> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn same(live: &Decision, candidate: &Decision) -> bool {
    (live.outcome, &live.rule_id, &live.reason, live.retry_after, &live.constraints, &live.remediations)
        == (
            candidate.outcome,
            &candidate.rule_id,
            &candidate.reason,
            candidate.retry_after,
            &candidate.constraints,
            &candidate.remediations,
        )
}
