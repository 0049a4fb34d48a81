//! `loop`: a group of steps runs again and again.

use super::super::Machine;
use crate::{
    job::job_after,
    value::Template,
    workflow::{RunEvent, Step, fold::RunMut},
};

impl Machine<'_> {
    pub(super) fn begin_loop(&mut self, slot: usize, step: &Step, carry: Option<&Template>) {
        let Some(rendered) = self.render(slot, carry, "`carry`") else { return };
        let carry = if carry.is_some() { Some(rendered.unwrap_or_default()) } else { None };
        let until = step.timeout.map(|timeout| job_after(self.facts.now, timeout));
        let block = self.draft.step_at(slot).map_or(0, |step| step.block as usize);
        self.record_step(slot, |step| RunEvent::GroupOpened { step, items: None, until });
        self.iterate(slot, step, block, carry);
    }
}
