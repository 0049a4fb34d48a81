//! `/api/v1/dlq`: jobs given up, one by one, by kind, and many at once.

use axum::{Json, extract::State, http::StatusCode};
use coretex_core::{
    job::{DeadLetter, Fingerprint, JobId, RunId, Topic, WorkflowId},
    runtime::{DeadLetterQuery, PlaneErrorKind, Retried, RetryRequest, TimeRange},
    value::Value,
};
use serde::Deserialize;
use serde_json::{Map, json};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, OptionalBody, Params},
    run_query::instant,
    shape,
};

/// Which letters are meant: query parameters of a list, members of a body that means many.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    fingerprint: Option<String>,
    code: Option<String>,
    topic: Option<String>,
    workflow_id: Option<String>,
    run_id: Option<String>,
    tenant_id: Option<String>,
    created_after: Option<String>,
    created_before: Option<String>,
}

impl Filter {
    fn of(params: &Params) -> Self {
        Self {
            fingerprint: params.owned("fingerprint"),
            code: params.owned("code"),
            topic: params.owned("topic"),
            workflow_id: params.owned("workflow_id"),
            run_id: params.owned("run_id"),
            tenant_id: params.owned("tenant_id"),
            created_after: params.owned("created_after"),
            created_before: params.owned("created_before"),
        }
    }

    /// The query; `limit` and `cursor` are parameters in every case.
    fn read(self, caller: &Caller, params: &Params) -> Result<DeadLetterQuery, Problem> {
        shape::check_tenant(caller, self.tenant_id.as_deref())?;
        let time = |name: &str, text: Option<String>, is_end| text.map(|text| instant(name, &text, is_end)).transpose();
        Ok(DeadLetterQuery {
            fingerprint: self.fingerprint.as_deref().map(Fingerprint::named),
            code: self.code,
            topic: self.topic.as_deref().map(Topic::parse_job).transpose()?,
            workflow: self.workflow_id.as_deref().map(WorkflowId::parse).transpose()?,
            run: self.run_id.as_deref().map(RunId::parse).transpose()?,
            created: TimeRange {
                from: time("created_after", self.created_after, false)?,
                until: time("created_before", self.created_before, true)?,
            },
            limit: params.limit(100)?,
            cursor: params.owned("cursor"),
        })
    }
}

/// Newest first, a bare array.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Vec<Value>>, Problem> {
    Ok(Json(read(&api, &caller, &params).await?.0))
}

/// Newest first, page by page.
pub(super) async fn page(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let (items, next) = read(&api, &caller, &params).await?;
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

async fn read(api: &Api, caller: &Caller, params: &Params) -> Result<(Vec<Value>, Option<String>), Problem> {
    let query = Filter::of(params).read(caller, params)?;
    let page = api.plane.find_dead_letters(&caller.0, &query).await?;
    Ok((page.items.iter().map(entry).collect(), page.next))
}

/// Failures of one kind as one line, in the order of their fingerprints.
pub(super) async fn groups(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = api.plane.dead_letter_groups(&caller.0, params.owned("cursor"), params.limit(100)?).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}

/// One letter with everything that the job was; also one that was tried again within thirty days, with what became of it.
pub(super) async fn show(State(api): State<Api>, caller: Caller, Ids(id): Ids<String>) -> Result<Json<Value>, Problem> {
    let job = JobId::parse(&id)?;
    match api.plane.dead_letter(&caller.0, &job).await {
        Ok(letter) => Ok(Json(Value::Object(whole(&letter)))),
        Err(error) if error.kind() == PlaneErrorKind::NotFound => {
            let retried = api.plane.retried_dead_letter(&caller.0, &job).await?;
            let mut fields = whole(&retried.letter);
            fields.insert("retried".into(), answer(&retried));
            Ok(Json(Value::Object(fields)))
        }
        Err(error) => Err(error.into()),
    }
}

/// 204, also when there is none.
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<StatusCode, Problem> {
    match api.plane.delete_dead_letter(&caller.0, &JobId::parse(&id)?).await {
        Err(error) if error.code() != "dead_letter_not_found" => Err(error.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retry {
    input: Option<Value>,
    reason: String,
}

/// Tries the job once more: as it was, or with another input. 200 with the id of the job that does the work now.
pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(body): OptionalBody<Retry>,
) -> Result<Json<Value>, Problem> {
    let mut request = RetryRequest::new().reason(body.reason);
    if let Some(input) = body.input {
        request = request.input(input);
    }
    let retried = api.plane.retry_dead_letter_with(&caller.0, &JobId::parse(&id)?, &request).await?;
    Ok(Json(answer(&retried)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Many {
    #[serde(flatten)]
    filter: Filter,
    all: bool,
    dry_run: bool,
    reason: String,
}

/// Tries one page of letters again, each for itself. 200 with what became of each; of a dry run, with how many there are.
pub(super) async fn retry_many(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
    OptionalBody(body): OptionalBody<Many>,
) -> Result<Json<Value>, Problem> {
    let query = body.filter.read(&caller, &params)?;
    if body.dry_run {
        return preview(&api, &caller, &query).await;
    }
    let page = api.plane.retry_dead_letters(&caller.0, &query, body.all, &body.reason).await?;
    Ok(Json(json!({"dry_run": false, "items": page.items, "next_cursor": page.next})))
}

/// Removes one page of letters. 200 with their jobs; of a dry run, with how many there are.
pub(super) async fn delete_many(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
    OptionalBody(body): OptionalBody<Many>,
) -> Result<Json<Value>, Problem> {
    let query = body.filter.read(&caller, &params)?;
    if body.dry_run {
        return preview(&api, &caller, &query).await;
    }
    let page = api.plane.delete_dead_letters(&caller.0, &query, body.all).await?;
    let items: Vec<Value> = page.items.iter().map(|job| json!({"job_id": job})).collect();
    Ok(Json(json!({"dry_run": false, "items": items, "next_cursor": page.next})))
}

async fn preview(api: &Api, caller: &Caller, query: &DeadLetterQuery) -> Result<Json<Value>, Problem> {
    let told = api.plane.count_dead_letters(&caller.0, query).await?;
    let (count, more, kinds) = (told.count, told.more, told.by_fingerprint);
    Ok(Json(json!({"dry_run": true, "count": count, "more": more, "by_fingerprint": kinds})))
}

fn answer(retried: &Retried) -> Value {
    json!({
        "job_id": retried.job,
        "way": retried.way,
        "retry_of": retried.letter.spec.id,
        "by": retried.by,
        "at": retried.at,
        "reason": retried.reason,
        "edited": retried.input.is_some(),
        "input": retried.input,
    })
}

/// What lists show of a letter.
fn entry(letter: &DeadLetter) -> Value {
    Value::Object(fields(letter))
}

fn fields(letter: &DeadLetter) -> Map<String, Value> {
    let spec = &letter.spec;
    let entry = json!({
        "job_id": spec.id,
        "topic": spec.topic,
        "status": format!("JOB_STATUS_{}", letter.state.as_str()),
        "reason": letter.failure.message,
        "reason_code": letter.failure.code,
        "last_state": letter.last_state,
        "attempts": letter.attempts,
        "created_at": letter.created_at,
        "fingerprint": letter.fingerprint,
        "pattern": letter.pattern,
        "worker_id": letter.worker.as_deref().unwrap_or_default(),
        "pool": letter.pool.as_deref().unwrap_or_default(),
        "workflow_id": spec.workflow.as_ref().map_or("", |id| id.as_str()),
        "run_id": spec.run.as_ref().map_or("", |id| id.as_str()),
        "step_id": spec.step.as_ref().map_or("", |id| id.as_str()),
    });
    match entry {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Everything about a letter: what jobs show, and what lists of letters show.
fn whole(letter: &DeadLetter) -> Map<String, Value> {
    let spec = &letter.spec;
    let decision = letter.decision.as_deref();
    let mut all = shape::record(spec, letter.state, letter.created_at, decision);
    all.remove("id");
    let constraints = decision.and_then(|decision| decision.constraints.as_ref());
    all.insert("safety_constraints".into(), json!(constraints));
    all.insert("context".into(), json!(spec.input));
    all.insert("labels".into(), json!(spec.labels));
    all.insert("meta".into(), json!(spec.meta));
    all.insert("priority".into(), json!(spec.priority));
    all.insert("memory_id".into(), json!(spec.memory_id));
    all.insert("adapter_id".into(), json!(spec.adapter_id));
    all.insert("timeout_ms".into(), json!(spec.timeout.map(|timeout| timeout.as_millis())));
    all.insert("item".into(), json!(spec.item));
    all.insert("index".into(), json!(spec.index));
    all.extend(fields(letter));
    all
}
