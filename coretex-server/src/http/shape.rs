//! Established shapes: every key that clients read is there, also when the platform has nothing to say for it.

use coretex_core::{
    job::{ApprovalRequest, JobSpec, JobState, Subject},
    policy::Decision,
    runtime::JobView,
    value::Value,
    workflow::{RunView, WorkflowSpec},
};
use serde_json::{Map, json};

use super::{Problem, auth::Caller};

/// A tenant that is named is the caller's own.
pub(super) fn check_tenant(caller: &Caller, named: Option<&str>) -> Result<(), Problem> {
    match named {
        Some(named) if !named.is_empty() && named != caller.0.tenant.as_str() => {
            let detail = format!("`{}` acts for tenant `{}`, not `{named}`", caller.0.id, caller.0.tenant);
            Err(Problem::new(axum::http::StatusCode::FORBIDDEN, "tenant_mismatch", detail))
        }
        _ => Ok(()),
    }
}

pub(super) fn workflow(spec: &WorkflowSpec) -> Value {
    let mut value = json!(spec);
    if let Value::Object(fields) = &mut value {
        for key in
            ["id", "org_id", "team_id", "name", "description", "version", "created_by", "created_at", "updated_at"]
        {
            fields.entry(key).or_insert_with(|| json!(""));
        }
        fields.entry("timeout_sec").or_insert_with(|| json!(0));
        if let Some(Value::Object(steps)) = fields.get_mut("steps") {
            for (id, step) in steps {
                if let Value::Object(step) = step {
                    step.insert("id".into(), json!(id));
                    step.entry("name").or_insert_with(|| json!(""));
                }
            }
        }
    }
    value
}

pub(super) fn run(run: &RunView) -> Value {
    let mut value = json!(run);
    if let Value::Object(fields) = &mut value {
        fields.insert("total_cost".into(), json!(0));
    }
    value
}

/// What lists of jobs show, and the beginning of what a job shows.
pub(super) fn record(
    spec: &JobSpec,
    state: JobState,
    updated_at: jiff::Timestamp,
    decision: Option<&Decision>,
) -> Map<String, Value> {
    let meta = &spec.meta;
    let mut fields = Map::new();
    fields.insert("id".into(), json!(spec.id));
    fields.insert("trace_id".into(), json!(spec.trace_id));
    fields.insert("updated_at".into(), json!(updated_at.as_microsecond()));
    fields.insert("state".into(), json!(state));
    fields.insert("topic".into(), json!(spec.topic));
    fields.insert("tenant".into(), json!(spec.tenant));
    fields.insert("team".into(), json!(spec.team));
    fields.insert("principal".into(), json!(spec.principal));
    fields.insert("actor_id".into(), json!(meta.actor_id.as_deref().unwrap_or_default()));
    fields.insert("actor_type".into(), json!(meta.actor_type.map_or("", |kind| kind.as_str())));
    fields.insert("idempotency_key".into(), json!(meta.idempotency_key.as_deref().unwrap_or_default()));
    fields.insert("capability".into(), json!(meta.capability.as_deref().unwrap_or_default()));
    fields.insert("pack_id".into(), json!(meta.pack_id.as_deref().unwrap_or_default()));
    fields.insert("risk_tags".into(), json!(meta.risk_tags));
    fields.insert("requires".into(), json!(meta.requires));
    fields.insert("attempts".into(), json!(spec.attempt));
    fields.insert("safety_decision".into(), json!(decision.map_or("", |decision| decision.outcome.as_str())));
    fields.insert("safety_reason".into(), json!(decision.map_or("", |decision| &decision.reason)));
    fields.insert("safety_rule_id".into(), json!(decision.map_or("", |decision| &decision.rule_id)));
    fields.insert("safety_snapshot".into(), json!(decision.map_or("", |decision| &decision.snapshot)));
    fields
}

pub(super) fn job(view: &JobView) -> Value {
    let JobView { spec, job } = view;
    let decision = job.decision.as_deref();
    let mut fields = record(spec, job.state, job.updated_at, decision);
    let output = job.output.as_ref();
    let pointer = output.and_then(|output| match (&output.pointer, &output.value) {
        (Some(pointer), _) => Some(pointer.to_string()),
        (None, Some(_)) => Some(format!("redis://res:{}", spec.id)),
        (None, None) => None,
    });
    fields.insert("context_ptr".into(), json!(format!("redis://ctx:{}", spec.id)));
    fields.insert("context".into(), json!(spec.input));
    fields.insert("result_ptr".into(), json!(pointer.unwrap_or_default()));
    fields.insert("result".into(), json!(output.and_then(|output| output.value.as_ref())));
    fields.insert("safety_constraints".into(), json!(decision.and_then(|decision| decision.constraints.as_ref())));
    fields.insert("safety_remediations".into(), json!(decision.map(|decision| &decision.remediations)));
    fields.insert("safety_job_hash".into(), json!(job.hash.as_deref().unwrap_or_default()));
    let held = job.state == JobState::ApprovalRequired;
    fields.insert("approval_required".into(), json!(held));
    fields.insert("approval_ref".into(), json!(if held { spec.id.as_str() } else { "" }));
    fields.insert("labels".into(), json!(spec.labels));
    fields.insert("workflow_id".into(), json!(spec.workflow.as_ref().map_or("", |id| id.as_str())));
    fields.insert("run_id".into(), json!(spec.run.as_ref().map_or("", |id| id.as_str())));
    fields.insert("step_id".into(), json!(spec.step.as_ref().map_or("", |id| id.as_str())));
    if let Some(worker) = &job.worker {
        fields.insert("worker_id".into(), json!(worker));
    }
    if let Some(failure) = &job.failure {
        fields.insert("error_message".into(), json!(failure.message));
        fields.insert("error_code".into(), json!(failure.code));
        fields.insert("error_status".into(), json!(format!("JOB_STATUS_{}", job.state.as_str())));
    }
    if let Some(grant) = &job.grant {
        fields.insert("approval_by".into(), json!(grant.answer.by));
        fields.insert("approval_role".into(), json!(grant.answer.role));
        fields.insert("approval_at".into(), json!(grant.at.as_microsecond()));
        fields.insert("approval_reason".into(), json!(grant.answer.reason));
        fields.insert("approval_note".into(), json!(grant.answer.note));
        fields.insert("approval_policy_snapshot".into(), json!(grant.snapshot));
        fields.insert("approval_job_hash".into(), json!(grant.hash));
    }
    Value::Object(fields)
}

pub(super) fn approval(request: &ApprovalRequest) -> Value {
    let id = request.subject.id();
    let decision = request.decision.as_ref();
    let (kind, run, step) = match &request.subject {
        Subject::Job { job_id } => {
            let parts = job_id.step_parts().map_or(("", ""), |(run, step, _)| (run, step));
            ("job", parts.0.to_owned(), parts.1.to_owned())
        }
        Subject::Step { run_id, step_id } => ("step", run_id.to_string(), step_id.to_string()),
    };
    let job = match &request.spec {
        Some(spec) => Value::Object(record(spec, JobState::ApprovalRequired, request.requested_at, decision)),
        None => json!({
            "id": id, "updated_at": request.requested_at.as_microsecond(), "state": JobState::ApprovalRequired,
            "topic": "", "tenant": request.tenant,
        }),
    };
    json!({
        "job": job,
        "decision": decision.map_or("REQUIRE_APPROVAL", |decision| decision.outcome.as_str()),
        "policy_snapshot": decision.map_or("", |decision| &decision.snapshot),
        "policy_rule_id": decision.map_or("", |decision| &decision.rule_id),
        "policy_reason": decision.map_or("", |decision| &decision.reason),
        "constraints": decision.and_then(|decision| decision.constraints.as_ref()),
        "job_hash": request.hash.as_deref().unwrap_or_default(),
        "approval_required": true,
        "approval_ref": id,
        // Beyond the established keys: approval steps are listed here, too.
        "job_id": id,
        "kind": kind,
        "title": request.title,
        "input": request.input,
        "workflow_id": request.workflow_id.as_ref().map_or("", |id| id.as_str()),
        "run_id": run,
        "step_id": step,
        "requested_at": request.requested_at,
        "asked_again": request.asked_again,
        "expires_at": request.expires_at,
    })
}
