//! Stopping a part of a run: what has not begun is cancelled at once, and so is what waits for people and times; what a
//! worker, another run, the bus or the blob store has stays open until that has answered.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    RunMut,
    place::slots_of,
    step::{end, with_step},
};
use crate::{
    job::Failure,
    workflow::{Role, StepRun, StepStatus, WaitsFor, state::Ending},
};

/// How the group of the step at `slot` ends is settled; its blocks are stopped.
pub(super) fn group_stopping(
    run: &mut impl RunMut,
    at: Timestamp,
    slot: usize,
    failure: Option<&Failure>,
    timed_out: bool,
) {
    let ending = Ending { failure: failure.cloned(), timed_out, cancelled: false };
    with_step(run, slot, |step| {
        step.due_at = None;
        if let Some(group) = step.group.as_deref_mut() {
            group.ending.get_or_insert(Arc::new(ending));
        }
    });
    stop_blocks(run, at, slot);
}

/// Stops all that is open in `block`.
pub(super) fn stop_block(run: &mut impl RunMut, at: Timestamp, block: usize) {
    for slot in slots_of(run, block) {
        let Some(step) = run.step_at(slot).filter(|step| !step.status.is_terminal()) else { continue };
        let role = run.workflow().steps().get(step.position()).map(|step| step.role);
        // What undoes a step may still be needed.
        if role == Some(Role::Compensation) && step.started_at.is_none() {
            continue;
        }
        stop_step(run, at, slot);
    }
}

/// Stops the step run at `slot`, if it is open, with what is in it.
pub(super) fn stop_step(run: &mut impl RunMut, at: Timestamp, slot: usize) {
    let Some(step) = run.step_at(slot).filter(|step| !step.status.is_terminal()) else { return };
    if step.group.is_some() {
        let ending = Ending { failure: None, timed_out: false, cancelled: true };
        with_step(run, slot, |step| {
            step.due_at = None;
            if let Some(group) = step.group.as_deref_mut() {
                group.ending.get_or_insert(Arc::new(ending));
            }
        });
        stop_blocks(run, at, slot);
    } else if !is_elsewhere(step) {
        with_step(run, slot, |step| {
            let failure = step.failure.take();
            end(step, StepStatus::Cancelled, at, failure);
        });
    }
}

fn stop_blocks(run: &mut impl RunMut, at: Timestamp, slot: usize) {
    for block in open_blocks(run, slot) {
        stop_block(run, at, block);
    }
}

/// The blocks of the group of the step at `slot` that are under way.
fn open_blocks(run: &impl RunMut, slot: usize) -> Vec<usize> {
    let Some(group) = run.step_at(slot).and_then(|step| step.group.as_deref()) else { return Vec::new() };
    let is_open = |block: &usize| run.block_at(*block).is_some_and(|block| block.base.is_some() && block.open > 0);
    if group.active == 0 {
        return Vec::new();
    }
    // Of a loop only the last iteration is open; blocks of a `for_each` lie side by side.
    let last = group.last_block as usize;
    (group.first_block as usize..=last.max(group.first_block as usize))
        .filter(|block| run.block_at(*block).is_some_and(|block| block.holder == u32::try_from(slot).ok()))
        .filter(is_open)
        .collect()
}

/// Whether something outside has it, which will answer.
fn is_elsewhere(step: &StepRun) -> bool {
    let job = step.job.as_ref().is_some_and(|job| step.status != StepStatus::Pending && job.state.is_in_flight());
    let effect = matches!(step.waits_for, Some(WaitsFor::Alert | WaitsFor::Artifact { .. } | WaitsFor::Child { .. }));
    job || (effect && step.status == StepStatus::Running)
}

/// Step runs of `block`, and of the groups in it, that have begun and not ended; groups before what they hold.
pub(in crate::workflow) fn under_way(run: &impl RunMut, block: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open = vec![block];
    while let Some(block) = open.pop() {
        for slot in slots_of(run, block) {
            let Some(step) = run.step_at(slot).filter(|step| step.is_active()) else { continue };
            found.push(slot);
            if step.group.is_some() {
                open.extend(open_blocks(run, slot));
            }
        }
    }
    found
}
