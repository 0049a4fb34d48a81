//! How much a run moves and holds at once.
//!
//! A step that may go is held back while this decision has made as many bytes as one should, or while workers have as
//! many bytes of the run as they may. What is held back is noted by an event, and begins in the order of its place: when
//! something of the run ends, or with the next tick where only the decision was full. So a decision, what is sent after
//! it, and what recovery sends again are bounded, whatever the definition multiplies.

use super::{Machine, Todo};
use crate::{
    job::Failure,
    workflow::{Phase, Role, RunEvent, Step, fold::RunMut},
};

/// What an event counts for besides its values, in bytes.
const EVENT_BYTES: u64 = 512;

impl Machine<'_> {
    /// Whether the step run at `slot`, which may go or be tried again, begins now. It is held back otherwise.
    pub(super) fn may_move(&mut self, slot: usize, step: &Step) -> bool {
        // What undoes a step goes one at a time.
        if step.role == Role::Compensation || !self.is_full() {
            return true;
        }
        if self.draft.step_at(slot).is_some_and(|step| !step.is_held) {
            self.record_step(slot, |step| RunEvent::StepHeld { step });
        }
        false
    }

    /// Whether the step run at `slot`, which may go, begins now. It is held back otherwise, or has failed.
    pub(super) fn has_room(&mut self, slot: usize, step: &Step) -> bool {
        if !self.may_move(slot, step) {
            return false;
        }
        if step.role == Role::Compensation {
            return true;
        }
        let (bytes, most) = (self.draft.core().bytes, self.facts.bounds.run_bytes);
        if bytes >= most && self.draft.core().phase == Phase::Forward {
            let message = format!(
                "the run holds {bytes} bytes of outputs, items and open inputs, and may hold {most} (`run_bytes`); pass large data by \
                 pointer, or move a part into a workflow of its own"
            );
            self.fail(slot, Failure::fatal("run_too_large", message));
            return false;
        }
        true
    }

    fn is_full(&self) -> bool {
        let (core, bounds) = (self.draft.core(), &self.facts.bounds);
        let events = (self.draft.recorded() as u64).saturating_mul(EVENT_BYTES);
        // The next decision is a tick, which has made nothing before it begins what was held back.
        let made = self.draft.made().saturating_add(self.away.bytes()).saturating_add(events);
        made >= bounds.decision_bytes || core.in_flight_bytes >= bounds.in_flight_bytes
    }

    /// Begins the next step run that was held back before this decision. `false` when there is none, or no room.
    pub(super) fn begin_held(&mut self) -> bool {
        if self.draft.core().held == 0 || self.is_full() {
            return false;
        }
        let Some(slot) = self.draft.base().held_from(self.held_from) else { return false };
        self.held_from = slot + 1;
        self.todo.push_back(Todo::Begin(slot as usize));
        true
    }
}
