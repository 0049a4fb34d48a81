//! Running one job: input, handler, result, acknowledgement.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use coretex_core::{
    ports::{BlobErrorKind, BlobKey, BusError, BusErrorKind, Message},
    protocol::{ErrorCode, JobStatus},
};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    answer::Answer,
    job::Job,
    shared::{Shared, count},
};
use crate::{
    extract::{CancelReason, JobContext},
    handler::{Bound, HandlerResult},
    job_error::{JobError, JobErrorKind},
};

/// How the handler ended.
enum End {
    Returned(HandlerResult),
    Panicked(String),
    /// Dropped, because it did not stop when asked to.
    Dropped,
}

/// Runs the job to its end and settles its deliveries. The permit is its slot; `begun_at` tells when this is polled first,
/// where that is known.
pub(crate) async fn run(job: Arc<Job>, handler: Bound, permit: OwnedSemaphorePermit, begun_at: Option<Timestamp>) {
    let mut guard = Unfinished(Some(&job));
    count(&job.shared.counters.started);
    let (end, ended_at) = work(&job, &handler, begun_at).await;
    conclude(&job, end, ended_at).await;
    guard.0 = None;
    drop(permit);
}

/// Gives the deliveries back when the task is dropped with its runtime.
struct Unfinished<'a>(Option<&'a Arc<Job>>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.0 {
            job.shared.registry().forget(job);
            job.take_held().for_each(drop);
        }
    }
}

/// How the handler ended, and when.
async fn work(job: &Arc<Job>, handler: &Bound, begun_at: Option<Timestamp>) -> (End, Timestamp) {
    if job.deadline.is_some_and(|deadline| deadline <= job.received_at) {
        job.stop.raise(CancelReason::Deadline);
        return (End::Dropped, job.received_at);
    }
    let body = async {
        if !job.has_input() && !job.request().context_ptr.is_empty() {
            // Boxed, as all that is rare here: what every job carries is copied for every job.
            Box::pin(fetch(job)).await?;
        }
        if job.stop.reason().is_some() {
            return Err(JobError::cancelled());
        }
        handler.call(&JobContext(Arc::clone(job))).await
    };
    let mut body = pin!(Some(body));
    let clock = &job.shared.clock;
    let mut begun_at = Some(begun_at.unwrap_or_else(|| clock.now()));
    let (end, ended_at) = std::future::poll_fn(|cx| {
        let Some(running) = body.as_mut().as_pin_mut() else { return Poll::Ready((End::Dropped, clock.now())) };
        // Time must not pass in a test while the handler computes.
        let _busy = clock.busy();
        let polled = catch_unwind(AssertUnwindSafe(|| running.poll(cx)));
        let ended = match polled {
            Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(End::Panicked(panic_text(&*panic))),
        };
        let now = clock.now();
        if let Some(begun_at) = begun_at.take() {
            let took = Duration::try_from(now.duration_since(begun_at)).unwrap_or_default();
            handler.pace().note(matches!(ended, Poll::Ready(End::Returned(_))), took);
        }
        match ended {
            Poll::Ready(end) => Poll::Ready((end, now)),
            Poll::Pending => job.abort.poll(cx).map(|()| (End::Dropped, now)),
        }
    })
    .await;
    // What the handler leaves behind may panic too.
    match catch_unwind(AssertUnwindSafe(|| body.set(None))) {
        Ok(()) => (end, ended_at),
        Err(panic) => (End::Panicked(panic_text(&*panic)), ended_at),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

/// Reads the input behind `context_ptr`.
async fn fetch(job: &Job) -> Result<(), JobError> {
    const ATTEMPTS: u32 = 6;
    const SCHEME: &str = "redis://";
    let pointer = job.request().context_ptr.as_str();
    let fatal = |code: &'static str, text: String| {
        JobError::new(JobErrorKind::Fatal, code, text).with_number(ErrorCode::JobInvalidInput)
    };
    let name = pointer.strip_prefix(SCHEME).ok_or_else(|| {
        fatal(
            "input_pointer_unsupported",
            format!("input pointer `{pointer}` has no scheme that is read here; use `{SCHEME}`"),
        )
    })?;
    let key = BlobKey::parse(name)
        .map_err(|error| fatal("input_pointer_invalid", format!("input pointer `{pointer}` names nothing: {error}")))?;
    let shared = &job.shared;
    let blobs = shared.blobs.as_ref().ok_or_else(|| {
        let text =
            format!("the input lies at `{pointer}` and the worker has no blob store; give one with `with_blobs`");
        fatal("input_unreachable", text)
    })?;
    let mut attempt = 1;
    let bytes = loop {
        match blobs.get(&key).await {
            Ok(found) => break found,
            Err(error) if error.kind() == BlobErrorKind::Unavailable => {
                if attempt == ATTEMPTS {
                    return Err(JobError::retry(error).with_code("input_unavailable"));
                }
                shared.sleep(shared.backoff(attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(fatal("input_unreadable", format!("input `{pointer}` cannot be read: {error}"))),
        }
    };
    let bytes = bytes.ok_or_else(|| {
        fatal("input_missing", format!("there is nothing at `{pointer}`; the input expired or was never written"))
    })?;
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| fatal("input_malformed", format!("input `{pointer}` is not JSON: {error}")))?;
    job.set_input(value);
    Ok(())
}

/// What to say about the end; `None` when the job is to be done elsewhere.
fn judge(job: &Job, end: End) -> Option<Answer> {
    let stopped = job.stop.reason();
    let error = match end {
        End::Returned(Ok(output)) => return Some(Answer::success(output)),
        End::Panicked(text) => {
            count(&job.shared.counters.panicked);
            tracing::error!(job_id = job.asked.job_id(), text, "a handler panicked");
            return Some(Answer::error(&JobError::fatal("worker_panicked", text)));
        }
        End::Returned(Err(error)) => Some(error),
        End::Dropped => None,
    };
    match stopped {
        Some(CancelReason::Requested) => Some(Answer::cancelled(job.cancel_note())),
        Some(CancelReason::Deadline) => {
            let allowed = job.request().budget.as_ref().map_or(0, |budget| budget.deadline_ms);
            let text = format!("the job was not done within {allowed} ms; raise its timeout or split the work");
            Some(Answer::failure(JobStatus::Failed, "deadline_exceeded", ErrorCode::JobTimeout.into(), text))
        }
        Some(CancelReason::Shutdown) if job.can_be_given_back() => None,
        Some(CancelReason::Shutdown) => Some(Answer::stopped(&job.shared)),
        None => error.map(|error| Answer::error(&error)),
    }
}

impl Answer {
    /// For a job that was sent to this worker alone, so that nobody else is given it.
    pub(crate) fn stopped(shared: &Shared) -> Self {
        let text = format!("worker `{}` stopped before the job was done; send it to another", shared.id);
        Self::failure(JobStatus::FailedRetryable, "worker_stopped", ErrorCode::JobWorkerUnavailable.into(), text)
    }
}

async fn conclude(job: &Arc<Job>, end: End, now: Timestamp) {
    let shared = &job.shared;
    job.end();
    let Some(mut answer) = judge(job, end) else {
        return Box::pin(give_back(job, None)).await;
    };
    let ran = now.duration_since(job.received_at);
    answer.execution = if ran.is_positive() { ran.unsigned_abs() } else { Duration::ZERO };
    let mut bytes = Some(0);
    if let Some(payload) = &answer.payload {
        bytes = shared.keeps_inline(payload);
        if bytes.is_none() {
            answer = Box::pin(shared.place(job.request(), answer, &job.abort)).await;
        }
    }
    match shared.bus.try_publish(answer.message(shared, &job.asked, now)) {
        Ok(()) => settle(job, answer, bytes.unwrap_or(0)).await,
        Err(message) => Box::pin(insist(job, message, answer, bytes.unwrap_or(0))).await,
    }
}

/// Publishes a result that was not accepted at once.
async fn insist(job: &Arc<Job>, message: Message, answer: Answer, bytes: usize) {
    let shared = &job.shared;
    let Err(error) = shared.publish_result(message, &job.abort).await else {
        return settle(job, answer, bytes).await;
    };
    if error.kind() != BusErrorKind::Invalid {
        return give_back(job, Some(error)).await;
    }
    // The bus will never take it, whatever is in it; say so with as little as possible.
    let text = format!("the bus refused the result: {error}");
    let mut plain = Answer::fatal("result_unpublishable", ErrorCode::TransportPublishFailed, text);
    plain.execution = answer.execution;
    let message = plain.message(shared, &job.asked, shared.clock.now());
    match shared.publish_result(message, &job.abort).await {
        Ok(()) => settle(job, plain, 0).await,
        Err(error) => give_back(job, Some(error)).await,
    }
}

/// The bus has accepted the result: the job is over.
async fn settle(job: &Arc<Job>, answer: Answer, bytes: usize) {
    let shared = &job.shared;
    count(match answer.status {
        JobStatus::Succeeded => &shared.counters.succeeded,
        JobStatus::Cancelled => &shared.counters.cancelled,
        _ => &shared.counters.failed,
    });
    shared.registry().finish(job, answer, bytes);
    for delivery in job.take_held() {
        shared.settle(&delivery).await;
    }
}

async fn give_back(job: &Arc<Job>, because: Option<BusError>) {
    let shared = &job.shared;
    count(&shared.counters.given_back);
    shared.registry().forget(job);
    for delivery in job.take_held() {
        shared.give_back(&delivery, because.as_ref()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: impl FnOnce(Arc<Job>, Bound, OwnedSemaphorePermit, Option<Timestamp>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_is_spawned_for_every_job_is_small() {
        // It is copied when it is spawned; what is rare is boxed.
        let size = size_of_future(run);
        assert!(size <= 1024, "{size} bytes");
    }
}
