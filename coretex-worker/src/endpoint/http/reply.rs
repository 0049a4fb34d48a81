//! What an HTTP answer means.

use std::time::Duration;

use coretex_core::value::Value;
use hyper::header::{self, HeaderMap};
use jiff::{Timestamp, fmt::rfc2822};
use serde_json::json;

use crate::{
    endpoint::{
        answer::{self, Answer},
        net::client::Reply,
        redact::Redactor,
    },
    job_error::JobError,
};

/// The longest wait that a service may ask for.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a refusal's body that are told.
const EXCERPT: usize = 1024;

/// Success as an answer, everything else as an error.
pub(crate) fn answer(reply: Reply, retry_on: &[u16], redactor: &Redactor, now: Timestamp) -> Result<Answer, JobError> {
    if !reply.status.is_success() {
        return Err(refusal(&reply, retry_on, redactor, now));
    }
    let answer = json!({
        "status": reply.status.as_u16(),
        "headers": told(&reply.headers),
        "body": body(&reply)?,
    });
    Ok(redactor.value(answer))
}

fn refusal(reply: &Reply, retry_on: &[u16], redactor: &Redactor, now: Timestamp) -> JobError {
    let status = reply.status.as_u16();
    let said = redactor.text(String::from_utf8_lossy(&reply.body).into_owned());
    let said = said.get(..said.floor_char_boundary(EXCERPT)).unwrap_or_default().trim();
    let text = if said.is_empty() {
        format!("the service answered {status}")
    } else {
        format!("the service answered {status}: {said}")
    };
    if retry_on.contains(&status) {
        let error = match wait(&reply.headers, now) {
            Some(delay) => JobError::retry_after(text, delay),
            None => JobError::retry(text),
        };
        return error.with_code("http_status");
    }
    if reply.status.is_server_error() {
        return JobError::failed(text).with_code("http_status");
    }
    JobError::fatal("http_status", text)
}

/// What `Retry-After` says, in seconds or as a date (RFC 9110, 10.2.3).
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            at.duration_since(now).try_into().ok()?
        }
    };
    Some(wait.min(MAX_WAIT))
}

/// Headers by name; several of one name are joined as RFC 9110, 5.3 says.
fn told(headers: &HeaderMap) -> Value {
    let mut told = serde_json::Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        told.insert(name.as_str().to_owned(), Value::from(values.join(", ")));
    }
    Value::Object(told)
}

fn body(reply: &Reply) -> Result<Value, JobError> {
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    let media = reply.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = media == "application/json" || media.ends_with("+json");
    answer::read(&reply.body, json, "the body of the answer")
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_service_may_ask_for_a_wait_in_seconds_or_by_date() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Wed, 31 Dec 2025 00:00:00 GMT", None),
            ("99999999", Some(86400)),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(wait(&headers, now).map(|wait| wait.as_secs()), expected, "{text}");
        }
    }
}
