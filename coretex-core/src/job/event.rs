//! What has happened to a job: stored facts, in the past tense.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApprovalGrant, Failure, GrantLapse, Output};
use crate::policy::Decision;

/// A stored fact about an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum JobEvent {
    /// A remote kernel was asked; the job waits for its answer.
    Asked {
        /// The decision before, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<Arc<Decision>>,
        /// When it is asked again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Policy said: later.
    Throttled {
        /// The decision.
        decision: Arc<Decision>,
        /// When it is asked again.
        until: Timestamp,
    },
    /// Policy said: only when a human agrees.
    ApprovalRequired {
        /// The decision.
        decision: Arc<Decision>,
        /// What the approval binds.
        hash: Arc<str>,
        /// Why an earlier yes does not cover it, when there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<GrantLapse>,
    },
    /// A human agreed.
    Approved {
        /// Who, why, and to what.
        grant: Arc<ApprovalGrant>,
    },
    /// Policy asks for a human, and a yes to an earlier try of the same work holds.
    Covered {
        /// Who gave it.
        by: Arc<str>,
        /// When.
        given_at: Timestamp,
        /// To which try.
        given_to: u32,
    },
    /// It was permitted, routed and recorded for dispatch.
    Dispatched {
        /// The decision that permits it.
        decision: Arc<Decision>,
        /// The pool it goes to.
        pool: Arc<str>,
        /// When it is given up.
        deadline_at: Timestamp,
    },
    /// It was permitted, and waits for a slot.
    Scheduled {
        /// The decision that permits it.
        decision: Arc<Decision>,
    },
    /// What was scheduled was recorded for dispatch: under a lease where it names a worker.
    Handed {
        /// The pool it goes to.
        pool: Arc<str>,
        /// Whose slot it takes; absent where nobody counts slots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<Arc<str>>,
        /// Whether it goes to that worker's own address whenever it is sent again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        addressed: bool,
        /// When it is given up.
        deadline_at: Timestamp,
        /// When it counts as lost unless a worker has said that it works on it; absent where that is not asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_by: Option<Timestamp>,
    },
    /// A worker said that it works on it.
    Started {
        /// Which.
        worker: Arc<str>,
    },
    /// A worker did it.
    Succeeded {
        /// Which.
        worker: Arc<str>,
        /// How long it took, as the worker measured it.
        #[serde(default)]
        execution_ms: u64,
        /// What it made.
        #[serde(flatten)]
        output: Output,
        /// The result could not be tied to an assigned worker or attempt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unfenced: bool,
    },
    /// A worker could not do it, or no worker could be asked.
    Failed {
        /// Which, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<Arc<str>>,
        /// How long it took.
        #[serde(default)]
        execution_ms: u64,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
        /// The result could not be tied to an assigned worker or attempt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unfenced: bool,
    },
    /// Its lease is lost, and the attempt with it.
    Lost {
        /// Who had it, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<Arc<str>>,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// Its lease is lost: the next attempt of the same job begins. Of jobs that were submitted by themselves; the attempts
    /// of a step are jobs of their own.
    Requeued {
        /// Who had it, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<Arc<str>>,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// A worker that had lost it answered all the same. That counts for nothing.
    LateResult {
        /// Which.
        worker: Arc<str>,
    },
    /// Policy or a human refused it.
    Denied {
        /// The decision, when policy refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<Arc<Decision>>,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// It was not done in time.
    TimedOut {
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// The worker that has it was told to stop; until it answers, or the time is up, the job is still under way.
    StopRequested {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// When it counts as cancelled without an answer.
        until: Timestamp,
    },
    /// It was stopped on request.
    Cancelled {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
}
