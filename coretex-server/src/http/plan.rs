//! What a run would do, without starting one.

use axum::{
    Json,
    extract::{Request, State},
};
use coretex_core::{
    job::WorkflowId,
    runtime::VersionRef,
    value::Value,
    workflow::{Plan, Workflow},
};
use serde::Deserialize;
use serde_json::Map;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, OptionalBody, Params, document},
    workflows,
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Given {
    input: Option<Map<String, Value>>,
}

/// The plan of a stored definition, the current version unless told. The input, if there is one, is what policy sees.
pub(super) async fn stored(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
    OptionalBody(body): OptionalBody<Given>,
) -> Result<Json<Plan>, Problem> {
    let id = WorkflowId::parse(&id)?;
    let workflow = match params.text("version") {
        Some(version) => api.plane.workflow_version(&caller.0, &id, &VersionRef::parse(version)?).await?.1,
        None => api.plane.workflow(&caller.0, &id).await?,
    };
    let input = body.input.map(Value::Object);
    let mut plan = api.plane.plan(&caller.0, &workflow, input.as_ref());
    api.plane.warn_of_unknown(&caller.0, &workflow, &mut plan).await?;
    Ok(Json(plan))
}

/// The plan of a definition that is not stored, JSON or YAML. A definition with mistakes is refused as at its storing.
pub(super) async fn unstored(State(api): State<Api>, caller: Caller, request: Request) -> Result<Json<Plan>, Problem> {
    let Some(mut value) = document(request).await? else {
        return Err(Problem::bad_request("body_missing", "the body is empty; send a workflow definition"));
    };
    workflows::tidy(&mut value);
    let workflow = Workflow::from_value("body", value).map_err(|error| Problem::from(&error))?;
    let mut plan = api.plane.plan_unstored(&caller.0, &workflow, None)?;
    api.plane.warn_of_unknown(&caller.0, &workflow, &mut plan).await?;
    Ok(Json(plan))
}
