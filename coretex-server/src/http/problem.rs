//! What a refused request is answered: RFC 9457 JSON, or one line of text for clients that ask for it.
//!
//! Every refusal has a stable code, in the body and in the header `X-Error-Code`. Nothing else in the crate builds an
//! error answer.

use std::{borrow::Cow, error::Error as _};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coretex_core::{
    job::IdError,
    runtime::{PlaneError, PlaneErrorKind},
    workflow::DefinitionError,
};
use serde_json::{Map, Value, json};

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    members: Map<String, Value>,
}

const CODE: HeaderName = HeaderName::from_static("x-error-code");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl Problem {
    pub(crate) fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), members: Map::new() }
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Adds a member of its own to the JSON form.
    pub(crate) fn with(mut self, member: &str, value: Value) -> Self {
        self.members.insert(member.to_owned(), value);
        self
    }

    fn body(&self) -> Value {
        let mut body = self.members.clone();
        body.insert("type".into(), json!(format!("urn:coretex:error:{}", self.code)));
        body.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("code".into(), json!(self.code));
        body.insert("detail".into(), json!(self.detail));
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            headers.insert(CODE, code);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns a refusal into text when that is what the client accepts.
pub(super) async fn negotiate(request: Request, next: Next) -> Response {
    let text = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/plain") && !accept.contains("json"));
    let mut response = next.run(request).await;
    if text && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.remove(header::CONTENT_LENGTH);
        *response.body_mut() = format!("{}\n", problem.detail).into();
    }
    response
}

impl From<PlaneError> for Problem {
    fn from(error: PlaneError) -> Self {
        let status = match (error.kind(), error.code()) {
            (_, "tenant_mismatch") => StatusCode::FORBIDDEN,
            (_, "payload_too_large") => StatusCode::PAYLOAD_TOO_LARGE,
            (PlaneErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
            (PlaneErrorKind::Invalid, _) => StatusCode::BAD_REQUEST,
            (PlaneErrorKind::Conflict, _) => StatusCode::CONFLICT,
            (PlaneErrorKind::Unavailable | PlaneErrorKind::Closed, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(code = error.code(), %error, "a request failed");
        }
        if let Some(definition) = error.source().and_then(|source| source.downcast_ref::<DefinitionError>()) {
            return Self::from(definition);
        }
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<&DefinitionError> for Problem {
    fn from(error: &DefinitionError) -> Self {
        let problems = error.problems.iter().map(
            |problem| json!({"code": problem.code, "path": problem.path, "message": problem.message, "help": problem.help}),
        );
        Self::bad_request(error.code(), error.to_string()).with("problems", problems.collect())
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::bad_request(error.code(), error.to_string())
    }
}
