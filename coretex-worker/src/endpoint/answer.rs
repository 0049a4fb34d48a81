//! From what an endpoint answered to the output of the job.

use std::sync::Arc;

use coretex_core::value::{Template, Value};

use super::{call::Call, template::AnswerScope};
use crate::job_error::JobError;

/// What a runner found: the object that templates of outputs see as `answer`.
pub(crate) type Answer = Value;

/// Text as JSON or as a string.
pub(crate) fn read(bytes: &[u8], json: bool, what: &str) -> Result<Value, JobError> {
    let malformed = |why: String| JobError::fatal("endpoint_output_malformed", format!("{what} {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(format!("is not UTF-8: {error}")))?;
    if !json {
        return Ok(Value::String(text.to_owned()));
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text)
        .map_err(|error| malformed(format!("is not JSON: {error}; print JSON, or read it as text")))
}

/// The output: redacted first, so that no template can take a secret apart before it is seen.
pub(crate) fn output(call: &Call, answer: Answer, template: &Template) -> Result<Option<Arc<Value>>, JobError> {
    let answer = call.redactor.value(answer);
    let scope = AnswerScope { job: &call.scope, answer: &answer };
    let rendered = template.render(&scope).map_err(|error| {
        JobError::fatal("endpoint_output_malformed", format!("the output cannot be made from the answer: {error}"))
    })?;
    Ok(rendered.map(Arc::new))
}

/// The answer is larger than the job may have.
pub(crate) fn too_large(what: &str, max: usize) -> JobError {
    let text = format!("{what} is larger than {max} bytes; print less, or raise `max_output_bytes` of the endpoint");
    JobError::fatal("endpoint_output_too_large", text)
}
