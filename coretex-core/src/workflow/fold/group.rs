//! Groups: how their blocks begin and end, and what a group hands out.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Map;

use super::{
    RunMut,
    place::{block, slots_of, step_runs},
    step::{shown, size, with_step},
};
use crate::{
    value::Value,
    workflow::{Role, StepKind, StepRun, StepStatus, state::Group},
};

/// The group of the step at `slot` opens. Blocks of a `for_each` are numbered side by side, so that an item is found by
/// its index; they begin one by one.
pub(super) fn opened(
    run: &mut impl RunMut,
    at: Timestamp,
    slot: usize,
    items: Option<&Arc<Value>>,
    until: Option<Timestamp>,
) {
    let workflow = run.workflow().clone();
    let Some(state) = run.step_at(slot) else { return };
    let Some((step, body)) = workflow.steps().get(state.position()).and_then(|step| Some((step, step.body?))) else {
        return;
    };
    let first_block = u32::try_from(run.block_count()).unwrap_or(u32::MAX);
    let holder = u32::try_from(slot).ok();
    let is_parallel = matches!(step.kind, StepKind::Parallel(_));
    let total = match items.map(|items| &**items) {
        Some(Value::Array(items)) => u32::try_from(items.len()).unwrap_or(u32::MAX),
        _ => u32::from(is_parallel),
    };
    for index in 0..total {
        run.push_block(block(&workflow, body, None, holder, index));
    }
    with_step(run, slot, |step| {
        step.status = StepStatus::Running;
        step.is_held = false;
        step.bytes = items.map_or(0, |items| size(items));
        step.started_at = step.started_at.or(Some(at));
        step.due_at = until;
        step.group = Some(Box::new(Group {
            first_block,
            last_block: first_block,
            total,
            items: items.cloned(),
            ..Group::default()
        }));
    });
    if is_parallel {
        block_begun(run, slot, 0, None);
    }
}

/// Block `index` of the group of the step at `slot` begins.
pub(super) fn block_begun(run: &mut impl RunMut, slot: usize, index: u32, carry: Option<&Arc<Value>>) {
    let workflow = run.workflow().clone();
    let Some(state) = run.step_at(slot) else { return };
    let Some(body) = workflow.steps().get(state.position()).and_then(|step| step.body) else { return };
    let Some(group) = state.group.as_deref() else { return };
    let is_known = index < group.total;
    let at = if is_known { group.first_block + index } else { u32::try_from(run.block_count()).unwrap_or(u32::MAX) };
    let previous = (!is_known && group.begun > 0).then_some(group.last_block);
    let base = u32::try_from(run.step_count()).ok();
    let mut begun = block(&workflow, body, base, u32::try_from(slot).ok(), index);
    begun.previous = previous;
    begun.carry = carry.cloned();
    run.core_mut().bytes += carry.map_or(0, |carry| size(carry));
    if is_known {
        if let Some(known) = run.block_at_mut(at as usize) {
            *known = begun;
        }
    } else {
        run.push_block(begun);
    }
    for step in step_runs(&workflow, body, at) {
        run.push_step(step);
    }
    with_group(run, slot, |group| {
        group.begun += 1;
        group.active += 1;
        group.last_block = at;
        group.total = group.total.max(group.begun);
        if !is_known && group.begun == 1 {
            group.first_block = at;
        }
    });
}

/// A step of `block` has ended.
pub(super) fn step_ended(run: &mut impl RunMut, block: usize) {
    let Some(block) = run.block_at_mut(block) else { return };
    block.open = block.open.saturating_sub(1);
    let Some(holder) = block.holder.filter(|_| block.open == 0) else { return };
    let has_failed = block.failed.is_some();
    with_group(run, holder as usize, |group| {
        group.active = group.active.saturating_sub(1);
        if has_failed {
            group.failed += 1;
        } else {
            group.succeeded += 1;
        }
    });
}

fn with_group(run: &mut impl RunMut, slot: usize, change: impl FnOnce(&mut Group)) {
    if let Some(group) = run.step_at_mut(slot).and_then(|step| step.group.as_deref_mut()) {
        change(group);
    }
}

/// What the group of the step at `slot` hands out: of a `for_each` the outputs of its items in order, of a loop what it
/// carried, and otherwise the outputs of its steps (for a loop, of the last iteration) by their ids. O(its steps).
pub(in crate::workflow) fn group_output(run: &impl RunMut, slot: usize, carry: Option<&Arc<Value>>) -> Option<Value> {
    let state = run.step_at(slot)?;
    let step = run.workflow().steps().get(state.position())?;
    let group = state.group.as_deref()?;
    match &step.kind {
        StepKind::ForEach { .. } => {
            let blocks = group.first_block..group.first_block + group.total;
            let item = |block: u32| slots_of(run, block as usize).next().and_then(|slot| run.step_at(slot));
            Some(blocks.map(|block| item(block).map_or(Value::Null, output_of)).collect())
        }
        StepKind::Loop { .. } if carry.is_some() => carry.map(|carry| Value::clone(carry)),
        StepKind::Loop { .. } if group.begun == 0 => Some(Value::Null),
        _ => {
            let outputs = slots_of(run, group.last_block as usize).filter_map(|slot| {
                let state = run.step_at(slot)?;
                let step = run.workflow().steps().get(state.position())?;
                (step.role != Role::Compensation).then(|| (step.id.to_string(), output_of(state)))
            });
            Some(Value::Object(outputs.collect::<Map<_, _>>()))
        }
    }
}

fn output_of(step: &StepRun) -> Value {
    // Only what ended well made something.
    step.output.as_ref().filter(|_| step.status == StepStatus::Succeeded).map_or(Value::Null, shown)
}
