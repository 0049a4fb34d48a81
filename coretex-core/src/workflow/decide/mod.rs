//! What an input means for a run: the events to store, the questions that open or close, the effects to run after.
//!
//! One file per kind of input; `ready` holds what all of them lead to, the steps that may go next.

mod attempt;
mod end;
mod input;
mod ready;
mod start;
mod timer;

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;

use super::{Run, RunEvent, StepKind, StepStatus, StoredEvent, draft::Draft, evolve::RunMut};
use crate::{
    job::{
        self, Answer, ApprovalRequest, DeadLetter, Effect, Facts, JobInput, JobState, RunId, SpecSource, StepId,
        Subject, TenantId, WorkflowId,
    },
    value::{Value, Violation},
};

use attempt::Attempt;
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
    /// A human answered an approval step.
    Answer {
        /// The step.
        step: StepId,
        /// The answer.
        answer: Answer,
    },
    /// The alert of a notify step was published.
    Notified {
        /// The step.
        step: StepId,
    },
    /// Time has passed; `now` is among the facts.
    Tick,
    /// There may be a place for it under its workflow's rule of concurrency: it takes one, or its batch is refused.
    Admit,
    /// It shall stop.
    Cancel {
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
    /// Publish the alert of a notify step.
    Notify {
        /// The run.
        run: RunId,
        /// The workflow.
        workflow: WorkflowId,
        /// Who owns it.
        tenant: TenantId,
        /// The step.
        step: StepId,
        /// What people call the step; the alert's message when it has none.
        title: Arc<str>,
        /// The rendered input.
        payload: Arc<Value>,
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
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Transition {
    /// Facts to store, in order.
    pub events: Vec<StoredEvent>,
    /// Records in the same batch.
    pub records: Records,
    /// Things to do once the batch is durable.
    pub effects: Vec<RunEffect>,
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
        step: StepId,
        /// Its state.
        status: StepStatus,
    },
    /// The run's input does not match the workflow's schema.
    #[error("the input does not match the workflow's input schema: {}", list(violations))]
    InputInvalid {
        /// Every violation found.
        violations: Vec<Violation>,
    },
    /// The run's input is not an object.
    #[error("the input of a run is an object, not {0}")]
    InputNotObject(&'static str),
    /// The workflow's `concurrency.key` gives no key for the input.
    #[error("`concurrency.key` cannot be used: {0}")]
    ConcurrencyKey(String),
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
            Self::NotWaiting { .. } => "step_not_waiting",
            Self::InputInvalid { .. } | Self::InputNotObject(_) => "run_input_invalid",
            Self::ConcurrencyKey(_) => "concurrency_key_invalid",
            Self::Job(_) => "job_state",
        }
    }
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Decides what `input` means for `run`. Pure: equal arguments give an equal transition. Cost grows with the steps that
/// the input touches, and with all steps only where the run ends or time has passed.
///
/// # Errors
/// [`Rejected`] when the input is not legal in the run's state. Repeats and late arrivals are legal and change nothing.
pub fn decide(run: &Run, input: RunInput, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    let mut machine = Machine::new(run, facts);
    machine.take(input)?;
    Ok(machine.finish())
}

/// Effects that may not have happened yet, from the state alone: what recovery runs again. Effects repeat, inputs
/// absorb repeats.
#[must_use]
pub fn outstanding(run: &Run, facts: &Facts<'_>) -> Vec<RunEffect> {
    let machine = Machine::new(run, facts);
    if run.status().is_terminal() {
        return Vec::new();
    }
    let mut effects = Vec::new();
    for (position, step) in run.steps.iter().enumerate() {
        if let Some(job) = step.job.as_ref().filter(|_| step.status != StepStatus::Pending) {
            let spec = || Some(Attempt::of(run, position)?.spec());
            match (job.state, &job.decision, job.due_at) {
                (JobState::Dispatched | JobState::Running, Some(decision), Some(deadline_at)) => {
                    effects.extend(spec().map(|spec| {
                        RunEffect::Job(Effect::Dispatch { spec, deadline_at, decision: decision.clone() })
                    }));
                }
                (JobState::Pending, _, None) => {
                    effects.extend(spec().map(|spec| RunEffect::Job(Effect::AskPolicy { spec })));
                }
                _ => {}
            }
        } else if step.status == StepStatus::Running && machine.is_notify(position) {
            effects.extend(machine.notify_effect(position));
        }
    }
    effects
}

impl Run {
    /// The job `id`, if it is the last attempt of one of the run's steps: what it is and how far it has come.
    #[must_use]
    pub fn job(&self, id: &job::JobId) -> Option<(Arc<job::JobSpec>, job::Job)> {
        let (_, step, _) = id.step_parts()?;
        let position = self.workflow.position(step)?;
        let job = self.steps.get(position)?.job.as_deref().filter(|job| job.id == *id)?;
        let mut job = job.clone();
        if job.output.is_none() {
            job.output.clone_from(&self.steps.get(position)?.output);
        }
        Some((Attempt::of(self, position)?.spec(), job))
    }
}

/// A decision in the making.
struct Machine<'a> {
    draft: Draft<'a>,
    facts: &'a Facts<'a>,
    ready: VecDeque<usize>,
    records: Records,
    effects: Vec<RunEffect>,
}

impl<'a> Machine<'a> {
    fn new(run: &'a Run, facts: &'a Facts<'a>) -> Self {
        Self {
            draft: Draft::new(run, facts.now),
            facts,
            ready: VecDeque::new(),
            records: Records::default(),
            effects: Vec::new(),
        }
    }

    fn finish(self) -> Transition {
        let at: Timestamp = self.facts.now;
        let events = self.draft.events.into_iter().map(|event| StoredEvent { at, event }).collect();
        Transition { events, records: self.records, effects: self.effects }
    }

    fn is_over(&self) -> bool {
        self.draft.core().status.is_terminal()
    }

    fn record(&mut self, event: RunEvent) {
        self.draft.record(event);
    }

    /// Withdraws a question; one that this very decision asked was never asked.
    fn close(&mut self, id: String) {
        let asked = self.records.opened.len();
        self.records.opened.retain(|request| request.subject.id() != id);
        if self.records.opened.len() == asked {
            self.records.closed.push(id);
        }
    }

    fn step_id(&self, position: usize) -> Option<StepId> {
        self.draft.workflow().steps().get(position).map(|step| step.id.clone())
    }

    fn is_notify(&self, position: usize) -> bool {
        self.draft.workflow().steps().get(position).is_some_and(|step| matches!(step.kind, StepKind::Notify))
    }

    fn approval_id(&self, step: &StepId) -> String {
        let run = self.draft.core().id.clone();
        run.map(|run_id| Subject::Step { run_id, step_id: step.clone() }.id()).unwrap_or_default()
    }

    fn notify_effect(&self, position: usize) -> Option<RunEffect> {
        let workflow = self.draft.workflow();
        let step = workflow.steps().get(position)?;
        let core = self.draft.core();
        Some(RunEffect::Notify {
            run: core.id.clone()?,
            workflow: workflow.id().clone(),
            tenant: core.tenant.clone(),
            step: step.id.clone(),
            title: step.title.clone(),
            payload: self.draft.step_at(position)?.input.clone().unwrap_or_default(),
        })
    }
}
