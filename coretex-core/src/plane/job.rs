//! A job that a client submitted by itself, as an aggregate of its own.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Event, Rejected, Transition};
use crate::{
    job::{self, DeadLetter, Effect, Facts, Job, JobEvent, JobInput, JobSpec, JobState, Moves},
    workflow::{Records, RunEffect, Wake},
};

/// A submitted job, folded from its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What it is.
    pub spec: Arc<JobSpec>,
    /// How far it has come.
    pub job: Job,
    /// Number of events folded in.
    pub head: u64,
}

/// An event of a submitted job, as it lies in the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredJobEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: JobRecordEvent,
}

/// A stored fact about a submitted job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JobRecordEvent {
    /// It was submitted.
    JobSubmitted {
        /// What it is.
        spec: Arc<JobSpec>,
    },
    /// Something happened to it.
    JobChanged {
        /// What.
        #[serde(flatten)]
        event: JobEvent,
    },
}

impl JobRecord {
    fn new(spec: Arc<JobSpec>, at: Timestamp) -> Self {
        let job = Job::new(spec.id.clone(), spec.attempt, at);
        Self { spec, job, head: 1 }
    }

    /// The record from its whole stream; `None` when that is empty or does not begin with a submission.
    #[must_use]
    pub fn replay(events: &[StoredJobEvent]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let JobRecordEvent::JobSubmitted { spec } = &first.event else { return None };
        let mut record = Self::new(spec.clone(), first.at);
        for event in rest {
            record.apply(event);
        }
        Some(record)
    }

    /// Folds one event in.
    pub fn apply(&mut self, stored: &StoredJobEvent) {
        if let JobRecordEvent::JobChanged { event } = &stored.event {
            self.job.apply(stored.at, event);
        }
        self.head += 1;
    }

    /// Where its next input comes from.
    #[must_use]
    pub const fn wake(&self) -> Wake {
        match (self.job.state, self.job.due_at) {
            (state, _) if state.is_terminal() => Wake::Never,
            (JobState::ApprovalRequired, _) => Wake::Human,
            (JobState::Pending, Some(at)) if !self.job.is_asking() => Wake::At(at),
            _ => Wake::Hot,
        }
    }
}

/// Decides how a submitted job begins. Pure.
pub fn submit(spec: &Arc<JobSpec>, facts: &Facts<'_>) -> (JobRecord, Transition) {
    let submitted = StoredJobEvent { at: facts.now, event: JobRecordEvent::JobSubmitted { spec: spec.clone() } };
    let record = JobRecord::new(spec.clone(), facts.now);
    let mut transition = absorb(&record, job::open(spec, None, facts), facts);
    transition.events.insert(0, Event::Job(submitted));
    (record, transition)
}

pub(super) fn advance(record: &JobRecord, input: JobInput, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    let mut moves = job::decide(&record.job, &record.spec, input, facts)?;
    requeue(record, &mut moves, facts);
    Ok(absorb(record, moves, facts))
}

/// Begins the next attempt of a job whose lease is lost. Nobody is told to stop the last one: it has the same id.
fn requeue(record: &JobRecord, moves: &mut Moves, facts: &Facts<'_>) {
    let Some(JobEvent::Lost { worker, failure }) = moves.events.pop_if(|event| matches!(event, JobEvent::Lost { .. }))
    else {
        return;
    };
    if record.job.lost.len() >= job::MAX_LOST_LEASES as usize {
        return moves.events.push(JobEvent::Lost { worker, failure });
    }
    moves.effects.clear();
    moves.events.push(JobEvent::Requeued { worker, failure });
    let again = job::open(&record.spec, record.job.grant.as_deref(), facts);
    moves.events.extend(again.events);
    moves.effects.extend(again.effects);
    moves.opened = again.opened;
}

fn absorb(record: &JobRecord, moves: Moves, facts: &Facts<'_>) -> Transition {
    let mut job = record.job.clone();
    let before = job.state;
    for event in &moves.events {
        job.apply(facts.now, event);
    }
    let given_up =
        matches!(job.state, JobState::Failed | JobState::Denied | JobState::Timeout) && !before.is_terminal();
    let records = Records {
        opened: moves.opened.map(|request| *request).into_iter().collect(),
        closed: if moves.closed { vec![record.spec.id.to_string()] } else { Vec::new() },
        dead_letters: given_up
            .then(|| DeadLetter::of(&job, before, record.spec.clone(), facts.now))
            .into_iter()
            .collect(),
    };
    let stored = |event| Event::Job(StoredJobEvent { at: facts.now, event: JobRecordEvent::JobChanged { event } });
    Transition {
        events: moves.events.into_iter().map(stored).collect(),
        records,
        effects: moves.effects.into_iter().map(RunEffect::Job).collect(),
        changes: None,
    }
}

/// Effects that may not have happened yet, from the state alone.
#[must_use]
pub fn outstanding_job(record: &JobRecord) -> Vec<RunEffect> {
    let job = &record.job;
    match (job.state, &job.decision, job.due_at) {
        (JobState::Dispatched | JobState::Running, Some(decision), Some(deadline_at)) if job.stop.is_none() => {
            vec![RunEffect::Job(Effect::Dispatch {
                spec: record.spec.clone(),
                deadline_at,
                decision: decision.clone(),
                lease: job.lease(),
            })]
        }
        (JobState::Scheduled, Some(decision), _) => {
            vec![RunEffect::Job(Effect::Place { spec: record.spec.clone(), decision: decision.clone() })]
        }
        (JobState::Pending, _, Some(until)) if job.is_asking() => {
            vec![RunEffect::Job(Effect::AskPolicy { spec: record.spec.clone(), until })]
        }
        _ => Vec::new(),
    }
}
