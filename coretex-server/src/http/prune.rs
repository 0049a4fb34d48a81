//! `/api/v1/prune`: removing what is older than it has to be.

use axum::{Json, extract::State};
use coretex_core::{runtime::Retention, value::Value};
use serde::Deserialize;
use serde_json::json;

use super::{Api, Problem, auth::Caller, extract::Body};

#[derive(Debug, Deserialize)]
pub(super) struct Prune {
    retention: Retention,
    #[serde(default)]
    dry_run: bool,
}

/// 200 with what was removed, or would be.
pub(super) async fn prune(
    State(api): State<Api>,
    _caller: Caller,
    Body(body): Body<Prune>,
) -> Result<Json<Value>, Problem> {
    let report = if body.dry_run {
        api.plane.prune_preview(&body.retention).await?
    } else {
        api.plane.prune(&body.retention).await?
    };
    Ok(Json(json!({"dry_run": body.dry_run, "classes": report.classes})))
}
