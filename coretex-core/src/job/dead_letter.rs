//! The record of a job given up.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Failure, Fingerprint, Job, JobSpec, JobState};
use crate::policy::Decision;

/// Stable codes that the platform itself gives. Workers add their own.
pub mod codes {
    /// Policy refused.
    pub const SAFETY_DENIED: &str = "safety_denied";
    /// No pool is mapped to the topic, or none offers what the job requires.
    pub const NO_POOL_MAPPING: &str = "no_pool_mapping";
    /// A remote policy kernel did not answer in time.
    pub const POLICY_UNANSWERED: &str = "policy_unanswered";
    /// A human refused.
    pub const APPROVAL_REJECTED: &str = "approval_rejected";
    /// The question was not answered in time.
    pub const APPROVAL_EXPIRED: &str = "approval_expired";
    /// No result in time.
    pub const TIMEOUT: &str = "timeout";
    /// Undoing, or the `finally` steps, took longer than they may.
    pub const FINALLY_TIMEOUT: &str = "finally_timeout";
    /// Stopped on request.
    pub const CANCELLED: &str = "cancelled";
    /// An operator gave it up.
    pub const GIVEN_UP: &str = "given_up";
    /// The worker that had the job is gone, or was silent for too long.
    pub const LEASE_LOST: &str = "lease_lost";
    /// The worker stopped before it did the job, and gives it back.
    pub const WORKER_STOPPED: &str = "worker_stopped";
    /// No worker said in time that it works on the job.
    pub const DISPATCH_TIMEOUT: &str = "dispatch_timeout";
    /// The bus refused the job for good.
    pub const DISPATCH_FAILED: &str = "dispatch_failed";
    /// A step's input does not match its schema.
    pub const INPUT_INVALID: &str = "input_invalid";
    /// A step's output does not match its schema.
    pub const OUTPUT_INVALID: &str = "output_invalid";
    /// An expression could not be evaluated.
    pub const EXPRESSION_FAILED: &str = "expression_failed";
    /// A worker said: not now. See [`MAX_SNOOZES`](crate::job::MAX_SNOOZES).
    pub const SNOOZED: &str = "snoozed";
    /// A payload is larger than allowed.
    pub const PAYLOAD_TOO_LARGE: &str = "payload_too_large";
}

/// A job given up: what it was, why, and everything needed to try it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job, its input and metadata included, so that a retry is judged by the same policy.
    pub spec: Arc<JobSpec>,
    /// How it ended.
    pub state: JobState,
    /// The state before that.
    pub last_state: JobState,
    /// Why.
    pub failure: Failure,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub created_at: Timestamp,
    /// Which failures are of the same kind.
    pub fingerprint: Fingerprint,
    /// What they have in common: the message without numbers and identities.
    pub pattern: Arc<str>,
    /// What policy said last, with its rule and snapshot; absent when it was never asked, or did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Arc<Decision>>,
    /// The pool that it was sent to, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Arc<str>>,
    /// The worker that had it, if one said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Arc<str>>,
}

impl DeadLetter {
    /// Records that `job` is given up; `before` is the state it was in.
    #[must_use]
    pub fn of(job: &Job, before: JobState, spec: Arc<JobSpec>, at: Timestamp) -> Self {
        let failure = job.failure.clone().unwrap_or_else(|| Failure::fatal("unknown", "no reason was recorded"));
        let (fingerprint, pattern) = Fingerprint::of(job, &spec, &failure.code, &failure.message);
        Self {
            spec,
            state: job.state,
            last_state: before,
            failure,
            attempts: job.attempt,
            created_at: at,
            fingerprint,
            pattern: pattern.into(),
            decision: job.decision.clone(),
            pool: job.pool.clone(),
            worker: job.worker.clone(),
        }
    }
}
