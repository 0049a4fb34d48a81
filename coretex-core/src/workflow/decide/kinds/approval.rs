//! `approval`: a human answers.

use super::super::{Machine, Subject};
use crate::{
    job::{ApprovalRequest, job_after},
    workflow::{RunEvent, Step, fold::RunMut},
};

impl Machine<'_> {
    pub(super) fn begin_approval(&mut self, slot: usize, step: &Step) {
        let Some(input) = self.render(slot, step.input.as_ref(), "input") else { return };
        if self.draft.core().is_dry_run() {
            return self.simulate_answer(slot, input);
        }
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        let Some((info, step_id)) = self.draft.core().info.clone().zip(self.draft.run_id(slot)) else { return };
        self.records.opened.push(ApprovalRequest {
            subject: Subject::Step { run_id: info.id.clone(), step_id },
            tenant: info.tenant.clone(),
            workflow_id: Some(self.workflow.id().clone()),
            title: step.title.clone(),
            input: input.clone().unwrap_or_else(|| info.input.clone()),
            decision: None,
            hash: None,
            spec: None,
            asked_again: None,
            requested_at: self.facts.now,
            expires_at: until,
        });
        self.record_step(slot, |step| RunEvent::StepWaiting { step, input, until });
    }
}
