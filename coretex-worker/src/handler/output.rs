//! What handlers answer.

use std::sync::{Arc, LazyLock};

use coretex_core::value::Value;
use serde::Serialize;

use super::HandlerResult;
use crate::job_error::{JobError, JobErrorKind};

/// The output of a job: anything that serialises to JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Output<T>(pub T);

/// An output that is JSON already and goes out as it is, without a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct RawOutput(pub Arc<Value>);

/// Turns what a handler made into the JSON that leaves the worker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the output of a job",
    label = "not an output",
    note = "wrap it: `Ok(Output(value))`, where the value implements `serde::Serialize`; \
            `()` is no output, `RawOutput` is JSON without a copy"
)]
pub trait IntoOutput {
    /// The output, or `None` for no output.
    ///
    /// # Errors
    /// When the value has no JSON form; the job fails with `output_invalid`.
    fn into_output(self) -> HandlerResult;
}

static NULL: LazyLock<Arc<Value>> = LazyLock::new(|| Arc::new(Value::Null));

impl<T: Serialize> IntoOutput for Output<T> {
    fn into_output(self) -> HandlerResult {
        match serde_json::to_value(&self.0) {
            Ok(Value::Null) => Ok(Some(Arc::clone(&NULL))),
            Ok(value) => Ok(Some(Arc::new(value))),
            Err(error) => Err(JobError::new(
                JobErrorKind::Fatal,
                "output_invalid",
                format!("the output has no JSON form: {error}; check maps with keys that are not text"),
            )),
        }
    }
}

impl IntoOutput for () {
    fn into_output(self) -> HandlerResult {
        Ok(None)
    }
}

impl IntoOutput for RawOutput {
    fn into_output(self) -> HandlerResult {
        Ok(Some(self.0))
    }
}

impl IntoOutput for Value {
    fn into_output(self) -> HandlerResult {
        Ok(Some(Arc::new(self)))
    }
}

/// What a handler may return: `Result<T, E>` with `T:` [`IntoOutput`] and `E: Into<`[`JobError`]`>`, or an output
/// alone when it cannot fail.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not the result of a handler",
    note = "return `Result<Output<T>, JobError>` with `T: Serialize`, or `Output<T>` when it cannot fail"
)]
pub trait IntoResult {
    /// The output or the error.
    ///
    /// # Errors
    /// Why the job has no output.
    fn into_result(self) -> HandlerResult;
}

impl<T: IntoOutput, E: Into<JobError>> IntoResult for Result<T, E> {
    fn into_result(self) -> HandlerResult {
        self.map_err(Into::into)?.into_output()
    }
}

impl<T: Serialize> IntoResult for Output<T> {
    fn into_result(self) -> HandlerResult {
        self.into_output()
    }
}

impl IntoResult for RawOutput {
    fn into_result(self) -> HandlerResult {
        self.into_output()
    }
}

impl IntoResult for () {
    fn into_result(self) -> HandlerResult {
        self.into_output()
    }
}
