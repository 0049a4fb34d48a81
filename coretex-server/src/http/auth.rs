//! Who calls: the key is checked, the rest of the server sees a [`Principal`].

use std::fmt;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coretex_core::governance::Principal;
use sha2::{Digest, Sha256};

use super::{Api, problem::Problem};

/// How callers prove who they are.
#[derive(Clone)]
pub struct Auth(Mode);

#[derive(Clone)]
enum Mode {
    Key([u8; 32]),
    Host,
    Open,
}

impl Auth {
    /// Callers send `key` in the header `X-API-Key`. Spaces around either are ignored. Keys are compared by their
    /// digests, in constant time.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self(Mode::Key(digest(key)))
    }

    /// The host authenticates: a layer of its own puts a [`Principal`] into the request's extensions. A request
    /// without one is refused.
    #[must_use]
    pub const fn host() -> Self {
        Self(Mode::Host)
    }

    /// Everybody may do everything. For tests, and behind something that lets only the right ones through.
    #[must_use]
    pub const fn open() -> Self {
        Self(Mode::Open)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Mode::Key(_) => "Auth::key(..)",
            Mode::Host => "Auth::host()",
            Mode::Open => "Auth::open()",
        })
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.trim().trim_matches('"').as_bytes()).into()
}

/// The same time for every pair.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b))) == 0
}

/// Lets a request through with its principal, or refuses it.
pub(super) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match principal(&api.auth().0, &request) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn principal(mode: &Mode, request: &Request) -> Result<Principal, Problem> {
    let refuse = |code, detail| Err(Problem::new(StatusCode::UNAUTHORIZED, code, detail));
    match mode {
        Mode::Open => {}
        Mode::Host => {
            return match request.extensions().get::<Principal>() {
                Some(principal) => Ok(principal.clone()),
                None => refuse("principal_missing", "the host has authenticated nobody for this request"),
            };
        }
        Mode::Key(expected) => match header(request.headers(), "x-api-key") {
            None => return refuse("api_key_missing", "send the API key in the header `X-API-Key`"),
            Some(key) if same(&digest(key), expected) => {}
            Some(_) => return refuse("api_key_wrong", "the API key in `X-API-Key` is not the server's key"),
        },
    }
    let mut principal = Principal::service(header(request.headers(), "x-principal-id").unwrap_or("api"));
    if let Some(role) = header(request.headers(), "x-principal-role") {
        let role = role.to_lowercase();
        let role = if matches!(role.as_str(), "secops" | "operator") { "admin" } else { &role };
        principal = principal.with_role(role);
    }
    Ok(principal)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty() && value.len() <= 200).then_some(value)
}

/// The caller, as [`authenticate`] found it.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Principal);

impl Caller {
    /// The role that is recorded with an answer; may be empty.
    pub(super) fn role(&self) -> &str {
        self.0.roles.first().map_or("", |role| role)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Principal>().cloned().map(Self).ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "principal_missing", "nobody is authenticated for this request")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_only_as_a_whole() {
        assert!(same(&digest("k"), &digest(" \"k\" ")));
        assert!(!same(&digest("k"), &digest("k2")));
        assert!(!same(&digest("k"), &digest("")));
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", Auth::key("secret")), "Auth::key(..)");
    }
}
