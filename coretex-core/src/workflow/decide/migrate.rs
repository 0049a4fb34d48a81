//! A run moves onto another definition, and what that definition allows begins.

use std::sync::Arc;

use super::{Machine, Rejected, Todo, Transition};
use crate::{
    job::Facts,
    workflow::{
        Refusal,
        RefusalReason::{RunMovedOn, RunOnOtherVersion},
        Role, Run, RunEvent, StepStatus, StoredEvent, Workflow,
        definition::FINALLY,
        fold::{RunMut, slots_of},
        migration,
    },
};

/// What is asked.
pub(super) struct Move {
    pub(super) to: Arc<Workflow>,
    pub(super) from: Option<Arc<str>>,
    pub(super) at: Option<u64>,
    pub(super) by: Arc<str>,
    pub(super) reason: Arc<str>,
}

/// Decides the move. A run that is under the definition already has moved: that is a repeat.
///
/// # Errors
/// [`Rejected::Migration`] with everything that is in the way.
pub(super) fn migrate(run: &Run, wanted: Move, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    let Move { to, from, at, by, reason } = wanted;
    let here = run.workflow().digest();
    if here == to.digest() {
        return Ok(Machine::new(run, facts).finish());
    }
    let moved = check(run, &to, from.as_ref(), at, facts).map_err(Rejected::Migration)?;
    let event = RunEvent::RunMigrated { from: here.clone(), to: to.digest().clone(), by, reason };
    let mut machine = Machine::new(&moved, facts);
    machine.go_on(run);
    machine.advance();
    let mut transition = machine.conclude()?;
    transition.events.insert(0, StoredEvent { at: facts.now, event });
    transition.changes.moved = Some(Box::new(moved));
    Ok(transition)
}

fn check(
    run: &Run,
    to: &Arc<Workflow>,
    from: Option<&Arc<str>>,
    at: Option<u64>,
    facts: &Facts<'_>,
) -> Result<Run, Vec<Refusal>> {
    let here = run.workflow().digest();
    if let Some(from) = from.filter(|from| *from != here) {
        let message = format!("the run is under the definition `{here}`, not `{from}`");
        return Err(vec![Refusal::run(RunOnOtherVersion, message)]);
    }
    if let Some(at) = at.filter(|at| *at != run.head()) {
        let message = format!("the run has {} events, and {at} were expected", run.head());
        return Err(vec![Refusal::run(RunMovedOn, message)]);
    }
    migration::check(run, to, facts.now)
}

impl Run {
    /// Everything that is in the way of moving the run onto the definition `to` at `now`; nothing when it can move, or is
    /// under it already. O(size of the run and of both definitions).
    #[must_use]
    pub fn migration_refusals(&self, to: &Arc<Workflow>, now: jiff::Timestamp) -> Vec<Refusal> {
        if self.workflow().digest() == to.digest() {
            return Vec::new();
        }
        migration::check(self, to, now).err().unwrap_or_default()
    }
}

impl Machine<'_> {
    /// Lets everything go that the definition allows and the one `before` did not, and ends what has nothing left to do.
    fn go_on(&mut self, before: &Run) {
        if self.draft.core().queued {
            return;
        }
        for block in 0..self.draft.block_count() {
            let Some((here, earlier)) = self.draft.block_at(block).zip(before.block_at(block)) else { continue };
            let (here_open, scope, before_scope) = (here.open, here.scope as usize, earlier.scope as usize);
            let is_open = here.scope as usize != FINALLY
                && here.base.is_some()
                && earlier.open > 0
                && here.holder.is_none_or(|holder| self.status(holder as usize) == StepStatus::Running);
            if !is_open {
                continue;
            }
            for slot in slots_of(&self.draft, block) {
                let Some(state) = self.draft.step_at(slot) else { continue };
                let undoes = self.step(slot).is_some_and(|step| step.role == Role::Compensation);
                if !undoes && !state.is_reached() && state.open_edges == 0 {
                    self.todo.push_back(Todo::Begin(slot));
                }
            }
            // A step that went may have been all that a group still waited for, or one of its ends.
            if here_open == 0 || ends(before.workflow(), before_scope) != ends(self.workflow, scope) {
                self.todo.push_back(Todo::Check(block));
            }
        }
    }
}

/// Ids of the steps of a scope that nothing waits for.
fn ends(workflow: &Workflow, scope: usize) -> Vec<&str> {
    let sinks = workflow.scopes().get(scope).map_or(&[][..], |scope| &scope.sinks);
    sinks.iter().filter_map(|sink| Some(workflow.steps().get(*sink)?.id.as_str())).collect()
}
