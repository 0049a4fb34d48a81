//! `signal`: a signal arrives, or has arrived already.

use super::super::Machine;
use crate::{
    job::job_after,
    value::Template,
    workflow::{RunEvent, Step, fold::RunMut},
};

impl Machine<'_> {
    pub(super) fn begin_signal(&mut self, slot: usize, step: &Step, name: &Template) {
        let Some(name) = self.render_text(slot, name, "`signal`") else { return };
        if self.draft.core().is_dry_run() {
            return self.simulate(slot, None);
        }
        if self.draft.core().signals.kept.contains_key(&name) {
            return self.take_kept_signal(slot, name);
        }
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        self.record_step(slot, |step| RunEvent::StepListening { step, signal: name, until });
    }
}
