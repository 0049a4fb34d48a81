//! `input`: data comes from outside.

use super::super::Machine;
use crate::{
    job::job_after,
    workflow::{RunEvent, Step, fold::RunMut},
};

impl Machine<'_> {
    pub(super) fn begin_input(&mut self, slot: usize, step: &Step) {
        let Some(input) = self.render(slot, step.input.as_ref(), "input") else { return };
        if self.draft.core().is_dry_run() {
            return self.simulate(slot, input);
        }
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        self.record_step(slot, |step| RunEvent::StepAsked { step, input, until });
    }
}
