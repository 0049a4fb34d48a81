//! Inputs other than results: answers, confirmations, cancellation.

use super::{Machine, Rejected, RunInput};
use crate::{
    job::{Answer, Failure, StepId, codes},
    workflow::{RunEvent, StepKind, StepRun, StepStatus, evolve::RunMut},
};

impl Machine<'_> {
    pub(super) fn take(&mut self, input: RunInput) -> Result<(), Rejected> {
        match input {
            RunInput::Job { job, input } => self.take_job(&job, input),
            RunInput::Answer { step, answer } => self.take_answer(step, answer),
            RunInput::Notified { step } => {
                self.take_notified(step);
                Ok(())
            }
            RunInput::Tick => {
                self.take_tick();
                Ok(())
            }
            RunInput::Admit => {
                self.take_admission();
                Ok(())
            }
            RunInput::Cancel { by, reason } => {
                if !self.is_over() {
                    self.stop_open_steps(&by, &reason);
                    self.record(RunEvent::RunCancelled { by, reason });
                }
                Ok(())
            }
        }
    }

    fn take_answer(&mut self, step: StepId, answer: Answer) -> Result<(), Rejected> {
        let workflow = self.draft.workflow().clone();
        let run = self.draft.core().id.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(position) = workflow.position(step.as_str()) else {
            return Err(Rejected::UnknownStep { run, step: step.to_string() });
        };
        let kind = workflow.steps().get(position).map(|step| &step.kind);
        let state = self.draft.step_at(position);
        let status = state.map(|step| step.status).unwrap_or_default();
        match kind {
            Some(StepKind::Approval) if status == StepStatus::Waiting => {}
            // Policy holds the step's job back: the answer is about the job.
            Some(StepKind::Job { .. }) if status == StepStatus::Waiting => {
                let job = state.and_then(|step| step.job.as_ref()).map(|job| job.id.clone());
                return match job {
                    Some(job) => self.take_job(&job, crate::job::JobInput::Answered(answer)),
                    None => Err(Rejected::NotWaiting { step, status }),
                };
            }
            // The same answer again, by a repeat or after a commit whose outcome was unknown.
            Some(StepKind::Approval) if state.is_some_and(|state| is_recorded(state, &answer)) => return Ok(()),
            Some(StepKind::Job { .. })
                if state
                    .and_then(|state| state.job.as_ref()?.grant.as_ref())
                    .is_some_and(|grant| grant.answer == answer) =>
            {
                return Ok(());
            }
            _ => return Err(Rejected::NotWaiting { step, status }),
        }
        self.close(self.approval_id(&step));
        let approved = answer.approved;
        let why = if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
        let rejected = format!("rejected by `{}`{why}", answer.by);
        self.record(RunEvent::StepAnswered { step: step.clone(), answer });
        if approved {
            self.succeed(position, None);
        } else {
            self.fail(position, Failure::fatal(codes::APPROVAL_REJECTED, rejected));
        }
        self.advance();
        Ok(())
    }

    fn take_notified(&mut self, step: StepId) {
        let Some(position) = self.draft.workflow().position(step.as_str()) else { return };
        let running = self.draft.step_at(position).is_some_and(|step| step.status == StepStatus::Running);
        if running && !self.is_over() && self.is_notify(position) {
            self.succeed(position, None);
            self.advance();
        }
    }
}

/// Whether `answer` is the one that the step's output tells of.
fn is_recorded(step: &StepRun, answer: &Answer) -> bool {
    let value = step.output.as_ref().and_then(|output| output.value.as_deref());
    value.is_some_and(|value| {
        value.get("approved") == Some(&answer.approved.into())
            && value.get("by").and_then(serde_json::Value::as_str) == Some(&answer.by)
            && value.get("reason").and_then(serde_json::Value::as_str) == Some(&answer.reason)
    })
}
