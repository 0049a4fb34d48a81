//! What people and programs tell the steps of a run: answers, data, signals, how a parked step goes on.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use coretex_core::{
    job::{Answer, RunId},
    value::Value,
    workflow::Resolution,
};
use serde::Deserialize;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{AnyBody, Body, Ids, Params, RepeatKey, json, read},
    run_path::RunPath,
};

#[derive(Debug, Deserialize)]
pub(super) struct StepAnswer {
    approved: Option<bool>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    note: String,
}

/// 204. The body says yes or no; leaving it open is refused.
pub(super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Ids(path): Ids<RunPath>,
    Body(body): Body<StepAnswer>,
) -> Result<StatusCode, Problem> {
    let Some(approved) = body.approved else {
        return Err(Problem::bad_request("approved_missing", "say `\"approved\": true` or `\"approved\": false`"));
    };
    let run = path.run(&api, &caller).await?;
    let answer = Answer {
        approved,
        by: caller.0.id.clone(),
        role: caller.role().into(),
        reason: body.reason.into(),
        note: body.note.into(),
    };
    api.plane.answer_step(&caller.0, &run, &path.step()?, answer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 204. The body is the data that an `input` step waits for.
pub(super) async fn provide(
    State(api): State<Api>,
    caller: Caller,
    Ids(path): Ids<RunPath>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (bytes, _) = read(request, &()).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::bad_request("body_missing", "the body is empty; send the data as JSON"));
    }
    let data = json(&bytes)?.unwrap_or(Value::Null);
    let run = path.run(&api, &caller).await?;
    api.plane.provide_input(&caller.0, &run, &path.step()?, data).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a step goes on, as clients write it.
#[derive(Debug, Deserialize)]
pub(super) struct HowOn {
    action: String,
    output: Option<Value>,
    reason: Option<String>,
    input: Option<Value>,
}

impl HowOn {
    fn read(self) -> Result<Resolution, Problem> {
        let Self { action, output, reason, input } = self;
        for (member, is_lost) in [
            ("output", output.is_some() && action != "complete"),
            ("reason", reason.is_some() && action != "fail"),
            ("input", input.is_some() && action != "retry"),
        ] {
            if is_lost {
                let detail = format!("action `{action}` has no use for `{member}`; leave it out");
                return Err(Problem::bad_request("field_invalid", detail));
            }
        }
        Ok(match action.as_str() {
            "retry" => Resolution::Retry { input: input.map(Into::into) },
            "complete" => Resolution::Complete { output: output.unwrap_or_default().into() },
            "skip" => Resolution::Skip,
            "fail" => Resolution::Fail { reason: reason.unwrap_or_default().into() },
            _ => {
                let detail = format!("`{action}` is no action; one of retry, complete, skip, fail");
                return Err(Problem::bad_request("field_invalid", detail));
            }
        })
    }
}

/// 204. Says how a parked step goes on; `skip` and `fail` also end a step that waits for data or a signal.
pub(super) async fn resolve(
    State(api): State<Api>,
    caller: Caller,
    Ids(path): Ids<RunPath>,
    Body(body): Body<HowOn>,
) -> Result<StatusCode, Problem> {
    let resolution = body.read()?;
    let run = path.run(&api, &caller).await?;
    api.plane.resolve_step(&caller.0, &run, &path.step()?, resolution).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 204. The body is the payload; `Idempotency-Key`, or the query parameter `id`, makes a repeat harmless.
pub(super) async fn signal(
    State(api): State<Api>,
    caller: Caller,
    Ids((run, name)): Ids<(String, String)>,
    params: Params,
    RepeatKey(key): RepeatKey,
    AnyBody(payload): AnyBody,
) -> Result<StatusCode, Problem> {
    let id = key.as_deref().or_else(|| params.text("id"));
    api.plane.signal(&caller.0, &RunId::parse(&run)?, &name, id, payload.unwrap_or(Value::Null)).await?;
    Ok(StatusCode::NO_CONTENT)
}
