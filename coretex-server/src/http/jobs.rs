//! `/api/v1/jobs`: jobs by themselves.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use coretex_core::{
    governance::has_secret_reference,
    job::{JobId, Priority, Topic},
    policy::{ActorType, JobMeta},
    runtime::{JobRequest, JobView},
    scheduler::Placement,
    value::Value,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Body, Ids, RepeatKey},
    shape,
};

/// The established body. Everything may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Submission {
    prompt: String,
    topic: String,
    adapter_id: String,
    priority: String,
    context: Option<Value>,
    memory_id: String,
    context_mode: String,
    tenant_id: String,
    principal_id: String,
    actor_id: String,
    actor_type: String,
    idempotency_key: String,
    pack_id: String,
    capability: String,
    risk_tags: Vec<String>,
    requires: Vec<String>,
    org_id: String,
    team_id: String,
    project_id: String,
    labels: BTreeMap<String, String>,
    max_input_tokens: i64,
    allow_summarization: bool,
    allow_retrieval: bool,
    tags: Vec<String>,
    max_output_tokens: i64,
    max_total_tokens: i64,
    deadline_ms: i64,
    placement: Option<Placement>,
}

const MAX_PROMPT: usize = 100_000;
const MAX_ENTRIES: usize = 50;

/// Submits a job. 200 with its id, also for a repeat under the same idempotency key.
pub(super) async fn submit(
    State(api): State<Api>,
    caller: Caller,
    RepeatKey(key): RepeatKey,
    Body(mut body): Body<Submission>,
) -> Result<Json<Value>, Problem> {
    shape::check_tenant(&caller, Some(&body.org_id))?;
    shape::check_tenant(&caller, Some(&body.tenant_id))?;
    if let Some(key) = key.filter(|_| body.idempotency_key.is_empty()) {
        body.idempotency_key = key;
    }
    body.judge()?;
    let tenant = caller.0.tenant.as_str();
    let id = match body.idempotency_key.as_str() {
        "" => JobId::parse(&uuid::Uuid::new_v4().to_string())?,
        key => keyed(tenant, key)?,
    };
    // A repeat is answered from what is there.
    if !body.idempotency_key.is_empty()
        && let Ok(view) = api.plane.job(&caller.0, &id).await
    {
        return body.repeats(&view, tenant).map(Json);
    }
    let mut author = caller.0.clone();
    if !body.principal_id.is_empty() {
        author.id = body.principal_id.as_str().into();
    }
    let request = body.clone().into_request(&api, tenant, &author.id)?.id(id.clone());
    match api.plane.submit_job(&author, request).await {
        Ok(_) => Ok(Json(json!({"job_id": id, "trace_id": id}))),
        // One that came at the same time was first; the two differ at least in when they were made.
        Err(error) if error.code() == "job_exists" && !body.idempotency_key.is_empty() => {
            body.repeats(&api.plane.job(&caller.0, &id).await?, tenant).map(Json)
        }
        Err(error) => Err(error.into()),
    }
}

/// The id of the job that `key` names within `tenant`: the same for ever, so that a repeat needs no record.
fn keyed(tenant: &str, key: &str) -> Result<JobId, Problem> {
    if key.len() > 200 || key.chars().any(char::is_control) {
        let detail = "an idempotency key has 1 to 200 bytes and no control characters";
        return Err(Problem::bad_request("idempotency_key_invalid", detail));
    }
    let digest = Sha256::new().chain_update(tenant).chain_update([0]).chain_update(key).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
    Ok(JobId::parse(&uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())?)
}

impl Submission {
    fn judge(&self) -> Result<(), Problem> {
        let wrong = |detail: String| Err(Problem::bad_request("field_invalid", detail));
        if self.prompt.len() > MAX_PROMPT {
            return wrong(format!("`prompt` has more than {MAX_PROMPT} bytes; put large data into `context`"));
        }
        let counts = [
            ("max_input_tokens", self.max_input_tokens),
            ("max_output_tokens", self.max_output_tokens),
            ("max_total_tokens", self.max_total_tokens),
            ("deadline_ms", self.deadline_ms),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count < 0) {
            return wrong(format!("`{name}` is negative; leave it out for no limit"));
        }
        if self.tags.len() > MAX_ENTRIES || self.labels.len() > MAX_ENTRIES {
            return wrong(format!("`tags` and `labels` have at most {MAX_ENTRIES} entries each"));
        }
        if !matches!(self.actor_type.as_str(), "" | "human" | "service") {
            return wrong(format!("`actor_type` is `{}`; it is `human` or `service`", self.actor_type));
        }
        if !self.priority.is_empty() && Priority::from_name(&self.priority.to_lowercase()).is_none() {
            return wrong(format!("`priority` is `{}`; one of critical, interactive, batch", self.priority));
        }
        Ok(())
    }

    fn into_request(self, api: &Api, tenant: &str, principal: &str) -> Result<JobRequest, Problem> {
        let topic = if self.topic.is_empty() { "job.default" } else { &self.topic };
        let topic = Topic::parse_job(topic)?;
        let priority = Priority::from_name(&self.priority.to_lowercase()).unwrap_or(Priority::Interactive);
        let secrets = has_secret_reference(&Value::String(self.prompt.clone()))
            || self.context.as_ref().is_some_and(has_secret_reference);
        let payload = self.payload(topic.as_str(), tenant, api.plane.clock().now());
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        let mut meta = JobMeta {
            actor_id: filled(self.actor_id).or_else(|| Some(principal.to_owned())),
            actor_type: match self.actor_type.as_str() {
                "human" => Some(ActorType::Human),
                "service" => Some(ActorType::Service),
                _ => None,
            },
            idempotency_key: filled(self.idempotency_key),
            pack_id: filled(self.pack_id),
            capability: filled(self.capability),
            risk_tags: self.risk_tags,
            requires: self.requires,
            labels: BTreeMap::new(),
        };
        if secrets && !meta.risk_tags.iter().any(|tag| tag == "secrets") {
            meta.risk_tags.push("secrets".into());
        }
        let mut request = JobRequest::new(topic, payload).meta(meta).priority(priority).team(self.team_id);
        if secrets {
            request = request.label("secrets_present", "true");
        }
        for (key, value) in self.labels {
            request = request.label(key, value);
        }
        if !self.memory_id.is_empty() {
            request = request.memory_id(self.memory_id);
        }
        if !self.adapter_id.is_empty() {
            request = request.adapter_id(self.adapter_id);
        }
        if let Ok(milliseconds @ 1..) = u64::try_from(self.deadline_ms) {
            request = request.timeout(Duration::from_millis(milliseconds));
        }
        if let Some(placement) = self.placement {
            request = request.placement(placement);
        }
        Ok(request)
    }

    /// The answer to a repeat of the submission that `view` came from.
    fn repeats(&self, view: &JobView, tenant: &str) -> Result<Value, Problem> {
        let spec = &view.spec;
        let mut payload = self.payload(spec.topic.as_str(), tenant, Timestamp::UNIX_EPOCH);
        if let (Some(ours), Some(made_at)) = (payload.get_mut("created_at"), spec.input.get("created_at")) {
            ours.clone_from(made_at);
        }
        let topic = if self.topic.is_empty() { "job.default" } else { &self.topic };
        let theirs = spec.labels.iter().filter(|(name, _)| *name != "secrets_present");
        let same = topic == spec.topic.as_str()
            && payload == *spec.input
            && self.labels.iter().filter(|(name, _)| *name != "secrets_present").eq(theirs)
            && self.capability == spec.meta.capability.as_deref().unwrap_or_default()
            && self.requires == spec.meta.requires
            && self.placement.as_ref() == spec.placement.as_deref();
        if same {
            return Ok(json!({"job_id": spec.id, "trace_id": spec.trace_id}));
        }
        let detail = format!(
            "the idempotency key was used for job `{}`, which was asked for otherwise; use a key of its own",
            spec.id
        );
        Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_reused", detail))
    }

    /// The established context blob: what the worker reads.
    fn payload(&self, topic: &str, tenant: &str, now: Timestamp) -> Value {
        let mut payload = Map::new();
        let priority = if self.priority.is_empty() { "interactive" } else { &self.priority };
        let texts = [
            ("prompt", self.prompt.as_str()),
            ("adapter_id", &self.adapter_id),
            ("priority", priority),
            ("topic", topic),
            ("tenant_id", tenant),
            ("project_id", &self.project_id),
            ("context_mode", &self.context_mode),
        ];
        payload
            .extend(texts.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| ((*key).into(), json!(text))));
        let counts = [
            ("max_input_tokens", self.max_input_tokens),
            ("max_output_tokens", self.max_output_tokens),
            ("max_total_tokens", self.max_total_tokens),
        ];
        payload.extend(counts.iter().filter(|(_, count)| *count > 0).map(|(key, count)| ((*key).into(), json!(count))));
        let flags = [("allow_summarization", self.allow_summarization), ("allow_retrieval", self.allow_retrieval)];
        payload.extend(flags.iter().filter(|(_, flag)| *flag).map(|(key, _)| ((*key).into(), json!(true))));
        if !self.tags.is_empty() {
            payload.insert("tags".into(), json!(self.tags));
        }
        if let Some(context) = &self.context {
            payload.insert("context".into(), context.clone());
        }
        payload.insert("created_at".into(), json!(now));
        Value::Object(payload)
    }
}

pub(super) async fn show(State(api): State<Api>, caller: Caller, Ids(id): Ids<String>) -> Result<Json<Value>, Problem> {
    let view = find(&api, &caller, &id).await?;
    Ok(Json(shape::job(&view)))
}

/// 200 with the state that it led to; a job that has ended stays as it is.
pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, Problem> {
    let view = find(&api, &caller, &id).await?;
    if view.job.state.is_terminal() {
        return Ok(Json(json!({"id": id, "state": view.job.state, "reason": "the job has ended"})));
    }
    api.plane.cancel_job(&caller.0, &view.spec.id, "cancelled by request").await?;
    let view = find(&api, &caller, &id).await?;
    Ok(Json(json!({"id": id, "state": view.job.state})))
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<JobView, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "job_not_found", format!("there is no job `{id}`"));
    let job = JobId::parse(id).map_err(|_| missing())?;
    Ok(api.plane.job(&caller.0, &job).await?)
}
