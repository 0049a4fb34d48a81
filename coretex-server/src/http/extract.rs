//! What handlers take from a request: ids, query parameters, bodies. A slip is answered with a [`Problem`].

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;

/// Largest body, in bytes.
pub(super) const MAX_BODY: usize = 2 << 20;

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Ids<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(rejection) => Err(Problem::bad_request("path_invalid", rejection.body_text())),
        }
    }
}

/// Query parameters. A parameter that is empty counts as absent; of a repeated one the last counts, unless it may be repeated.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())),
            Err(rejection) => Err(Problem::bad_request("query_invalid", rejection.body_text())),
        }
    }
}

impl Params {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.every(name).last()
    }

    /// All values of a parameter that may be repeated, in order.
    pub(super) fn every(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on; off when absent.
    pub(super) fn is_on(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.switch(name)?.unwrap_or(false))
    }

    /// A switch: on, off or absent.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text {
            "1" | "true" | "yes" | "y" | "on" => Ok(Some(true)),
            "0" | "false" | "no" | "n" | "off" => Ok(Some(false)),
            _ => {
                let detail = format!("query parameter `{name}` is `{text}`; give `true` or `false`");
                Err(Problem::bad_request("query_invalid", detail))
            }
        }
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A count: `default` when absent or 0, 1,000 at most.
    pub(super) fn limit(&self, default: usize) -> Result<usize, Problem> {
        match self.number("limit")?.unwrap_or(0) {
            0 => Ok(default),
            limit @ 1..=1_000 => Ok(limit),
            limit => {
                let detail = format!("query parameter `limit` is `{limit}`; give 1 to 1,000, and go on by the cursor");
                Err(Problem::bad_request("query_invalid", detail))
            }
        }
    }

    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Problem::bad_request("query_invalid", format!("query parameter `{name}` is `{text}`; give a whole number"))
        })
    }
}

/// The key under which a repeat is answered as the first request was: the header `Idempotency-Key` or
/// `X-Idempotency-Key`, or the query parameter `idempotency_key`. Empty counts as absent.
#[derive(Debug)]
pub(super) struct RepeatKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for RepeatKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        for name in ["idempotency-key", "x-idempotency-key"] {
            let Some(value) = parts.headers.get(name).filter(|value| !value.is_empty()) else { continue };
            let Ok(text) = value.to_str() else {
                let detail = format!("the header `{name}` is not plain text");
                return Err(Problem::bad_request("idempotency_key_invalid", detail));
            };
            return Ok(Self(Some(text.to_owned())));
        }
        let params = Params::from_request_parts(parts, state).await?;
        Ok(Self(params.owned("idempotency_key").or_else(|| params.owned("idempotency-key"))))
    }
}

/// Any JSON as a body; `None` when it is left out, or `null`.
#[derive(Debug)]
pub(super) struct AnyBody(pub(super) Option<Value>);

impl<S: Send + Sync> FromRequest<S> for AnyBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (bytes, _) = read(request, state).await?;
        json(&bytes).map(Self)
    }
}

/// A JSON body. `null` members count as absent, members that nobody knows are ignored.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (bytes, _) = read(request, state).await?;
        match json(&bytes)? {
            Some(value) => shape(value).map(Self),
            None => Err(Problem::bad_request("body_missing", "the body is empty; send a JSON object")),
        }
    }
}

/// A JSON body that may be left out, or be `null`.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (bytes, _) = read(request, state).await?;
        match json(&bytes)? {
            Some(value) => shape(value).map(Self),
            None => Ok(Self(T::default())),
        }
    }
}

/// The bytes of the body, and whether they are YAML.
pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<(Bytes, bool), Problem> {
    let yaml = media_type(request.headers());
    let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("the body is larger than {MAX_BODY} bytes; pass large data by pointer");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        } else {
            Problem::bad_request("body_unreadable", format!("the body cannot be read: {}", rejection.body_text()))
        }
    })?;
    match yaml {
        Ok(yaml) => Ok((bytes, yaml)),
        // A body that is not there has no type.
        Err(_) if bytes.is_empty() => Ok((bytes, false)),
        Err(problem) => Err(problem),
    }
}

/// The body as a JSON value, read from JSON or YAML; `None` when it is empty or `null`.
pub(super) async fn document(request: Request) -> Result<Option<Value>, Problem> {
    let (bytes, yaml) = read(request, &()).await?;
    if !yaml {
        return json(&bytes);
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("document_invalid", "the body is not UTF-8"))?;
    let parsed = coretex_core::value::document::parse_yaml("body", text);
    parsed.map(Some).map_err(|error| Problem::bad_request(error.code(), error.to_string()))
}

/// Whether the body is YAML. JSON may come under the types that clients send when nobody told them: existing scripts
/// do.
fn media_type(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(false) };
    let text = value.to_str().map(str::to_ascii_lowercase).map_err(|_| {
        let detail = "the header `Content-Type` is not plain text; send `application/json`";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported", detail)
    })?;
    let kind = text.split(';').next().unwrap_or_default().trim();
    match kind {
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(true),
        ""
        | "application/json"
        | "text/json"
        | "text/plain"
        | "application/octet-stream"
        | "application/x-www-form-urlencoded" => Ok(false),
        kind if kind.ends_with("+json") => Ok(false),
        kind => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_unsupported",
            format!("`{kind}` is not read here; send `application/json`"),
        )),
    }
}

/// The JSON value of a body; `None` when it is empty or `null`.
pub(super) fn json(bytes: &[u8]) -> Result<Option<Value>, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match coretex_core::value::document::parse_json("body", bytes) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == "payload_too_large" => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", error.to_string()))
        }
        Err(error) => {
            let code = if error.code() == "document_invalid" { "json_malformed" } else { error.code() };
            Err(Problem::bad_request(code, error.to_string())
                .with("line", error.line().into())
                .with("column", error.column().into()))
        }
    }
}

fn shape<T: DeserializeOwned>(mut value: Value) -> Result<T, Problem> {
    strip_nulls(&mut value);
    if !value.is_object() {
        return Err(Problem::bad_request("body_not_object", "the body is JSON, but not an object"));
    }
    serde_json::from_value(value)
        .map_err(|error| Problem::bad_request("field_invalid", format!("the body does not fit: {error}")))
}

/// Removes members that are `null`: the platform's clients send them for what they do not set.
pub(super) fn strip_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
    }
}
