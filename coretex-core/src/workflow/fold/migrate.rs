//! A run moves onto another definition: its step runs are laid out as that one has them.
//!
//! What the run has reached keeps its state; what it has not is as the new definition has it. Blocks keep their numbers,
//! so that groups find theirs; step runs get new places, and what refers to them follows.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    place::{block, slots_of, step_runs},
    run::settle_status,
    step::release_again,
};
use crate::{
    job::{job_after, whole_micros},
    workflow::{
        Role, Run, StepRun, Workflow,
        migration::Counterparts,
        state::{Block, RunCore, RunInfo},
    },
};

/// `run` under the definition `to`, from `at` on. `None` when `to` does not hold what the run has begun. O(size of the
/// run and of both definitions).
pub(in crate::workflow) fn moved(run: &Run, to: &Arc<Workflow>, at: Timestamp) -> Option<Run> {
    let counterparts = Counterparts::of(&run.workflow, to);
    let mut steps: Vec<StepRun> = Vec::with_capacity(run.steps.len());
    let mut blocks: Vec<Block> = Vec::with_capacity(run.blocks.len());
    let mut places: Vec<Option<u32>> = vec![None; run.steps.len()];
    for old in &run.blocks {
        let scope = counterparts.scope(old.scope as usize)?;
        blocks.push(Block {
            previous: old.previous,
            carry: old.carry.clone(),
            holder: old.holder,
            failed: old.failed,
            ..block(to, scope, None, None, old.index)
        });
    }
    // In the order in which they began, so that nothing changes its place where nothing came or went.
    let mut begun: Vec<(u32, usize)> = Vec::new();
    begun.extend(run.blocks.iter().enumerate().filter_map(|(n, block)| Some((block.base?, n))));
    begun.sort_unstable();
    for (_, n) in begun {
        let base = u32::try_from(steps.len()).ok()?;
        let here = blocks.get_mut(n)?;
        here.base = Some(base);
        let scope = here.scope as usize;
        let number = u32::try_from(n).ok()?;
        steps.extend(step_runs(to, scope, number));
        let first = to.scopes().get(scope)?.first;
        for slot in slots_of(run, n) {
            let Some(state) = run.steps.get(slot).filter(|state| state.is_reached()) else { continue };
            let position = counterparts.step(state.position())?;
            let place = base as usize + position.checked_sub(first)?;
            *steps.get_mut(place)? = StepRun { position: u32::try_from(position).ok()?, ..state.clone() };
            *places.get_mut(slot)? = u32::try_from(place).ok();
        }
    }
    let place = |slot: u32| places.get(slot as usize).copied().flatten();
    for block in &mut blocks {
        // A block is held by a step run that began, and one that failed was begun.
        block.holder = block.holder.map(place).map_or(Some(None), |holder| holder.map(Some))?;
        block.failed = block.failed.and_then(place);
    }
    let mut moved = Run::laid_out(to.clone(), core_under(run, to), steps, blocks, run.head + 1);
    count(&mut moved);
    moved.core.updated_at = at;
    moved.core.seq += 1;
    settle_status(&mut moved, at);
    Some(moved)
}

/// Counts what follows from the step runs: the edges that are still open, and the steps of each block that are.
fn count(run: &mut Run) {
    for slot in 0..run.steps.len() {
        release_again(run, slot);
    }
    for n in 0..run.blocks.len() {
        if run.blocks.get(n).is_none_or(|block| block.base.is_none()) {
            continue;
        }
        let workflow = &run.workflow;
        let counts = |step: &&StepRun| {
            let role = workflow.steps().get(step.position()).map(|step| step.role);
            !step.status.is_terminal() && role != Some(Role::Compensation)
        };
        let open = run.steps.get(slots_of(run, n)).unwrap_or_default().iter().filter(counts).count();
        if let Some(block) = run.blocks.get_mut(n) {
            block.open = u32::try_from(open).unwrap_or(u32::MAX);
        }
    }
}

/// What is known of the run besides its steps, under `to`.
fn core_under(run: &Run, to: &Workflow) -> RunCore {
    let mut core = run.core.clone();
    let left = run.workflow.digest();
    let past = run.past_definitions();
    if !past.contains(left) {
        core.past = Some(past.iter().chain([left]).cloned().collect());
    }
    if let Some(info) = &mut core.info {
        let input = to.fill_input(&info.input).unwrap_or_else(|_| info.input.clone());
        let slot = to.concurrency().and_then(|rule| rule.slot(to.id(), &input).ok());
        *info = Arc::new(RunInfo { input, slot, ..RunInfo::clone(info) });
    }
    (core.deadline_at, core.time_left) = time_under(run, to);
    core
}

/// Until when the run has time under `to`: the deadline, or the time left while its clock stands.
///
/// An unchanged limit stays as it runs. A changed one counts from when the run began, or, where both count active time
/// only, is longer or shorter by the difference. One that did not begin gets its deadline when it does.
fn time_under(run: &Run, to: &Workflow) -> (Option<Timestamp>, Option<i64>) {
    let (old, core) = (&run.workflow, &run.core);
    let stood = old.clock_stands_while_waiting();
    if core.queued || (old.timeout(), stood) == (to.timeout(), to.clock_stands_while_waiting()) {
        return (core.deadline_at, core.time_left);
    }
    let Some(limit) = to.timeout() else { return (None, None) };
    match old.timeout() {
        Some(before) if stood && to.clock_stands_while_waiting() => {
            let micros = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
            let more = micros(limit).saturating_sub(micros(before));
            let later =
                |at: Timestamp| whole_micros(at.saturating_add(SignedDuration::from_micros(more)).unwrap_or(at));
            (core.deadline_at.map(later), core.time_left.map(|left| left.saturating_add(more)))
        }
        _ => (Some(job_after(core.admitted_at.unwrap_or_else(|| run.created_at()), limit)), None),
    }
}
