//! The run as a whole: how it starts, turns round and ends.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    RunMut,
    place::of_step,
    step::with_step,
    stop::{stop_block, stop_step},
};
use crate::{
    job::{Failure, codes, whole_micros},
    value::Value,
    workflow::{
        Cause, Phase, RestoredState, Role, RunEvent, RunStatus, StepRun, StepStatus,
        definition::{FINALLY, MAIN},
        state::{Halt, RunCore, RunInfo},
    },
};

pub(super) fn started(core: &mut RunCore, at: Timestamp, event: &RunEvent) {
    let RunEvent::RunStarted {
        run_id,
        tenant,
        team,
        principal,
        input,
        labels,
        priority,
        memory_id,
        idempotency_key,
        deadline_at,
        dry_run,
        parent,
        origin,
        slot,
        queued,
        ..
    } = event
    else {
        return;
    };
    core.info = Some(Arc::new(RunInfo {
        id: run_id.clone(),
        tenant: tenant.clone(),
        team: team.clone(),
        principal: principal.clone(),
        priority: *priority,
        memory_id: memory_id.clone(),
        input: input.clone(),
        labels: labels.clone(),
        idempotency_key: idempotency_key.clone(),
        created_at: at,
        started_at: at.to_string().into(),
        dry_run: *dry_run,
        parent: parent.clone(),
        origin: origin.clone(),
        slot: slot.clone(),
    }));
    core.queued = *queued;
    core.context = Arc::new(Value::Object(serde_json::Map::new()));
    core.deadline_at = *deadline_at;
    core.status = RunStatus::Running;
}

pub(super) fn restored(run: &mut impl RunMut, state: &RestoredState) {
    run.restore(state);
    let core = run.core_mut();
    let is_held = |step: &&StepRun| step.is_held && !step.status.is_terminal();
    core.held = u32::try_from(state.steps.iter().filter(is_held).count()).unwrap_or(u32::MAX);
    core.bytes = state.steps.iter().map(|step| step.bytes).sum();
    core.context = state.context.clone();
    core.signals = state.signals.clone();
    // What succeeds from here on succeeded after everything that was taken over.
    core.seq += state.steps.iter().map(|step| step.done_at).max().unwrap_or(0);
}

pub(super) fn unwinding(run: &mut impl RunMut, at: Timestamp, cause: &Arc<Cause>) {
    let core = run.core_mut();
    core.phase = Phase::Stopping;
    core.cause = Some(cause.clone());
    core.deadline_at = None;
    core.time_left = None;
    stop_block(run, at, MAIN);
}

/// What runs at last is not bound by the deadline of the run, but by one of its own.
pub(super) fn finalizing(core: &mut RunCore, until: Option<Timestamp>) {
    core.phase = Phase::Finalizing;
    core.deadline_at = until;
    core.time_left = None;
    core.halt = None;
}

/// Stops what the run does at its end.
pub(super) fn halted(run: &mut impl RunMut, at: Timestamp, cause: &Arc<Cause>) {
    let (halt, failure) = match &**cause {
        Cause::Cancelled { reason, .. } => (Halt::Run, Failure::fatal(codes::CANCELLED, reason.clone())),
        Cause::Failed { failure, .. } => (Halt::Phase, failure.clone()),
        Cause::TimedOut => (Halt::Phase, Failure::fatal(codes::FINALLY_TIMEOUT, "the end took too long")),
    };
    let core = run.core_mut();
    core.halt = Some(halt);
    core.deadline_at = None;
    core.cause.get_or_insert_with(|| cause.clone());
    match core.phase {
        Phase::Compensating => {
            core.undo_failure.get_or_insert(failure);
            for slot in core.undo.clone().iter().flat_map(|undo| undo.iter()) {
                stop_step(run, at, *slot as usize);
            }
        }
        Phase::Finalizing => stop_block(run, at, FINALLY),
        Phase::Forward | Phase::Stopping => stop_block(run, at, MAIN),
    }
}

/// Lines up what is to be undone: the last that succeeded first.
pub(super) fn compensating(run: &mut impl RunMut, until: Option<Timestamp>) {
    let workflow = run.workflow().clone();
    let mut found: Vec<(u64, u32)> = Vec::new();
    for slot in 0..run.step_count() {
        let Some(step) = run.step_at(slot).filter(|step| step.status == StepStatus::Succeeded && step.done_at > 0)
        else {
            continue;
        };
        let undo = workflow.steps().get(step.position()).and_then(|step| step.compensation);
        let undo = undo.and_then(|undo| u32::try_from(of_step(run, slot, undo)?).ok());
        found.extend(undo.map(|undo| (step.done_at, undo)));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let core = run.core_mut();
    core.phase = Phase::Compensating;
    core.deadline_at = until;
    core.undo = Some(found.into_iter().map(|(_, slot)| slot).collect());
}

pub(super) fn failed(run: &mut impl RunMut, at: Timestamp, event: &RunEvent) {
    let status = match event {
        RunEvent::RunFailed { step, failure, timed_out } => {
            let core = run.core_mut();
            core.failure = Some(failure.clone());
            core.failed_step = step.as_ref().map(crate::job::StepRunId::shared);
            if core.cause.is_none() {
                core.cause = Some(Arc::new(Cause::Failed {
                    step: step.clone(),
                    failure: failure.clone(),
                    timed_out: *timed_out,
                }));
            }
            if *timed_out { RunStatus::TimedOut } else { RunStatus::Failed }
        }
        RunEvent::RunCancelled { reason, .. } => {
            run.core_mut().failure = Some(Failure::fatal(codes::CANCELLED, reason.clone()));
            RunStatus::Cancelled
        }
        _ => {
            run.core_mut().failure = Some(Failure::fatal(codes::TIMEOUT, "the run was not done in time"));
            RunStatus::TimedOut
        }
    };
    finish(run, at, status);
}

/// Ends the run: what has not ended is cancelled, and what was there to undo was not needed.
pub(super) fn finish(run: &mut impl RunMut, at: Timestamp, status: RunStatus) {
    for slot in 0..run.step_count() {
        let Some(step) = run.step_at(slot).filter(|step| !step.status.is_terminal()) else { continue };
        let role = run.workflow().steps().get(step.position()).map(|step| step.role);
        let is_unused = role == Some(Role::Compensation) && step.started_at.is_none();
        with_step(run, slot, |step| {
            step.due_at = None;
            step.waits_for = None;
            step.completed_at = Some(at);
            step.status = if is_unused { StepStatus::Skipped } else { StepStatus::Cancelled };
        });
    }
    let core = run.core_mut();
    core.status = status;
    core.completed_at = Some(at);
    core.deadline_at = None;
    core.time_left = None;
}

/// What follows from the counters after every event.
pub(super) fn settle_status(run: &mut impl RunMut, at: Timestamp) {
    let stands = run.workflow().clock_stands_while_waiting();
    let core = run.core_mut();
    if core.status.is_terminal() || core.info.is_none() {
        return;
    }
    core.status = match core.waiting {
        _ if core.queued => RunStatus::Pending,
        0 => RunStatus::Running,
        _ => RunStatus::Waiting,
    };
    if core.queued || !stands || core.phase != Phase::Forward {
        return;
    }
    match (core.is_passive(), core.deadline_at, core.time_left) {
        (true, Some(deadline), _) => {
            core.time_left = Some(deadline.as_microsecond().saturating_sub(at.as_microsecond()).max(0));
            core.deadline_at = None;
        }
        (false, None, Some(left)) => {
            let deadline = at.checked_add(SignedDuration::from_micros(left)).unwrap_or(Timestamp::MAX);
            core.deadline_at = Some(whole_micros(deadline));
            core.time_left = None;
        }
        _ => {}
    }
}
