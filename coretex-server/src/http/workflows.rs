//! `/api/v1/workflows`: definitions.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderName, StatusCode},
};
use coretex_core::{job::WorkflowId, value::Value, workflow::Workflow};
use serde_json::{Map, json};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, Params, document, strip_nulls},
    shape, versions,
};

/// Most definitions in a list, as established.
const LISTED: usize = 100;

/// Newest change first, a bare array.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Vec<Value>>, Problem> {
    shape::check_tenant(&caller, params.text("org_id"))?;
    let mut specs = Vec::new();
    let mut cursor = None;
    loop {
        let page = api.plane.workflows(&caller.0, cursor, 1_000).await?;
        specs.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    specs.sort_by(|a, b| b.updated_at.cmp(&a.updated_at).then_with(|| a.id.cmp(&b.id)));
    Ok(Json(specs.iter().take(params.limit(LISTED)?).map(shape::workflow).collect()))
}

/// Stores a definition, JSON or YAML. 201 with its id, also when the content was current already; the header
/// `X-Workflow-Version` says what version it is.
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
    request: Request,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>), Problem> {
    let Some(mut value) = document(request).await? else {
        return Err(Problem::bad_request("body_missing", "the body is empty; send a workflow definition"));
    };
    tidy(&mut value);
    let workflow = Workflow::from_value("body", value).map_err(|error| Problem::from(&error))?;
    let stored = api.plane.store_workflow(&caller.0, workflow, params.text("note")).await?;
    let mut answer = Map::from_iter([("id".to_owned(), json!(stored.workflow.id()))]);
    let warnings: Vec<Value> = stored
        .workflow
        .warnings()
        .iter()
        .map(|warning| json!({"code": warning.code, "path": warning.path, "message": warning.message, "help": warning.help}))
        .collect();
    if !warnings.is_empty() {
        answer.insert("warnings".into(), Value::Array(warnings));
    }
    // Established clients expect nothing but the id in the body.
    let version = [(versions::HEADER, stored.version.number.to_string())];
    Ok((StatusCode::CREATED, version, Json(Value::Object(answer))))
}

/// What established clients send and definitions do not know: `null` for what is not set, no id.
pub(super) fn tidy(value: &mut Value) {
    strip_nulls(value);
    let Value::Object(fields) = value else { return };
    if let Some(Value::Object(steps)) = fields.get_mut("steps") {
        for step in steps.values_mut() {
            strip_nulls(step);
            if let Value::Object(step) = step {
                for part in ["retry", "meta"] {
                    if let Some(part) = step.get_mut(part) {
                        strip_nulls(part);
                    }
                }
            }
        }
    }
    if fields.get("id").is_none_or(|id| id == "") {
        fields.insert("id".into(), json!(uuid::Uuid::new_v4().to_string()));
    }
}

pub(super) async fn show(State(api): State<Api>, caller: Caller, Ids(id): Ids<String>) -> Result<Json<Value>, Problem> {
    let workflow = api.plane.workflow(&caller.0, &WorkflowId::parse(&id)?).await?;
    Ok(Json(shape::workflow(workflow.spec())))
}

/// 204. Refused with 409 while runs of it are live, unless `force` is on; then they keep their definition.
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<StatusCode, Problem> {
    let id = WorkflowId::parse(&id)?;
    if params.is_on("force")? {
        api.plane.force_delete_workflow(&caller.0, &id).await?;
    } else {
        api.plane.delete_workflow(&caller.0, &id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
