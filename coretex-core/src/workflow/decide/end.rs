//! How steps end.

use std::{sync::Arc, time::Duration};

use super::Machine;
use crate::{
    job::{Failure, codes, job_after},
    value::Value,
    workflow::{OnExhausted, RetrySpec, RunEvent, StepKind, fold::RunMut},
};

impl Machine<'_> {
    /// The step is done; `output` where that is not its job's.
    pub(super) fn succeed(&mut self, slot: usize, output: Option<Arc<Value>>) {
        self.record_step(slot, |step| RunEvent::StepSucceeded { step, output });
        self.ended(slot);
    }

    /// The step made `output`, which is judged by its schema first.
    pub(super) fn succeed_with(&mut self, slot: usize, output: Arc<Value>) {
        if let Err(error) = self.facts.payload_limits.check(&output) {
            let message = format!("the step's output: {error}");
            return self.reject(slot, Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
        }
        match self.judge(slot, &output) {
            Ok(()) => self.succeed(slot, Some(output)),
            Err(failure) => self.reject(slot, failure),
        }
    }

    /// What the step made is not taken: the step fails, or an operator says how it goes on.
    pub(super) fn reject(&mut self, slot: usize, failure: Failure) {
        if self.is_stopped(slot) || !self.try_again(slot, &failure, None) {
            self.fail(slot, failure);
        }
    }

    /// Whether `output` is what the step may make.
    pub(super) fn judge(&self, slot: usize, output: &Value) -> Result<(), Failure> {
        let Some(schema) = self.step(slot).and_then(|step| step.output_schema.as_ref()) else { return Ok(()) };
        schema.validate(output).map_err(|violations| {
            let message = format!("the step's output does not match its schema: {}", super::list(&violations));
            Failure::fatal(codes::OUTPUT_INVALID, message)
        })
    }

    /// The step failed for good.
    pub(super) fn fail(&mut self, slot: usize, failure: Failure) {
        self.record_step(slot, |step| RunEvent::StepFailed { step, failure });
        self.ended(slot);
    }

    /// The step was not done in time, for good.
    pub(super) fn time_out(&mut self, slot: usize, failure: Failure) {
        self.record_step(slot, |step| RunEvent::StepTimedOut { step, failure });
        self.ended(slot);
    }

    pub(super) fn cancelled(&mut self, slot: usize) {
        self.record_step(slot, |step| RunEvent::StepCancelled { step });
        self.ended(slot);
    }

    /// Schedules another try after `failure`, or lets an operator say how the step goes on. `false` when it has failed
    /// for good. `limit` lowers the tries that the step allows.
    pub(super) fn try_again(&mut self, slot: usize, failure: &Failure, limit: Option<u32>) -> bool {
        let told = self.told_retry(slot);
        let own = self.step(slot).and_then(|step| step.retry.as_ref());
        let Some(retry) = own.or(told.as_ref()) else { return false };
        let Some(state) = self.draft.step_at(slot) else { return false };
        let attempts = state.attempts.saturating_sub(state.forgiven).saturating_sub(state.snoozed);
        let may_help = failure.retryable && !retry.non_retryable.iter().any(|code| **code == *failure.code);
        if may_help && attempts <= limit.map_or(retry.max_retries, |limit| limit.min(retry.max_retries)) {
            let wait = backoff(retry, attempts, self.facts.seed);
            let asked = Duration::from_millis(failure.retry_after_ms.unwrap_or(0)).min(LONGEST_WAIT);
            let next_at = job_after(self.facts.now, wait.max(asked));
            let failure = failure.clone();
            self.record_step(slot, |step| RunEvent::StepRetryScheduled { step, failure, next_at });
            return true;
        }
        if retry.on_exhausted == OnExhausted::Park {
            let failure = failure.clone();
            self.record_step(slot, |step| RunEvent::StepParked { step, failure });
            return true;
        }
        false
    }

    /// What `timeouts.yaml` says for a job step that has no `retry` of its own.
    fn told_retry(&self, slot: usize) -> Option<RetrySpec> {
        let step = self.step(slot).filter(|step| step.retry.is_none())?;
        let StepKind::Job { topic, .. } = &step.kind else { return None };
        let told = self.facts.routes.timeouts().attempt(topic.as_str(), Some(self.workflow.id().as_str()));
        Some(RetrySpec { max_retries: told.max_retries?, ..RetrySpec::default() })
    }
}

/// A year is as good as never, and keeps the arithmetic finite.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

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
