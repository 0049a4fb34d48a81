//! What an input means for a run: the events to store, the questions that open or close, the effects to run after.
//!
//! One file per kind of input, and one per kind of step in `kinds`. `advance` holds what all of them lead to: steps that
//! may go, groups that are done, and the turns that a run takes at its end.

mod advance;
mod attempt;
mod bounds;
mod child;
mod cut;
mod dry_run;
mod end;
mod group;
mod halt;
mod input;
mod kinds;
mod migrate;
mod outputs;
mod requeue;
mod restore;
mod snooze;
mod start;
mod stop;
mod timer;

use std::{collections::VecDeque, sync::Arc};

use super::{
    Refusal, Resolution, Run, RunEvent, StepKind, StepStatus, StoredEvent, WaitsFor, Workflow,
    draft::{Changes, Draft},
    fold::RunMut,
    scope::RunScope,
};
use crate::{
    job::{
        self, Answer, ApprovalRequest, DeadLetter, Effect, Facts, Failure, JobInput, JobState, Output, OutputNeeded,
        RunId, SpecSource, StepRunId, Subject, TenantId, WorkflowId,
    },
    value::{Value, Violation},
    workflow::StorageOp,
};

use attempt::Attempt;
pub(super) use attempt::request_hash;
pub use child::{ChildEffect, ChildEnd, StartChild};
pub(super) use group::MAX_STEP_RUNS;
use outputs::Away;
pub use restore::RestoreError;
pub use start::{StartRun, start};

/// What happened to a run, or is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub enum RunInput {
    /// Something happened to a job of one of its steps.
    Job {
        /// The job.
        job: job::JobId,
        /// What.
        input: JobInput,
    },
    /// A human answered an approval step, or the question about a step's job.
    Answer {
        /// The step.
        step: StepRunId,
        /// The answer.
        answer: Answer,
    },
    /// Data for an `input` step.
    Provide {
        /// The step.
        step: StepRunId,
        /// By whom.
        by: Arc<str>,
        /// The data.
        value: Arc<Value>,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// Its identity, by which a repeat is known; may be empty.
        id: Arc<str>,
        /// By whom.
        by: Arc<str>,
        /// What it carries.
        payload: Arc<Value>,
    },
    /// An operator says how a step that waits goes on.
    Resolve {
        /// The step.
        step: StepRunId,
        /// Who.
        by: Arc<str>,
        /// How.
        resolution: Resolution,
    },
    /// The alert of a notify step was published.
    Notified {
        /// The step.
        step: StepRunId,
    },
    /// What became of an artifact.
    Stored {
        /// The step.
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// What the step made, or why it did not.
        result: Result<Output, Failure>,
    },
    /// A run that was carried out for a step ended, or could not be started.
    Child {
        /// The step.
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// How it ended.
        end: ChildEnd,
    },
    /// Time has passed; `now` is among the facts.
    Tick,
    /// There may be a place for it under its workflow's rule of concurrency: it takes one, or its batch is refused.
    Admit,
    /// It shall go on under another definition of its workflow.
    Migrate {
        /// The definition.
        to: Arc<Workflow>,
        /// The definition that it is under, as far as whoever asks knows.
        from: Option<Arc<str>>,
        /// Events that it has, as far as whoever asks knows.
        at: Option<u64>,
        /// By whom.
        by: Arc<str>,
        /// Why; may be empty.
        reason: Arc<str>,
    },
    /// It shall stop.
    Cancel {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// It shall stop, and not take the time to undo anything or to run last steps.
    Halt {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
}

/// Something to do outside, once the events are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEffect {
    /// About a job.
    Job(Effect),
    /// About a run that is carried out for a step.
    Child(ChildEffect),
    /// Publish the alert of a notify step.
    Notify {
        /// The run.
        run: RunId,
        /// The workflow.
        workflow: WorkflowId,
        /// Who owns it.
        tenant: TenantId,
        /// The step.
        step: StepRunId,
        /// What people call the step; the alert's message when it has none.
        title: Arc<str>,
        /// The rendered input.
        payload: Arc<Value>,
    },
    /// Keep, read or remove an artifact.
    Store {
        /// Who owns it.
        tenant: TenantId,
        /// The step.
        step: StepRunId,
        /// Which try.
        attempt: u32,
        /// What to do.
        op: StorageOp,
        /// Its name.
        key: Arc<str>,
        /// What to keep.
        value: Option<Arc<Value>>,
    },
}

/// Records that come and go with the events, in the same batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Questions that now wait for a human.
    pub opened: Vec<ApprovalRequest>,
    /// Questions that no longer do, by [`Subject::id`]. One that is asked anew is closed before it is opened.
    pub closed: Vec<String>,
    /// Jobs that were given up.
    pub dead_letters: Vec<DeadLetter>,
}

impl Records {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty() && self.dead_letters.is_empty()
    }
}

/// Everything that one input leads to.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Transition {
    /// Facts to store, in order.
    pub events: Vec<StoredEvent>,
    /// Records in the same batch.
    pub records: Records,
    /// Things to do once the batch is durable.
    pub effects: Vec<RunEffect>,
    /// What the events change in the state, folded already.
    pub(crate) changes: Box<Changes>,
}

impl Transition {
    /// Whether the input changed nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.records.is_empty() && self.effects.is_empty()
    }
}

/// An input that is not legal in the state the run is in. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The run has no such step.
    #[error("run `{run}` has no step `{step}`")]
    UnknownStep {
        /// The run.
        run: String,
        /// The step.
        step: String,
    },
    /// The step waits for nobody.
    #[error("step `{step}` is {} and waits for no answer", status.as_str())]
    NotWaiting {
        /// The step.
        step: StepRunId,
        /// Its state.
        status: StepStatus,
    },
    /// The step waits for something else.
    #[error("step `{step}` does not wait for {wanted}")]
    WaitsForOther {
        /// The step.
        step: StepRunId,
        /// What was given.
        wanted: &'static str,
    },
    /// The data does not match the schema of the step.
    #[error("the data does not match what step `{step}` asks for: {}", list(violations))]
    DataInvalid {
        /// The step.
        step: StepRunId,
        /// Every violation found.
        violations: Vec<Violation>,
    },
    /// The run has ended or is about to.
    #[error("the run takes no signals any more")]
    SignalTooLate,
    /// The run holds more signals than it should.
    #[error("the run has received {0} signals, which is the most")]
    TooManySignals(u32),
    /// The run's input does not match the workflow's schema.
    #[error("the input does not match the workflow's input schema: {}", list(violations))]
    InputInvalid {
        /// Every violation found.
        violations: Vec<Violation>,
    },
    /// The run's input is too large with the defaults of its schema.
    #[error("the input with the defaults of its schema: {0}")]
    InputTooLarge(String),
    /// The run's input is not an object.
    #[error("the input of a run is an object, not {0}")]
    InputNotObject(&'static str),
    /// The workflow's `concurrency.key` gives no key for the input.
    #[error("`concurrency.key` cannot be used: {0}")]
    ConcurrencyKey(String),
    /// The run cannot move onto the definition.
    #[error("the run cannot be migrated: {}", list_refusals(.0))]
    Migration(Vec<Refusal>),
    /// The decision reads an output that is kept by pointer: it is asked for again with that among the facts.
    #[error("the output `{}` of {} bytes is not at hand", .0.sha256, .0.bytes)]
    OutputNeeded(OutputNeeded),
    /// The job cannot take the input.
    #[error(transparent)]
    Job(#[from] job::Rejected),
}

impl Rejected {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownStep { .. } => "step_not_found",
            Self::NotWaiting { .. } | Self::WaitsForOther { .. } => "step_not_waiting",
            Self::DataInvalid { .. } => "step_data_invalid",
            Self::ConcurrencyKey(_) => "concurrency_key_invalid",
            Self::SignalTooLate => "run_ended",
            Self::TooManySignals(_) => "too_many_signals",
            Self::InputInvalid { .. } | Self::InputNotObject(_) | Self::InputTooLarge(_) => "run_input_invalid",
            Self::Migration(_) => "migration_refused",
            Self::OutputNeeded(_) => "output_by_pointer",
            Self::Job(_) => "job_state",
        }
    }
}

fn list_refusals(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Decides what `input` means for `run`. Pure: equal arguments give an equal transition. Cost grows with the steps that
/// the input touches, and with all steps only where the run ends.
///
/// # Errors
/// [`Rejected`] when the input is not legal in the run's state. Repeats and late arrivals are legal and change nothing.
pub fn decide(run: &Run, input: RunInput, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    if let RunInput::Migrate { to, from, at, by, reason } = input {
        return migrate::migrate(run, migrate::Move { to, from, at, by, reason }, facts);
    }
    let mut machine = Machine::new(run, facts);
    machine.take(input)?;
    machine.advance();
    machine.conclude()
}

/// Effects that may not have happened yet, from the state alone: what recovery runs again. Effects repeat, inputs
/// absorb repeats. What concerns other runs lies in the outbox.
#[must_use]
pub fn outstanding(run: &Run, facts: &Facts<'_>) -> Vec<RunEffect> {
    let machine = Machine::new(run, facts);
    if run.status().is_terminal() {
        return Vec::new();
    }
    let mut effects = Vec::new();
    for (slot, step) in run.slots() {
        if step.status.is_terminal() {
            continue;
        }
        if let Some(job) = step.job.as_ref().filter(|_| step.status != StepStatus::Pending) {
            let spec = || Some(Attempt::of(run, slot)?.spec());
            match (job.state, &job.decision, job.due_at) {
                // A worker that was told to stop shall not begin anew; whether it was told is not known.
                (JobState::Dispatched | JobState::Running, ..) if job.stop.is_some() => {
                    effects.extend(spec().zip(job.stop.as_ref()).map(|(spec, stop)| {
                        RunEffect::Job(Effect::Cancel {
                            job: spec.id.clone(),
                            trace_id: spec.trace_id.clone(),
                            by: stop.by.clone(),
                            reason: stop.reason.clone(),
                        })
                    }));
                }
                (JobState::Dispatched | JobState::Running, Some(decision), Some(deadline_at)) => {
                    effects.extend(spec().map(|spec| {
                        let (decision, lease) = (decision.clone(), job.lease());
                        RunEffect::Job(Effect::Dispatch { spec, deadline_at, decision, lease })
                    }));
                }
                (JobState::Scheduled, Some(decision), _) => {
                    effects
                        .extend(spec().map(|spec| RunEffect::Job(Effect::Place { spec, decision: decision.clone() })));
                }
                (JobState::Pending, _, Some(until)) if job.is_asking() => {
                    effects.extend(spec().map(|spec| RunEffect::Job(Effect::AskPolicy { spec, until })));
                }
                _ => {}
            }
            continue;
        }
        match &step.waits_for {
            Some(WaitsFor::Alert) => effects.extend(machine.notify_effect(slot)),
            Some(WaitsFor::Artifact { key }) if step.status == StepStatus::Running => {
                effects.extend(machine.store_effect(slot, key, step.input.as_ref()));
            }
            _ => {}
        }
    }
    effects
}

impl Run {
    /// The job `id`, if it is the last attempt of one of the run's steps: what it is and how far it has come. The input of
    /// one that has ended may lie in the log only (`StepRun::has_input_in_log`); it is null here then.
    #[must_use]
    pub fn job(&self, id: &job::JobId) -> Option<(Arc<job::JobSpec>, job::Job)> {
        let (_, step, _) = id.step_parts()?;
        let slot = self.find(step)?;
        let step = self.steps.get(slot)?;
        let mut job = step.job.as_deref().filter(|job| job.id == *id)?.clone();
        if job.output.is_none() {
            job.output.clone_from(&step.output);
        }
        Some((Attempt::of(self, slot)?.spec(), job))
    }
}

/// Something that a decision still has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    /// A step run that may go.
    Begin(usize),
    /// A block in which a step ended.
    Check(usize),
    /// A group that was stopped, with nothing left in it perhaps.
    Settle(usize),
}

/// A decision in the making.
struct Machine<'a> {
    draft: Draft<'a>,
    workflow: &'a Workflow,
    facts: &'a Facts<'a>,
    todo: VecDeque<Todo>,
    /// Step runs before this one that were held back were looked at.
    held_from: u32,
    away: Away,
    records: Records,
    effects: Vec<RunEffect>,
}

impl<'a> Machine<'a> {
    fn new(run: &'a Run, facts: &'a Facts<'a>) -> Self {
        let draft = Draft::new(run, facts.now);
        Self {
            workflow: draft.definition(),
            draft,
            facts,
            todo: VecDeque::new(),
            held_from: 0,
            away: Away::default(),
            records: Records::default(),
            effects: Vec::new(),
        }
    }

    fn finish(self) -> Transition {
        let (events, changes) = self.draft.finish();
        Transition { events, records: self.records, effects: self.effects, changes }
    }

    fn is_over(&self) -> bool {
        self.draft.core().status.is_terminal()
    }

    /// Records an event about the run.
    fn record(&mut self, event: RunEvent) {
        self.draft.record(None, event);
    }

    /// Records an event about the step run at `slot`.
    fn record_step(&mut self, slot: usize, event: impl FnOnce(StepRunId) -> RunEvent) {
        if let Some(step) = self.draft.run_id(slot) {
            self.draft.record(Some(slot), event(step));
        }
    }

    /// The step of the step run at `slot`.
    fn step(&self, slot: usize) -> Option<&'a super::Step> {
        self.workflow.steps().get(self.draft.step_at(slot)?.position())
    }

    fn status(&self, slot: usize) -> StepStatus {
        self.draft.step_at(slot).map(|step| step.status).unwrap_or_default()
    }

    /// What is around the step run at `slot`.
    fn scope(&self, slot: usize) -> RunScope<'_, Draft<'a>> {
        let block = self.draft.step_at(slot).map_or(0, |step| step.block as usize);
        RunScope { state: &self.draft, block }
    }

    /// Withdraws a question; one that this very decision asked was never asked.
    fn close(&mut self, id: String) {
        let asked = self.records.opened.len();
        self.records.opened.retain(|request| request.subject.id() != id);
        if self.records.opened.len() == asked {
            self.records.closed.push(id);
        }
    }

    fn approval_id(&self, slot: usize) -> String {
        let run = self.draft.core().id().cloned().zip(self.draft.run_id(slot));
        run.map(|(run_id, step_id)| Subject::Step { run_id, step_id }.id()).unwrap_or_default()
    }

    fn notify_effect(&self, slot: usize) -> Option<RunEffect> {
        let step = self.step(slot)?;
        let info = self.draft.core().info.as_ref()?;
        Some(RunEffect::Notify {
            run: info.id.clone(),
            workflow: self.workflow.id().clone(),
            tenant: info.tenant.clone(),
            step: self.draft.run_id(slot)?,
            title: step.title.clone(),
            payload: self.draft.step_at(slot)?.input.clone().unwrap_or_default(),
        })
    }

    fn store_effect(&self, slot: usize, key: &Arc<str>, value: Option<&Arc<Value>>) -> Option<RunEffect> {
        let StepKind::Storage { op, .. } = &self.step(slot)?.kind else { return None };
        Some(RunEffect::Store {
            tenant: self.draft.core().info.as_ref()?.tenant.clone(),
            step: self.draft.run_id(slot)?,
            attempt: self.draft.step_at(slot)?.attempts,
            op: *op,
            key: key.clone(),
            value: value.cloned(),
        })
    }
}
