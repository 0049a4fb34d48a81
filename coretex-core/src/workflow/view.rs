//! A run as clients read it: established names and shapes.

use std::{collections::BTreeMap, num::NonZeroU64};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cause, Phase, Run, RunStatus, StepRun, StepStatus, WaitsFor, fold};
use crate::job::Failure;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// Its workflow.
    pub workflow_id: String,
    /// The tenant that owns it.
    pub org_id: String,
    /// The team within the tenant.
    pub team_id: String,
    /// Its input.
    pub input: Value,
    /// What steps wrote, and their outputs under `steps`.
    pub context: Value,
    /// How far it has come.
    pub status: RunStatus,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What it does on its way to its end, when it is not simply on its way: `stopping`, `compensating`, `finalizing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// What it made; `null` where its workflow declares no output.
    pub output: Option<Value>,
    /// Why it failed, or is going to: `code`, `message`, `step`; `undo` when undoing something failed.
    pub error: Option<Value>,
    /// Its steps by id.
    pub steps: BTreeMap<String, StepRunView>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// On whose authority it runs.
    pub triggered_by: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The key that it was started under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The key that it shares places with other runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Digest of the definition that it is under.
    pub definition: String,
    /// Digests of those that it was under before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_definitions: Vec<String>,
    /// No effect of it left the process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The run that it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// The step from which on it runs anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_step: Option<String>,
    /// The run and the step that it is carried out for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Value>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRunView {
    /// Its id.
    pub step_id: String,
    /// How far it has come.
    pub status: StepStatus,
    /// When it first left `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Tries so far.
    #[serde(default)]
    pub attempts: u32,
    /// The rendered input, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Number of the event that holds the input, where it is too large to be shown here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_at: Option<NonZeroU64>,
    /// What it made, or the pointer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed: `code`, `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Its last job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The state of its last job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_state: Option<String>,
    /// What it waits for, other than a job and a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// The item of a `for_each` that it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// How far its group has come: `total`, `begun`, `active`, `succeeded`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Value>,
    /// The step runs of its group, by id; the first 1,000.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, StepRunView>,
}

/// Most step runs of one group in a view.
const MAX_CHILDREN: usize = 1_000;

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// Its workflow.
    pub workflow_id: String,
    /// The tenant that owns it.
    pub org_id: String,
    /// The team within the tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub team_id: String,
    /// How far it has come.
    pub status: RunStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The code of why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Digest of the definition that it is under.
    pub definition: String,
    /// Digests of those that it was under before: what happened then is read under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_definitions: Vec<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its timeline was pruned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timeline_pruned: bool,
}

impl RunSummary {
    /// What a list shows of `run`; `None` before it started.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        Some(Self {
            id: run.id()?.to_string(),
            workflow_id: run.workflow.id().to_string(),
            org_id: run.tenant().to_string(),
            team_id: run.team().to_owned(),
            status: run.core.status,
            created_at: run.created_at(),
            updated_at: run.core.updated_at,
            completed_at: run.core.completed_at,
            error: run.core.failure.as_ref().map(|failure| failure.message.to_string()),
            error_code: run.core.failure.as_ref().map(|failure| failure.code.to_string()),
            definition: run.workflow.digest().to_string(),
            past_definitions: run.past_definitions().iter().map(ToString::to_string).collect(),
            labels: run.labels().clone(),
            timeline_pruned: false,
        })
    }
}

impl RunView {
    /// The run as clients read it; `None` before it started.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let core = &run.core;
        let own = run.workflow.scopes().iter().take(2).map(|scope| scope.len).sum();
        let steps: BTreeMap<String, StepRunView> =
            (0..own).filter_map(|slot| Some((fold::run_id(run, slot)?.to_string(), step_view(run, slot)?))).collect();
        let mut context = Value::clone(&core.context);
        if let Value::Object(fields) = &mut context {
            let shown = run.steps().take(own + MAX_CHILDREN);
            let outputs = shown.filter_map(|(id, step)| Some((id.to_string(), output_record(step)?)));
            fields.insert("steps".into(), Value::Object(outputs.collect()));
        }
        Some(Self {
            id: run.id()?.to_string(),
            workflow_id: run.workflow.id().to_string(),
            org_id: run.tenant().to_string(),
            team_id: run.team().to_owned(),
            input: Value::clone(&run.input()),
            context,
            status: core.status,
            started_at: (!core.queued).then(|| core.admitted_at.unwrap_or_else(|| run.created_at())),
            completed_at: core.completed_at,
            phase: (core.phase != Phase::Forward && !core.status.is_terminal()).then(|| core.phase.as_str().to_owned()),
            deadline_at: core.deadline_at,
            output: core.output.as_deref().cloned(),
            error: error_view(run),
            steps,
            created_at: run.created_at(),
            updated_at: core.updated_at,
            triggered_by: run.principal().to_owned(),
            labels: run.labels().clone(),
            idempotency_key: run.idempotency_key().map(str::to_owned),
            concurrency_key: run.slot().map(|slot| slot.key.to_string()),
            definition: run.workflow.digest().to_string(),
            past_definitions: run.past_definitions().iter().map(ToString::to_string).collect(),
            dry_run: run.is_dry_run(),
            rerun_of: run.origin().map(|origin| origin.run.to_string()),
            rerun_step: run.origin().and_then(|origin| origin.step.as_ref().map(ToString::to_string)),
            parent: run.parent().map(|parent| json!({"run_id": parent.run, "step_id": parent.step})),
        })
    }
}

fn error_view(run: &Run) -> Option<Value> {
    let undo = run.undo_failure().map(|failure| json!({"code": failure.code, "message": failure.message}));
    let (failure, step) = match run.cause() {
        Some(Cause::Failed { step, failure, .. }) => (Some(failure), step.as_ref().map(ToString::to_string)),
        _ => (run.failure(), run.failed_step().map(str::to_owned)),
    };
    let failure = failure?;
    let mut error = json!({"code": failure.code, "message": failure.message, "step": step});
    if let (Some(undo), Some(fields)) = (undo, error.as_object_mut()) {
        fields.insert("undo".into(), undo);
    }
    Some(error)
}

/// The step run at `slot` and those of its group.
fn step_view(run: &Run, slot: usize) -> Option<StepRunView> {
    let step = run.steps.get(slot)?;
    let id = fold::run_id(run, slot)?;
    let block = run.blocks.get(step.block as usize)?;
    let holder = block.holder.and_then(|holder| run.steps.get(holder as usize)?.group.as_deref());
    let item = holder.and_then(|group| group.items.as_deref()?.get(block.index as usize).cloned());
    let mut children = BTreeMap::new();
    if step.group.is_some() {
        let held = run.blocks.iter().enumerate().filter(|(_, block)| block.holder == u32::try_from(slot).ok());
        for slot in held.flat_map(|(block, _)| fold::slots_of(run, block)).take(MAX_CHILDREN) {
            if let Some(child) = step_view(run, slot) {
                children.insert(child.step_id.clone(), child);
            }
        }
    }
    Some(StepRunView { item, children, ..plain_view(id.as_str(), step) })
}

fn plain_view(id: &str, step: &StepRun) -> StepRunView {
    let error = |failure: &Failure| json!({"code": failure.code, "message": failure.message});
    StepRunView {
        step_id: id.to_owned(),
        status: step.status,
        started_at: step.started_at,
        completed_at: step.completed_at,
        next_attempt_at: step.due_at,
        attempts: step.attempts,
        input: step.input.as_deref().cloned(),
        input_at: step.input_at.filter(|_| step.has_input_in_log()),
        output: step.output.as_ref().and_then(|output| match (&output.value, &output.pointer) {
            (Some(value), _) => Some(Value::clone(value)),
            (None, Some(pointer)) => Some(Value::String(pointer.to_string())),
            (None, None) => None,
        }),
        error: step.failure.as_ref().map(error),
        job_id: step.job.as_ref().map(|job| job.id.to_string()),
        job_state: step.job.as_ref().map(|job| job.state.as_str().to_owned()),
        waits_for: step.waits_for.clone(),
        item: None,
        group: step.group.as_deref().map(|group| {
            json!({
                "total": group.total, "begun": group.begun, "active": group.active,
                "succeeded": group.succeeded, "failed": group.failed,
            })
        }),
        children: BTreeMap::new(),
    }
}

/// What `ctx.steps.<id>` always held: the pointer, and the output when it is at hand.
fn output_record(step: &StepRun) -> Option<Value> {
    let output = step.output.as_ref()?;
    let mut record = serde_json::Map::new();
    if let Some(pointer) = &output.pointer {
        record.insert("result_ptr".into(), Value::String(pointer.to_string()));
    }
    if let Some(value) = &output.value {
        record.insert("output".into(), Value::clone(value));
    }
    Some(Value::Object(record))
}
