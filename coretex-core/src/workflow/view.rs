//! A run as clients read it: established names and shapes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Run, RunStatus, StepRun, StepStatus};
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
    /// What it made; `null` until workflows declare an output.
    pub output: Option<Value>,
    /// Why it failed: `code`, `message`, `step`.
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
    /// Digest of the definition that it pinned.
    pub definition: String,
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
}

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
    /// Digest of the definition that it pinned.
    pub definition: String,
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
            org_id: run.core.tenant.to_string(),
            team_id: run.core.team.to_string(),
            status: run.core.status,
            created_at: run.core.created_at,
            updated_at: run.core.updated_at,
            completed_at: run.core.completed_at,
            error: run.core.failure.as_ref().map(|failure| failure.message.to_string()),
            error_code: run.core.failure.as_ref().map(|failure| failure.code.to_string()),
            definition: run.workflow.digest().to_string(),
            labels: BTreeMap::clone(&run.core.labels),
            timeline_pruned: false,
        })
    }
}

impl RunView {
    /// The run as clients read it; `None` before it started.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let core = &run.core;
        let steps: BTreeMap<String, StepRunView> =
            run.steps().map(|(id, step)| (id.to_owned(), step_view(id, step))).collect();
        let mut context = Value::clone(&core.context);
        if let Value::Object(fields) = &mut context {
            let outputs = run.steps().filter_map(|(id, step)| Some((id.to_owned(), output_record(step)?)));
            fields.insert("steps".into(), Value::Object(outputs.collect()));
        }
        Some(Self {
            id: run.id()?.to_string(),
            workflow_id: run.workflow.id().to_string(),
            org_id: core.tenant.to_string(),
            team_id: core.team.to_string(),
            input: Value::clone(&core.input),
            context,
            status: core.status,
            started_at: Some(core.created_at),
            completed_at: core.completed_at,
            output: None,
            error: core
                .failure
                .as_ref()
                .map(|failure| json!({"code": failure.code, "message": failure.message, "step": core.failed_step})),
            steps,
            created_at: core.created_at,
            updated_at: core.updated_at,
            triggered_by: core.principal.to_string(),
            labels: BTreeMap::clone(&core.labels),
            idempotency_key: core.idempotency_key.as_deref().map(str::to_owned),
            definition: run.workflow.digest().to_string(),
        })
    }
}

fn step_view(id: &str, step: &StepRun) -> StepRunView {
    let error = |failure: &Failure| json!({"code": failure.code, "message": failure.message});
    StepRunView {
        step_id: id.to_owned(),
        status: step.status,
        started_at: step.started_at,
        completed_at: step.completed_at,
        next_attempt_at: step.due_at,
        attempts: step.attempts,
        input: step.input.as_deref().cloned(),
        output: step.output.as_ref().and_then(|output| match (&output.value, &output.pointer) {
            (Some(value), _) => Some(Value::clone(value)),
            (None, Some(pointer)) => Some(Value::String(pointer.to_string())),
            (None, None) => None,
        }),
        error: step.failure.as_ref().map(error),
        job_id: step.job.as_ref().map(|job| job.id.to_string()),
        job_state: step.job.as_ref().map(|job| job.state.as_str().to_owned()),
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
