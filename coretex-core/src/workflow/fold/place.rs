//! Where step runs lie, and how they are called.

use std::sync::Arc;

use super::RunMut;
use crate::{
    job::StepRunId,
    workflow::{
        StepKind, StepRun, Workflow,
        definition::{FINALLY, MAIN},
        state::Block,
    },
};

/// The step runs of a block of `scope`, before anything happens to them.
pub(in crate::workflow) fn step_runs(
    workflow: &Workflow,
    scope: usize,
    block: u32,
) -> impl Iterator<Item = StepRun> + use<'_> {
    let (first, len) = workflow.scopes().get(scope).map_or((0, 0), |scope| (scope.first, scope.len));
    workflow.steps().iter().enumerate().skip(first).take(len).map(move |(position, step)| StepRun {
        position: u32::try_from(position).unwrap_or(u32::MAX),
        block,
        open_edges: step.incoming,
        ..StepRun::default()
    })
}

/// A block of `scope`; `base` is where its step runs lie.
pub(in crate::workflow) fn block(
    workflow: &Workflow,
    scope: usize,
    base: Option<u32>,
    holder: Option<u32>,
    index: u32,
) -> Block {
    Block {
        scope: u32::try_from(scope).unwrap_or(u32::MAX),
        base,
        holder,
        index,
        previous: None,
        open: workflow.scopes().get(scope).map_or(0, |scope| scope.counted),
        failed: None,
        carry: None,
    }
}

/// Where the step runs of a block lie; empty before it has begun.
pub(in crate::workflow) fn slots_of(run: &impl RunMut, block: usize) -> std::ops::Range<usize> {
    let found = run.block_at(block).and_then(|block| {
        let base = block.base? as usize;
        Some(base..base + run.workflow().scopes().get(block.scope as usize)?.len)
    });
    found.unwrap_or(0..0)
}

/// Where the step run lies whose id is `id`.
pub(in crate::workflow) fn locate(run: &impl RunMut, id: &str) -> Option<usize> {
    let workflow = run.workflow();
    let (step, indices) = StepRunId::split(id)?;
    let position = workflow.position_of_run(step, indices.len())?;
    slot_of(run, workflow, position, &indices)
}

fn slot_of(run: &impl RunMut, workflow: &Workflow, position: usize, indices: &[u32]) -> Option<usize> {
    let (_, scope) = workflow.at(position)?;
    let Some(container) = scope.container else { return Some(position) };
    let (holder, outer) = workflow.at(container)?;
    let holder_slot = slot_of(run, workflow, container, indices.get(..outer.depth)?)?;
    let group = run.step_at(holder_slot)?.group.as_deref()?;
    let block = match &holder.kind {
        StepKind::ForEach { .. } => {
            let index = *indices.last()?;
            (index < group.total).then(|| group.first_block.checked_add(index))??
        }
        StepKind::Loop { .. } => {
            let index = *indices.last()?;
            let last = (group.begun > 0).then_some(group.last_block);
            std::iter::successors(last, |block| run.block_at(*block as usize)?.previous)
                .find(|block| run.block_at(*block as usize).is_some_and(|block| block.index == index))?
        }
        _ => group.first_block,
    };
    let base = run.block_at(block as usize)?.base?;
    Some(base as usize + position.checked_sub(scope.first)?)
}

/// The step run of the step at `position`, as seen from inside of `block`: in that block, in one around it, or in a
/// parallel group of one of those.
pub(in crate::workflow) fn visible(run: &impl RunMut, block: usize, position: usize) -> Option<usize> {
    let workflow = run.workflow();
    let (step, scope) = workflow.at(position)?;
    let mut around = Some(block);
    while let Some(here) = around.and_then(|block| run.block_at(block)) {
        if here.scope as usize == step.scope {
            return Some(here.base? as usize + position.checked_sub(scope.first)?);
        }
        around = match here.holder {
            Some(holder) => Some(run.step_at(holder as usize)?.block as usize),
            // `finally` steps see what the others left behind.
            None if here.scope as usize == FINALLY => Some(MAIN),
            None => None,
        };
    }
    if scope.iterates {
        return None;
    }
    let holder = visible(run, block, scope.container?)?;
    let group = run.step_at(holder)?.group.as_deref()?;
    let base = run.block_at(group.first_block as usize)?.base?;
    Some(base as usize + position.checked_sub(scope.first)?)
}

/// The step run of the step at `position` in the block of the step run at `slot`.
pub(in crate::workflow) fn of_step(run: &impl RunMut, slot: usize, position: usize) -> Option<usize> {
    let block = run.block_at(run.step_at(slot)?.block as usize)?;
    let first = run.workflow().scopes().get(block.scope as usize)?.first;
    Some(block.base? as usize + position.checked_sub(first)?)
}

/// The indices of the step runs of `block`, outermost first.
pub(in crate::workflow) fn indices(run: &impl RunMut, block: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let mut around = Some(block);
    while let Some(here) = around.and_then(|block| run.block_at(block)) {
        if run.workflow().scopes().get(here.scope as usize).is_some_and(|scope| scope.iterates) {
            found.push(here.index);
        }
        around = here.holder.and_then(|holder| Some(run.step_at(holder as usize)?.block as usize));
    }
    found.reverse();
    found
}

/// How the step run at `slot` is called.
pub(in crate::workflow) fn run_id(run: &impl RunMut, slot: usize) -> Option<StepRunId> {
    let state = run.step_at(slot)?;
    let workflow: &Arc<Workflow> = run.workflow();
    let (step, scope) = workflow.at(state.position())?;
    if scope.depth == 0 {
        return Some(step.run_id.clone());
    }
    Some(StepRunId::indexed(&step.id, &indices(run, state.block as usize)))
}
