//! `/api/v1/workflows/{id}/versions` and what goes with them: comparing, rolling back, restarting a run on one.

use axum::{Json, extract::State, http::HeaderName};
use coretex_core::{
    job::{RunId, WorkflowId},
    runtime::{VersionRef, WorkflowVersion},
    value::Value,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Body, Ids, OptionalBody, Params},
    shape,
};

/// Says what version a definition was stored as.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-workflow-version");

/// A version by its number or digest, as clients write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Wanted {
    Number(u64),
    Text(String),
}

impl Wanted {
    pub(super) fn read(&self) -> Result<VersionRef, Problem> {
        Ok(match self {
            Self::Number(number) => VersionRef::parse(&number.to_string())?,
            Self::Text(text) => VersionRef::parse(text)?,
        })
    }
}

fn shape_of(version: &WorkflowVersion, current: Option<u64>) -> Value {
    let mut value = json!(version);
    if let Value::Object(fields) = &mut value {
        fields.insert("current".into(), json!(current == Some(version.number)));
    }
    value
}

/// The number that is current; `None` when the workflow was deleted.
async fn current(api: &Api, caller: &Caller, id: &WorkflowId) -> Result<Option<u64>, Problem> {
    match api.plane.current_version(&caller.0, id).await {
        Ok(version) => Ok(Some(version.number)),
        Err(error) if error.code() == "workflow_not_found" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Newest first, page by page.
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let id = WorkflowId::parse(&id)?;
    let page = api.plane.workflow_versions(&caller.0, &id, params.owned("cursor"), params.limit(100)?).await?;
    let current = current(&api, &caller, &id).await?;
    let items: Vec<Value> = page.items.iter().map(|version| shape_of(version, current)).collect();
    Ok(Json(json!({"items": items, "next_cursor": page.next})))
}

/// One version with its content, by number or digest.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Ids((id, version)): Ids<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let id = WorkflowId::parse(&id)?;
    let (version, workflow) = api.plane.workflow_version(&caller.0, &id, &VersionRef::parse(&version)?).await?;
    let mut value = shape_of(&version, current(&api, &caller, &id).await?);
    if let Value::Object(fields) = &mut value {
        fields.insert("definition".into(), shape::workflow(workflow.spec()));
    }
    Ok(Json(value))
}

/// What sets version `to` (the current one unless told) apart from version `from` (the one before it unless told), and
/// the live runs that the change would meet.
pub(super) async fn diff(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let id = WorkflowId::parse(&id)?;
    let to = match params.text("to") {
        Some(text) => VersionRef::parse(text)?,
        None => VersionRef::Number(api.plane.current_version(&caller.0, &id).await?.number),
    };
    let from = match params.text("from") {
        Some(text) => VersionRef::parse(text)?,
        None => {
            let (to, _) = api.plane.workflow_version(&caller.0, &id, &to).await?;
            VersionRef::Number(to.number.saturating_sub(1))
        }
    };
    let change = api.plane.diff_versions(&caller.0, &id, &from, &to).await?;
    let affected = api.plane.affected_runs(&change, params.owned("cursor"), params.limit(50)?).await?;
    Ok(Json(json!({
        "from": change.from, "to": change.to, "diff": change.diff,
        "affected_runs": affected.items, "next_cursor": affected.next,
    })))
}

#[derive(Debug, Deserialize)]
pub(super) struct RollBack {
    version: Wanted,
    note: Option<String>,
}

/// Makes an older content current again. 200 with the version that it is now.
pub(super) async fn roll_back(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    Body(body): Body<RollBack>,
) -> Result<Json<Value>, Problem> {
    let (id, version) = (WorkflowId::parse(&id)?, body.version.read()?);
    let stored = api.plane.roll_back_workflow(&caller.0, &id, &version, body.note.as_deref()).await?;
    Ok(Json(shape_of(&stored.version, Some(stored.version.number))))
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Restart {
    version: Option<Wanted>,
}

/// Starts a run again on another version, the current one unless told; a live one is cancelled first. 200 with the id of
/// the new run.
pub(super) async fn restart(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(body): OptionalBody<Restart>,
) -> Result<Json<Value>, Problem> {
    let version = body.version.map(|wanted| wanted.read()).transpose()?;
    let run = api.plane.restart_run_onto(&caller.0, &RunId::parse(&id)?, version.as_ref()).await?;
    Ok(Json(json!({"run_id": run})))
}
