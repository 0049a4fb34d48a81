//! What a control plane answers when it cannot do what it was asked.

use crate::{
    job::IdError,
    plane::Rejected,
    ports::{BlobError, BusError, StoreError, StoreErrorKind},
    workflow::{DefinitionError, RestoreError},
};

/// How a caller should take an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlaneErrorKind {
    /// There is no such thing.
    NotFound,
    /// The request is wrong; sending it again does not help.
    Invalid,
    /// The request is right, but not in the state things are in.
    Conflict,
    /// It is not available now; try again.
    Unavailable,
    /// The control plane was shut down.
    Closed,
    /// A record is damaged, or the platform is wrong.
    Internal,
}

/// An error of the control plane.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PlaneError {
    kind: PlaneErrorKind,
    code: &'static str,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PlaneError {
    /// An error of `kind` with a stable `code`.
    pub fn new(kind: PlaneErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), source: None }
    }

    pub(super) fn caused(
        kind: PlaneErrorKind,
        code: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, code, message: source.to_string(), source: Some(Box::new(source)) }
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        let code = match what {
            "workflow" => "workflow_not_found",
            "run" => "run_not_found",
            "job" => "job_not_found",
            "approval" => "approval_not_found",
            "schedule" => "schedule_not_found",
            "step" => "step_not_found",
            _ => "not_found",
        };
        Self::new(PlaneErrorKind::NotFound, code, format!("there is no {what} `{id}`"))
    }

    pub(super) fn closed() -> Self {
        Self::new(PlaneErrorKind::Closed, "plane_closed", "the control plane is shut down")
    }

    pub(super) fn damaged(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(PlaneErrorKind::Internal, "record_damaged", format!("{what} cannot be read: {error}"))
    }

    /// How to take it.
    #[must_use]
    pub const fn kind(&self) -> PlaneErrorKind {
        self.kind
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, PlaneErrorKind::Unavailable)
    }
}

impl From<StoreError> for PlaneError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Conflict | StoreErrorKind::Ceiling => PlaneErrorKind::Conflict,
            StoreErrorKind::Invalid => PlaneErrorKind::Invalid,
            StoreErrorKind::Unavailable | StoreErrorKind::Full => PlaneErrorKind::Unavailable,
            StoreErrorKind::Closed => PlaneErrorKind::Closed,
            _ => PlaneErrorKind::Internal,
        };
        Self::caused(kind, error.code(), error)
    }
}

impl From<BusError> for PlaneError {
    fn from(error: BusError) -> Self {
        let kind = if error.is_retryable() { PlaneErrorKind::Unavailable } else { PlaneErrorKind::Internal };
        Self::caused(kind, error.code(), error)
    }
}

impl From<BlobError> for PlaneError {
    fn from(error: BlobError) -> Self {
        Self::caused(PlaneErrorKind::Unavailable, error.code(), error)
    }
}

impl From<Rejected> for PlaneError {
    fn from(rejected: Rejected) -> Self {
        let kind = match rejected.code() {
            "run_input_invalid" | "step_data_invalid" | "concurrency_key_invalid" => PlaneErrorKind::Invalid,
            "step_not_found" => PlaneErrorKind::NotFound,
            _ => PlaneErrorKind::Conflict,
        };
        Self::caused(kind, rejected.code(), rejected)
    }
}

impl From<RestoreError> for PlaneError {
    fn from(error: RestoreError) -> Self {
        let kind = match error.code() {
            "step_not_found" => PlaneErrorKind::NotFound,
            _ => PlaneErrorKind::Conflict,
        };
        Self::caused(kind, error.code(), error)
    }
}

impl From<DefinitionError> for PlaneError {
    fn from(error: DefinitionError) -> Self {
        Self::caused(PlaneErrorKind::Invalid, error.code(), error)
    }
}

impl From<IdError> for PlaneError {
    fn from(error: IdError) -> Self {
        Self::caused(PlaneErrorKind::Invalid, error.code(), error)
    }
}
