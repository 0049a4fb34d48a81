//! `parallel`: a group of steps, done by a rule.

use super::super::Machine;
use crate::{
    job::job_after,
    workflow::{RunEvent, Step},
};

impl Machine<'_> {
    pub(super) fn begin_parallel(&mut self, slot: usize, step: &Step) {
        if self.is_too_large(slot, 1) {
            return;
        }
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        self.record_step(slot, |step| RunEvent::GroupOpened { step, items: None, until });
        self.begin_roots(slot);
    }
}
