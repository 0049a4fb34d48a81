//! How a job ended, and telling the control plane so that it cannot be missed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coretex_core::{
    ports::{BlobErrorKind, BlobKey, BusError, BusErrorKind, Delivery, JobDone, Message, Payload},
    protocol::{ErrorCode, JobRequest, JobResult, JobStatus, Payload as Body},
    value::Value,
};
use jiff::Timestamp;

use super::{
    asked::Asked,
    shared::{Shared, count},
    signal::Signal,
};
use crate::job_error::{JobError, JobErrorKind, RETRY_AFTER_KEY};

/// What the worker says about the end of a job.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: JobStatus,
    pub(crate) code: String,
    pub(crate) number: i32,
    pub(crate) text: String,
    /// The output, or the details of a failure.
    pub(crate) payload: Option<Arc<Value>>,
    pub(crate) result_ptr: String,
    pub(crate) execution: Duration,
}

impl Answer {
    pub(crate) fn success(output: Option<Arc<Value>>) -> Self {
        Self { payload: output, ..Self::failure(JobStatus::Succeeded, String::new(), 0, String::new()) }
    }

    pub(crate) fn failure(status: JobStatus, code: impl Into<String>, number: i32, text: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            number,
            text: text.into(),
            payload: None,
            result_ptr: String::new(),
            execution: Duration::ZERO,
        }
    }

    pub(crate) fn fatal(code: &'static str, number: ErrorCode, text: impl Into<String>) -> Self {
        Self::failure(JobStatus::FailedFatal, code, number.into(), text)
    }

    pub(crate) fn cancelled(note: Option<&str>) -> Self {
        let text = note.unwrap_or("the handler stopped by itself");
        Self::failure(JobStatus::Cancelled, "cancelled", 0, text)
    }

    pub(crate) fn error(error: &JobError) -> Self {
        let status = match error.kind() {
            JobErrorKind::Retryable | JobErrorKind::Snoozed => JobStatus::FailedRetryable,
            JobErrorKind::Failed => JobStatus::Failed,
            JobErrorKind::Fatal => JobStatus::FailedFatal,
            JobErrorKind::Cancelled => JobStatus::Cancelled,
        };
        let mut answer = Self::failure(status, error.code(), error.number(), error.message());
        answer.payload = error.delay().map(|delay| {
            let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            Arc::new(serde_json::json!({ RETRY_AFTER_KEY: ms }))
        });
        answer
    }

    /// The message that says so.
    pub(crate) fn message(&self, shared: &Shared, asked: &Asked, now: Timestamp) -> Message {
        let payload = self.payload.clone().map(Payload);
        if let Some(order) = asked.order()
            && self.status == JobStatus::Succeeded
            && self.result_ptr.is_empty()
        {
            let done = JobDone::new(Arc::clone(order), Arc::clone(&shared.id), now, self.execution);
            return Message::new(Arc::clone(&shared.subjects.result), done).with_payload(payload);
        }
        let request = asked.request();
        let result = JobResult {
            job_id: request.job_id.clone(),
            status: self.status.into(),
            result_ptr: self.result_ptr.clone(),
            worker_id: shared.id.to_string(),
            execution_ms: i64::try_from(self.execution.as_millis()).unwrap_or(i64::MAX),
            error_code: self.code.clone(),
            error_message: self.text.clone(),
            error_code_enum: self.number,
            dispatch: request.dispatch.clone(),
            identity: request.identity.clone(),
            ..JobResult::default()
        };
        shared.message(&shared.subjects.result, asked.trace_id(), Body::JobResult(result), now).with_payload(payload)
    }
}

impl Shared {
    /// Whether a payload travels beside its packet, and about how many bytes it then keeps in memory.
    pub(crate) fn keeps_inline(&self, payload: &Value) -> Option<usize> {
        let most = self.options.inline_bytes.min(self.payload_bytes);
        if !self.in_process {
            return if most == 0 { None } else { json_size(payload, most) };
        }
        let small = json_size(payload, most);
        // Without a blob store there is no better place for a large one.
        small.or_else(|| self.blobs.is_none().then_some(self.options.inline_bytes))
    }

    /// Puts the payload into the blob store. Returns the answer to give: another one, if the output cannot be handed
    /// over.
    pub(crate) async fn place(&self, request: &JobRequest, mut answer: Answer, abort: &Signal) -> Answer {
        let Some(payload) = answer.payload.take() else { return answer };
        match self.write(&request.job_id, &payload, abort).await {
            Ok(pointer) => Answer { result_ptr: pointer, ..answer },
            Err(problem) if answer.status == JobStatus::Succeeded => Answer { execution: answer.execution, ..problem },
            Err(problem) => {
                tracing::debug!(job_id = request.job_id, problem = problem.text, "details of a failure are not sent");
                answer
            }
        }
    }

    async fn write(&self, job_id: &str, value: &Value, abort: &Signal) -> Result<String, Answer> {
        const ATTEMPTS: u32 = 6;
        let unwritable = |text| Answer::fatal("output_unwritable", ErrorCode::Unspecified, text);
        let Some(blobs) = &self.blobs else {
            return Err(unwritable(
                "the job has an output and the worker no blob store to put it in; give one with `with_blobs`".into(),
            ));
        };
        let name = format!("res:{job_id}");
        let key = BlobKey::parse(&name).map_err(|error| unwritable(format!("the output has no place: {error}")))?;
        let bytes = serde_json::to_vec(value)
            .map(Bytes::from)
            .map_err(|error| unwritable(format!("the output has no JSON form: {error}")))?;
        let mut attempt = 1;
        loop {
            let error = match blobs.put(&key, bytes.clone()).await {
                Ok(_) => return Ok(format!("redis://{name}")),
                Err(error) => error,
            };
            let lasting = !matches!(error.kind(), BlobErrorKind::Unavailable | BlobErrorKind::Full);
            if lasting {
                return Err(unwritable(format!("the output was not stored: {error}")));
            }
            if attempt == ATTEMPTS || abort.unless(self.sleep(self.backoff(attempt))).await.is_none() {
                let text = format!("the output was not stored: {error}");
                return Err(Answer::failure(JobStatus::FailedRetryable, "output_unavailable", 0, text));
            }
            attempt += 1;
        }
    }

    /// Publishes a result until the bus has accepted it. `Err` when it never will, or `abort` was raised.
    pub(crate) async fn publish_result(&self, message: Message, abort: &Signal) -> Result<(), BusError> {
        let Err(message) = self.bus.try_publish(message) else { return Ok(()) };
        let mut attempt = 1;
        loop {
            let Err(error) = self.bus.publish(message.clone()).await else { return Ok(()) };
            if !error.is_retryable() {
                return Err(error);
            }
            if attempt == 1 {
                tracing::warn!(%error, worker_id = &*self.id, "a result was not accepted; it is sent again");
            }
            count(&self.counters.publish_retries);
            if abort.unless(self.sleep(self.backoff(attempt))).await.is_none() {
                return Err(error);
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Answers a delivery that does not become a job. A worker that stops gives it back instead of insisting.
    pub(crate) async fn answer(&self, delivery: Delivery, message: Message) {
        let mut attempt = 1;
        let error = loop {
            match self.bus.publish(message.clone()).await {
                Ok(()) => return self.settle(&delivery).await,
                Err(error) if !error.is_retryable() || self.full_stop.is_raised() => break error,
                Err(_) => {
                    count(&self.counters.publish_retries);
                    self.sleep(self.backoff(attempt)).await;
                    attempt = attempt.saturating_add(1);
                }
            }
        };
        self.give_back(&delivery, Some(&error)).await;
    }

    pub(crate) async fn settle(&self, delivery: &Delivery) {
        if self.in_process {
            delivery.ack_now();
        } else if let Err(error) = delivery.ack().await {
            // It comes again and finds its result.
            tracing::debug!(%error, subject = &*delivery.message.subject, "a delivery was not acknowledged");
        }
    }

    /// Has a delivery made again: at once when this worker stops, later when it may well get it again.
    pub(crate) async fn give_back(&self, delivery: &Delivery, because: Option<&BusError>) {
        const PAUSE: Duration = Duration::from_secs(1);
        let delay = if self.full_stop.is_raised() { Duration::ZERO } else { PAUSE };
        let subject = &*delivery.message.subject;
        if let Some(error) = because.filter(|error| error.kind() != BusErrorKind::Closed) {
            tracing::warn!(%error, subject, "a result was not accepted; the job is given back");
        }
        if let Err(error) = delivery.nak(delay).await {
            tracing::debug!(%error, subject, "a delivery was not given back; it times out");
        }
    }
}

/// About how many bytes `value` takes as JSON (escapes are not counted); `None` when more than `limit`. The work is
/// bounded by `limit` too.
pub(crate) fn json_size(value: &Value, limit: usize) -> Option<usize> {
    fn take(left: &mut usize, bytes: usize) -> Option<()> {
        *left = left.checked_sub(bytes)?;
        Some(())
    }
    fn walk(value: &Value, left: &mut usize) -> Option<()> {
        match value {
            Value::Null | Value::Bool(_) => take(left, 4),
            Value::Number(_) => take(left, 8),
            Value::String(text) => take(left, text.len() + 2),
            Value::Array(items) => {
                take(left, items.len() + 2)?;
                items.iter().try_for_each(|item| walk(item, left))
            }
            Value::Object(fields) => {
                take(left, 2)?;
                fields.iter().try_for_each(|(name, field)| {
                    take(left, name.len() + 4)?;
                    walk(field, left)
                })
            }
        }
    }
    let mut left = limit;
    walk(value, &mut left)?;
    Some(limit - left)
}

#[cfg(test)]
mod tests {
    use super::json_size;
    use serde_json::json;

    #[test]
    fn the_size_of_json_is_near_what_is_written() {
        let value = json!({ "name": "abc", "items": [1, 2, 3, "four", null, true], "nested": { "deep": [[]] } });
        let written = serde_json::to_string(&value).unwrap().len();
        let guessed = json_size(&value, 1000).unwrap();
        assert!(guessed.abs_diff(written) < written / 2, "{guessed} and {written}");
        assert_eq!(json_size(&value, 10), None);
        assert_eq!(json_size(&json!(null), 4), Some(4));
    }
}
