//! The pure composition of the rooms: one state, one input, one transition.
//!
//! An aggregate is either a run with its steps' jobs, or a job that a client submitted by itself. Both go the same way:
//! `advance` says what an input leads to, the transition's batch is made durable, then its effects run. Replaying the
//! events of an aggregate gives the same state, byte for byte.

mod job;

use std::sync::Arc;

use crate::{
    job::{Facts, JobInput},
    workflow::{self, Records, Run, RunEffect, RunInput, StartRun, StoredEvent, Wake, Workflow},
};

pub use job::{JobRecord, JobRecordEvent, StoredJobEvent, outstanding_job, submit};

/// What is decided about as a whole: the unit of ordering, durability and recovery.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// A run.
    Run(Box<Run>),
    /// A job that a client submitted by itself.
    Job(Box<JobRecord>),
}

/// What happened to an aggregate, or is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// To a run.
    Run(RunInput),
    /// To a submitted job.
    Job(JobInput),
}

/// An input that is not legal in the state the aggregate is in. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The run cannot take it.
    #[error(transparent)]
    Run(#[from] workflow::Rejected),
    /// The job cannot take it.
    #[error(transparent)]
    Job(#[from] crate::job::Rejected),
    /// The input is of another kind than the aggregate.
    #[error("the input is not meant for this kind of aggregate")]
    Mismatch,
}

impl Rejected {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Run(rejected) => rejected.code(),
            Self::Job(_) => "job_state",
            Self::Mismatch => "input_mismatch",
        }
    }
}

/// A stored fact about an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// About a run.
    Run(StoredEvent),
    /// About a submitted job.
    Job(StoredJobEvent),
}

impl Event {
    /// Adds the event to `buffer` as it lies in the stream.
    ///
    /// # Errors
    /// Never for an event that a transition made.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Self::Run(event) => event.encode_into(buffer),
            Self::Job(event) => serde_json::to_writer(buffer, event),
        }
    }
}

/// Everything that one input leads to.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Transition {
    /// Facts to store, in order.
    pub events: Vec<Event>,
    /// Records in the same batch.
    pub records: Records,
    /// Things to do once the batch is durable.
    pub effects: Vec<RunEffect>,
    /// What the events change in a run, folded already.
    changes: Option<Box<workflow::Changes>>,
}

impl Transition {
    /// Whether the input changed nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.records.is_empty() && self.effects.is_empty()
    }
}

impl From<workflow::Transition> for Transition {
    fn from(transition: workflow::Transition) -> Self {
        Self {
            events: transition.events.into_iter().map(Event::Run).collect(),
            records: transition.records,
            effects: transition.effects,
            changes: Some(transition.changes),
        }
    }
}

impl State {
    /// Folds one event in. An event of another kind of aggregate changes nothing.
    pub fn apply(&mut self, event: &Event) {
        match (self, event) {
            (Self::Run(run), Event::Run(event)) => run.apply(event),
            (Self::Job(record), Event::Job(event)) => record.apply(event),
            _ => {}
        }
    }

    /// Takes a transition in that was decided on this state: the same as folding its events one by one, and cheaper.
    /// `begun` when the state already holds the first event.
    pub fn adopt(&mut self, transition: &mut Transition, begun: bool) {
        if let (Self::Run(run), Some(changes)) = (&mut *self, transition.changes.take()) {
            return run.adopt(changes);
        }
        for event in transition.events.iter().skip(usize::from(begun)) {
            self.apply(event);
        }
    }

    /// Number of events folded in: the head of the aggregate's stream.
    #[must_use]
    pub fn head(&self) -> u64 {
        match self {
            Self::Run(run) => run.head(),
            Self::Job(record) => record.head,
        }
    }

    /// Where the next input comes from.
    #[must_use]
    pub fn wake(&self) -> Wake {
        match self {
            Self::Run(run) => run.wake(),
            Self::Job(record) => record.wake(),
        }
    }

    /// When it next needs attention by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<jiff::Timestamp> {
        match self {
            Self::Run(run) => run.next_due(),
            Self::Job(record) if record.job.state.is_terminal() => None,
            Self::Job(record) => record.job.due_at,
        }
    }

    /// Effects that may not have happened yet, from the state alone: what recovery runs again.
    #[must_use]
    pub fn outstanding(&self, facts: &Facts<'_>) -> Vec<RunEffect> {
        match self {
            Self::Run(run) => workflow::outstanding(run, facts),
            Self::Job(record) => outstanding_job(record),
        }
    }
}

/// Decides how a run of `workflow` begins. Pure.
///
/// # Errors
/// [`Rejected`] when the input does not fit the workflow.
pub fn start(workflow: &Arc<Workflow>, start: StartRun, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    Ok(workflow::start(workflow, start, facts)?.into())
}

/// Decides what `input` means for `state`. Pure: equal arguments give an equal transition.
///
/// # Errors
/// [`Rejected`] when the input is not legal in the state. Repeats and late arrivals are legal and change nothing.
pub fn advance(state: &State, input: Input, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    match (state, input) {
        (State::Run(run), Input::Run(input)) => Ok(workflow::decide(run, input, facts)?.into()),
        (State::Job(record), Input::Job(input)) => job::advance(record, input, facts),
        _ => Err(Rejected::Mismatch),
    }
}
