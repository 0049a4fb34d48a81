//! Shared state of a worker.

use super::{FromJob, JobContext};
use crate::job_error::Rejection;

/// The state given by `with_state`, or a part of it; cloned for every job, so wrap what is costly in an `Arc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

/// Gives a handler its part of the worker's state.
///
/// Every `Clone` type is a part of itself. For a state of several parts:
///
/// ```
/// use coretex_worker::FromRef;
///
/// #[derive(Clone)]
/// struct Db;
/// struct App { db: Db }
///
/// impl FromRef<App> for Db {
///     fn from_ref(app: &App) -> Self { app.db.clone() }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the worker's state `{S}` has no `{Self}`",
    label = "state that nobody gave",
    note = "give it with `.with_state(..)`, or implement `FromRef<{S}> for {Self}` when it is a part of the state"
)]
pub trait FromRef<S> {
    /// The part.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

impl<S, T: FromRef<S>> FromJob<S> for State<T> {
    fn from_job(_: &JobContext, state: &S) -> Result<Self, Rejection> {
        Ok(Self(T::from_ref(state)))
    }
}
