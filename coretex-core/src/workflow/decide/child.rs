//! Runs that are carried out for a step of another run.
//!
//! The parent says in one batch which run it wants, with the run's id; the outbox holds that until the run is there. The
//! child says how it ended in the batch with which it ends; the outbox holds that until the parent knows. So each of
//! them may be lost and repeated at any moment, and neither waits for the other in a transaction.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Machine, RunEffect};
use crate::{
    job::{Failure, Priority, RunId, StepRunId, TenantId, WorkflowId},
    value::Value,
    workflow::{
        Cause, ParentRun, RunEvent, RunStatus, StepKind, WaitsFor,
        fold::{self, RunMut},
    },
};

/// Most runs one below the other.
const MAX_DEPTH: u32 = 16;

/// Something to tell another run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum ChildEffect {
    /// Start a run for a step.
    StartChild(Box<StartChild>),
    /// Stop a run that is carried out for a step.
    StopChild {
        /// Which.
        run: RunId,
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// It does not take the time to undo anything or to run last steps.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Tell the step how the run ended that was carried out for it.
    EndChild {
        /// The step.
        parent: ParentRun,
        /// How it ended.
        end: ChildEnd,
    },
}

/// A run to start for a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartChild {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// Its definition; the current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
    /// Who owns it.
    pub tenant: TenantId,
    /// The team within the tenant.
    pub team: Arc<str>,
    /// On whose authority.
    pub principal: Arc<str>,
    /// Its input.
    pub input: Arc<Value>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// How urgent its jobs are.
    pub priority: Priority,
    /// When it is given up, because the parent is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<jiff::Timestamp>,
    /// No effect of it leaves the process.
    #[serde(default)]
    pub dry_run: bool,
    /// The step.
    pub parent: ParentRun,
}

/// How a run ended that was carried out for a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildEnd {
    /// Which run.
    pub run: RunId,
    /// Its state.
    pub status: RunStatus,
    /// What it made.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl Machine<'_> {
    /// Asks for the run of a subworkflow step.
    pub(super) fn start_child(&mut self, slot: usize) {
        let Some((step, state)) = self.step(slot).zip(self.draft.step_at(slot)) else { return };
        let StepKind::Subworkflow { workflow, digest } = &step.kind else { return };
        let attempt = state.attempts + 1;
        let Some(input) = (if attempt > 1 { Some(state.input.clone()) } else { self.render_input(slot, step) }) else {
            return;
        };
        let Some(info) = self.draft.core().info.clone() else { return };
        let depth = info.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        if depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} runs one below the other; does the workflow start itself?");
            return self.fail(slot, Failure::fatal("subworkflow_too_deep", message));
        }
        let Some(step_id) = self.draft.run_id(slot) else { return };
        let Some(run) = child_id(self.facts.now, &info.id, &step_id, attempt) else { return };
        self.record_step(slot, |step| RunEvent::ChildStarted {
            step,
            attempt,
            run: run.clone(),
            workflow: workflow.clone(),
            digest: digest.clone(),
            input: input.clone(),
        });
        let start = StartChild {
            run,
            workflow: workflow.clone(),
            digest: digest.clone(),
            tenant: info.tenant.clone(),
            team: info.team.clone(),
            principal: info.principal.clone(),
            input: input.unwrap_or_else(|| info.input.clone()),
            labels: info.labels.clone(),
            priority: info.priority,
            deadline_at: self.draft.core().deadline_at,
            dry_run: info.dry_run,
            parent: ParentRun { run: info.id.clone(), step: step_id, attempt, depth },
        };
        self.effects.push(RunEffect::Child(ChildEffect::StartChild(Box::new(start))));
    }

    /// The run that was carried out for a step ended.
    pub(super) fn take_child(&mut self, step: &StepRunId, attempt: u32, end: ChildEnd) {
        let Some(slot) = fold::locate(&self.draft, step.as_str()) else { return };
        let Some(state) = self.draft.step_at(slot) else { return };
        let is_meant = matches!(&state.waits_for, Some(WaitsFor::Child { run }) if *run == end.run);
        if !is_meant || state.attempts != attempt || self.is_over() || state.status.is_terminal() {
            return;
        }
        let forward = !self.is_stopped(slot);
        let failure = end.failure.unwrap_or_else(|| Failure::fatal("unknown", "no reason was recorded"));
        let failure = in_run(&end.run, failure);
        match end.status {
            RunStatus::Succeeded => self.succeed_with(slot, end.output.unwrap_or_default()),
            RunStatus::Cancelled if !forward => self.cancelled(slot),
            RunStatus::TimedOut => {
                let failure = Failure { retryable: true, ..failure };
                if !(forward && self.try_again(slot, &failure, None)) {
                    self.time_out(slot, failure);
                }
            }
            RunStatus::Failed => {
                let failure = Failure { retryable: true, ..failure };
                if !(forward && self.try_again(slot, &failure, None)) {
                    self.fail(slot, failure);
                }
            }
            _ => self.fail(slot, failure),
        }
    }

    /// Tells the step that this run was carried out for how it ended.
    pub(super) fn tell_parent(&mut self) {
        let core = self.draft.core();
        let Some(info) = core.info.as_deref() else { return };
        let Some(parent) = info.parent.as_deref() else { return };
        let failure = match core.cause.as_deref() {
            Some(Cause::Failed { failure, .. }) => Some(failure.clone()),
            _ => core.failure.clone(),
        };
        let end = ChildEnd { run: info.id.clone(), status: core.status, output: core.output.clone(), failure };
        let effect = ChildEffect::EndChild { parent: parent.clone(), end };
        self.effects.push(RunEffect::Child(effect));
    }
}

/// The id of the run for a try of a step: a UUID of version 7 whose time is now and whose random part follows from what
/// it is for, so that lists stay in the order of time and equal decisions give equal ids.
fn child_id(now: jiff::Timestamp, run: &RunId, step: &StepRunId, attempt: u32) -> Option<RunId> {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{run}:{step}@{attempt}"));
    let mut random = [0_u8; 10];
    random.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    RunId::parse(&id.to_string()).ok()
}

/// The failure with the run that it happened in: the innermost one, so that the message stays short however deep the runs
/// are nested. The runs on the way there are those of the steps.
fn in_run(run: &RunId, failure: Failure) -> Failure {
    if failure.message.starts_with("run `") {
        return failure;
    }
    Failure { message: format!("run `{run}`: {}", failure.message).into(), ..failure }
}
