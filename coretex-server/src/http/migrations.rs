//! Moving runs that are under way onto another version: `/workflow-runs/{id}/migrate` and `/workflows/{id}/migrate`.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use coretex_core::{
    job::{RunId, WorkflowId},
    runtime::{MigrationQuery, MigrationRequest, PlaneError},
    value::Value,
    workflow::RunStatus,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, OptionalBody, Params},
    versions::Wanted,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Migrate {
    version: Option<Wanted>,
    at: Option<u64>,
    reason: String,
    dry_run: bool,
}

/// Moves a run onto a version, the current one unless told. 200 with what became of it; 409 with everything that is in
/// the way. A dry run changes nothing, and is answered with 200 in both cases.
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(body): OptionalBody<Migrate>,
) -> Result<Json<Value>, Problem> {
    let mut request = MigrationRequest::new().reason(body.reason);
    if let Some(version) = body.version {
        request = request.version(version.read()?);
    }
    if let Some(at) = body.at {
        request = request.at_event(at);
    }
    let id = RunId::parse(&id)?;
    let migration = match body.dry_run {
        true => api.plane.migrate_run_preview(&caller.0, &id, &request).await?,
        false => api.plane.migrate_run(&caller.0, &id, &request).await.map_err(refused)?,
    };
    Ok(Json(json!(migration)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MigrateAll {
    to: Option<Wanted>,
    from: Option<Wanted>,
    status: Vec<RunStatus>,
    labels: BTreeMap<String, String>,
    reason: String,
    dry_run: bool,
}

/// Moves one page of the live runs of a workflow onto a version, the current one unless told, each for itself. 200 with
/// what became of each, or would.
pub(super) async fn all(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
    OptionalBody(body): OptionalBody<MigrateAll>,
) -> Result<Json<Value>, Problem> {
    let query = MigrationQuery {
        to: body.to.map(|version| version.read()).transpose()?,
        from: body.from.map(|version| version.read()).transpose()?,
        statuses: body.status,
        labels: body.labels,
        reason: body.reason,
        limit: params.limit(100)?,
        cursor: params.owned("cursor"),
    };
    let id = WorkflowId::parse(&id)?;
    let page = match body.dry_run {
        true => api.plane.migrate_runs_preview(&caller.0, &id, &query).await?,
        false => api.plane.migrate_runs(&caller.0, &id, &query).await?,
    };
    Ok(Json(json!({"dry_run": body.dry_run, "items": page.items, "next_cursor": page.next})))
}

fn refused(error: PlaneError) -> Problem {
    let refusals = json!(error.refusals());
    let has_reasons = !error.refusals().is_empty();
    let problem = Problem::from(error);
    if has_reasons { problem.with("refusals", refusals) } else { problem }
}
