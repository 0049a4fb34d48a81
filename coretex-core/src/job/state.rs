//! How far a job has come: the fold of its events.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApprovalGrant, JobEvent, JobId};
use crate::{policy::Decision, value::Value};

/// State of an attempt. Established names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Known, not yet decided.
    Pending,
    /// A human must agree first.
    ApprovalRequired,
    /// Decided and routed, waiting for a slot.
    Scheduled,
    /// Handed to the bus.
    Dispatched,
    /// A worker said that it works on it.
    Running,
    /// Done.
    Succeeded,
    /// Given up by the worker, or never possible.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Not done in time.
    Timeout,
    /// Refused by policy or by a human.
    Denied,
}

impl JobState {
    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Timeout | Self::Denied)
    }

    /// Whether a worker may have it.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running)
    }

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::ApprovalRequired => "APPROVAL_REQUIRED",
            Self::Scheduled => "SCHEDULED",
            Self::Dispatched => "DISPATCHED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Timeout => "TIMEOUT",
            Self::Denied => "DENIED",
        }
    }
}

/// Why something did not work out, for programs and for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: Arc<str>,
    /// For people.
    pub message: Arc<str>,
    /// Whether trying again may help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// The worker's wish: not before this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure that another try may mend.
    pub fn retryable(code: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true, retry_after_ms: None }
    }

    /// A failure that another try does not mend.
    pub fn fatal(code: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None }
    }
}

/// How often a step run is put off by its workers before one more time is a failure like any other: a worker that never finds
/// the time must not keep a run for ever.
pub const MAX_SNOOZES: u32 = 1_000;

impl Failure {
    /// Whether the worker did not fail, but said: not now, again later.
    #[must_use]
    pub fn is_snooze(&self) -> bool {
        self.retryable && *self.code == *super::codes::SNOOZED
    }
}

/// What a job made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The value itself, when it is small enough to keep.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<Value>>,
    /// Where the worker put it, as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Arc<str>>,
    /// SHA-256 of the bytes, where the platform has read and pinned them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Arc<str>>,
    /// Bytes of JSON, of an output that is too large for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Further pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Arc<str>>,
}

/// How a worker says that an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatusReport {
    /// Done.
    Succeeded(Output),
    /// Not done.
    Failed(Failure),
    /// Stopped, as asked.
    Cancelled,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// Which job.
    pub job: JobId,
    /// Who says so.
    pub worker: Arc<str>,
    /// How it ended.
    pub status: JobStatusReport,
    /// How long it took, as the worker measured it.
    pub execution_ms: u64,
}

/// One attempt, folded from its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// 1 for the first try.
    pub attempt: u32,
    /// How far it has come.
    pub state: JobState,
    /// The last decision about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Arc<Decision>>,
    /// Digest that an approval must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Arc<str>>,
    /// The human's yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Arc<ApprovalGrant>>,
    /// The pool it was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Arc<str>>,
    /// When it is asked again or times out, whichever its state waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Arc<str>>,
    /// When it was handed to the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How long the worker took.
    #[serde(default)]
    pub execution_ms: u64,
    /// Who told the worker to stop, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Arc<Stop>>,
    /// The question that a remote kernel has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asking: Option<Asking>,
}

/// A question that a remote kernel has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// When it was asked first.
    pub since: Timestamp,
    /// How often it was asked.
    pub times: u32,
}

/// A request to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// By whom.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

impl Job {
    /// A job that nothing has happened to.
    #[must_use]
    pub fn new(id: JobId, attempt: u32, at: Timestamp) -> Self {
        Self {
            id,
            attempt,
            state: JobState::Pending,
            decision: None,
            hash: None,
            grant: None,
            pool: None,
            due_at: None,
            worker: None,
            dispatched_at: None,
            completed_at: None,
            updated_at: at,
            output: None,
            failure: None,
            execution_ms: 0,
            stop: None,
            asking: None,
        }
    }

    /// Whether a remote kernel was asked and has not answered.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        matches!(self.state, JobState::Pending) && self.asking.is_some()
    }

    /// Folds one event in. Total: an event that does not fit leaves the state as it is, because events are only
    /// made by [`super::decide`].
    pub fn apply(&mut self, at: Timestamp, event: &JobEvent) {
        self.updated_at = at;
        let asking = self.asking.take();
        match event {
            JobEvent::Asked { decision, until } => {
                self.state = JobState::Pending;
                self.decision.clone_from(decision);
                // A question without a bound is asked again at once, with one.
                self.due_at = Some(until.unwrap_or(at));
                let (since, times) = asking.map_or((at, 0), |asking| (asking.since, asking.times));
                self.asking = Some(Asking { since, times: times.saturating_add(1) });
            }
            JobEvent::Throttled { decision, until } => {
                self.state = JobState::Pending;
                self.decision = Some(decision.clone());
                self.due_at = Some(*until);
            }
            JobEvent::ApprovalRequired { decision, hash, .. } => {
                self.state = JobState::ApprovalRequired;
                self.decision = Some(decision.clone());
                self.hash = Some(hash.clone());
                self.due_at = None;
            }
            JobEvent::Approved { grant } => {
                self.state = JobState::Pending;
                self.grant = Some(grant.clone());
            }
            JobEvent::Covered { .. } => {}
            JobEvent::Dispatched { decision, pool, deadline_at } => {
                self.dispatch(at, decision, pool, *deadline_at);
            }
            JobEvent::Started { worker } => {
                self.state = JobState::Running;
                self.worker = Some(worker.clone());
            }
            JobEvent::Succeeded { worker, execution_ms, output, .. } => {
                self.succeed(at, worker, *execution_ms, output);
            }
            JobEvent::Failed { worker, execution_ms, failure, .. } => {
                self.end(JobState::Failed, at);
                if worker.is_some() {
                    self.worker.clone_from(worker);
                }
                self.execution_ms = *execution_ms;
                self.failure = Some(failure.clone());
            }
            JobEvent::Denied { decision, failure } => {
                self.end(JobState::Denied, at);
                if let Some(decision) = decision {
                    self.decision = Some(decision.clone());
                }
                self.failure = Some(failure.clone());
            }
            JobEvent::TimedOut { failure } => {
                self.end(JobState::Timeout, at);
                self.failure = Some(failure.clone());
            }
            JobEvent::StopRequested { by, reason, until } => {
                self.stop = Some(Arc::new(Stop { by: by.clone(), reason: reason.clone() }));
                self.due_at = Some(*until);
            }
            JobEvent::Cancelled { reason, .. } => {
                self.end(JobState::Cancelled, at);
                self.failure = Some(Failure::fatal("cancelled", reason.clone()));
            }
        }
    }

    pub(crate) fn dispatch(
        &mut self,
        at: Timestamp,
        decision: &Arc<Decision>,
        pool: &Arc<str>,
        deadline_at: Timestamp,
    ) {
        self.updated_at = at;
        self.state = JobState::Dispatched;
        self.decision = Some(decision.clone());
        self.pool = Some(pool.clone());
        self.due_at = Some(deadline_at);
        self.dispatched_at = Some(at);
    }

    pub(crate) fn succeed(&mut self, at: Timestamp, worker: &Arc<str>, execution_ms: u64, output: &Output) {
        self.updated_at = at;
        self.end(JobState::Succeeded, at);
        self.worker = Some(worker.clone());
        self.execution_ms = execution_ms;
        self.output = Some(output.clone());
    }

    fn end(&mut self, state: JobState, at: Timestamp) {
        self.state = state;
        self.due_at = None;
        self.completed_at = Some(at);
    }
}
