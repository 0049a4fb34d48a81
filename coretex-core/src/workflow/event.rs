//! What has happened to a run: stored facts, in the past tense.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Slot;
use crate::{
    job::{Answer, Failure, JobEvent, Output, Priority, RunId, StepId, TenantId, WorkflowId},
    policy::Decision,
    value::Value,
};

/// An event with its time, as it lies in the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: RunEvent,
}

/// A stored fact about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    /// It started, pinning a definition.
    RunStarted {
        /// The run.
        run_id: RunId,
        /// The workflow.
        workflow_id: WorkflowId,
        /// Digest of the pinned definition.
        digest: Arc<str>,
        /// Who owns it.
        tenant: TenantId,
        /// The team within the tenant.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        team: Arc<str>,
        /// On whose authority.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        principal: Arc<str>,
        /// Its input.
        input: Arc<Value>,
        /// Its labels.
        #[serde(default, skip_serializing_if = "labels_empty")]
        labels: Arc<BTreeMap<String, String>>,
        /// How urgent its jobs are.
        #[serde(default)]
        priority: Priority,
        /// Corpus for workers that keep memory.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        memory_id: Arc<str>,
        /// The key that it was started under.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<Arc<str>>,
        /// When it is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_at: Option<Timestamp>,
        /// What it claims under its workflow's rule of concurrency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<Slot>,
        /// It waits for a place under that rule, and nothing of it begins before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        queued: bool,
    },
    /// It has a place under its workflow's rule of concurrency, and begins.
    RunAdmitted {
        /// When it is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_at: Option<Timestamp>,
    },
    /// An attempt of a step was opened.
    StepAttempted {
        /// The step.
        step: StepId,
        /// Which try.
        attempt: u32,
        /// The rendered input; absent where the run's whole input is used.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
    },
    /// An attempt of a step was opened, permitted, routed and recorded for dispatch: [`RunEvent::StepAttempted`] and
    /// [`JobEvent::Dispatched`] in one, which is how nearly every attempt begins.
    StepDispatched {
        /// The step.
        step: StepId,
        /// Which try.
        attempt: u32,
        /// The rendered input; absent where the run's whole input is used.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// The decision that permits it.
        decision: Decision,
        /// The pool it goes to.
        pool: Arc<str>,
        /// When it is given up.
        deadline_at: Timestamp,
    },
    /// A worker did the job and the step is done: [`JobEvent::Succeeded`] and [`RunEvent::StepSucceeded`] in one, which
    /// is how nearly every step ends.
    StepCompleted {
        /// The step.
        step: StepId,
        /// Which try.
        attempt: u32,
        /// Who did it.
        worker: Arc<str>,
        /// How long it took, as the worker measured it.
        #[serde(default)]
        execution_ms: u64,
        /// What it made.
        #[serde(flatten)]
        output: Output,
    },
    /// Something happened to the open attempt of a step.
    StepJob {
        /// The step.
        step: StepId,
        /// Which try.
        attempt: u32,
        /// What.
        #[serde(flatten)]
        event: JobEvent,
    },
    /// An approval step waits for a human.
    StepWaiting {
        /// The step.
        step: StepId,
        /// What the human decides on.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// When the question lapses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A human answered an approval step.
    StepAnswered {
        /// The step.
        step: StepId,
        /// The answer.
        #[serde(flatten)]
        answer: Answer,
    },
    /// A delay began.
    StepDelayed {
        /// The step.
        step: StepId,
        /// When it ends.
        until: Timestamp,
    },
    /// An alert was recorded for publishing.
    StepNotified {
        /// The step.
        step: StepId,
        /// The alert.
        payload: Arc<Value>,
    },
    /// A step is done.
    StepSucceeded {
        /// The step.
        step: StepId,
        /// What it made, where that is not its job's output.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// A step's gate was false.
    StepSkipped {
        /// The step.
        step: StepId,
    },
    /// A try failed; there will be another.
    StepRetryScheduled {
        /// The step.
        step: StepId,
        /// Why the try failed.
        failure: Failure,
        /// When the next one opens.
        next_at: Timestamp,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// A step was not done in time.
    StepTimedOut {
        /// The step.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// Every step succeeded or was skipped.
    RunSucceeded {},
    /// A step failed for good; the others are cancelled.
    RunFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
        /// The step was not done in time, so that the run counts as timed out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    },
    /// It was stopped on request; open steps are cancelled.
    RunCancelled {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// It was not done in time; open steps are cancelled.
    RunTimedOut,
}

impl RunEvent {
    /// The try that it is about, where it is about one.
    #[must_use]
    pub const fn attempt(&self) -> Option<u32> {
        match self {
            Self::StepAttempted { attempt, .. }
            | Self::StepDispatched { attempt, .. }
            | Self::StepCompleted { attempt, .. }
            | Self::StepJob { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// The step that it is about.
    #[must_use]
    pub const fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepAttempted { step, .. }
            | Self::StepDispatched { step, .. }
            | Self::StepCompleted { step, .. }
            | Self::StepJob { step, .. }
            | Self::StepWaiting { step, .. }
            | Self::StepAnswered { step, .. }
            | Self::StepDelayed { step, .. }
            | Self::StepNotified { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::StepSkipped { step }
            | Self::StepRetryScheduled { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepTimedOut { step, .. }
            | Self::RunFailed { step, .. } => Some(step),
            Self::RunStarted { .. }
            | Self::RunAdmitted { .. }
            | Self::RunSucceeded { .. }
            | Self::RunCancelled { .. }
            | Self::RunTimedOut => None,
        }
    }
}

/// Adds an event; where it and the one before have a form that stands for both, as that. Folding it does what folding
/// both would do.
pub(super) fn push_joined(events: &mut Vec<RunEvent>, event: RunEvent) {
    let joins = match (events.last(), &event) {
        (
            Some(RunEvent::StepAttempted { step, .. }),
            RunEvent::StepJob { step: same, event: JobEvent::Dispatched { .. }, .. },
        )
        | (
            Some(RunEvent::StepJob { step, event: JobEvent::Succeeded { unfenced: false, .. }, .. }),
            RunEvent::StepSucceeded { step: same, output: None },
        ) => step == same,
        _ => false,
    };
    if !joins {
        return events.push(event);
    }
    match (events.pop(), event) {
        (
            Some(RunEvent::StepAttempted { step, attempt, input }),
            RunEvent::StepJob { event: JobEvent::Dispatched { decision, pool, deadline_at }, .. },
        ) => events.push(RunEvent::StepDispatched { step, attempt, input, decision, pool, deadline_at }),
        (
            Some(RunEvent::StepJob { step, attempt, event: JobEvent::Succeeded { worker, execution_ms, output, .. } }),
            _,
        ) => {
            events.push(RunEvent::StepCompleted { step, attempt, worker, execution_ms, output });
        }
        (last, event) => events.extend(last.into_iter().chain([event])),
    }
}

fn labels_empty(labels: &Arc<BTreeMap<String, String>>) -> bool {
    labels.is_empty()
}
