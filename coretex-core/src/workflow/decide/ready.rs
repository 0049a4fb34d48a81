//! Steps that may go: gates, conditions, jobs, delays, questions, alerts.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Machine, Subject};
use crate::{
    job::{ApprovalRequest, Failure, codes, job_after, whole_micros},
    value::{Template, Value},
    workflow::{RunEvent, Step, StepKind, StepStatus, evolve::RunMut, scope::RunScope},
};

impl Machine<'_> {
    /// Decides every step that is ready, and every step that becomes ready by that, until none is left.
    pub(super) fn advance(&mut self) {
        while !self.is_over() {
            let Some(position) = self.ready.pop_front() else { break };
            let ready = self
                .draft
                .step_at(position)
                .is_some_and(|step| step.status == StepStatus::Pending && step.open_deps == 0 && step.due_at.is_none());
            if ready {
                self.begin(position);
            }
        }
        if !self.is_over() && self.draft.core().open == 0 {
            self.record(RunEvent::RunSucceeded {});
        }
    }

    fn begin(&mut self, position: usize) {
        let workflow = self.draft.workflow().clone();
        let Some(step) = workflow.steps().get(position) else { return };
        if let Some(gate) = &step.gate {
            match gate.evaluate_bool(&RunScope(&self.draft)) {
                Ok(true) => {}
                Ok(false) => {
                    self.record(RunEvent::StepSkipped { step: step.id.clone() });
                    self.ready.extend(&step.dependents);
                    return;
                }
                Err(error) => return self.fail(position, Failure::fatal(error.code(), error.to_string())),
            }
        }
        match &step.kind {
            StepKind::Job { .. } => self.open_attempt(position),
            StepKind::Condition(expr) => match expr.evaluate_bool(&RunScope(&self.draft)) {
                Ok(value) => self.succeed(position, Some(Arc::new(Value::Bool(value)))),
                Err(error) => self.fail(position, Failure::fatal(error.code(), error.to_string())),
            },
            StepKind::Delay { wait, until } => self.begin_delay(position, step, *wait, until.as_ref()),
            StepKind::Approval => self.begin_approval(position, step),
            StepKind::Notify => {
                if let Some(payload) = self.render(position, step.input.as_ref()) {
                    let payload = payload.unwrap_or_default();
                    self.record(RunEvent::StepNotified { step: step.id.clone(), payload });
                    self.effects.extend(self.notify_effect(position));
                }
            }
        }
    }

    /// Renders a template; `None` means that it failed and the step with it.
    fn render(&mut self, position: usize, template: Option<&Template>) -> Option<Option<Arc<Value>>> {
        match template.map(|template| template.render_shared(&RunScope(&self.draft))) {
            None => Some(None),
            Some(Ok(Some(value))) => match self.facts.payload_limits.check(&value) {
                Ok(()) => Some(Some(value)),
                Err(error) => {
                    self.fail(position, Failure::fatal(codes::PAYLOAD_TOO_LARGE, format!("the step's input: {error}")));
                    None
                }
            },
            Some(Ok(None)) => Some(None),
            Some(Err(error)) => {
                self.fail(position, Failure::fatal(error.code(), error.to_string()));
                None
            }
        }
    }

    fn begin_delay(&mut self, position: usize, step: &Step, wait: Duration, until: Option<&Template>) {
        let now = self.facts.now;
        let until = match until {
            None => job_after(now, wait),
            Some(template) => {
                let Some(value) = self.render(position, Some(template)) else { return };
                let text = value.as_deref().and_then(Value::as_str);
                match text.and_then(|text| text.parse::<Timestamp>().ok()) {
                    Some(until) => whole_micros(until),
                    None => {
                        let message = format!(
                            "`delay_until` gave {}, which is not a point in time such as `2026-01-31T12:00:00Z`",
                            value.map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"))
                        );
                        return self.fail(position, Failure::fatal("time_invalid", message));
                    }
                }
            }
        };
        if until <= now {
            self.succeed(position, None);
        } else {
            self.record(RunEvent::StepDelayed { step: step.id.clone(), until });
        }
    }

    fn begin_approval(&mut self, position: usize, step: &Step) {
        let Some(input) = self.render(position, step.input.as_ref()) else { return };
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        let core = self.draft.core();
        let Some(run_id) = core.id.clone() else { return };
        self.records.opened.push(ApprovalRequest {
            subject: Subject::Step { run_id, step_id: step.id.clone() },
            tenant: core.tenant.clone(),
            workflow_id: Some(self.draft.workflow().id().clone()),
            title: step.title.clone(),
            input: input.clone().unwrap_or_else(|| core.input.clone()),
            decision: None,
            hash: None,
            spec: None,
            requested_at: self.facts.now,
            expires_at: until,
        });
        self.record(RunEvent::StepWaiting { step: step.id.clone(), input, until });
    }
}
