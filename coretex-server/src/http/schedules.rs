//! `/api/v1/schedules`: workflows started by the clock.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use coretex_core::{
    runtime::{BackfillRequest, ScheduleStatus},
    schedule::{Fired, OverlapPolicy, ScheduleSpec},
    value::Value,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Body, Ids, OptionalBody, Params, document, strip_nulls},
};

/// By id, page by page.
pub(super) async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let page = api.plane.schedules(&caller.0, params.owned("cursor"), params.limit(50)?).await?;
    Ok(Json(json!({"items": page.items, "next_cursor": page.next})))
}

async fn spec(request: Request) -> Result<ScheduleSpec, Problem> {
    let Some(mut value) = document(request).await? else {
        return Err(Problem::bad_request("body_missing", "the body is empty; send a schedule"));
    };
    strip_nulls(&mut value);
    ScheduleSpec::from_value("body", value).map_err(|error| Problem::from(&error))
}

/// Stores a schedule, JSON or YAML. 201 with it.
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<ScheduleStatus>), Problem> {
    let stored = api.plane.put_schedule(&caller.0, spec(request).await?).await?;
    Ok((StatusCode::CREATED, Json(stored)))
}

/// The next times of a schedule that is not stored.
pub(super) async fn try_out(
    State(api): State<Api>,
    _caller: Caller,
    params: Params,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let timetable = spec(request).await?.compile().map_err(|error| Problem::from(&error))?;
    let (after, count) = range(&params)?;
    let after = after.unwrap_or_else(|| api.plane.clock().now());
    Ok(Json(json!({"times": timetable.preview(after, count)})))
}

fn range(params: &Params) -> Result<(Option<Timestamp>, usize), Problem> {
    let after = params.text("after").map(|text| {
        let odd = || Problem::bad_request("query_invalid", format!("`after` is `{text}`; give a time as RFC 3339"));
        text.parse().map_err(|_| odd())
    });
    let count: usize = params.number("count")?.unwrap_or(10);
    Ok((after.transpose()?, count.min(1_000)))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<Json<ScheduleStatus>, Problem> {
    Ok(Json(api.plane.schedule(&caller.0, &id).await?))
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<StatusCode, Problem> {
    api.plane.delete_schedule(&caller.0, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    note: String,
}

pub(super) async fn pause(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(body): OptionalBody<Note>,
) -> Result<Json<ScheduleStatus>, Problem> {
    Ok(Json(api.plane.pause_schedule(&caller.0, &id, &body.note).await?))
}

pub(super) async fn resume(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
) -> Result<Json<ScheduleStatus>, Problem> {
    Ok(Json(api.plane.resume_schedule(&caller.0, &id).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trigger {
    overlap: Option<OverlapPolicy>,
}

/// Starts a run now. 200 with what became of it.
pub(super) async fn trigger(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    OptionalBody(body): OptionalBody<Trigger>,
) -> Result<Json<Fired>, Problem> {
    Ok(Json(api.plane.trigger_schedule(&caller.0, &id, body.overlap).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Backfill {
    from: Timestamp,
    until: Timestamp,
    pace_ms: Option<u64>,
    overlap: Option<OverlapPolicy>,
}

/// Makes up for past times. 202: they come one after the other.
pub(super) async fn backfill(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    Body(body): Body<Backfill>,
) -> Result<(StatusCode, Json<ScheduleStatus>), Problem> {
    let mut request = BackfillRequest::new(body.from, body.until);
    if let Some(pace) = body.pace_ms {
        request = request.pace(Duration::from_millis(pace));
    }
    if let Some(overlap) = body.overlap {
        request = request.overlap(overlap);
    }
    Ok((StatusCode::ACCEPTED, Json(api.plane.backfill_schedule(&caller.0, &id, request).await?)))
}

pub(super) async fn preview(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let (after, count) = range(&params)?;
    let times = api.plane.preview_schedule(&caller.0, &id, after, count).await?;
    Ok(Json(json!({"times": times})))
}
