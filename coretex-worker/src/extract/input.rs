//! The input of a job.

use std::sync::Arc;

use coretex_core::value::Value;
use serde::de::DeserializeOwned;

use super::{FromJob, JobContext};
use crate::job_error::Rejection;

/// The job's input, decoded. An input of another shape ends the job with `input_invalid` and the path of the field.
///
/// A job without input has the input `null`: ask for `Input<Option<T>>` where it may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Input<T>(pub T);

/// The job's input as it came, shared rather than copied.
#[derive(Clone, Debug, PartialEq)]
pub struct RawInput(pub Arc<Value>);

impl<S, T: DeserializeOwned> FromJob<S> for Input<T> {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        let value: &Value = job.input();
        match T::deserialize(value) {
            Ok(input) => Ok(Self(input)),
            // The path is tracked only when it is needed: a second look at an input that is refused anyway.
            Err(error) => Err(rejection::<T>(value, &error)),
        }
    }
}

fn rejection<T: DeserializeOwned>(value: &Value, error: &serde_json::Error) -> Rejection {
    let path = match serde_path_to_error::deserialize::<_, T>(value) {
        Err(tracked) => tracked.path().to_string(),
        Ok(_) => ".".to_owned(),
    };
    let place = if path == "." { "$".to_owned() } else { format!("$.{path}") };
    Rejection::new("input_invalid", format!("input at `{place}` does not fit: {error}"))
}

impl<S> FromJob<S> for RawInput {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        Ok(Self(Arc::clone(job.input())))
    }
}
