//! One step run: how it ends, and what its end means for those that wait for it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Place, RunMut, place::of_step};
use crate::{
    job::{Failure, Job, JobState, Output},
    value::{Value, limits::measure},
    workflow::{Role, Step, StepKind, StepRun, StepStatus, WaitsFor, definition::EdgeKind},
};

/// More than any number of a step that a run took over from another one: it was done before all that are done in this one.
const TAKEN_OVER: u64 = 1 << 20;

/// Bytes of an input that stay in the state when its step run has ended: about what the step run itself takes. No decision
/// needs the input of a step run that has ended; a small one spares readers the log.
const KEPT_BYTES: u64 = 512;

/// How a step ended, as those see it that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::workflow) enum Release<'a> {
    /// Well. A switch with the steps that it chose.
    Done(Option<&'a [Arc<str>]>),
    /// It was not needed; what waits for it goes on.
    Gate,
    /// No way led to it.
    NotTaken,
    /// It failed for good.
    Failed,
    /// It was not begun because a step that it waits for failed.
    Broken,
}

/// What a step run counts for in the run's counters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    open: u32,
    waiting: u32,
    in_flight: u32,
    asking: u32,
    children: u32,
    held: u32,
    in_flight_bytes: u64,
    bytes: u64,
}

fn weigh(step: &StepRun) -> Weight {
    if step.status.is_terminal() {
        return Weight { bytes: step.bytes, ..Weight::default() };
    }
    let is_open = step.status != StepStatus::Pending;
    let job = step.job.as_ref().filter(|_| is_open);
    // One that is put off by policy has its time; any other that is pending is about to be judged, or asked about.
    let is_judged = |job: &Job| job.state == JobState::Pending && (job.due_at.is_none() || job.is_asking());
    let confirmed = !matches!(step.waits_for, Some(WaitsFor::Alert | WaitsFor::Artifact { .. }));
    let in_flight = job.is_some_and(|job| job.state.is_in_flight());
    let asking = (is_open && !confirmed) || job.is_some_and(|job| is_judged(job));
    let child = is_open && matches!(step.waits_for, Some(WaitsFor::Child { .. }));
    Weight {
        open: 1,
        waiting: u32::from(step.status == StepStatus::Waiting),
        in_flight: u32::from(in_flight),
        asking: u32::from(asking),
        children: u32::from(child),
        held: u32::from(step.is_held),
        in_flight_bytes: if in_flight || asking || child { step.bytes } else { 0 },
        bytes: step.bytes,
    }
}

/// Changes a step run and keeps what follows from it: the run's counters, its block, and what is looked up by time.
pub(super) fn with_step(run: &mut impl RunMut, slot: usize, change: impl FnOnce(&mut StepRun)) {
    let Some(step) = run.step_at_mut(slot) else { return };
    let before = weigh(step);
    let place = Place::of(step);
    change(step);
    let after = weigh(step);
    let (position, block) = (step.position(), step.block as usize);
    run.reindex(slot, &place);
    if before == after {
        return;
    }
    let core = run.core_mut();
    for (count, before, after) in [
        (&mut core.waiting, before.waiting, after.waiting),
        (&mut core.in_flight, before.in_flight, after.in_flight),
        (&mut core.asking, before.asking, after.asking),
        (&mut core.children, before.children, after.children),
        (&mut core.held, before.held, after.held),
    ] {
        *count = (*count + after).saturating_sub(before);
    }
    for (bytes, before, after) in [
        (&mut core.in_flight_bytes, before.in_flight_bytes, after.in_flight_bytes),
        (&mut core.bytes, before.bytes, after.bytes),
    ] {
        *bytes = (*bytes + after).saturating_sub(before);
    }
    let counts = run.workflow().steps().get(position).is_some_and(|step| step.role != Role::Compensation);
    if before.open > after.open && counts {
        super::group::step_ended(run, block);
    }
}

/// Bytes of `value` as JSON.
pub(super) fn size(value: &Value) -> u64 {
    measure(value).bytes as u64
}

pub(super) fn end(step: &mut StepRun, status: StepStatus, at: Timestamp, failure: Option<Failure>) {
    step.status = status;
    step.is_held = false;
    step.completed_at = Some(at);
    step.due_at = None;
    step.waits_for = None;
    step.failure = failure;
    if step.bytes > KEPT_BYTES && step.input.is_some() {
        // What it made is counted after this.
        step.input = None;
        step.bytes = 0;
    }
}

/// The step run is done; `output` where that is not its job's.
pub(super) fn succeeded(run: &mut impl RunMut, at: Timestamp, slot: usize, output: Option<&Arc<Value>>) {
    finish(run, at, slot, output);
    release(run, slot, Release::Done(None));
}

/// A switch chose `taken`.
pub(super) fn switched(run: &mut impl RunMut, at: Timestamp, slot: usize, cases: &[Arc<str>], taken: &[Arc<str>]) {
    let names = |names: &[Arc<str>]| names.iter().map(|name| Value::String(name.to_string())).collect::<Vec<_>>();
    let output = serde_json::json!({"cases": names(cases), "taken": names(taken)});
    finish(run, at, slot, Some(&Arc::new(output)));
    release(run, slot, Release::Done(Some(taken)));
}

fn finish(run: &mut impl RunMut, at: Timestamp, slot: usize, output: Option<&Arc<Value>>) {
    let seq = run.core().seq;
    let position = run.step_at(slot).map_or(0, StepRun::position);
    let step = run.workflow().steps().get(position);
    let undoable = step.is_some_and(|step| step.compensation.is_some());
    let is_written = step.is_some_and(|step| step.output_path.is_some());
    let mut written = None;
    with_step(run, slot, |step| {
        end(step, StepStatus::Succeeded, at, None);
        step.started_at = step.started_at.or(Some(at));
        if let Some(value) = output {
            step.output = Some(Output { value: Some(value.clone()), ..Output::default() });
        } else if let Some(job) = &mut step.job {
            step.output = job.output.take();
        }
        step.bytes += step.output.as_ref().and_then(|output| output.value.as_deref()).map_or(0, size);
        if undoable {
            step.done_at = TAKEN_OVER + seq;
        }
        if is_written {
            written.clone_from(&step.output);
        }
    });
    if let Some(output) = written {
        write_context(run, position, &output);
    }
}

/// The step run failed for good.
pub(super) fn failed(run: &mut impl RunMut, at: Timestamp, slot: usize, status: StepStatus, failure: &Failure) {
    let Some(state) = run.step_at(slot) else { return };
    let (position, block) = (state.position(), state.block as usize);
    let workflow = run.workflow().clone();
    let Some((step, scope)) = workflow.at(position) else { return };
    let goes_on = step.handled || step.continue_on_error || scope.tolerant;
    if step.role == Role::Compensation {
        run.core_mut().undo_failure.get_or_insert_with(|| failure.clone());
    } else if !goes_on && let Some(block) = run.block_at_mut(block) {
        block.failed = block.failed.or(u32::try_from(slot).ok());
    }
    with_step(run, slot, |step| end(step, status, at, Some(failure.clone())));
    if goes_on {
        release(run, slot, Release::Failed);
    }
}

/// Tells the steps that wait for the one at `slot` how it ended.
pub(super) fn release(run: &mut impl RunMut, slot: usize, how: Release<'_>) {
    release_to(run, slot, how, |_| true);
}

/// As [`release`], to those of them that `wanted` picks.
fn release_to(run: &mut impl RunMut, slot: usize, how: Release<'_>, wanted: impl Fn(&StepRun) -> bool) {
    let Some(position) = run.step_at(slot).map(StepRun::position) else { return };
    for n in 0.. {
        // Looked up for each edge, rather than held: all runs share the definition, and counting a reference to it
        // would have the cores wait for each other.
        let steps = run.workflow().steps();
        let Some((step, edge)) = steps.get(position).and_then(|step| Some((step, step.dependents.get(n)?))) else {
            return;
        };
        let Some(target) = steps.get(edge.to) else { continue };
        let (is_taken, is_broken) = passes(how, edge.kind, step, target);
        let Some(waiting) = of_step(run, slot, edge.to) else { continue };
        if let Some(waiting) = run.step_at_mut(waiting).filter(|waiting| wanted(waiting)) {
            waiting.open_edges = waiting.open_edges.saturating_sub(1);
            waiting.is_taken |= is_taken;
            waiting.is_broken |= is_broken;
        }
    }
}

/// How a step run ended; `taken` is what it chose if it is of a switch. `None` when it has not ended.
pub(in crate::workflow) fn how_ended<'a>(step: &Step, state: &StepRun, taken: &'a [Arc<str>]) -> Option<Release<'a>> {
    match state.status {
        StepStatus::Succeeded if matches!(step.kind, StepKind::Switch { .. }) => Some(Release::Done(Some(taken))),
        StepStatus::Succeeded => Some(Release::Done(None)),
        StepStatus::Failed | StepStatus::TimedOut => Some(Release::Failed),
        StepStatus::Skipped if state.is_broken => Some(Release::Broken),
        StepStatus::Skipped if step.incoming > 0 && !state.is_taken => Some(Release::NotTaken),
        StepStatus::Skipped => Some(Release::Gate),
        StepStatus::Cancelled => Some(Release::Broken),
        StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => None,
    }
}

/// What a switch chose.
pub(in crate::workflow) fn taken(state: &StepRun) -> Vec<Arc<str>> {
    let output = state.output.as_ref().and_then(|output| output.value.as_deref());
    let taken = output.and_then(|output| output.get("taken")?.as_array());
    taken.into_iter().flatten().filter_map(|id| id.as_str().map(Arc::from)).collect()
}

/// Whether the end of `source` lets `target` go along an edge, and whether it breaks it.
pub(in crate::workflow) fn passes(how: Release<'_>, kind: EdgeKind, source: &Step, target: &Step) -> (bool, bool) {
    let is_taken = match (how, kind) {
        (Release::Done(Some(chosen)), EdgeKind::Choice) => chosen.iter().any(|id| **id == *target.id.as_str()),
        (Release::Done(_) | Release::Gate, EdgeKind::Success) => true,
        (Release::Failed, EdgeKind::Failure) => true,
        (Release::Failed, EdgeKind::Success | EdgeKind::Choice) => source.continue_on_error,
        _ => false,
    };
    let is_broken = kind != EdgeKind::Failure
        && (how == Release::Broken || (how == Release::Failed && !source.handled && !source.continue_on_error));
    // A handler runs because something failed, whatever else it waits for.
    let counts = kind == EdgeKind::Failure || target.role != Role::Handler;
    (is_taken && counts, is_broken)
}

/// Tells those that wait for the step run at `slot` and were not reached how it ended, if it has: their edges are counted
/// anew. How it ended follows from its state.
pub(super) fn release_again(run: &mut impl RunMut, slot: usize) {
    let workflow = run.workflow().clone();
    let Some((state, step)) =
        run.step_at(slot).and_then(|state| Some((state, workflow.steps().get(state.position())?)))
    else {
        return;
    };
    let tolerant = workflow.at(state.position()).is_some_and(|(_, scope)| scope.tolerant);
    let ends_block = match state.status {
        // Such a failure ends the whole block: nobody waits for it any more.
        StepStatus::Failed | StepStatus::TimedOut => !(step.handled || step.continue_on_error || tolerant),
        StepStatus::Cancelled => true,
        _ => false,
    };
    let taken = taken(state);
    let Some(how) = how_ended(step, state, &taken).filter(|_| !ends_block) else { return };
    release_to(run, slot, how, |waiting| !waiting.is_reached());
}

fn write_context(run: &mut impl RunMut, position: usize, output: &Output) {
    let workflow = run.workflow().clone();
    let Some(path) = workflow.steps().get(position).and_then(|step| step.output_path.as_ref()) else { return };
    let context = Arc::make_mut(&mut run.core_mut().context);
    // The path was checked with the definition; what it cannot be written over stays as it is.
    let _unwritable = path.set(context, shown(output));
}

/// An output as it stands in a value: itself, or the pointer to it.
pub(super) fn shown(output: &Output) -> Value {
    match (&output.value, &output.pointer) {
        (Some(value), _) => Value::clone(value),
        (None, Some(pointer)) => Value::String(pointer.as_ref().to_owned()),
        (None, None) => Value::Null,
    }
}
