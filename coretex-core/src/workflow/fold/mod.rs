//! The fold: what an event does to the state. Written once, for the state itself and for a draft over it.
//!
//! The fold is total: an event about a step run that the state does not have changes nothing but the time of change.
//! It also keeps what follows from the step runs: the counters of the run and of blocks, the edges that are still open,
//! and which groups have ended blocks.

mod group;
mod migrate;
mod place;
mod run;
mod step;
mod stop;

use std::{num::NonZeroU64, sync::Arc};

use jiff::Timestamp;

use super::{
    RestoredState, RunEvent, SkipReason, StepRun, StepStatus, WaitsFor, Workflow,
    state::{Block, Place, RunCore},
};
use crate::job::{ApprovalGrant, Job, JobId, JobState, Output};

pub(super) use self::{
    group::group_output,
    migrate::moved,
    place::{block, locate, of_step, run_id, slots_of, step_runs, visible},
    step::{how_ended, passes, taken},
    stop::under_way,
};
use step::{Release, end, with_step};

/// State that events can be folded into.
pub(super) trait RunMut {
    fn workflow(&self) -> &Arc<Workflow>;
    fn core(&self) -> &RunCore;
    fn core_mut(&mut self) -> &mut RunCore;
    fn step_at(&self, slot: usize) -> Option<&StepRun>;
    fn step_at_mut(&mut self, slot: usize) -> Option<&mut StepRun>;
    fn step_count(&self) -> usize;
    /// Number of the event that is being folded in, from 1.
    fn event_number(&self) -> u64;
    fn push_step(&mut self, step: StepRun);
    fn block_at(&self, block: usize) -> Option<&Block>;
    fn block_at_mut(&mut self, block: usize) -> Option<&mut Block>;
    fn block_count(&self) -> usize;
    fn push_block(&mut self, block: Block);
    /// Looks at a step run anew for what is looked up by something else than its place.
    fn reindex(&mut self, slot: usize, before: &Place);
    fn restore(&mut self, state: &RestoredState);
}

/// Folds `event`, which happened at `at`, into `run`.
pub(super) fn evolve(run: &mut impl RunMut, at: Timestamp, event: &RunEvent) {
    let slot = event.step().and_then(|step| locate(run, step.as_str()));
    evolve_at(run, at, event, slot);
}

/// Like [`evolve`], for an event about the step run at `slot`.
pub(super) fn evolve_at(run: &mut impl RunMut, at: Timestamp, event: &RunEvent, slot: Option<usize>) {
    let core = run.core_mut();
    core.updated_at = at;
    core.seq += 1;
    match slot {
        Some(slot) => about_step(run, at, event, slot),
        None => about_run(run, at, event),
    }
    run::settle_status(run, at);
}

fn about_run(run: &mut impl RunMut, at: Timestamp, event: &RunEvent) {
    match event {
        RunEvent::RunStarted { .. } => run::started(run.core_mut(), at, event),
        RunEvent::RunAdmitted { deadline_at } => {
            let core = run.core_mut();
            core.queued = false;
            core.admitted_at = Some(at);
            core.deadline_at = *deadline_at;
        }
        RunEvent::RunRestored { state } => run::restored(run, state),
        RunEvent::SignalReceived { name, id, payload, .. } => {
            let signals = Arc::make_mut(&mut run.core_mut().signals);
            signals.kept.entry(name.clone()).or_default().push_back(payload.clone());
            signals.received += 1;
            if !id.is_empty() {
                signals.seen.insert(id.clone());
            }
        }
        RunEvent::RunUnwinding { cause } => run::unwinding(run, at, cause),
        RunEvent::RunCompensating { until } => run::compensating(run, *until),
        RunEvent::RunFinalizing { until } => run::finalizing(run.core_mut(), *until),
        RunEvent::RunHalted { cause } => run::halted(run, at, cause),
        RunEvent::RunSucceeded { output } => {
            run.core_mut().output.clone_from(output);
            run::finish(run, at, super::RunStatus::Succeeded);
        }
        RunEvent::RunFailed { .. } | RunEvent::RunCancelled { .. } | RunEvent::RunTimedOut {} => {
            run::failed(run, at, event);
        }
        // About a step run that is not there.
        _ => {}
    }
}

fn about_step(run: &mut impl RunMut, at: Timestamp, event: &RunEvent, slot: usize) {
    match event {
        RunEvent::StepAttempted { attempt, input, .. } => attempted(run, at, slot, *attempt, input.as_ref()),
        RunEvent::StepDispatched { attempt, input, decision, pool, deadline_at, .. } => {
            attempted(run, at, slot, *attempt, input.as_ref());
            with_step(run, slot, |step| {
                if let Some(job) = &mut step.job {
                    job.dispatch(at, decision, pool, *deadline_at);
                }
            });
        }
        RunEvent::StepCompleted { worker, execution_ms, output, .. } => {
            with_step(run, slot, |step| {
                if let Some(job) = &mut step.job {
                    job.succeed(at, worker, *execution_ms, output);
                }
            });
            step::succeeded(run, at, slot, None);
        }
        RunEvent::StepJob { event, .. } => with_step(run, slot, |step| {
            if let Some(job) = &mut step.job {
                job.apply(at, event);
                step.status = match job.state {
                    JobState::ApprovalRequired => StepStatus::Waiting,
                    _ => StepStatus::Running,
                };
            }
        }),
        RunEvent::StepWaiting { input, until, .. } => {
            waiting(run, at, slot, WaitsFor::Answer, input.as_ref(), *until);
        }
        RunEvent::StepAsked { input, until, .. } => {
            waiting(run, at, slot, WaitsFor::Data, input.as_ref(), *until);
        }
        RunEvent::StepListening { signal, until, .. } => {
            waiting(run, at, slot, WaitsFor::Signal { name: signal.clone() }, None, *until);
        }
        RunEvent::StepAnswered { answer, .. } => with_step(run, slot, |step| {
            step.status = StepStatus::Running;
            step.due_at = None;
            step.waits_for = None;
            let value = serde_json::json!({
                "approved": answer.approved, "by": &*answer.by, "role": &*answer.role,
                "reason": &*answer.reason, "note": &*answer.note,
            });
            step.output = Some(Output { value: Some(Arc::new(value)), ..Output::default() });
        }),
        RunEvent::StepProvided { value, .. } => {
            step::succeeded(run, at, slot, Some(value));
        }
        RunEvent::SignalTaken { signal, failure, .. } => {
            let signals = Arc::make_mut(&mut run.core_mut().signals);
            let payload = signals.kept.get_mut(signal).and_then(std::collections::VecDeque::pop_front);
            if signals.kept.get(signal).is_some_and(std::collections::VecDeque::is_empty) {
                signals.kept.remove(signal);
            }
            match failure {
                None => step::succeeded(run, at, slot, Some(&payload.unwrap_or_default())),
                Some(failure) => step::failed(run, at, slot, StepStatus::Failed, failure),
            }
        }
        RunEvent::StepDelayed { until, .. } => with_step(run, slot, |step| {
            begin(step, at, StepStatus::Running);
            step.due_at = Some(*until);
        }),
        RunEvent::StepNotified { payload, .. } => taking(run, slot, Some(payload), |step| {
            begin(step, at, StepStatus::Running);
            step.waits_for = Some(WaitsFor::Alert);
        }),
        RunEvent::StepStoring { attempt, key, value, .. } => taking(run, slot, value.as_ref(), |step| {
            begin(step, at, StepStatus::Running);
            step.attempts = *attempt;
            step.due_at = None;
            step.waits_for = Some(WaitsFor::Artifact { key: key.clone() });
        }),
        RunEvent::ChildStarted { attempt, run: child, input, .. } => taking(run, slot, input.as_ref(), |step| {
            begin(step, at, StepStatus::Running);
            step.attempts = *attempt;
            step.due_at = None;
            step.waits_for = Some(WaitsFor::Child { run: child.clone() });
        }),
        RunEvent::StepSimulated { input, .. } => {
            taking(run, slot, input.as_ref(), |step| begin(step, at, StepStatus::Running));
        }
        RunEvent::GroupOpened { items, until, .. } => group::opened(run, at, slot, items.as_ref(), *until),
        RunEvent::BlockBegun { index, carry, .. } => group::block_begun(run, slot, *index, carry.as_ref()),
        RunEvent::GroupStopping { failure, timed_out, .. } => {
            stop::group_stopping(run, at, slot, failure.as_ref(), *timed_out);
        }
        RunEvent::GroupSucceeded { carry, .. } => {
            let output = group::group_output(run, slot, carry.as_ref()).map(Arc::new);
            step::succeeded(run, at, slot, output.as_ref());
        }
        RunEvent::StepSwitched { cases, taken, .. } => step::switched(run, at, slot, cases, taken),
        RunEvent::StepParked { failure, .. } => with_step(run, slot, |step| {
            step.status = StepStatus::Waiting;
            step.due_at = None;
            step.failure = Some(failure.clone());
            step.waits_for = Some(WaitsFor::Operator);
        }),
        RunEvent::StepResolved { resolution, .. } => {
            let change = |step: &mut StepRun| {
                step.waits_for = None;
                step.due_at = None;
                if let super::Resolution::Retry { .. } = resolution {
                    step.status = StepStatus::Pending;
                    step.forgiven = step.attempts;
                    step.snoozed = 0;
                    step.due_at = Some(at);
                }
            };
            match resolution {
                super::Resolution::Retry { input: Some(input) } => taking(run, slot, Some(input), change),
                _ => with_step(run, slot, change),
            }
        }
        RunEvent::StepHeld { .. } => with_step(run, slot, |step| {
            step.is_held = true;
            // A further try was due: from now on it waits for room, and for no time.
            step.due_at = None;
        }),
        // What was stopped with its block has ended already; the event says so to readers.
        RunEvent::StepCancelled { .. } => with_step(run, slot, |step| {
            if !step.status.is_terminal() {
                end(step, StepStatus::Cancelled, at, None);
            }
        }),
        RunEvent::StepSucceeded { output, .. } => step::succeeded(run, at, slot, output.as_ref()),
        RunEvent::ConditionEvaluated { value, .. } => {
            step::succeeded(run, at, slot, Some(&Arc::new((*value).into())));
        }
        RunEvent::StepSkipped { reason, .. } => {
            with_step(run, slot, |step| end(step, StepStatus::Skipped, at, None));
            let release = match reason {
                SkipReason::Gate | SkipReason::Resolved => Release::Gate,
                SkipReason::NotTaken => Release::NotTaken,
                SkipReason::Broken => Release::Broken,
            };
            step::release(run, slot, release);
        }
        RunEvent::StepRetryScheduled { failure, next_at, .. } => with_step(run, slot, |step| {
            step.status = StepStatus::Pending;
            step.due_at = Some(*next_at);
            step.waits_for = None;
            step.failure = Some(failure.clone());
        }),
        RunEvent::StepSnoozed { failure, next_at, .. } => with_step(run, slot, |step| {
            step.status = StepStatus::Pending;
            step.due_at = Some(*next_at);
            step.failure = Some(failure.clone());
            step.snoozed = step.snoozed.saturating_add(1);
        }),
        RunEvent::StepFailed { failure, .. } => step::failed(run, at, slot, StepStatus::Failed, failure),
        RunEvent::StepTimedOut { failure, .. } => step::failed(run, at, slot, StepStatus::TimedOut, failure),
        RunEvent::RunFailed { .. } => run::failed(run, at, event),
        _ => {}
    }
}

fn begin(step: &mut StepRun, at: Timestamp, status: StepStatus) {
    step.status = status;
    step.is_held = false;
    step.started_at = step.started_at.or(Some(at));
}

/// Changes the step run at `slot`, which now has an input of its own, or none.
fn taking(
    run: &mut impl RunMut,
    slot: usize,
    input: Option<&Arc<crate::value::Value>>,
    change: impl FnOnce(&mut StepRun),
) {
    let number = NonZeroU64::new(run.event_number());
    with_step(run, slot, |step| {
        change(step);
        step.bytes = input.map_or(0, |input| step::size(input));
        step.input_at = input.and(number);
        step.input = input.cloned();
    });
}

fn waiting(
    run: &mut impl RunMut,
    at: Timestamp,
    slot: usize,
    waits_for: WaitsFor,
    input: Option<&Arc<crate::value::Value>>,
    until: Option<Timestamp>,
) {
    taking(run, slot, input, |step| {
        begin(step, at, StepStatus::Waiting);
        step.due_at = until;
        step.waits_for = Some(waits_for);
    });
}

/// The yes that covers the next try of a step: it covers those that follow by themselves, and not those that an operator
/// allows after all of them failed.
pub(super) fn kept_grant(step: &StepRun) -> Option<&Arc<ApprovalGrant>> {
    step.job.as_ref().filter(|_| step.attempts > step.forgiven)?.grant.as_ref()
}

fn attempted(
    run: &mut impl RunMut,
    at: Timestamp,
    slot: usize,
    attempt: u32,
    input: Option<&Arc<crate::value::Value>>,
) {
    let step = run_id(run, slot);
    let id = run.core().id().zip(step).map(|(run, step)| JobId::of_step(run, &step, attempt));
    taking(run, slot, input, |step| {
        begin(step, at, StepStatus::Running);
        let grant = kept_grant(step).cloned();
        step.attempts = attempt;
        step.due_at = None;
        step.job = id.map(|id| Box::new(Job { grant, ..Job::new(id, attempt, at) }));
    });
}
