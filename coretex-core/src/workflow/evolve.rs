//! The fold: what an event does to the state. Written once, for the state itself and for a draft over it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{RunEvent, RunStatus, StepKind, StepRun, StepStatus, Workflow, state::RunCore};
use crate::job::{Failure, Job, JobId, JobState, Output, StepId};

/// State that events can be folded into.
pub(super) trait RunMut {
    fn workflow(&self) -> &Arc<Workflow>;
    fn core(&self) -> &RunCore;
    fn core_mut(&mut self) -> &mut RunCore;
    fn step_at(&self, position: usize) -> Option<&StepRun>;
    fn step_at_mut(&mut self, position: usize) -> Option<&mut StepRun>;
}

/// Folds `event`, which happened at `at`, into `run`. Total: an event about a step that the definition does not have
/// changes nothing but the time of change.
pub(super) fn evolve(run: &mut impl RunMut, at: Timestamp, event: &RunEvent) {
    run.core_mut().updated_at = at;
    match event {
        RunEvent::RunStarted { .. } => started(run.core_mut(), at, event),
        RunEvent::RunAdmitted { deadline_at } => {
            let core = run.core_mut();
            core.queued = false;
            core.admitted_at = Some(at);
            core.deadline_at = *deadline_at;
        }
        RunEvent::StepAttempted { step, attempt, input } => attempted(run, at, step, *attempt, input.as_ref()),
        RunEvent::StepDispatched { step, attempt, input, decision, pool, deadline_at } => {
            attempted(run, at, step, *attempt, input.as_ref());
            with_step(run, step, |step| {
                if let Some(job) = &mut step.job {
                    job.dispatch(at, decision, pool, *deadline_at);
                }
            });
        }
        RunEvent::StepCompleted { step, worker, execution_ms, output, .. } => {
            with_step(run, step, |step| {
                if let Some(job) = &mut step.job {
                    job.succeed(at, worker, *execution_ms, output);
                }
            });
            succeeded(run, at, step, None);
        }
        RunEvent::StepJob { step, event, .. } => with_step(run, step, |step| {
            if let Some(job) = &mut step.job {
                job.apply(at, event);
                step.status = match job.state {
                    JobState::ApprovalRequired => StepStatus::Waiting,
                    _ => StepStatus::Running,
                };
            }
        }),
        RunEvent::StepWaiting { step, input, until } => with_step(run, step, |step| {
            step.status = StepStatus::Waiting;
            step.started_at = Some(at);
            step.due_at = *until;
            step.input.clone_from(input);
        }),
        RunEvent::StepAnswered { step, answer } => with_step(run, step, |step| {
            step.status = StepStatus::Running;
            step.due_at = None;
            let value = serde_json::json!({
                "approved": answer.approved, "by": &*answer.by, "role": &*answer.role,
                "reason": &*answer.reason, "note": &*answer.note,
            });
            step.output = Some(Output { value: Some(Arc::new(value)), ..Output::default() });
        }),
        RunEvent::StepDelayed { step, until } => with_step(run, step, |step| {
            step.status = StepStatus::Running;
            step.started_at = Some(at);
            step.due_at = Some(*until);
        }),
        RunEvent::StepNotified { step, payload } => with_step(run, step, |step| {
            step.status = StepStatus::Running;
            step.started_at = Some(at);
            step.input = Some(payload.clone());
        }),
        RunEvent::StepSucceeded { step, output } => succeeded(run, at, step, output.as_ref()),
        RunEvent::StepSkipped { step } => {
            with_step(run, step, |step| end(step, StepStatus::Skipped, at, None));
            release_dependents(run, step);
        }
        RunEvent::StepRetryScheduled { step, failure, next_at } => with_step(run, step, |step| {
            step.status = StepStatus::Pending;
            step.due_at = Some(*next_at);
            step.failure = Some(failure.clone());
        }),
        RunEvent::StepFailed { step, failure } => {
            with_step(run, step, |step| end(step, StepStatus::Failed, at, Some(failure.clone())));
        }
        RunEvent::StepTimedOut { step, failure } => {
            with_step(run, step, |step| end(step, StepStatus::TimedOut, at, Some(failure.clone())));
        }
        RunEvent::RunSucceeded {} => finish(run, at, RunStatus::Succeeded),
        RunEvent::RunFailed { step, failure, timed_out } => {
            let status = if *timed_out { RunStatus::TimedOut } else { RunStatus::Failed };
            let core = run.core_mut();
            core.failure = Some(failure.clone());
            core.failed_step = Some(step.shared());
            finish(run, at, status);
        }
        RunEvent::RunCancelled { reason, .. } => {
            run.core_mut().failure = Some(Failure::fatal(crate::job::codes::CANCELLED, reason.clone()));
            finish(run, at, RunStatus::Cancelled);
        }
        RunEvent::RunTimedOut => {
            run.core_mut().failure = Some(Failure::fatal(crate::job::codes::TIMEOUT, "the run was not done in time"));
            finish(run, at, RunStatus::TimedOut);
        }
    }
    let core = run.core_mut();
    if !core.status.is_terminal() && core.id.is_some() {
        core.status = match core.waiting {
            _ if core.queued => RunStatus::Pending,
            0 => RunStatus::Running,
            _ => RunStatus::Waiting,
        };
    }
}

fn started(core: &mut RunCore, at: Timestamp, event: &RunEvent) {
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
        slot,
        queued,
        ..
    } = event
    else {
        return;
    };
    core.id = Some(run_id.clone());
    core.tenant = tenant.clone();
    core.team = team.clone();
    core.principal = principal.clone();
    core.input = input.clone();
    core.context = Arc::new(Value::Object(serde_json::Map::new()));
    core.labels = labels.clone();
    core.priority = *priority;
    core.memory_id = memory_id.clone();
    core.idempotency_key.clone_from(idempotency_key);
    core.deadline_at = *deadline_at;
    core.slot.clone_from(slot);
    core.queued = *queued;
    core.created_at = at;
    core.status = RunStatus::Running;
}

fn attempted(run: &mut impl RunMut, at: Timestamp, step: &StepId, attempt: u32, input: Option<&Arc<Value>>) {
    let id = run.core().id.as_ref().map(|run| JobId::of_step(run, step, attempt));
    with_step(run, step, |step| {
        step.status = StepStatus::Running;
        step.attempts = attempt;
        step.started_at = step.started_at.or(Some(at));
        step.due_at = None;
        step.input = input.cloned();
        step.job = id.map(|id| Box::new(Job::new(id, attempt, at)));
    });
}

fn succeeded(run: &mut impl RunMut, at: Timestamp, step: &StepId, output: Option<&Arc<Value>>) {
    let mut written = None;
    with_step(run, step, |step| {
        end(step, StepStatus::Succeeded, at, None);
        if let Some(value) = output {
            step.output = Some(Output { value: Some(value.clone()), ..Output::default() });
        } else if let Some(job) = &mut step.job {
            step.output = job.output.take();
        }
        written.clone_from(&step.output);
    });
    write_context(run, step, written);
    release_dependents(run, step);
}

/// What a step counts for in the run's counters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    open: u32,
    waiting: u32,
    in_flight: u32,
    asking: u32,
}

fn weigh(step: &StepRun, notify: bool) -> Weight {
    if step.status.is_terminal() {
        return Weight::default();
    }
    let job = step.job.as_ref().map(|job| (job.state, job.due_at));
    let job_open = step.status != StepStatus::Pending;
    Weight {
        open: 1,
        waiting: u32::from(step.status == StepStatus::Waiting),
        in_flight: u32::from(job_open && job.is_some_and(|(state, _)| state.is_in_flight())),
        asking: u32::from(
            (notify && step.status == StepStatus::Running)
                || (job_open && job.is_some_and(|(state, due)| state == JobState::Pending && due.is_none())),
        ),
    }
}

/// Changes a step and keeps the run's counters equal to what a walk over the steps would count.
fn with_step(run: &mut impl RunMut, id: &StepId, change: impl FnOnce(&mut StepRun)) {
    let Some(position) = run.workflow().position(id.as_str()) else { return };
    let notify = run.workflow().steps().get(position).is_some_and(|step| matches!(step.kind, StepKind::Notify));
    let Some(step) = run.step_at_mut(position) else { return };
    let before = weigh(step, notify);
    change(step);
    let after = weigh(step, notify);
    if before != after {
        let core = run.core_mut();
        for (count, before, after) in [
            (&mut core.open, before.open, after.open),
            (&mut core.waiting, before.waiting, after.waiting),
            (&mut core.in_flight, before.in_flight, after.in_flight),
            (&mut core.asking, before.asking, after.asking),
        ] {
            *count = (*count + after).saturating_sub(before);
        }
    }
}

fn end(step: &mut StepRun, status: StepStatus, at: Timestamp, failure: Option<Failure>) {
    step.status = status;
    step.completed_at = Some(at);
    step.due_at = None;
    step.failure = failure;
}

fn release_dependents(run: &mut impl RunMut, id: &StepId) {
    let workflow = run.workflow().clone();
    let Some(step) = workflow.position(id.as_str()).and_then(|position| workflow.steps().get(position)) else { return };
    for dependent in &step.dependents {
        if let Some(step) = run.step_at_mut(*dependent) {
            step.open_deps = step.open_deps.saturating_sub(1);
        }
    }
}

fn write_context(run: &mut impl RunMut, id: &StepId, output: Option<Output>) {
    let workflow = run.workflow().clone();
    let step = workflow.position(id.as_str()).and_then(|position| workflow.steps().get(position));
    let Some((path, output)) = step.and_then(|step| step.output_path.as_ref()).zip(output) else { return };
    let value = match (output.value, output.pointer) {
        (Some(value), _) => Value::clone(&value),
        (None, Some(pointer)) => Value::String(pointer.as_ref().to_owned()),
        (None, None) => Value::Null,
    };
    // The path was checked with the definition; what it cannot be written over stays as it is.
    let context = Arc::make_mut(&mut run.core_mut().context);
    let _unwritable = path.set(context, value);
}

/// Ends the run: open steps are cancelled.
fn finish(run: &mut impl RunMut, at: Timestamp, status: RunStatus) {
    for position in 0..run.workflow().steps().len() {
        let open = run.step_at(position).is_some_and(|step| !step.status.is_terminal());
        if open && let Some(step) = run.step_at_mut(position) {
            step.due_at = None;
            step.completed_at = Some(at);
            step.status = StepStatus::Cancelled;
        }
    }
    let core = run.core_mut();
    core.status = status;
    core.completed_at = Some(at);
    core.deadline_at = None;
    (core.open, core.waiting, core.in_flight, core.asking) = (0, 0, 0, 0);
}
