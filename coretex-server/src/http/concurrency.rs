//! `/api/v1/queued-starts` and `/api/v1/concurrency-slots`: who waits for a place under a concurrency key, who holds one.

use axum::{Json, extract::State};
use coretex_core::{runtime::QueuedQuery, value::Value};
use serde_json::json;

use super::{Api, Problem, auth::Caller, extract::Params};

fn query(params: &Params) -> Result<QueuedQuery, Problem> {
    Ok(QueuedQuery { key: params.owned("key"), limit: params.limit(50)?, cursor: params.owned("cursor") })
}

pub(super) async fn queued(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = api.plane.queued_starts(&caller.0, query(&params)?).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}

pub(super) async fn holders(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = api.plane.slot_holders(&caller.0, query(&params)?).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}
