//! Inputs from outside other than results: answers, data, signals, an operator's word, confirmations, cancellation.

use std::sync::Arc;

use super::{Machine, Rejected, RunInput};
use crate::{
    job::{Answer, Failure, JobInput, Output, StepRunId, codes},
    value::Value,
    workflow::{
        Cause, Phase, Resolution, RunEvent, SkipReason, StepKind, StepRun, StepStatus, WaitsFor,
        fold::{self, RunMut},
    },
};

/// Most signals that one run takes.
const MAX_SIGNALS: u32 = 10_000;

impl Machine<'_> {
    pub(super) fn take(&mut self, input: RunInput) -> Result<(), Rejected> {
        match input {
            RunInput::Job { job, input } => return self.take_job(&job, input),
            RunInput::Answer { step, answer } => return self.take_answer(step, answer),
            RunInput::Provide { step, by, value } => return self.take_data(step, by, value),
            RunInput::Signal { name, id, by, payload } => return self.take_signal(name, id, by, payload),
            RunInput::Resolve { step, by, resolution } => return self.take_resolution(step, by, resolution),
            RunInput::Notified { step } => self.take_notified(&step),
            RunInput::Stored { step, attempt, result } => self.take_stored(&step, attempt, result),
            RunInput::Child { step, attempt, end } => self.take_child(&step, attempt, end),
            // Decided before a draft is opened, because it changes what the draft is over.
            RunInput::Migrate { .. } => {}
            RunInput::Tick => self.take_tick(),
            RunInput::Admit => self.take_admission(),
            RunInput::Cancel { by, reason } => {
                if !self.is_over() && self.draft.core().phase == Phase::Forward {
                    self.unwind(Cause::Cancelled { by, reason });
                }
            }
            RunInput::Halt { by, reason } => self.take_halt(by, reason),
        }
        Ok(())
    }

    /// Where `step` lies.
    fn find(&self, step: &StepRunId) -> Result<usize, Rejected> {
        fold::locate(&self.draft, step.as_str()).ok_or_else(|| Rejected::UnknownStep {
            run: self.draft.core().id().map(ToString::to_string).unwrap_or_default(),
            step: step.to_string(),
        })
    }

    fn take_answer(&mut self, step: StepRunId, answer: Answer) -> Result<(), Rejected> {
        let slot = self.find(&step)?;
        let status = self.status(slot);
        let state = self.draft.step_at(slot);
        let waits_for = state.and_then(|state| state.waits_for.as_ref());
        match (self.step(slot).map(|step| &step.kind), waits_for) {
            (_, Some(WaitsFor::Answer)) if status == StepStatus::Waiting => {}
            // Policy holds the step's job back: the answer is about the job.
            (Some(StepKind::Job { .. }), None) if status == StepStatus::Waiting => {
                let job = state.and_then(|step| step.job.as_ref()).map(|job| job.id.clone());
                return match job {
                    Some(job) => self.take_job(&job, JobInput::Answered(answer)),
                    None => Err(Rejected::NotWaiting { step, status }),
                };
            }
            // The same answer again, by a repeat or after a commit whose outcome was unknown.
            (Some(StepKind::Approval), _) if state.is_some_and(|state| is_recorded(state, &answer)) => return Ok(()),
            (Some(StepKind::Job { .. }), _)
                if state
                    .and_then(|state| state.job.as_ref()?.grant.as_ref())
                    .is_some_and(|grant| grant.answer == answer) =>
            {
                return Ok(());
            }
            _ => return Err(Rejected::NotWaiting { step, status }),
        }
        let id = self.approval_id(slot);
        self.close(id);
        let approved = answer.approved;
        let why = if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
        let rejected = format!("rejected by `{}`{why}", answer.by);
        self.record_step(slot, |step| RunEvent::StepAnswered { step, answer });
        if approved {
            self.succeed(slot, None);
        } else {
            self.fail(slot, Failure::fatal(codes::APPROVAL_REJECTED, rejected));
        }
        Ok(())
    }

    fn take_data(&mut self, step: StepRunId, by: Arc<str>, value: Arc<Value>) -> Result<(), Rejected> {
        let slot = self.find(&step)?;
        let status = self.status(slot);
        let state = self.draft.step_at(slot);
        match state.and_then(|state| state.waits_for.as_ref()) {
            Some(WaitsFor::Data) if status == StepStatus::Waiting => {}
            Some(_) if status == StepStatus::Waiting => {
                return Err(Rejected::WaitsForOther { step, wanted: "data" });
            }
            // The same data again.
            _ if status == StepStatus::Succeeded
                && self.step(slot).is_some_and(|step| matches!(step.kind, StepKind::Input))
                && state.and_then(|state| state.output.as_ref()?.value.as_ref()) == Some(&value) =>
            {
                return Ok(());
            }
            _ => return Err(Rejected::NotWaiting { step, status }),
        }
        if let Some(schema) = self.step(slot).and_then(|step| step.output_schema.as_ref())
            && let Err(violations) = schema.validate(&value)
        {
            return Err(Rejected::DataInvalid { step, violations });
        }
        self.record_step(slot, |step| RunEvent::StepProvided { step, by, value });
        self.ended(slot);
        Ok(())
    }

    fn take_signal(&mut self, name: Arc<str>, id: Arc<str>, by: Arc<str>, payload: Arc<Value>) -> Result<(), Rejected> {
        let signals = &self.draft.core().signals;
        if !id.is_empty() && signals.seen.contains(&id) {
            return Ok(());
        }
        if signals.received >= MAX_SIGNALS {
            return Err(Rejected::TooManySignals(MAX_SIGNALS));
        }
        if self.is_over() || self.draft.core().phase == Phase::Stopping {
            return Err(Rejected::SignalTooLate);
        }
        // Nothing else happens in this decision before somebody takes it, so the state before knows who listens.
        let listener = self.draft.base().listener(&name);
        self.record(RunEvent::SignalReceived { name: name.clone(), id, by, payload });
        if let Some(slot) = listener {
            self.take_kept_signal(slot, name);
        }
        Ok(())
    }

    /// The step run at `slot` takes the oldest kept signal `name`, if it is what the step may make.
    pub(super) fn take_kept_signal(&mut self, slot: usize, name: Arc<str>) {
        let kept = self.draft.core().signals.kept.get(&name).and_then(|kept| kept.front().cloned());
        let judged = kept.map_or(Ok(()), |payload| self.judge(slot, &payload));
        self.record_step(slot, |step| RunEvent::SignalTaken { step, signal: name, failure: judged.err() });
        self.ended(slot);
    }

    fn take_resolution(&mut self, step: StepRunId, by: Arc<str>, resolution: Resolution) -> Result<(), Rejected> {
        let slot = self.find(&step)?;
        let status = self.status(slot);
        let waits_for = self.draft.step_at(slot).and_then(|state| state.waits_for.clone());
        if self.is_over() || status != StepStatus::Waiting {
            return Err(Rejected::NotWaiting { step, status });
        }
        match (&waits_for, &resolution) {
            (Some(WaitsFor::Operator), _)
            | (Some(WaitsFor::Data | WaitsFor::Signal { .. }), Resolution::Fail { .. } | Resolution::Skip) => {}
            _ => return Err(Rejected::WaitsForOther { step, wanted: "an operator" }),
        }
        if let Resolution::Complete { output } = &resolution
            && let Some(schema) = self.step(slot).and_then(|step| step.output_schema.as_ref())
            && let Err(violations) = schema.validate(output)
        {
            return Err(Rejected::DataInvalid { step, violations });
        }
        if let Resolution::Retry { input: Some(input) } = &resolution {
            let Some(definition) = self.step(slot) else { return Ok(()) };
            if !matches!(definition.kind, StepKind::Job { .. }) {
                return Err(Rejected::WaitsForOther { step, wanted: "an input" });
            }
            definition
                .check_input(input)
                .map_err(|violations| Rejected::DataInvalid { step: step.clone(), violations })?;
        }
        let last = self.draft.step_at(slot).and_then(|state| state.failure.clone());
        self.record_step(slot, |step| RunEvent::StepResolved { step, by: by.clone(), resolution: resolution.clone() });
        match resolution {
            Resolution::Retry { .. } => {
                let Some(step) = self.step(slot) else { return Ok(()) };
                self.try_next(slot, step);
            }
            Resolution::Complete { output } => self.succeed(slot, Some(output)),
            Resolution::Skip => {
                self.record_step(slot, |step| RunEvent::StepSkipped { step, reason: SkipReason::Resolved });
                self.ended(slot);
            }
            Resolution::Fail { reason } => {
                let failure = last.unwrap_or_else(|| {
                    Failure::fatal(codes::GIVEN_UP, if reason.is_empty() { "given up".into() } else { reason.clone() })
                });
                self.fail(slot, Failure { retryable: false, ..failure });
            }
        }
        Ok(())
    }

    fn take_notified(&mut self, step: &StepRunId) {
        let Some(slot) = fold::locate(&self.draft, step.as_str()) else { return };
        let waits = self.draft.step_at(slot).is_some_and(|step| step.waits_for == Some(WaitsFor::Alert));
        if waits && !self.is_over() {
            self.succeed(slot, None);
        }
    }

    fn take_stored(&mut self, step: &StepRunId, attempt: u32, result: Result<Output, Failure>) {
        let Some(slot) = fold::locate(&self.draft, step.as_str()) else { return };
        let Some(state) = self.draft.step_at(slot) else { return };
        let waits = matches!(state.waits_for, Some(WaitsFor::Artifact { .. })) && state.attempts == attempt;
        if !waits || self.is_over() || state.status.is_terminal() {
            return;
        }
        match result {
            Ok(output) => self.succeed_with(slot, output.value.unwrap_or_default()),
            Err(failure) => self.reject(slot, failure),
        }
    }
}

/// Whether `answer` is the one that the step's output tells of.
fn is_recorded(step: &StepRun, answer: &Answer) -> bool {
    let value = step.output.as_ref().and_then(|output| output.value.as_deref());
    value.is_some_and(|value| {
        value.get("approved") == Some(&answer.approved.into())
            && value.get("by").and_then(Value::as_str) == Some(&answer.by)
            && value.get("reason").and_then(Value::as_str) == Some(&answer.reason)
    })
}
