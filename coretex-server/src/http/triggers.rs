//! `/api/v1/workflows/{id}/triggers`: events that are gathered until they start one run.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use coretex_core::{
    job::WorkflowId,
    runtime::{TriggerReceipt, TriggerRequest},
    value::Value,
};
use serde_json::{Map, json};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, Params, idempotency_key, json, read},
};

/// Takes an event with the body as its input. 202 with the run that it will be part of.
pub(super) async fn send(
    State(api): State<Api>,
    caller: Caller,
    Ids((workflow, trigger)): Ids<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<TriggerReceipt>), Problem> {
    let (bytes, _) = read(request, &()).await?;
    let input = json(&bytes)?.unwrap_or_else(|| Value::Object(Map::new()));
    let mut event = TriggerRequest::new(WorkflowId::parse(&workflow)?, trigger, input);
    if let Some(id) = idempotency_key(&headers, &["idempotency-key"])? {
        event = event.event_id(id);
    }
    Ok((StatusCode::ACCEPTED, Json(api.plane.trigger(&caller.0, event).await?)))
}

/// What the triggers of a workflow have gathered, page by page.
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Ids(workflow): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let (workflow, cursor) = (WorkflowId::parse(&workflow)?, params.owned("cursor"));
    let page = api.plane.trigger_buckets(&caller.0, &workflow, cursor, params.limit(50)?).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}

/// Starts the run of what has been gathered under the query's `key` now. 204.
pub(super) async fn flush(
    State(api): State<Api>,
    caller: Caller,
    Ids((workflow, trigger)): Ids<(String, String)>,
    params: Params,
) -> Result<StatusCode, Problem> {
    let (workflow, key) = (WorkflowId::parse(&workflow)?, params.text("key").unwrap_or_default());
    api.plane.flush_trigger(&caller.0, &workflow, &trigger, key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets what has been gathered under the query's `key`. 204.
pub(super) async fn discard(
    State(api): State<Api>,
    caller: Caller,
    Ids((workflow, trigger)): Ids<(String, String)>,
    params: Params,
) -> Result<StatusCode, Problem> {
    let (workflow, key) = (WorkflowId::parse(&workflow)?, params.text("key").unwrap_or_default());
    api.plane.discard_trigger(&caller.0, &workflow, &trigger, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
