//! `notify`: an alert is published.

use super::super::Machine;
use crate::workflow::{RunEvent, Step, fold::RunMut};

impl Machine<'_> {
    pub(super) fn begin_notify(&mut self, slot: usize, step: &Step) {
        let Some(payload) = self.render(slot, step.input.as_ref(), "input") else { return };
        if self.draft.core().is_dry_run() {
            return self.simulate(slot, payload);
        }
        let payload = payload.unwrap_or_default();
        self.record_step(slot, |step| RunEvent::StepNotified { step, payload });
        let effect = self.notify_effect(slot);
        self.effects.extend(effect);
    }
}
