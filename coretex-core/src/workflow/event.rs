//! What has happened to a run: stored facts, in the past tense.

mod encode;
mod input;
mod time;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Origin, ParentRun, RestoredState, Slot};
use crate::{
    job::{Answer, Failure, JobEvent, Output, Priority, RunId, StepRunId, TenantId, WorkflowId},
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
        /// No effect of it leaves the process; what steps would make is made up.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
        /// The step of another run that it is carried out for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Arc<ParentRun>>,
        /// The run that it goes on from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Arc<Origin>>,
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
    /// It moved onto another definition of its workflow: what comes after is folded under that one.
    RunMigrated {
        /// Digest of the definition that it was under.
        from: Arc<str>,
        /// Digest of the definition that it is under.
        to: Arc<str>,
        /// Who moved it.
        by: Arc<str>,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        reason: Arc<str>,
    },
    /// It took over the state of the run that it goes on from.
    RunRestored {
        /// The state.
        state: Arc<RestoredState>,
    },
    /// An attempt of a step was opened.
    StepAttempted {
        /// The step.
        step: StepRunId,
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
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// The rendered input; absent where the run's whole input is used.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// The decision that permits it.
        decision: Arc<Decision>,
        /// The pool it goes to.
        pool: Arc<str>,
        /// When it is given up.
        deadline_at: Timestamp,
    },
    /// A worker did the job and the step is done: [`JobEvent::Succeeded`] and [`RunEvent::StepSucceeded`] in one, which
    /// is how nearly every step ends.
    StepCompleted {
        /// The step.
        step: StepRunId,
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
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// What.
        #[serde(flatten)]
        event: JobEvent,
    },
    /// An approval step waits for a human.
    StepWaiting {
        /// The step.
        step: StepRunId,
        /// What the human decides on.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// When the question lapses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A step waits for data from outside.
    StepAsked {
        /// The step.
        step: StepRunId,
        /// What whoever provides it is shown.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// When the step is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Data from outside arrived for a step.
    StepProvided {
        /// The step.
        step: StepRunId,
        /// By whom.
        by: Arc<str>,
        /// The data.
        value: Arc<Value>,
    },
    /// A step waits for a signal.
    StepListening {
        /// The step.
        step: StepRunId,
        /// The name of the signal.
        signal: Arc<str>,
        /// When the step is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A signal arrived. It is kept until a step waits for it.
    SignalReceived {
        /// Its name.
        name: Arc<str>,
        /// Its identity, by which a repeat is known; may be empty.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        id: Arc<str>,
        /// By whom.
        by: Arc<str>,
        /// What it carries.
        payload: Arc<Value>,
    },
    /// A step took the oldest kept signal of its name.
    SignalTaken {
        /// The step.
        step: StepRunId,
        /// The name of the signal.
        signal: Arc<str>,
        /// Why the step has failed with it: the payload is not what it may make.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A human answered an approval step.
    StepAnswered {
        /// The step.
        step: StepRunId,
        /// The answer.
        #[serde(flatten)]
        answer: Answer,
    },
    /// A delay began.
    StepDelayed {
        /// The step.
        step: StepRunId,
        /// When it ends.
        until: Timestamp,
        /// The rule that gave the time, for people.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        rule: Arc<str>,
    },
    /// An alert was recorded for publishing.
    StepNotified {
        /// The step.
        step: StepRunId,
        /// The alert.
        payload: Arc<Value>,
    },
    /// An artifact was asked for: to keep it, read it or remove it.
    StepStoring {
        /// The step.
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// The name of the artifact.
        key: Arc<str>,
        /// What to keep.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        value: Option<Arc<Value>>,
    },
    /// A run of another workflow was asked for.
    ChildStarted {
        /// The step.
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// The run.
        run: RunId,
        /// Its workflow.
        workflow: WorkflowId,
        /// The definition, where the step names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Arc<str>>,
        /// Its input; absent where the run's whole input is used.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
    },
    /// The run of another workflow was told to stop.
    ChildStopping {
        /// The step.
        step: StepRunId,
    },
    /// What a job, or another step with an effect, would have made was made up: the run is a dry run.
    StepSimulated {
        /// The step.
        step: StepRunId,
        /// What it would have worked on.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
        /// What policy says of its job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<Arc<Decision>>,
        /// The pool that its job would go to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<Arc<str>>,
    },
    /// A group of steps was opened.
    GroupOpened {
        /// The step that holds it.
        step: StepRunId,
        /// The items of a `for_each`.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        items: Option<Arc<Value>>,
        /// When it is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An item of a `for_each`, or an iteration of a loop, began.
    BlockBegun {
        /// The step that holds it.
        step: StepRunId,
        /// Which one, from 0.
        index: u32,
        /// What the iteration starts with.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        carry: Option<Arc<Value>>,
    },
    /// How a group ends is settled; what is still under way in it is stopped.
    GroupStopping {
        /// The step that holds it.
        step: StepRunId,
        /// Why it has failed; absent when it has not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// It was not done in time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    },
    /// A group is done. Its output follows from those of its steps.
    GroupSucceeded {
        /// The step that holds it.
        step: StepRunId,
        /// What a loop hands out.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        carry: Option<Arc<Value>>,
    },
    /// A switch chose.
    StepSwitched {
        /// The step.
        step: StepRunId,
        /// The cases that matched; none where the default was taken.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<Arc<str>>,
        /// The steps that go on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken: Vec<Arc<str>>,
    },
    /// No try is left, and an operator shall say how the step goes on.
    StepParked {
        /// The step.
        step: StepRunId,
        /// Why the last try failed.
        failure: Failure,
    },
    /// An operator said how a step goes on.
    StepResolved {
        /// The step.
        step: StepRunId,
        /// Who.
        by: Arc<str>,
        /// How.
        resolution: Resolution,
    },
    /// A step that may go was held back: the run moves or holds as many bytes as it may.
    StepHeld {
        /// The step.
        step: StepRunId,
    },
    /// A step was stopped before it ended.
    StepCancelled {
        /// The step.
        step: StepRunId,
    },
    /// A step is done.
    StepSucceeded {
        /// The step.
        step: StepRunId,
        /// What it made, where that is not its job's output.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// A condition step is done.
    ConditionEvaluated {
        /// The step.
        step: StepRunId,
        /// Whether it holds.
        value: bool,
    },
    /// A step was not needed.
    StepSkipped {
        /// The step.
        step: StepRunId,
        /// Why.
        #[serde(default, skip_serializing_if = "SkipReason::is_gate")]
        reason: SkipReason,
    },
    /// A try failed; there will be another.
    StepRetryScheduled {
        /// The step.
        step: StepRunId,
        /// Why the try failed.
        failure: Failure,
        /// When the next one opens.
        next_at: Timestamp,
    },
    /// A worker put a try off: it does not count as one.
    StepSnoozed {
        /// The step.
        step: StepRunId,
        /// What the worker said.
        failure: Failure,
        /// When the next one opens.
        next_at: Timestamp,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: StepRunId,
        /// Why.
        failure: Failure,
    },
    /// A step was not done in time.
    StepTimedOut {
        /// The step.
        step: StepRunId,
        /// Why.
        failure: Failure,
    },
    /// The run is going to end: what is under way is stopped, what is to be undone is undone, `finally` steps run.
    RunUnwinding {
        /// Why.
        cause: Arc<Cause>,
    },
    /// Nothing is under way any more; what succeeded is undone, the last first.
    RunCompensating {
        /// When that is given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The `finally` steps run.
    RunFinalizing {
        /// When they are given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// What the run does at its end is stopped: by time what it is about, on request all that would follow too.
    RunHalted {
        /// Why.
        cause: Arc<Cause>,
    },
    /// Every step ended well.
    RunSucceeded {
        /// What the run made.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
    },
    /// A step failed for good.
    RunFailed {
        /// Which; absent where the run as a whole failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepRunId>,
        /// Why.
        failure: Failure,
        /// The step was not done in time, so that the run counts as timed out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    },
    /// It was stopped on request.
    RunCancelled {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// It was not done in time.
    RunTimedOut {},
}

/// Why a run is going to end before all its steps did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Cause {
    /// A step failed for good, or the run as a whole did.
    Failed {
        /// Which step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepRunId>,
        /// Why.
        failure: Failure,
        /// It was not done in time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    },
    /// It was stopped on request.
    Cancelled {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// It was not done in time.
    TimedOut,
}

/// Why a step was not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Its `condition` was false; what waits for it goes on.
    #[default]
    Gate,
    /// An operator said so; what waits for it goes on.
    Resolved,
    /// No way led to it: a switch chose another branch, or nothing failed that it handles.
    NotTaken,
    /// A step that it waits for failed, and the others go on without.
    Broken,
}

impl SkipReason {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    const fn is_gate(&self) -> bool {
        matches!(self, Self::Gate)
    }

    /// The name in timelines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Resolved => "resolved",
            Self::NotTaken => "not_taken",
            Self::Broken => "broken",
        }
    }
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
    pub const fn step(&self) -> Option<&StepRunId> {
        match self {
            Self::RunFailed { step, .. } => step.as_ref(),
            Self::StepAttempted { step, .. }
            | Self::StepDispatched { step, .. }
            | Self::StepCompleted { step, .. }
            | Self::StepJob { step, .. }
            | Self::StepWaiting { step, .. }
            | Self::StepAnswered { step, .. }
            | Self::StepAsked { step, .. }
            | Self::StepProvided { step, .. }
            | Self::StepListening { step, .. }
            | Self::SignalTaken { step, .. }
            | Self::StepDelayed { step, .. }
            | Self::StepNotified { step, .. }
            | Self::StepStoring { step, .. }
            | Self::ChildStarted { step, .. }
            | Self::ChildStopping { step }
            | Self::StepSimulated { step, .. }
            | Self::GroupOpened { step, .. }
            | Self::BlockBegun { step, .. }
            | Self::GroupStopping { step, .. }
            | Self::GroupSucceeded { step, .. }
            | Self::StepSwitched { step, .. }
            | Self::StepParked { step, .. }
            | Self::StepResolved { step, .. }
            | Self::StepHeld { step }
            | Self::StepCancelled { step }
            | Self::StepSucceeded { step, .. }
            | Self::ConditionEvaluated { step, .. }
            | Self::StepSkipped { step, .. }
            | Self::StepRetryScheduled { step, .. }
            | Self::StepSnoozed { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepTimedOut { step, .. } => Some(step),
            Self::RunStarted { .. }
            | Self::RunRestored { .. }
            | Self::RunMigrated { .. }
            | Self::RunAdmitted { .. }
            | Self::SignalReceived { .. }
            | Self::RunUnwinding { .. }
            | Self::RunCompensating { .. }
            | Self::RunFinalizing { .. }
            | Self::RunHalted { .. }
            | Self::RunSucceeded { .. }
            | Self::RunCancelled { .. }
            | Self::RunTimedOut {} => None,
        }
    }

    /// Digest of the definition that it moves the run onto.
    #[must_use]
    pub const fn migrates_to(&self) -> Option<&Arc<str>> {
        match self {
            Self::RunMigrated { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Whether the event ends the run.
    #[must_use]
    pub const fn ends_run(&self) -> bool {
        matches!(
            self,
            Self::RunSucceeded { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. } | Self::RunTimedOut {}
        )
    }
}

fn labels_empty(labels: &Arc<BTreeMap<String, String>>) -> bool {
    labels.is_empty()
}

/// How an operator lets a parked step go on, or any step that waits for something from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Resolution {
    /// Another try, with a fresh set of retries.
    Retry {
        /// What it works on from now on, of a job step; what it worked on before when absent.
        #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
        input: Option<Arc<Value>>,
    },
    /// It is done, with this output.
    Complete {
        /// The output.
        output: Arc<Value>,
    },
    /// It is not needed; what waits for it goes on.
    Skip,
    /// It has failed.
    Fail {
        /// Why.
        reason: Arc<str>,
    },
}

impl Resolution {
    /// The name in timelines.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Complete { .. } => "complete",
            Self::Skip => "skip",
            Self::Fail { .. } => "fail",
        }
    }
}
