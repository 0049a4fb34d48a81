//! Jobs of steps: opening attempts, taking what happens to them, and deciding what that means for the step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Machine, Rejected, RunEffect};
use crate::{
    job::{
        self, DeadLetter, Failure, Job, JobId, JobInput, JobSpec, JobState, Moves, RunId, SpecSource, Topic, codes,
        job_after,
    },
    policy::JobMeta,
    workflow::{
        RetrySpec, RunEvent, Step, StepKind, StepRun, StepStatus, Workflow, evolve::RunMut, scope::RunScope,
        state::RunCore,
    },
};

impl Machine<'_> {
    /// Opens the next attempt of a job step.
    pub(super) fn open_attempt(&mut self, position: usize) {
        let workflow = self.draft.workflow().clone();
        let Some((step, state)) = workflow.steps().get(position).zip(self.draft.step_at(position)) else { return };
        let attempt = state.attempts + 1;
        let input = if attempt > 1 {
            // Another try of the same work: the input of the first.
            state.input.clone()
        } else {
            match step.input.as_ref().map(|template| template.render_shared(&RunScope(&self.draft))) {
                None => None,
                Some(Ok(input)) => Some(input.unwrap_or_default()),
                Some(Err(error)) => return self.fail(position, Failure::fatal(error.code(), error.to_string())),
            }
        };
        if let Some(input) = &input
            && let Err(error) = self.facts.payload_limits.check(input)
        {
            return self.fail(position, Failure::fatal(codes::PAYLOAD_TOO_LARGE, format!("the step's input: {error}")));
        }
        if let Some(schema) = &step.input_schema {
            let payload = input.as_ref().unwrap_or(&self.draft.core().input);
            if let Err(violations) = schema.validate(payload) {
                let message = format!("the step's input does not match its schema: {}", super::list(&violations));
                return self.fail(position, Failure::fatal(codes::INPUT_INVALID, message));
            }
        }
        self.record(RunEvent::StepAttempted { step: step.id.clone(), attempt, input });
        if let Some(attempt) = Attempt::of(&self.draft, position) {
            let moves = job::open(&attempt.spec(), self.facts);
            self.absorb(position, JobState::Pending, moves);
        }
    }

    pub(super) fn take_job(&mut self, id: &JobId, input: JobInput) -> Result<(), Rejected> {
        let workflow = self.draft.workflow().clone();
        let position = id.step_parts().and_then(|(_, step, _)| workflow.position(step));
        let job = position
            .and_then(|position| self.draft.step_at(position))
            .filter(|step| step.status != StepStatus::Pending)
            .and_then(|step| step.job.as_deref())
            .filter(|job| job.id == *id);
        let (Some(position), Some(job)) = (position, job) else {
            return match input {
                JobInput::Answered(_) => Err(Rejected::UnknownStep {
                    run: self.draft.core().id.as_ref().map(ToString::to_string).unwrap_or_default(),
                    step: id.to_string(),
                }),
                // An older attempt, or a step that does not exist: it cannot change anything any more.
                _ => Ok(()),
            };
        };
        if self.is_over() {
            // What is left of a job does not outlive its run: nobody waits for an answer any more.
            return match (input, self.step_id(position), self.draft.step_at(position)) {
                (JobInput::Answered(_), Some(step), Some(state)) => {
                    Err(Rejected::NotWaiting { step, status: state.status })
                }
                _ => Ok(()),
            };
        }
        let Some(attempt) = Attempt::of(&self.draft, position) else { return Ok(()) };
        let before = job.state;
        let moves = job::decide(job, &attempt, input, self.facts)?;
        self.absorb(position, before, moves);
        self.advance();
        Ok(())
    }

    /// Takes over what was decided about a step's job, and decides what it means for the step.
    pub(super) fn absorb(&mut self, position: usize, before: JobState, moves: Moves) {
        let Some(step) = self.step_id(position) else { return };
        let attempt = self.draft.step_at(position).map_or(0, |step| step.attempts);
        self.effects.extend(moves.effects.into_iter().map(RunEffect::Job));
        if moves.closed
            && let Some(job) = self.draft.step_at(position).and_then(|step| step.job.as_ref())
        {
            self.close(job.id.to_string());
        }
        self.records.opened.extend(moves.opened.map(|request| *request));
        for event in moves.events {
            self.record(RunEvent::StepJob { step: step.clone(), attempt, event });
        }
        if before.is_terminal() {
            // What the end of the job meant for the step was decided when it ended.
            return;
        }
        let Some(job) = self.draft.step_at(position).and_then(|step| step.job.as_deref()) else { return };
        match job.state {
            JobState::Succeeded => self.succeed_job(position),
            state if state.is_terminal() => {
                let Some(attempt) = Attempt::of(&self.draft, position) else { return };
                let letter = DeadLetter::of(job, before, attempt.spec(), self.facts.now);
                self.fail_job(position, letter);
            }
            _ => {}
        }
    }

    fn succeed_job(&mut self, position: usize) {
        let workflow = self.draft.workflow().clone();
        let Some(schema) = workflow.steps().get(position).and_then(|step| step.output_schema.as_ref()) else {
            return self.succeed(position, None);
        };
        let job = self.draft.step_at(position).and_then(|step| step.job.as_ref());
        let output = job.and_then(|job| job.output.as_ref());
        let value = output.and_then(|output| output.value.clone());
        if value.is_none() && output.is_some_and(|output| output.pointer.is_some()) {
            // The value lies elsewhere, and nothing is judged that was not read.
            let message =
                "the step's output is too large to be judged by its schema; remove `output_schema`, or make it smaller";
            return self.fail(position, Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
        }
        let value = value.unwrap_or_default();
        match schema.validate(&value) {
            Ok(()) => self.succeed(position, None),
            Err(violations) => {
                let message = format!("the step's output does not match its schema: {}", super::list(&violations));
                self.fail(position, Failure::fatal(codes::OUTPUT_INVALID, message));
            }
        }
    }

    fn fail_job(&mut self, position: usize, letter: DeadLetter) {
        let workflow = self.draft.workflow().clone();
        let Some(step) = workflow.steps().get(position) else { return };
        let retry = step.retry.as_ref().filter(|retry| {
            let limit = self.retry_limit(position).map_or(retry.max_retries, |limit| limit.min(retry.max_retries));
            letter.failure.retryable
                && matches!(letter.state, JobState::Failed | JobState::Timeout)
                && letter.attempts <= limit
        });
        if let Some(retry) = retry {
            let wait = backoff(retry, letter.attempts, self.facts.seed);
            let asked = Duration::from_millis(letter.failure.retry_after_ms.unwrap_or(0)).min(LONGEST_WAIT);
            let wait = wait.max(asked);
            let next_at = job_after(self.facts.now, wait);
            self.record(RunEvent::StepRetryScheduled { step: step.id.clone(), failure: letter.failure, next_at });
            return;
        }
        let (state, failure) = (letter.state, letter.failure.clone());
        // A job that was stopped on request was not given up.
        if state != JobState::Cancelled {
            self.records.dead_letters.push(letter);
        }
        match state {
            JobState::Timeout => self.time_out(position, failure),
            _ => self.fail(position, failure),
        }
    }

    /// The most retries that policy allows.
    fn retry_limit(&self, position: usize) -> Option<u32> {
        let job = self.draft.step_at(position)?.job.as_ref()?;
        let limit = job.decision.as_ref()?.constraints.as_ref()?.budgets.as_ref()?.max_retries;
        (limit > 0).then_some(limit)
    }
}

/// The last attempt of a step, lent from the definition and the run: the job is put together when it is needed.
pub(super) struct Attempt<'a> {
    workflow: &'a Workflow,
    step: &'a Step,
    topic: &'a Topic,
    meta: &'a Arc<JobMeta>,
    labels: &'a BTreeMap<String, String>,
    adapter: Option<&'a Arc<str>>,
    core: &'a RunCore,
    run: &'a RunId,
    state: &'a StepRun,
    job: &'a Job,
}

impl<'a> Attempt<'a> {
    /// `None` when the step makes no jobs, or has made none yet.
    pub(super) fn of(state: &'a impl RunMut, position: usize) -> Option<Self> {
        let workflow = state.workflow();
        let step = workflow.steps().get(position)?;
        let StepKind::Job { topic, meta, labels, adapter } = &step.kind else { return None };
        let core = state.core();
        let step_run = state.step_at(position)?;
        Some(Self {
            workflow,
            step,
            topic,
            meta,
            labels,
            adapter: adapter.as_ref(),
            core,
            run: core.id.as_ref()?,
            state: step_run,
            job: step_run.job.as_deref()?,
        })
    }
}

impl SpecSource for Attempt<'_> {
    fn spec(&self) -> Arc<JobSpec> {
        let mut labels: BTreeMap<String, String> = BTreeMap::clone(&self.core.labels);
        labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        labels.insert("workflow_id".into(), self.workflow.id().to_string());
        labels.insert("run_id".into(), self.run.to_string());
        labels.insert("step_id".into(), self.step.id.to_string());
        Arc::new(JobSpec {
            id: self.job.id.clone(),
            attempt: self.job.attempt,
            topic: self.topic.clone(),
            tenant: self.core.tenant.clone(),
            team: self.core.team.clone(),
            // Who started the run, whatever the workflow says of itself: that is what policy judges.
            principal: self.core.principal.clone(),
            meta: self.meta.clone(),
            labels: Arc::new(labels),
            priority: self.core.priority,
            memory_id: self.core.memory_id.clone(),
            adapter_id: self.adapter.cloned(),
            trace_id: self.run.shared(),
            workflow: Some(self.workflow.id().clone()),
            run: Some(self.run.clone()),
            step: Some(self.step.id.clone()),
            timeout: self.step.timeout,
            input: self.state.input.clone().unwrap_or_else(|| self.core.input.clone()),
        })
    }
}

/// A year is as good as never, and keeps the arithmetic finite.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// The wait before the try that follows `attempts` tries: exponential, capped, and shortened by a random share so
/// that failures of one moment do not return at one moment.
fn backoff(retry: &RetrySpec, attempts: u32, seed: u64) -> Duration {
    let initial = if retry.initial_backoff_sec > 0.0 { retry.initial_backoff_sec } else { 1.0 };
    let multiplier = if retry.multiplier > 1.0 { retry.multiplier } else { 2.0 };
    let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
    let mut seconds = initial * multiplier.powi(exponent);
    if retry.max_backoff_sec > 0.0 {
        seconds = seconds.min(retry.max_backoff_sec);
    }
    seconds = seconds.min(LONGEST_WAIT.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "53 random bits are exact in a double")]
    let random = (seed >> 11) as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64(seconds * (1.0 - retry.jitter.unwrap_or(0.1) * random))
}
