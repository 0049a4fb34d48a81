//! A run, folded from its events.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunEvent, StoredEvent, Workflow, evolve::RunMut};
use crate::{
    job::{Failure, Job, Output, Priority, RunId, TenantId},
    value::Value,
};

/// State of a run. Established names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Not started.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Under way, and a human must answer somewhere.
    Waiting,
    /// Every step succeeded or was skipped.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Not done in time.
    TimedOut,
}

impl RunStatus {
    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// State of a step. Established names, and `skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Waits for other steps, or for its next attempt.
    #[default]
    Pending,
    /// A job, a delay or an alert is under way.
    Running,
    /// A human must answer.
    Waiting,
    /// Done.
    Succeeded,
    /// Its gate was false.
    Skipped,
    /// Failed for good.
    Failed,
    /// Stopped because the run ended.
    Cancelled,
    /// Not done in time.
    TimedOut,
}

impl StepStatus {
    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// How far it has come.
    pub status: StepStatus,
    /// Tries so far.
    #[serde(default)]
    pub attempts: u32,
    /// Steps that it still waits for.
    #[serde(default)]
    pub(super) open_deps: u32,
    /// When it first left `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it goes on by itself: the next attempt, the end of a delay, the lapse of a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The rendered input; `None` where the run's whole input is used.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    /// What it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it did not, or why the last try did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<Job>>,
}

impl StepRun {
    /// When it next needs attention by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.status.is_terminal() {
            return None;
        }
        let job = self.job.as_ref().filter(|job| !job.state.is_terminal()).and_then(|job| job.due_at);
        match (self.due_at, job) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Everything about a run but its steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RunCore {
    pub(super) id: Option<RunId>,
    pub(super) tenant: TenantId,
    pub(super) team: Arc<str>,
    pub(super) principal: Arc<str>,
    pub(super) status: RunStatus,
    pub(super) priority: Priority,
    pub(super) memory_id: Arc<str>,
    pub(super) input: Arc<Value>,
    pub(super) context: Arc<Value>,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) failure: Option<Failure>,
    pub(super) failed_step: Option<Arc<str>>,
    pub(super) created_at: Timestamp,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) updated_at: Timestamp,
    pub(super) deadline_at: Option<Timestamp>,
    /// Steps that have not ended.
    pub(super) open: u32,
    /// Steps or jobs that wait for a human.
    pub(super) waiting: u32,
    /// Jobs that a worker may have.
    pub(super) in_flight: u32,
    /// Alerts that are not confirmed as published, and questions to a remote kernel.
    pub(super) asking: u32,
}

/// A run: the fold of its events over the definition that it pinned.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) workflow: Arc<Workflow>,
    pub(super) core: RunCore,
    pub(super) steps: Vec<StepRun>,
    pub(super) head: u64,
}

/// Where the next input of a run comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Nowhere: it has ended.
    Never,
    /// A worker has one of its jobs, or an effect is not confirmed. On recovery the run must be loaded.
    Hot,
    /// Its earliest timer.
    At(Timestamp),
    /// A human.
    Human,
}

impl Run {
    /// A run that nothing has happened to.
    #[must_use]
    pub fn new(workflow: Arc<Workflow>) -> Self {
        let steps: Vec<StepRun> = workflow
            .steps()
            .iter()
            .map(|step| StepRun {
                open_deps: u32::try_from(step.depends_on.len()).unwrap_or(u32::MAX),
                ..StepRun::default()
            })
            .collect();
        let core = RunCore { open: u32::try_from(steps.len()).unwrap_or(u32::MAX), ..RunCore::default() };
        Self { workflow, core, steps, head: 0 }
    }

    /// Folds one stored event in. The head moves by one.
    pub fn apply(&mut self, stored: &StoredEvent) {
        super::evolve::evolve(self, stored.at, &stored.event);
        self.head += 1;
    }

    /// Folds events in, in order.
    pub fn replay<'a>(&mut self, events: impl IntoIterator<Item = &'a StoredEvent>) {
        for event in events {
            self.apply(event);
        }
    }

    /// The definition that the run pinned.
    #[must_use]
    pub const fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// Its id; `None` before it started.
    #[must_use]
    pub const fn id(&self) -> Option<&RunId> {
        self.core.id.as_ref()
    }

    /// Who owns it.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.core.tenant
    }

    /// The team within the tenant.
    #[must_use]
    pub const fn team(&self) -> &Arc<str> {
        &self.core.team
    }

    /// Its labels.
    #[must_use]
    pub const fn labels(&self) -> &Arc<BTreeMap<String, String>> {
        &self.core.labels
    }

    /// How far it has come.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.core.status
    }

    /// Its input.
    #[must_use]
    pub const fn input(&self) -> &Arc<Value> {
        &self.core.input
    }

    /// What steps wrote through `output_path`.
    #[must_use]
    pub const fn context(&self) -> &Arc<Value> {
        &self.core.context
    }

    /// Why it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.core.failure.as_ref()
    }

    /// The step that made it fail.
    #[must_use]
    pub fn failed_step(&self) -> Option<&str> {
        self.core.failed_step.as_deref()
    }

    /// Number of events folded in.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// The key that it was started under.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.core.idempotency_key.as_deref()
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.core.created_at
    }

    /// When it ended.
    #[must_use]
    pub const fn completed_at(&self) -> Option<Timestamp> {
        self.core.completed_at
    }

    /// When it last changed.
    #[must_use]
    pub const fn updated_at(&self) -> Timestamp {
        self.core.updated_at
    }

    /// The step `id`.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&StepRun> {
        self.steps.get(self.workflow.position(id)?)
    }

    /// Its steps, in the order of their ids.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &StepRun)> {
        self.workflow.steps().iter().map(|step| step.id.as_str()).zip(&self.steps)
    }

    /// When the run next needs attention by itself. O(steps).
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.core.status.is_terminal() {
            return None;
        }
        self.steps.iter().filter_map(StepRun::next_due).chain(self.core.deadline_at).min()
    }

    /// Where its next input comes from. Every run that has not ended has exactly one answer, which is what the store
    /// keeps as its wake source.
    #[must_use]
    pub fn wake(&self) -> Wake {
        if self.core.status.is_terminal() || self.core.id.is_none() {
            return Wake::Never;
        }
        if self.core.in_flight > 0 || self.core.asking > 0 {
            return Wake::Hot;
        }
        self.next_due().map_or(Wake::Human, Wake::At)
    }

    /// Rough size in memory, in bytes, for the cache's bound.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Inputs, outputs and the cache's own entry are not walked; what they usually take is.
        2_048 + self.steps.len() * (size_of::<StepRun>() + 256)
    }

    /// The state as JSON, for a snapshot record.
    ///
    /// # Errors
    /// Never for a state that was folded from events.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Snapshot {
            digest: self.workflow.digest(),
            core: &self.core,
            steps: &self.steps,
            head: self.head,
        })
    }

    /// The state from a snapshot record of a run of `workflow`.
    ///
    /// # Errors
    /// When the record is not a snapshot, or has another number of steps than the workflow.
    pub fn from_snapshot(workflow: Arc<Workflow>, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let owned: OwnedSnapshot = serde_json::from_slice(bytes)?;
        if owned.steps.len() != workflow.steps().len() {
            return Err(serde::de::Error::custom("the snapshot is of another workflow"));
        }
        Ok(Self { workflow, core: owned.core, steps: owned.steps, head: owned.head })
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    digest: &'a str,
    core: &'a RunCore,
    steps: &'a [StepRun],
    head: u64,
}

#[derive(Deserialize)]
struct OwnedSnapshot {
    core: RunCore,
    steps: Vec<StepRun>,
    head: u64,
}

impl RunMut for Run {
    fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }
    fn core(&self) -> &RunCore {
        &self.core
    }
    fn core_mut(&mut self) -> &mut RunCore {
        &mut self.core
    }
    fn step_at(&self, position: usize) -> Option<&StepRun> {
        self.steps.get(position)
    }
    fn step_at_mut(&mut self, position: usize) -> Option<&mut StepRun> {
        self.steps.get_mut(position)
    }
}

/// Two runs are equal when they are in the same state at the same event.
impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
            && self.workflow.digest() == other.workflow.digest()
            && self.core == other.core
            && self.steps == other.steps
    }
}

impl RunEvent {
    /// Whether the event ends the run.
    #[must_use]
    pub const fn ends_run(&self) -> bool {
        matches!(
            self,
            Self::RunSucceeded { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. } | Self::RunTimedOut
        )
    }
}
