//! Beside the executor: every `Place` of a decision is answered before its batch is sealed, so that a job that finds a slot
//! is permitted, placed and recorded for dispatch in one commit.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Shared, failure, record};
use crate::{
    job::{Effect, Facts, Failure, JobEvent, JobId, JobInput, JobSpec, JobState, LoadedOutputs, RunId, codes},
    plane::{self, Event, Input, JobRecordEvent, State, Transition},
    policy::Decision,
    ports::{Op, StoreError},
    runtime::{keys::AggregateId, outbound::job_input, shared::Work},
    scheduler::{Ending, Outcome, Submitted},
    workflow::{RunEffect, RunEvent, RunInput},
};

/// The code of a job whose handler panicked: a fault of its worker.
const PANICKED: &str = "worker_panicked";

/// What a decision did to slots.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Touched {
    /// Jobs that took a slot, or a place in a queue: given back when the batch is refused.
    taken: Vec<JobId>,
    /// Attempts that are over once the batch is durable.
    ended: Vec<(JobId, Ending, Option<Duration>)>,
    /// Workers that said that they work on a job.
    started: Vec<(JobId, Arc<str>)>,
    /// What goes into the batch.
    pub(in crate::runtime) ops: Vec<Op>,
}

impl Touched {
    /// Jobs that end with the batch.
    pub(in crate::runtime) fn ended(&self) -> impl Iterator<Item = JobId> {
        self.ended.iter().map(|(job, ..)| job.clone())
    }

    const fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.ended.is_empty() && self.started.is_empty() && self.ops.is_empty()
    }
}

/// Answers every `Place` of `transition`, which `state` has adopted, and takes in what follows. `None` where no slot is
/// concerned.
///
/// # Errors
/// When a record cannot be written as JSON; what was taken is given back.
pub(in crate::runtime) fn answer(
    shared: &Arc<Shared>,
    aggregate: &AggregateId,
    state: &mut State,
    transition: &mut Transition,
    seed: u64,
) -> Result<Option<Box<Touched>>, StoreError> {
    let policy = shared.policy.snapshot();
    let routes = shared.routes.load();
    let nothing = LoadedOutputs::default();
    let mut facts = shared.facts(seed, &*policy, &routes);
    facts.outputs = Some(&nothing);
    let mut desk = Answering { shared, aggregate, facts: &facts, touched: Touched::default() };
    match desk.answer_all(state, transition) {
        Ok(()) if desk.touched.is_empty() => Ok(None),
        Ok(()) => Ok(Some(Box::new(desk.touched))),
        Err(error) => {
            refused(shared, &desk.touched);
            Err(error)
        }
    }
}

struct Answering<'a> {
    shared: &'a Arc<Shared>,
    aggregate: &'a AggregateId,
    facts: &'a Facts<'a>,
    touched: Touched,
}

impl Answering<'_> {
    fn answer_all(&mut self, state: &mut State, transition: &mut Transition) -> Result<(), StoreError> {
        self.note(transition)?;
        if !transition.effects.iter().any(is_place) {
            return Ok(());
        }
        let mut queue: VecDeque<RunEffect> = std::mem::take(&mut transition.effects).into();
        while let Some(effect) = queue.pop_front() {
            let RunEffect::Job(Effect::Place { spec, decision }) = effect else {
                transition.effects.push(effect);
                continue;
            };
            let Some(input) = self.submit(&spec, &decision)? else { continue };
            let takes = matches!(input, JobInput::Placed { .. });
            match plane::advance(state, job_input(self.aggregate, &spec.id, input.clone()), self.facts) {
                // What follows from the refusal reads an output that must be loaded first: it is an input of its own.
                Err(_) if !takes => {
                    let ask = record::ask(&spec, &decision, self.facts.routes);
                    let pool = self.facts.routes.route(&spec.topic, &spec.meta.requires).unwrap_or_default();
                    self.touched.ops.push(record::Record::waiting(&ask, &pool, self.facts.now).put()?);
                    self.shared.post(&spec.id, input);
                }
                Ok(mut next) if !next.is_empty() => {
                    state.adopt(&mut next, false);
                    self.note(&next)?;
                    queue.extend(transition.follow(next));
                }
                // It was stopped by what was decided since.
                _ if takes => release(self.shared, &spec.id, Ending::Unknown, None),
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks for a slot; `None` when the job waits.
    fn submit(&mut self, spec: &Arc<JobSpec>, decision: &Decision) -> Result<Option<JobInput>, StoreError> {
        let (now, seed) = (self.facts.now, self.facts.seed);
        let ask = record::ask(spec, decision, self.facts.routes);
        let asked = ask.clone();
        let (answer, outcome) = self.shared.placement.step(now, |desk| desk.scheduler.submit(ask, now, seed));
        self.shared.act_on(outcome);
        Ok(match answer {
            Submitted::Placed(placed) => {
                self.touched.taken.push(spec.id.clone());
                Some(self.shared.placed(&placed))
            }
            Submitted::Waiting { pool } => {
                self.touched.taken.push(spec.id.clone());
                self.touched.ops.push(record::Record::waiting(&asked, &pool, now).put()?);
                None
            }
            Submitted::Refused(refusal) => Some(JobInput::Refused(failure(&refusal))),
        })
    }

    /// Notes what one transition does to slots, in order.
    fn note(&mut self, transition: &Transition) -> Result<(), StoreError> {
        for event in &transition.events {
            match event {
                Event::Job(stored) => {
                    if let (AggregateId::Job(id), JobRecordEvent::JobChanged { event }) =
                        (self.aggregate, &stored.event)
                        && let Ok(job) = JobId::parse(id)
                    {
                        self.note_job(|| job.clone(), event)?;
                    }
                }
                Event::Run(stored) => {
                    let AggregateId::Run(run) = self.aggregate else { continue };
                    let id = |step, attempt| RunId::parse(run).map(|run| JobId::of_step(&run, step, attempt));
                    match &stored.event {
                        RunEvent::StepCompleted { step, attempt, execution_ms, .. } => {
                            if let Ok(job) = id(step, *attempt) {
                                self.end(job, Ending::Served, took(*execution_ms));
                            }
                        }
                        RunEvent::StepJob { step, attempt, event } => {
                            if let Ok(job) = id(step, *attempt) {
                                self.note_job(|| job.clone(), event)?;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        for effect in &transition.effects {
            if let RunEffect::Job(Effect::Dispatch { spec, decision, lease: Some(lease), .. }) = effect {
                let ask = record::ask(spec, decision, self.facts.routes);
                self.touched.ops.push(record::Record::leased(&ask, lease, self.facts.now).put()?);
            }
        }
        Ok(())
    }

    fn note_job(&mut self, job: impl Fn() -> JobId, event: &JobEvent) -> Result<(), StoreError> {
        match event {
            JobEvent::Started { worker } => self.start(job(), worker)?,
            JobEvent::Succeeded { execution_ms, .. } => self.end(job(), Ending::Served, took(*execution_ms)),
            JobEvent::Failed { worker: Some(_), failure, .. } => {
                let ending = if *failure.code == *PANICKED { Ending::Fault } else { Ending::Served };
                self.end(job(), ending, None);
            }
            JobEvent::Lost { failure, .. } => self.end(job(), blame(failure), None),
            JobEvent::Failed { .. }
            | JobEvent::Denied { .. }
            | JobEvent::TimedOut { .. }
            | JobEvent::Cancelled { .. } => self.end(job(), Ending::Unknown, None),
            JobEvent::Requeued { failure, .. } => {
                // The next attempt is the same job: what it has must be gone before it asks anew.
                let job = job();
                release(self.shared, &job, blame(failure), None);
                self.touched.ops.push(record::delete(&job));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, job: JobId, ending: Ending, took: Option<Duration>) {
        self.touched.ops.push(record::delete(&job));
        self.touched.ended.push((job, ending, took));
    }

    /// A worker works on a job: where it is another than the one chosen, the lease is its.
    fn start(&mut self, job: JobId, worker: &Arc<str>) -> Result<(), StoreError> {
        let asked = self.shared.placement.look(|desk| {
            let lease = desk.scheduler.lease(&job).filter(|lease| lease.worker != *worker)?;
            Some((lease, desk.scheduler.asked(&job)?))
        });
        if let Some((lease, ask)) = asked {
            let moved = crate::job::Lease { pool: lease.pool, worker: worker.clone(), addressed: false };
            self.touched.ops.push(record::Record::leased(&ask, &moved, lease.since).put()?);
        }
        self.touched.started.push((job, worker.clone()));
        Ok(())
    }
}

/// What a lost lease says about its worker: one that stops in order is not at fault.
fn blame(failure: &Failure) -> Ending {
    if *failure.code == *codes::WORKER_STOPPED { Ending::Unknown } else { Ending::Fault }
}

fn is_place(effect: &RunEffect) -> bool {
    matches!(effect, RunEffect::Job(Effect::Place { .. }))
}

fn took(execution_ms: u64) -> Option<Duration> {
    (execution_ms > 0).then(|| Duration::from_millis(execution_ms))
}

/// The batch is durable: leases end, and whoever is next gets their slots.
pub(in crate::runtime) fn durable(shared: &Arc<Shared>, touched: Touched) {
    let (now, seed) = (shared.now(), shared.ids.random());
    for (job, ending, took) in touched.ended {
        let outcome = shared.placement.step(now, |desk| {
            desk.bindings.unbind(&job);
            desk.scheduler.release(&job, ending, took, now, seed)
        });
        shared.act_on(outcome);
    }
    for (job, worker) in touched.started {
        let outcome = shared.placement.step(now, |desk| {
            if desk.scheduler.lease(&job).is_none() {
                desk.bindings.bind(&job, &worker);
                desk.scheduler.expect_worker(&worker, now);
            }
            desk.scheduler.rebind(&job, &worker, now, seed)
        });
        shared.act_on(outcome);
    }
}

/// The batch was refused: what it took is given back. Decided again, it asks again.
pub(in crate::runtime) fn refused(shared: &Arc<Shared>, touched: &Touched) {
    for job in &touched.taken {
        release(shared, job, Ending::Unknown, None);
    }
}

fn release(shared: &Arc<Shared>, job: &JobId, ending: Ending, took: Option<Duration>) {
    let (now, seed) = (shared.now(), shared.ids.random());
    let outcome = shared.placement.step(now, |desk| desk.scheduler.release(job, ending, took, now, seed));
    shared.act_on(outcome);
}

/// An aggregate is taken up again: its jobs ask for their slots once more, and have those that they had. What is left of
/// its effects is given back.
pub(in crate::runtime) fn resume(shared: &Arc<Shared>, state: &State, effects: Vec<RunEffect>) -> Vec<RunEffect> {
    let (now, seed) = (shared.now(), shared.ids.random());
    let routes = shared.routes.load();
    let mut left = Vec::with_capacity(effects.len());
    for effect in effects {
        match effect {
            RunEffect::Job(Effect::Place { spec, decision }) => {
                let ask = record::ask(&spec, &decision, &routes);
                let (answer, outcome) = shared.placement.step(now, |desk| desk.scheduler.submit(ask, now, seed));
                shared.act_on(outcome);
                match answer {
                    Submitted::Placed(placed) => shared.post(&spec.id, shared.placed(&placed)),
                    Submitted::Refused(refusal) => shared.post(&spec.id, JobInput::Refused(failure(&refusal))),
                    Submitted::Waiting { .. } => {}
                }
            }
            RunEffect::Job(Effect::Dispatch { spec, deadline_at, decision, lease }) => {
                let worker = job_of(state, &spec.id).and_then(|(_, worker)| worker);
                let outcome = shared.placement.step(now, |desk| match (&lease, &worker) {
                    (Some(lease), _) => {
                        let ask = record::ask(&spec, &decision, &routes);
                        let is_back = desk.scheduler.restore_lease(ask, &lease.pool, &lease.worker, now, now);
                        if is_back {
                            Outcome::default()
                        } else {
                            desk.scheduler.rebind(&spec.id, &lease.worker, now, seed)
                        }
                    }
                    (None, Some(worker)) => {
                        desk.bindings.bind(&spec.id, worker);
                        desk.scheduler.expect_worker(worker, now);
                        Outcome::default()
                    }
                    (None, None) => Outcome::default(),
                });
                shared.act_on(outcome);
                left.push(RunEffect::Job(Effect::Dispatch { spec, deadline_at, decision, lease }));
            }
            effect => left.push(effect),
        }
    }
    left
}

/// State and worker of a job that `state` holds.
fn job_of(state: &State, job: &JobId) -> Option<(JobState, Option<Arc<str>>)> {
    match state {
        State::Job(record) => (record.spec.id == *job).then(|| (record.job.state, record.job.worker.clone())),
        State::Run(run) => {
            let (_, step, _) = job.step_parts()?;
            let found = run.step(step)?.job.as_deref().filter(|found| found.id == *job)?;
            Some((found.state, found.worker.clone()))
        }
    }
}

/// Whether `input` tells of a slot that the job does not have any more. Its owner alone gives it back, so that the answer
/// holds until the input is decided.
pub(in crate::runtime) fn is_stale(shared: &Shared, state: &State, input: &Input) -> bool {
    let (job, lease) = match (state, input) {
        (_, Input::Run(RunInput::Job { job, input: JobInput::Placed { lease, .. } })) => (job, lease),
        (State::Job(record), Input::Job(JobInput::Placed { lease, .. })) => (&record.spec.id, lease),
        _ => return false,
    };
    let held = shared.placement.look(|desk| desk.scheduler.lease(job));
    held.is_none_or(|held| held.pool != lease.pool || held.worker != lease.worker)
}

/// An input about a slot changed nothing. Where its job is not there any more, nobody else would give the slot back.
pub(in crate::runtime) fn settle_absent(shared: &Arc<Shared>, state: Option<&State>, work: &Work) {
    let (job, input) = match work {
        Work::Input(Input::Run(RunInput::Job { job, input })) => (job.clone(), input),
        Work::Input(Input::Job(input)) => match state {
            Some(State::Job(record)) => (record.spec.id.clone(), input),
            _ => return,
        },
        _ => return,
    };
    if !matches!(input, JobInput::Placed { .. } | JobInput::Refused(_) | JobInput::Lost { .. }) {
        return;
    }
    settle_doubts(shared, state, vec![job]);
}

/// Whether these jobs ended was not known; `state` knows it.
pub(in crate::runtime) fn settle_doubts(shared: &Arc<Shared>, state: Option<&State>, jobs: Vec<JobId>) {
    for job in jobs {
        let is_there = state.and_then(|state| job_of(state, &job)).is_some_and(|(state, _)| state.is_in_flight());
        if !is_there {
            shared.placement.step(shared.now(), |desk| desk.bindings.unbind(&job));
            release(shared, &job, Ending::Unknown, None);
        }
    }
}
