//! The events of a run as people and clients read them: established names and fields, and the sequence number.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Cause, Resolution, RunEvent, StoredEvent};
use crate::{
    job::{Failure, JobEvent, JobId, Output},
    policy::Decision,
};

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Its number within the run, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The run.
    pub run_id: String,
    /// The workflow.
    pub workflow_id: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The state that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Where the output lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_ptr: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

/// Turns the events of one run, numbered from `first`, into its timeline. A line says the same on every page.
pub fn timeline<'a>(
    run_id: &'a str,
    workflow_id: &'a str,
    first: u64,
    events: impl IntoIterator<Item = &'a StoredEvent>,
) -> Vec<TimelineEvent> {
    events
        .into_iter()
        .zip(first..)
        .map(|(stored, seq)| {
            let mut line = TimelineEvent {
                seq,
                time: stored.at,
                kind: String::new(),
                run_id: run_id.to_owned(),
                workflow_id: workflow_id.to_owned(),
                step_id: stored.event.step().map(ToString::to_string),
                job_id: None,
                status: None,
                result_ptr: None,
                message: None,
                data: Map::new(),
            };
            describe(&mut line, &stored.event);
            if let Some((step, attempt)) = stored.event.step().zip(stored.event.attempt()) {
                line.job_id = Some(format!("{run_id}:{step}@{attempt}"));
            }
            line
        })
        .collect()
}

fn describe(line: &mut TimelineEvent, event: &RunEvent) {
    let mut set = |kind: &str, status: &str| {
        line.kind = kind.to_owned();
        line.status = (!status.is_empty()).then(|| status.to_owned());
    };
    match event {
        RunEvent::RunRestored { .. } => set("run_restored", "running"),
        RunEvent::RunMigrated { .. } => set("run_migrated", "migrated"),
        RunEvent::RunUnwinding { .. } => set("run_unwinding", "running"),
        RunEvent::RunCompensating { .. } => set("run_compensating", "running"),
        RunEvent::RunFinalizing { .. } => set("run_finalizing", "running"),
        RunEvent::RunHalted { .. } => set("run_halted", "running"),
        RunEvent::SignalReceived { .. } => set("signal_received", "received"),
        RunEvent::RunStarted { queued: true, .. } => set("run_status", "pending"),
        RunEvent::RunStarted { .. } | RunEvent::RunAdmitted { .. } => set("run_status", "running"),
        RunEvent::RunSucceeded { .. } => set("run_status", "succeeded"),
        RunEvent::RunFailed { timed_out: true, .. } => set("run_status", "timed_out"),
        RunEvent::RunFailed { .. } => set("run_status", "failed"),
        RunEvent::RunCancelled { .. } => set("run_status", "cancelled"),
        RunEvent::RunTimedOut {} => set("run_status", "timed_out"),
        RunEvent::StepAttempted { .. } => set("step_attempted", "running"),
        RunEvent::StepDispatched { .. } => set("step_dispatched", "running"),
        RunEvent::StepCompleted { .. } => set("step_completed", "succeeded"),
        RunEvent::StepWaiting { .. } => set("step_waiting", "waiting"),
        RunEvent::StepAnswered { answer, .. } if answer.approved => set("step_approved", "succeeded"),
        RunEvent::StepAnswered { .. } => set("step_rejected", "failed"),
        RunEvent::StepAsked { .. } => set("step_input_requested", "waiting"),
        RunEvent::StepProvided { .. } => set("step_input_provided", "succeeded"),
        RunEvent::StepListening { .. } => set("step_signal_awaited", "waiting"),
        RunEvent::SignalTaken { failure: None, .. } => set("step_signal_taken", "succeeded"),
        RunEvent::SignalTaken { .. } => set("step_signal_taken", "failed"),
        RunEvent::StepStoring { .. } => set("step_storage_requested", "running"),
        RunEvent::ChildStarted { .. } => set("step_subworkflow_started", "running"),
        RunEvent::ChildStopping { .. } => set("step_subworkflow_stopping", "running"),
        RunEvent::StepSimulated { .. } => set("step_simulated", "running"),
        RunEvent::StepHeld { .. } => set("step_held", "pending"),
        RunEvent::GroupOpened { .. } => set("step_group_started", "running"),
        RunEvent::BlockBegun { .. } => set("step_block_started", "running"),
        RunEvent::GroupStopping { .. } => set("step_group_stopping", "running"),
        RunEvent::GroupSucceeded { .. } => set("step_completed", "succeeded"),
        RunEvent::StepSwitched { .. } => set("step_switched", "succeeded"),
        RunEvent::StepParked { .. } => set("step_parked", "waiting"),
        RunEvent::StepResolved { .. } => set("step_resolved", "resolved"),
        RunEvent::StepCancelled { .. } => set("step_cancelled", "cancelled"),
        RunEvent::StepDelayed { .. } => set("step_delay_started", "running"),
        RunEvent::StepNotified { .. } => set("step_event_emitted", "running"),
        RunEvent::StepSucceeded { .. } => set("step_completed", "succeeded"),
        RunEvent::ConditionEvaluated { .. } => set("step_condition_evaluated", "succeeded"),
        RunEvent::StepSkipped { .. } => set("step_skipped", "skipped"),
        RunEvent::StepSnoozed { .. } => set("step_snoozed", "pending"),
        RunEvent::StepRetryScheduled { .. } => set("step_retry_scheduled", "pending"),
        RunEvent::StepFailed { failure, .. } if *failure.code == *crate::job::codes::OUTPUT_INVALID => {
            set("step_output_invalid", "failed");
        }
        RunEvent::StepFailed { .. } => set("step_failed", "failed"),
        RunEvent::StepTimedOut { .. } => set("step_timed_out", "timed_out"),
        RunEvent::StepJob { event, .. } => match event {
            JobEvent::Asked { .. } => set("step_policy_asked", "PENDING"),
            JobEvent::Throttled { .. } => set("step_throttled", "PENDING"),
            JobEvent::ApprovalRequired { .. } => set("step_approval_required", "APPROVAL_REQUIRED"),
            JobEvent::Approved { .. } => set("step_approval_granted", "PENDING"),
            JobEvent::Covered { .. } => set("step_approval_kept", "PENDING"),
            JobEvent::Dispatched { .. } => set("step_dispatched", "running"),
            JobEvent::Started { .. } => set("step_started", "RUNNING"),
            JobEvent::Succeeded { .. } => set("step_result", "SUCCEEDED"),
            JobEvent::Failed { .. } => set("step_result", "FAILED"),
            JobEvent::Denied { .. } => set("step_denied", "DENIED"),
            JobEvent::TimedOut { .. } => set("step_result", "TIMEOUT"),
            JobEvent::StopRequested { .. } => set("step_stop_requested", "RUNNING"),
            JobEvent::Cancelled { .. } => set("step_result", "CANCELLED"),
        },
    }
    details(line, event);
}

fn details(line: &mut TimelineEvent, event: &RunEvent) {
    match event {
        RunEvent::RunStarted { digest, dry_run, parent, origin, slot, .. } => {
            put(line, "definition", json!(digest));
            if let Some(slot) = slot {
                put(line, "concurrency_key", json!(slot.key));
            }
            if *dry_run {
                put(line, "dry_run", json!(true));
            }
            if let Some(parent) = parent {
                put(line, "parent", json!({"run_id": parent.run, "step_id": parent.step}));
            }
            if let Some(origin) = origin {
                put(line, "origin", json!({"run_id": origin.run, "seq": origin.at, "step_id": origin.step}));
            }
        }
        RunEvent::RunMigrated { from, to, by, reason } => {
            line.message = (!reason.is_empty()).then(|| reason.to_string());
            put(line, "from", json!(from));
            put(line, "definition", json!(to));
            put(line, "by", json!(by));
        }
        RunEvent::RunCompensating { until: Some(until) } | RunEvent::RunFinalizing { until: Some(until) } => {
            put(line, "until", json!(until));
        }
        RunEvent::RunUnwinding { cause } | RunEvent::RunHalted { cause } => match &**cause {
            Cause::Failed { step, failure, .. } => {
                say(line, failure);
                if let Some(step) = step {
                    put(line, "failed_step", json!(step));
                }
            }
            Cause::Cancelled { by, reason } => {
                line.message = Some(reason.to_string());
                put(line, "by", json!(by));
            }
            Cause::TimedOut => put(line, "code", json!(crate::job::codes::TIMEOUT)),
        },
        RunEvent::SignalReceived { name, by, .. } => {
            put(line, "signal", json!(name));
            put(line, "by", json!(by));
        }
        RunEvent::StepAsked { until: Some(until), .. } => put(line, "until", json!(until)),
        RunEvent::StepProvided { by, .. } => put(line, "by", json!(by)),
        RunEvent::StepListening { signal, until, .. } => {
            put(line, "signal", json!(signal));
            if let Some(until) = until {
                put(line, "until", json!(until));
            }
        }
        RunEvent::SignalTaken { signal, failure, .. } => {
            put(line, "signal", json!(signal));
            if let Some(failure) = failure {
                say(line, failure);
            }
        }
        RunEvent::StepStoring { attempt, key, .. } => {
            put(line, "attempt", json!(attempt));
            put(line, "key", json!(key));
        }
        RunEvent::ChildStarted { attempt, run, workflow, .. } => {
            put(line, "attempt", json!(attempt));
            put(line, "child_run_id", json!(run));
            put(line, "child_workflow_id", json!(workflow));
        }
        RunEvent::StepSimulated { decision, pool, .. } => {
            if let Some(pool) = pool {
                put(line, "pool", json!(pool));
            }
            if let Some(decision) = decision {
                judge(line, decision);
            }
        }
        RunEvent::GroupOpened { items, until, .. } => {
            if let Some(Value::Array(items)) = items.as_deref() {
                put(line, "items", json!(items.len()));
            }
            if let Some(until) = until {
                put(line, "until", json!(until));
            }
        }
        RunEvent::BlockBegun { index, .. } => put(line, "index", json!(index)),
        RunEvent::GroupStopping { failure: Some(failure), .. } => say(line, failure),
        RunEvent::StepSwitched { cases, taken, .. } => {
            put(line, "cases", json!(cases));
            put(line, "taken", json!(taken));
        }
        RunEvent::StepParked { failure, .. } => say(line, failure),
        RunEvent::StepResolved { by, resolution, .. } => {
            put(line, "by", json!(by));
            put(line, "action", json!(resolution.as_str()));
            match resolution {
                Resolution::Fail { reason } => line.message = (!reason.is_empty()).then(|| reason.to_string()),
                Resolution::Retry { input: Some(_) } => put(line, "edited", json!(true)),
                _ => {}
            }
        }
        RunEvent::StepSkipped { reason, .. } => put(line, "reason", json!(reason.as_str())),
        RunEvent::RunFailed { failure, .. }
        | RunEvent::StepFailed { failure, .. }
        | RunEvent::StepTimedOut { failure, .. } => say(line, failure),
        RunEvent::StepRetryScheduled { failure, next_at, .. } | RunEvent::StepSnoozed { failure, next_at, .. } => {
            say(line, failure);
            put(line, "next_attempt_at", json!(next_at));
        }
        RunEvent::RunCancelled { by, reason } => {
            line.message = Some(reason.to_string());
            put(line, "by", json!(by));
        }
        RunEvent::StepAttempted { attempt, .. } => put(line, "attempt", json!(attempt)),
        RunEvent::StepDispatched { attempt, decision, pool, deadline_at, .. } => {
            put(line, "attempt", json!(attempt));
            dispatched(line, decision, pool, deadline_at);
        }
        RunEvent::StepCompleted { worker, execution_ms, output, .. } => {
            answered(line, worker, *execution_ms, output);
        }
        RunEvent::StepWaiting { until: Some(until), .. } => put(line, "until", json!(until)),
        RunEvent::StepAnswered { answer, .. } => {
            put(line, "by", json!(answer.by));
            if !answer.reason.is_empty() {
                line.message = Some(answer.reason.to_string());
            }
        }
        RunEvent::StepDelayed { until, rule, .. } => {
            put(line, "until", json!(until));
            if !rule.is_empty() {
                put(line, "rule", json!(rule));
            }
        }
        RunEvent::StepNotified { payload, .. } => put(line, "payload", Value::clone(payload)),
        RunEvent::ConditionEvaluated { value, .. } => put(line, "value", json!(value)),
        RunEvent::StepJob { event, .. } => job_details(line, event),
        _ => {}
    }
}

fn job_details(line: &mut TimelineEvent, event: &JobEvent) {
    match event {
        JobEvent::Dispatched { decision, pool, deadline_at } => dispatched(line, decision, pool, deadline_at),
        JobEvent::Throttled { decision, until } => {
            put(line, "until", json!(until));
            judge(line, decision);
        }
        JobEvent::ApprovalRequired { decision, hash, again } => {
            put(line, "job_hash", json!(hash));
            if let Some(lapse) = again {
                put(line, "asked_again", json!(lapse));
            }
            judge(line, decision);
        }
        JobEvent::Approved { grant } => {
            put(line, "by", json!(grant.answer.by));
            line.message = (!grant.answer.reason.is_empty()).then(|| grant.answer.reason.to_string());
        }
        JobEvent::Covered { by, given_at, given_to } => {
            put(line, "by", json!(by));
            put(line, "given_at", json!(given_at));
            put(line, "given_to_attempt", json!(given_to));
        }
        JobEvent::Started { worker } => put(line, "worker_id", json!(worker)),
        JobEvent::Succeeded { worker, execution_ms, output, unfenced } => {
            answered(line, worker, *execution_ms, output);
            if *unfenced {
                put(line, "unfenced", json!(true));
            }
        }
        JobEvent::Failed { worker, execution_ms, failure, unfenced } => {
            say(line, failure);
            if let Some(worker) = worker {
                put(line, "worker_id", json!(worker));
                put(line, "execution_ms", json!(execution_ms));
            }
            if *unfenced {
                put(line, "unfenced", json!(true));
            }
        }
        JobEvent::Denied { decision, failure } => {
            say(line, failure);
            if let Some(decision) = decision {
                judge(line, decision);
            }
        }
        JobEvent::TimedOut { failure } => say(line, failure),
        JobEvent::StopRequested { by, reason, until } => {
            line.message = Some(reason.to_string());
            put(line, "by", json!(by));
            put(line, "until", json!(until));
        }
        JobEvent::Cancelled { by, reason } => {
            line.message = Some(reason.to_string());
            put(line, "by", json!(by));
        }
        JobEvent::Asked { until: Some(until), .. } => put(line, "until", json!(until)),
        JobEvent::Asked { .. } => {}
    }
}

fn dispatched(line: &mut TimelineEvent, decision: &Decision, pool: &str, deadline_at: &Timestamp) {
    put(line, "pool", json!(pool));
    put(line, "deadline_at", json!(deadline_at));
    judge(line, decision);
}

fn answered(line: &mut TimelineEvent, worker: &str, execution_ms: u64, output: &Output) {
    put(line, "worker_id", json!(worker));
    put(line, "execution_ms", json!(execution_ms));
    line.result_ptr = output.pointer.as_deref().map(str::to_owned);
}

fn put(line: &mut TimelineEvent, key: &str, value: Value) {
    line.data.insert(key.to_owned(), value);
}

fn say(line: &mut TimelineEvent, failure: &Failure) {
    line.message = Some(failure.message.to_string());
    put(line, "code", json!(failure.code));
}

fn judge(line: &mut TimelineEvent, decision: &Decision) {
    put(line, "decision", json!(decision.outcome));
    put(line, "policy_snapshot", json!(decision.snapshot));
    if !decision.rule_id.is_empty() {
        put(line, "rule_id", json!(decision.rule_id));
    }
    if !decision.reason.is_empty() && line.message.is_none() {
        line.message = Some(decision.reason.to_string());
    }
    if decision.ungoverned {
        put(line, "ungoverned", json!(true));
    }
}

impl TimelineEvent {
    /// The job, if the line is about one.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job_id.as_deref().and_then(|id| JobId::parse(id).ok())
    }
}
