//! Jobs of steps: opening attempts, taking what happens to them, and deciding what that means for the step.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{Machine, Rejected, RunEffect};
use crate::{
    job::{
        self, DeadLetter, Failure, JobEvent, JobId, JobInput, JobSpec, JobState, Moves, Output, RunId, SpecSource,
        StepRunId, Topic, codes,
    },
    policy::{JobMeta, Labels},
    value::Value,
    workflow::{
        RunEvent, Step, StepKind, StepRun, StepStatus, WaitsFor, Workflow,
        fold::{self, RunMut},
        scope::RunScope,
        state::RunInfo,
    },
};

impl Machine<'_> {
    /// Opens the next attempt of a job step.
    pub(super) fn open_attempt(&mut self, slot: usize) {
        let Some((step, state)) = self.step(slot).zip(self.draft.step_at(slot)) else { return };
        let attempt = state.attempts + 1;
        // Another try of the same work gets the input of the first.
        let Some(input) = (if attempt > 1 { Some(state.input.clone()) } else { self.render_input(slot, step) }) else {
            return;
        };
        let mut input = input;
        if let Some(schema) = &step.input_schema {
            let whole = self.draft.core().input();
            match schema.with_defaults(input.as_ref().unwrap_or(&whole)) {
                Ok(Cow::Borrowed(_)) => {}
                Ok(Cow::Owned(filled)) => input = Some(Arc::new(filled)),
                Err(error) => {
                    let message = format!("the step's input with the defaults of its schema: {error}");
                    return self.reject(slot, Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
                }
            }
            if let Err(violations) = schema.validate(input.as_ref().unwrap_or(&whole)) {
                let message = format!("the step's input does not match its schema: {}", super::list(&violations));
                return self.fail(slot, Failure::fatal(codes::INPUT_INVALID, message));
            }
        }
        if self.draft.core().is_dry_run() {
            return self.simulate_job(slot, input);
        }
        let Some(opening) = Attempt::opening(&self.draft, slot, attempt, input.as_ref()) else { return };
        let spec = opening.spec();
        let mut moves = job::open(&spec, fold::kept_grant(opening.state).map(|grant| &**grant), self.facts);
        // A try that goes to a worker at once, as nearly all do, is one event.
        if let [JobEvent::Dispatched { .. }] = *moves.events
            && let Some(JobEvent::Dispatched { decision, pool, deadline_at }) = moves.events.pop()
        {
            self.record_step(slot, |step| RunEvent::StepDispatched {
                step,
                attempt,
                input,
                decision,
                pool,
                deadline_at,
            });
        } else {
            self.record_step(slot, |step| RunEvent::StepAttempted { step, attempt, input });
        }
        self.absorb(slot, JobState::Pending, moves);
    }

    pub(super) fn take_job(&mut self, id: &JobId, input: JobInput) -> Result<(), Rejected> {
        let slot = id.step_parts().and_then(|(_, step, _)| fold::locate(&self.draft, step));
        let job = slot
            .and_then(|slot| self.draft.step_at(slot))
            .filter(|step| step.status != StepStatus::Pending)
            .and_then(|step| step.job.as_deref())
            .filter(|job| job.id == *id);
        let (Some(slot), Some(job)) = (slot, job) else {
            return match input {
                JobInput::Answered(_) => Err(Rejected::UnknownStep {
                    run: self.draft.core().id().map(ToString::to_string).unwrap_or_default(),
                    step: id.to_string(),
                }),
                // An older attempt, or a step that does not exist: it cannot change anything any more.
                _ => Ok(()),
            };
        };
        let status = self.status(slot);
        if self.is_over() || status.is_terminal() {
            // What is left of a job does not outlive its step: nobody waits for an answer any more.
            return match (input, self.draft.run_id(slot)) {
                (JobInput::Answered(_), Some(step)) => Err(Rejected::NotWaiting { step, status }),
                _ => Ok(()),
            };
        }
        let Some(attempt) = Attempt::of(&self.draft, slot) else { return Ok(()) };
        let before = job.state;
        let moves = job::decide(job, &attempt, input, self.facts)?;
        self.absorb(slot, before, moves);
        Ok(())
    }

    /// Takes over what was decided about a step's job, and decides what it means for the step.
    pub(super) fn absorb(&mut self, slot: usize, before: JobState, moves: Moves) {
        let attempt = self.draft.step_at(slot).map_or(0, |step| step.attempts);
        self.effects.extend(moves.effects.into_iter().map(RunEffect::Job));
        if moves.closed
            && let Some(job) = self.draft.step_at(slot).and_then(|step| step.job.as_ref())
        {
            self.close(job.id.to_string());
        }
        self.records.opened.extend(moves.opened.map(|request| *request));
        for event in moves.events {
            match event {
                JobEvent::Succeeded { worker, execution_ms, output, unfenced: false } => {
                    return self.complete(slot, JobDone { attempt, worker, execution_ms, output });
                }
                event => self.record_step(slot, |step| RunEvent::StepJob { step, attempt, event }),
            }
        }
        if before.is_terminal() {
            // What the end of the job meant for the step was decided when it ended.
            return;
        }
        let Some(job) = self.draft.step_at(slot).and_then(|step| step.job.as_deref()) else { return };
        match job.state {
            JobState::Succeeded => self.succeed_job(slot),
            state if state.is_terminal() => {
                let stopped = job.stop.is_some();
                let Some(attempt) = Attempt::of(&self.draft, slot) else { return };
                let letter = DeadLetter::of(job, before, attempt.spec(), self.facts.now);
                self.fail_job(slot, letter, stopped);
            }
            _ => {}
        }
    }

    /// A worker has done the job. Its end and that of the step are one event, unless what it made is not taken.
    fn complete(&mut self, slot: usize, done: JobDone) {
        let judged = self.judge_job(slot, &done.output);
        let JobDone { attempt, worker, execution_ms, output } = done;
        match judged {
            Ok(()) => {
                self.record_step(slot, |step| RunEvent::StepCompleted { step, attempt, worker, execution_ms, output });
                self.ended(slot);
            }
            Err(failure) => {
                let event = JobEvent::Succeeded { worker, execution_ms, output, unfenced: false };
                self.record_step(slot, |step| RunEvent::StepJob { step, attempt, event });
                self.reject(slot, failure);
            }
        }
    }

    fn succeed_job(&mut self, slot: usize) {
        let job = self.draft.step_at(slot).and_then(|step| step.job.as_ref());
        let output = job.and_then(|job| job.output.clone()).unwrap_or_default();
        match self.judge_job(slot, &output) {
            Ok(()) => self.succeed(slot, None),
            Err(failure) => self.reject(slot, failure),
        }
    }

    /// Whether the output of its job is what the step may make.
    fn judge_job(&self, slot: usize, output: &Output) -> Result<(), Failure> {
        if self.step(slot).is_none_or(|step| step.output_schema.is_none()) {
            return Ok(());
        }
        if output.value.is_none() && output.pointer.is_some() {
            // The value lies elsewhere, and nothing is judged that was not read.
            let message =
                "the step's output is too large to be judged by its schema; remove `output_schema`, or make it smaller";
            return Err(Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
        }
        self.judge(slot, output.value.as_deref().unwrap_or(&Value::Null))
    }

    fn fail_job(&mut self, slot: usize, letter: DeadLetter, stopped: bool) {
        let (state, failure) = (letter.state, letter.failure.clone());
        // A job that was stopped on request was not given up, and is not tried again.
        if stopped {
            return match state {
                JobState::Cancelled => self.cancelled(slot),
                _ => self.fail(slot, failure),
            };
        }
        if failure.is_snooze() && self.snooze(slot, &failure) {
            return;
        }
        let limit = self.retry_limit(slot);
        if matches!(state, JobState::Failed | JobState::Timeout) && self.try_again(slot, &failure, limit) {
            // Its tries are used up, whatever an operator makes of the step.
            if self.draft.step_at(slot).is_some_and(|step| step.waits_for == Some(WaitsFor::Operator)) {
                self.records.dead_letters.push(letter);
            }
            return;
        }
        if state != JobState::Cancelled {
            self.records.dead_letters.push(letter);
        }
        match state {
            JobState::Timeout => self.time_out(slot, failure),
            _ => self.fail(slot, failure),
        }
    }

    /// The most retries that policy allows.
    fn retry_limit(&self, slot: usize) -> Option<u32> {
        let job = self.draft.step_at(slot)?.job.as_ref()?;
        let limit = job.decision.as_ref()?.constraints.as_ref()?.budgets.as_ref()?.max_retries;
        (limit > 0).then_some(limit)
    }

    /// Ends the job of a step whose dispatch this very decision took back.
    pub(super) fn drop_job(&mut self, slot: usize, by: &Arc<str>, reason: &Arc<str>) {
        let attempt = self.draft.step_at(slot).map_or(0, |step| step.attempts);
        let event = JobEvent::Cancelled { by: by.clone(), reason: reason.clone() };
        self.record_step(slot, |step| RunEvent::StepJob { step, attempt, event });
        self.cancelled(slot);
    }
}

/// What a worker says of a job that it has done.
struct JobDone {
    attempt: u32,
    worker: Arc<str>,
    execution_ms: u64,
    output: Output,
}

/// An attempt of a step, lent from the definition and the run: the job is put together when it is needed.
pub(super) struct Attempt<'a> {
    workflow: &'a Workflow,
    step: &'a Step,
    topic: &'a Topic,
    meta: &'a Arc<JobMeta>,
    labels: &'a Arc<BTreeMap<String, String>>,
    adapter: Option<&'a Arc<str>>,
    info: &'a RunInfo,
    run_id: StepRunId,
    state: &'a StepRun,
    id: JobId,
    attempt: u32,
    input: Option<&'a Arc<Value>>,
    has_input_in_log: bool,
    item: Option<Arc<Value>>,
    index: Option<u32>,
}

/// Digest of the job of the last attempt of the step run at `slot`, by which approvals are bound to it.
pub(in crate::workflow) fn request_hash(state: &impl RunMut, slot: usize) -> Option<String> {
    Some(Attempt::of(state, slot)?.spec().hash())
}

impl<'a> Attempt<'a> {
    /// The last one. `None` when the step makes no jobs, or has made none yet.
    pub(super) fn of(state: &'a impl RunMut, slot: usize) -> Option<Self> {
        let step_run = state.step_at(slot)?;
        let job = step_run.job.as_deref()?;
        let last = Self::new(state, slot, step_run, |_, _| (job.id.clone(), job.attempt, step_run.input.as_ref()))?;
        Some(Self { has_input_in_log: step_run.has_input_in_log(), ..last })
    }

    /// One that is about to begin.
    fn opening(state: &'a impl RunMut, slot: usize, attempt: u32, input: Option<&'a Arc<Value>>) -> Option<Self> {
        let step_run = state.step_at(slot)?;
        Self::new(state, slot, step_run, |run, step| (JobId::of_step(run, step, attempt), attempt, input))
    }

    fn new(
        state: &'a impl RunMut,
        slot: usize,
        step_run: &'a StepRun,
        which: impl FnOnce(&RunId, &StepRunId) -> (JobId, u32, Option<&'a Arc<Value>>),
    ) -> Option<Self> {
        let workflow = state.workflow();
        let (step, scope) = workflow.at(step_run.position())?;
        let StepKind::Job { topic, meta, labels, adapter, .. } = &step.kind else { return None };
        let around = RunScope { state, block: step_run.block as usize };
        let info = state.core().info.as_deref()?;
        let run_id = fold::run_id(state, slot)?;
        let (id, attempt, input) = which(&info.id, &run_id);
        Some(Self {
            workflow,
            step,
            topic,
            meta,
            labels,
            adapter: adapter.as_ref(),
            info,
            run_id,
            state: step_run,
            id,
            attempt,
            input,
            has_input_in_log: false,
            item: if scope.depth == 0 { None } else { around.item().map(|item| Arc::new(item.clone())) },
            index: if scope.depth == 0 { None } else { around.index() },
        })
    }
}

/// The labels of a job of a run: those of the run, those of the step, and the run's id.
pub(super) fn labels(info: &RunInfo, of_step: &Arc<BTreeMap<String, String>>) -> Labels {
    Labels::layered(info.labels.clone(), of_step.clone(), ("run_id", info.id.shared()))
}

impl SpecSource for Attempt<'_> {
    fn spec(&self) -> Arc<JobSpec> {
        Arc::new(JobSpec {
            id: self.id.clone(),
            attempt: self.attempt,
            topic: self.topic.clone(),
            tenant: self.info.tenant.clone(),
            team: self.info.team.clone(),
            // Who started the run, whatever the workflow says of itself: that is what policy judges.
            principal: self.info.principal.clone(),
            meta: self.meta.clone(),
            labels: labels(self.info, self.labels),
            priority: self.info.priority,
            memory_id: self.info.memory_id.clone(),
            adapter_id: self.adapter.cloned(),
            trace_id: self.info.id.shared(),
            workflow: Some(self.workflow.id().clone()),
            run: Some(self.info.id.clone()),
            step: Some(self.run_id.clone()),
            item: self.item.clone(),
            index: self.index,
            timeout: self.step.timeout,
            input: match self.input {
                Some(input) => input.clone(),
                None if self.has_input_in_log => Arc::default(),
                None => self.info.input.clone(),
            },
        })
    }
}
