//! `/api/v1/approvals`: questions that wait for a human, of policy and of approval steps alike.

use axum::{Json, extract::State, http::StatusCode};
use coretex_core::{
    job::{Answer, JobId},
    runtime::PlaneError,
    value::Value,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, OptionalBody, Params},
    shape,
};

/// Page by page.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = api.plane.approvals(&caller.0, params.owned("cursor"), params.limit(100)?).await?;
    let items: Vec<Value> = page.items.iter().map(shape::approval).collect();
    Ok(Json(json!({"items": items, "next_cursor": page.next})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Words {
    reason: String,
    note: String,
}

/// Agrees; the id is a job's or `<run>:<step>`. 200 with the job and its trace.
pub(super) async fn approve(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(words): OptionalBody<Words>,
) -> Result<Json<Value>, Problem> {
    let trace = answer(&api, &caller, &id, true, words).await?;
    Ok(Json(json!({"job_id": id, "trace_id": trace})))
}

/// Refuses; the id is a job's or `<run>:<step>`. 200 with the job.
pub(super) async fn reject(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(words): OptionalBody<Words>,
) -> Result<Json<Value>, Problem> {
    answer(&api, &caller, &id, false, words).await?;
    Ok(Json(json!({"job_id": id})))
}

async fn answer(api: &Api, caller: &Caller, id: &str, approved: bool, words: Words) -> Result<String, Problem> {
    let request = match api.plane.approval(&caller.0, id).await {
        Err(error) if error.code() == "approval_not_found" => return Err(not_waiting(api, caller, id, error).await),
        found => found?,
    };
    let answer = Answer {
        approved,
        by: caller.0.id.clone(),
        role: caller.role().into(),
        reason: words.reason.into(),
        note: words.note.into(),
    };
    api.plane.answer(&caller.0, id, answer).await?;
    Ok(request.spec.map(|spec| spec.trace_id.to_string()).unwrap_or_default())
}

/// A job that exists and waits for nobody is another slip than one that does not exist.
async fn not_waiting(api: &Api, caller: &Caller, id: &str, missing: PlaneError) -> Problem {
    let Ok(job) = JobId::parse(id) else { return missing.into() };
    match api.plane.job(&caller.0, &job).await {
        Ok(view) => {
            let detail = format!("job `{id}` is {} and waits for no answer", view.job.state.as_str());
            Problem::new(StatusCode::CONFLICT, "approval_not_waiting", detail)
        }
        Err(_) => missing.into(),
    }
}
