//! Extractors: what a handler may ask of its job.
//!
//! An extractor is taken before the handler starts, in the order of the arguments; the first that cannot be taken
//! ends the job with its [`Rejection`], and the handler does not run.

mod context;
mod control;
mod input;
mod state;

pub(crate) use self::context::step_parts;
pub use self::{
    context::JobContext,
    control::{Cancel, CancelReason, Deadline, Progress},
    input::{Input, RawInput},
    state::{FromRef, State},
};
use crate::job_error::Rejection;

/// Takes a handler's argument from a job.
///
/// Implement it for what many of your handlers need. It must not block: it runs on the worker's own time.
///
/// ```
/// use coretex_worker::{FromJob, JobContext, Rejection};
///
/// struct Region(String);
///
/// impl<S> FromJob<S> for Region {
///     fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
///         let region = job.labels().get("region").ok_or_else(|| {
///             Rejection::new("region_missing", "the job has no label `region`; set it on the step")
///         })?;
///         Ok(Self(region.clone()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a job",
    label = "not an extractor",
    note = "handlers take `Input<T>`, `State<S>`, `Progress`, `Cancel`, `Deadline`, `JobContext` or `RawInput`; \
            implement `FromJob<S>` for a type of your own"
)]
pub trait FromJob<S>: Sized {
    /// Takes it.
    ///
    /// # Errors
    /// A rejection ends the job as a fatal failure with its code.
    fn from_job(job: &JobContext, state: &S) -> Result<Self, Rejection>;
}
