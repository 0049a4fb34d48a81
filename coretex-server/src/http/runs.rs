//! `/api/v1/workflows/{id}/runs` and `/api/v1/workflow-runs`: runs.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
};
use coretex_core::{
    governance::Principal,
    job::{Priority, RunId, WorkflowId},
    runtime::{RunQuery, StartRequest, VersionRef},
    value::Value,
    workflow::{RunView, TimelineEvent},
};
use serde_json::{Map, json};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{AnyBody, Ids, Params, RepeatKey},
    run_path::RunPath,
    run_query, shape,
};

/// Starts a run with the body as its input. 200 with its id, also for a repeat under the same idempotency key.
pub(super) async fn start(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
    RepeatKey(key): RepeatKey,
    AnyBody(input): AnyBody,
) -> Result<Json<Value>, Problem> {
    shape::check_tenant(&caller, params.text("org_id"))?;
    let is_dry = params.is_on("dry_run")?;
    let input = input.unwrap_or_else(|| Value::Object(Map::new()));
    let mut start = StartRequest::new(WorkflowId::parse(&id)?, input);
    if is_dry {
        start = start.dry_run();
    }
    if let Some(team) = params.text("team_id") {
        start = start.team(team);
    }
    if let Some(priority) = params.text("priority") {
        let Some(priority) = Priority::from_name(priority) else {
            let detail = format!("`{priority}` is not a priority; one of critical, interactive, batch");
            return Err(Problem::bad_request("query_invalid", detail));
        };
        start = start.priority(priority);
    }
    if let Some(version) = params.text("version") {
        start = start.version(VersionRef::parse(version)?);
    }
    for (name, value) in run_query::labels(&params)? {
        start = start.label(name, value);
    }
    if let Some(key) = key {
        start = start.idempotency_key(key);
    }
    let run = api.plane.start(&caller.0, start).await?;
    Ok(Json(json!({"run_id": run})))
}

/// The newest runs of a workflow, a bare array; empty for a workflow that nobody knows. The header `X-Next-Cursor` says
/// where to go on.
pub(super) async fn list_of_workflow(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<(HeaderMap, Json<Vec<Value>>), Problem> {
    let query = RunQuery { workflow: Some(WorkflowId::parse(&id)?), ..run_query::read(&params, 100)? };
    let (items, next) = find(&api, &caller, &params, query).await?;
    let mut headers = HeaderMap::new();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        headers.insert("x-next-cursor", next);
    }
    Ok((headers, Json(items)))
}

/// Runs, newest first, page by page.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    shape::check_tenant(&caller, params.text("org_id"))?;
    let (items, next) = find(&api, &caller, &params, run_query::read(&params, 50)?).await?;
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

async fn find(
    api: &Api,
    caller: &Caller,
    params: &Params,
    query: RunQuery,
) -> Result<(Vec<Value>, Option<String>), Problem> {
    let page = api.plane.runs(&caller.0, query).await?;
    let items = if params.text("view") == Some("summary") {
        page.items.iter().map(|summary| json!(summary)).collect()
    } else {
        views(api, &caller.0, page.items.iter().map(|summary| summary.id.as_str())).await?
    };
    Ok((items, page.next))
}

async fn views<'a>(
    api: &Api,
    principal: &Principal,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Vec<Value>, Problem> {
    let mut views = Vec::new();
    for id in ids {
        match api.plane.run(principal, &RunId::parse(id)?).await {
            Ok(run) => views.extend(RunView::of(&run).as_ref().map(shape::run)),
            // Deleted between the list and now.
            Err(error) if error.code() == "run_not_found" => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(views)
}

/// A run; `view=summary` gives what lists show of it, whatever it holds.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    if params.text("view") == Some("summary") {
        return Ok(Json(json!(api.plane.run_summary(&caller.0, &RunId::parse(&id)?).await?)));
    }
    let run = api.plane.run(&caller.0, &RunId::parse(&id)?).await?;
    let view = api.plane.run_view(&run).await?.ok_or_else(|| no_run(&id))?;
    Ok(Json(shape::run(&view)))
}

pub(super) fn no_run(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "run_not_found", format!("there is no run `{id}`"))
}

/// Events, oldest first, a bare array; `from` is the number of the first one wanted.
pub(super) async fn timeline(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Vec<TimelineEvent>>, Problem> {
    let (from, limit) = (params.number("from")?.unwrap_or(1), params.limit(200)?);
    Ok(Json(api.plane.timeline(&caller.0, &RunId::parse(&id)?, from, limit).await?))
}

/// 204. A run that has not ended is cancelled first, or refused with 409.
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<StatusCode, Problem> {
    api.plane.delete_run(&caller.0, &RunId::parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 204, also when the run has ended. With `force` nothing is undone, and no last steps run.
pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Ids(path): Ids<RunPath>,
    params: Params,
) -> Result<StatusCode, Problem> {
    let run = path.run(&api, &caller).await?;
    let reason = params.text("reason").unwrap_or("cancelled by request");
    if params.is_on("force")? {
        api.plane.force_cancel_run(&caller.0, &run, reason).await?;
    } else {
        api.plane.cancel_run(&caller.0, &run, reason).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
