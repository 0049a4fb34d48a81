//! `/api/v1/dlq`: jobs given up.

use axum::{Json, extract::State, http::StatusCode};
use coretex_core::{job::JobId, runtime::ListPage, value::Value};
use serde_json::json;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, Params},
    shape,
};

/// Newest first, a bare array.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Vec<Value>>, Problem> {
    Ok(Json(read(&api, &caller, &params).await?.items))
}

/// Newest first, page by page.
pub(super) async fn page(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = read(&api, &caller, &params).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}

async fn read(api: &Api, caller: &Caller, params: &Params) -> Result<ListPage<Value>, Problem> {
    let page = api.plane.dead_letters(&caller.0, params.owned("cursor"), params.limit(100)?).await?;
    Ok(ListPage { items: page.items.iter().map(shape::dead_letter).collect(), next: page.next })
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

/// Submits the job once more, as it was. 200 with the id of the new one.
pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, Problem> {
    let job = api.plane.retry_dead_letter(&caller.0, &JobId::parse(&id)?).await?;
    Ok(Json(json!({"job_id": job})))
}
