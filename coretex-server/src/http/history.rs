//! Time travel: a run as it was, a run that goes on from another, why a run is not further, a log folded anew.

use axum::{Json, extract::State};
use coretex_core::{
    job::{RunId, StepRunId},
    runtime::RerunRequest,
    value::Value,
};
use serde::Deserialize;
use serde_json::{Map, json};

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, OptionalBody, Params, RepeatKey},
    run_path::RunPath,
    shape,
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Rerun {
    from_step: Option<String>,
    at_event: Option<u64>,
    input: Option<Map<String, Value>>,
    #[serde(default)]
    fresh: bool,
    #[serde(default)]
    dry_run: bool,
}

impl Rerun {
    fn read(self) -> Result<RerunRequest, Problem> {
        if self.fresh && (self.from_step.is_some() || self.at_event.is_some()) {
            let detail = "`fresh` keeps nothing of the other run, so `from_step` and `at_event` have no use beside it";
            return Err(Problem::bad_request("field_invalid", detail));
        }
        let mut request = if self.fresh { RerunRequest::from_the_beginning() } else { RerunRequest::new() };
        // Established clients send an empty text for a step that they do not name.
        if let Some(step) = self.from_step.filter(|step| !step.is_empty()) {
            request = request.from_step(StepRunId::parse(&step)?);
        }
        if let Some(seq) = self.at_event {
            request = request.at_event(seq);
        }
        if let Some(input) = self.input {
            request = request.input(Value::Object(input));
        }
        Ok(if self.dry_run { request.dry_run() } else { request })
    }
}

/// Starts a run that goes on from another one. 200 with its id, also for a repeat under the same idempotency key.
pub(super) async fn rerun(
    State(api): State<Api>,
    caller: Caller,
    Ids(path): Ids<RunPath>,
    RepeatKey(key): RepeatKey,
    OptionalBody(body): OptionalBody<Rerun>,
) -> Result<Json<Value>, Problem> {
    let mut request = body.read()?;
    if let Some(key) = key {
        request = request.idempotency_key(key);
    }
    let run = path.run(&api, &caller).await?;
    let new = api.plane.rerun(&caller.0, &run, request).await?;
    Ok(Json(json!({"run_id": new})))
}

/// The run as it was after event number `at`, in the shape of a run.
pub(super) async fn state(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let Some(seq) = params.number("at")?.filter(|seq| *seq > 0) else {
        let detail = "query parameter `at` says after which event, from 1; the timeline numbers them";
        return Err(Problem::bad_request("query_invalid", detail));
    };
    let run = api.plane.run_at(&caller.0, &RunId::parse(&id)?, seq).await?;
    let view = api.plane.run_view(&run).await?.ok_or_else(|| super::runs::no_run(&id))?;
    let mut view = shape::run(&view);
    if let Value::Object(fields) = &mut view {
        fields.insert("at_event".into(), json!(run.head()));
    }
    Ok(Json(view))
}

/// Why the run is not further, and each of its steps; `waits` is empty when it has ended.
pub(super) async fn why(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit(200)?;
    let waits = api.plane.why(&caller.0, &RunId::parse(&id)?).await?;
    let shown = waits.get(..limit).unwrap_or(&waits);
    Ok(Json(json!({"run_id": id, "waits": shown, "total": waits.len()})))
}

/// Folds the whole log of the run anew and compares the result with what is stored beside it.
pub(super) async fn replay(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, Problem> {
    let report = api.plane.replay(&caller.0, &RunId::parse(&id)?).await?;
    let mut shown = json!(report);
    if let Value::Object(fields) = &mut shown {
        fields.insert("agrees".into(), json!(report.agrees()));
    }
    Ok(Json(shown))
}
