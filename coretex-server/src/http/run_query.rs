//! The query parameters that say which runs are wanted.

use std::collections::BTreeMap;

use coretex_core::{
    job::WorkflowId,
    runtime::{RunQuery, TimeRange},
    value::Value,
    workflow::RunStatus,
};
use jiff::Timestamp;

use super::{Problem, extract::Params};

/// The query; `limit` unless it names one.
pub(super) fn read(params: &Params, limit: usize) -> Result<RunQuery, Problem> {
    let statuses =
        params.every("status").flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty());
    let time = |name: &str, is_end| params.text(name).map(|text| instant(name, text, is_end)).transpose();
    Ok(RunQuery {
        workflow: params.text("workflow_id").map(WorkflowId::parse).transpose()?,
        statuses: statuses.map(status).collect::<Result<_, _>>()?,
        team: params.owned("team_id"),
        labels: labels(params)?,
        created: TimeRange { from: time("created_after", false)?, until: time("created_before", true)? },
        updated: TimeRange { from: time("updated_after", false)?, until: time("updated_before", true)? },
        id_prefix: params.owned("id_prefix"),
        has_error: params.switch("has_error")?,
        error_code: params.owned("error_code"),
        limit: params.limit(limit)?,
        cursor: params.owned("cursor"),
    })
}

/// `label=name=value`, as often as there are labels.
pub(super) fn labels(params: &Params) -> Result<BTreeMap<String, String>, Problem> {
    let pair = |text: &str| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => {
            let detail = format!("query parameter `label` is `{text}`; give `name=value`");
            Err(Problem::bad_request("query_invalid", detail))
        }
    };
    params.every("label").map(pair).collect()
}

fn status(text: &str) -> Result<RunStatus, Problem> {
    serde_json::from_value(Value::String(text.to_ascii_lowercase())).map_err(|_| {
        let known = "pending, running, waiting, succeeded, failed, cancelled, timed_out";
        Problem::bad_request("query_invalid", format!("`{text}` is not the status of a run; one of {known}"))
    })
}

/// A point in time: RFC 3339, or a number whose unit its size tells. As an end it means the end of that unit.
pub(super) fn instant(name: &str, text: &str, is_end: bool) -> Result<Timestamp, Problem> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let Ok(number) = text.parse::<i64>() else {
        let detail =
            format!("query parameter `{name}` is `{text}`; give a time as in `2030-01-31T09:00:00Z`, or a Unix time");
        return Err(Problem::bad_request("query_invalid", detail));
    };
    let (scale, rest) = match number {
        ..1_000_000_000_000 => (1_000_000, 1),
        1_000_000_000_000..1_000_000_000_000_000 => (1_000, 1),
        1_000_000_000_000_000..1_000_000_000_000_000_000 => (1, 1),
        _ => (1, 1_000),
    };
    let micros = (number / rest).checked_mul(scale).map(|micros| if is_end { micros + (scale - 1) } else { micros });
    match micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()) {
        Some(time) => Ok(time),
        None => {
            let detail = format!("query parameter `{name}` is `{text}`, which is no time that can be");
            Err(Problem::bad_request("query_invalid", detail))
        }
    }
}
