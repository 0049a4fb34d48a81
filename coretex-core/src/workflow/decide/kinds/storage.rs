//! `storage`: an artifact is kept, read or removed.

use super::super::Machine;
use crate::workflow::{RunEvent, StepKind, StorageOp, fold::RunMut};

impl Machine<'_> {
    /// Asks for the artifact, for the first time or once more.
    pub(in super::super) fn store(&mut self, slot: usize) {
        let Some((step, state)) = self.step(slot).zip(self.draft.step_at(slot)) else { return };
        let StepKind::Storage { op, key, value } = &step.kind else { return };
        let attempt = state.attempts + 1;
        let Some(key) = self.render_text(slot, key, "`storage.key`") else { return };
        let Some(value) = self.render(slot, value.as_ref(), "`storage.value`") else { return };
        let value = (*op == StorageOp::Put).then(|| value.unwrap_or_default());
        if self.draft.core().is_dry_run() {
            return self.simulate(slot, value);
        }
        let (name, kept) = (key.clone(), value.clone());
        self.record_step(slot, |step| RunEvent::StepStoring { step, attempt, key: name, value: kept });
        let effect = self.store_effect(slot, &key, value.as_ref());
        self.effects.extend(effect);
    }
}
