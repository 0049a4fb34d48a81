//! Listening: what workers say on the bus becomes inputs.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    PlaneError,
    keys::AggregateId,
    order::JobOrder,
    outbound::job_input,
    shared::{Reply, Shared, Work},
};
use crate::{
    job::{Failure, JobId, JobInput, JobResult, JobSpec, JobStatusReport, Output},
    plane::Input,
    ports::{BlobKey, Delivery, JobDone, Sink, Subscribe, Subscription},
    protocol::{self, JobStatus, Pointer, subjects},
    value::limits,
};

/// The queue group that shares results among control planes. Established.
pub(super) const GROUP: &str = "coretex-scheduler";
/// What the keys of pinned outputs begin with.
pub(super) const PINNED: &str = "pin/";

/// Subscribes to everything, so that nothing said after this returned is missed.
pub(super) async fn listen(shared: &Arc<Shared>) -> Result<(), PlaneError> {
    let results = Subscribe::group(subjects::JOB_RESULT, GROUP)
        .ack_wait(Duration::from_secs(60))
        .sink(Arc::new(ResultSink(Arc::downgrade(shared))));
    let results = shared.bus.subscribe(results).await?;
    let progress = shared.bus.subscribe(Subscribe::all(subjects::JOB_PROGRESS)).await?;
    let heartbeats = shared.bus.subscribe(Subscribe::all(subjects::HEARTBEAT)).await?;
    let handshakes = shared.bus.subscribe(Subscribe::all(subjects::HANDSHAKE)).await?;
    shared.spawn_vital("the result listener", take_results(shared.clone(), results));
    shared.spawn_vital("the progress listener", take_progress(shared.clone(), progress));
    shared.spawn_vital("the heartbeat listener", take_signs_of_life(shared.clone(), heartbeats));
    shared.spawn_vital("the heartbeat listener", take_signs_of_life(shared.clone(), handshakes));
    Ok(())
}

/// Takes results where they are published: what needs no reading goes straight to its executor.
#[derive(Debug)]
struct ResultSink(Weak<Shared>);

impl Sink for ResultSink {
    fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        let Some(shared) = self.0.upgrade().filter(|shared| !shared.closed.load(Ordering::Acquire)) else {
            return Err(delivery);
        };
        match heard(&shared, &delivery) {
            Heard::Nothing => {
                delivery.ack_now();
                Ok(())
            }
            Heard::Input(aggregate, input) => {
                let work = Work::Input(input);
                shared.try_deliver(aggregate, work, Box::new(delivery)).map_err(|delivery| *delivery)
            }
            Heard::Blobs(_) => Err(delivery),
        }
    }
}

/// Takes the results that the sink left.
async fn take_results(shared: Arc<Shared>, mut results: Box<dyn Subscription>) {
    while let Some(delivery) = results.next().await {
        if shared.closed.load(Ordering::Acquire) {
            // Given back, with all that follows, to whoever listens next.
            return;
        }
        match heard(&shared, &delivery) {
            Heard::Nothing => delivery.ack_now(),
            Heard::Input(aggregate, input) => {
                // When the control plane is shutting down the delivery is given back, and delivered again when it is
                // opened.
                let _closed = shared.send(aggregate, Work::Input(input), Reply::Delivery(Box::new(delivery))).await;
            }
            // Reading takes time; the results behind it need not wait.
            Heard::Blobs(job) => shared.spawn(take_large(shared.clone(), job, delivery)),
        }
    }
}

/// What a message on the subject of results says.
enum Heard {
    /// Nothing that concerns us.
    Nothing,
    /// A result.
    Input(AggregateId, Input),
    /// A result of this job, whose output lies in the blob store or must be moved there.
    Blobs(JobId),
}

fn heard(shared: &Shared, delivery: &Delivery) -> Heard {
    let packet = &delivery.message.packet;
    if let Some(done) = packet.source::<JobDone>()
        && let Some(order) = done.order::<JobOrder>()
    {
        return if needs_blobs(shared, "", delivery) {
            Heard::Blobs(order.spec().id.clone())
        } else {
            heard_done(&done, order.spec(), delivery)
        };
    }
    let Some(result) = packet.job_result() else {
        tracing::warn!(subject = subjects::JOB_RESULT, "a packet without a result is dropped");
        return Heard::Nothing;
    };
    // Our own announcements reach us too.
    if packet.sender_id == shared.options.sender_id {
        return Heard::Nothing;
    }
    let Ok(job) = JobId::parse(&result.job_id) else {
        tracing::warn!(sender = %packet.sender_id, "a result without a legal job id is dropped");
        return Heard::Nothing;
    };
    let status = match result.effective_status() {
        JobStatus::Succeeded if needs_blobs(shared, &result.result_ptr, delivery) => return Heard::Blobs(job),
        JobStatus::Succeeded => JobStatusReport::Succeeded(inline_output(result, delivery)),
        JobStatus::Cancelled => JobStatusReport::Cancelled,
        // Hints that the job goes on, on the wrong subject.
        JobStatus::Pending | JobStatus::Scheduled | JobStatus::Dispatched | JobStatus::Running => {
            return Heard::Nothing;
        }
        status => JobStatusReport::Failed(failure(result, status, delivery)),
    };
    let (aggregate, input) = finished(job, status, result, delivery);
    Heard::Input(aggregate, input)
}

/// What a worker in this process says of a job that was ordered here.
fn heard_done(done: &JobDone, spec: &JobSpec, delivery: &Delivery) -> Heard {
    let value = delivery.message.payload.as_ref().map(|payload| payload.0.clone());
    let result = JobResult {
        job: spec.id.clone(),
        worker: done.worker().clone(),
        status: JobStatusReport::Succeeded(Output { value, ..Output::default() }),
        execution_ms: u64::try_from(done.execution().as_millis()).unwrap_or(u64::MAX),
    };
    let (aggregate, fenced) = match spec.attempt_of() {
        Some(run) => (AggregateId::Run(run.shared()), true),
        None => (AggregateId::Job(spec.id.shared()), false),
    };
    let input = job_input(&aggregate, &spec.id, JobInput::Finished { result, fenced });
    Heard::Input(aggregate, input)
}

/// Whether the output lies in the blob store, or must be moved there.
fn needs_blobs(shared: &Shared, pointer: &str, delivery: &Delivery) -> bool {
    match &delivery.message.payload {
        None => !pointer.is_empty(),
        Some(payload) => match &*payload.0 {
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
            Value::String(text) => text.len() > shared.options.inline_bytes,
            // What is nested deeper than an input may be cannot be read back from a record either.
            value => {
                let size = limits::measure(value);
                size.bytes > shared.options.inline_bytes || size.depth > shared.options.max_input_depth
            }
        },
    }
}

async fn take_large(shared: Arc<Shared>, job: JobId, delivery: Delivery) {
    let Some(result) = delivery.message.packet.job_result() else { return };
    let status = JobStatusReport::Succeeded(blob_output(&shared, result, &delivery).await);
    let (aggregate, input) = finished(job, status, result, &delivery);
    // When the control plane is shutting down the delivery is given back, and delivered again when it is opened.
    let _closed = shared.send(aggregate, Work::Input(input), Reply::Delivery(Box::new(delivery))).await;
}

fn finished(
    job: JobId,
    status: JobStatusReport,
    result: &protocol::JobResult,
    delivery: &Delivery,
) -> (AggregateId, Input) {
    let worker = if result.worker_id.is_empty() { &delivery.message.packet.sender_id } else { &result.worker_id };
    let (aggregate, fenced) = aggregate_of(&job);
    let result = JobResult {
        job: job.clone(),
        worker: clip(worker).into(),
        status,
        execution_ms: u64::try_from(result.execution_ms).unwrap_or(0),
    };
    let input = job_input(&aggregate, &job, JobInput::Finished { result, fenced });
    (aggregate, input)
}

/// Whose job it is, and whether its id alone ties a result to one attempt.
pub(super) fn aggregate_of(job: &JobId) -> (AggregateId, bool) {
    match job.step_parts() {
        Some((run, _, _)) => (AggregateId::Run(run.into()), true),
        None => (AggregateId::Job(job.shared()), false),
    }
}

fn failure(result: &protocol::JobResult, status: JobStatus, delivery: &Delivery) -> Failure {
    let or = |text: &'_ str, default: &'static str| -> Arc<str> {
        if text.is_empty() { default } else { clip(text) }.into()
    };
    let code = or(&result.error_code, "worker_failed");
    let message = or(&result.error_message, "the worker gave no reason");
    let retry_after = delivery.message.payload.as_ref().and_then(|payload| payload.0.get("retry_after_ms")?.as_u64());
    let retryable = !matches!(status, JobStatus::FailedFatal | JobStatus::Denied);
    Failure { code, message, retryable, retry_after_ms: retry_after }
}

/// The output as the worker gave it.
fn inline_output(result: &protocol::JobResult, delivery: &Delivery) -> Output {
    Output {
        value: delivery.message.payload.as_ref().map(|payload| payload.0.clone()),
        pointer: (!result.result_ptr.is_empty()).then(|| result.result_ptr.as_str().into()),
        sha256: None,
        bytes: None,
        artifacts: result.artifact_ptrs.iter().take(1_000).map(|pointer| pointer.as_str().into()).collect(),
    }
}

/// The output as it is kept: small values in the record, large ones by pointer to an immutable copy.
async fn blob_output(shared: &Shared, result: &protocol::JobResult, delivery: &Delivery) -> Output {
    let mut output = Output { value: None, ..inline_output(result, delivery) };
    if let Some(payload) = &delivery.message.payload {
        match serde_json::to_vec(&*payload.0).map(bytes::Bytes::from) {
            Ok(bytes) => match move_out(shared, &result.job_id, bytes.clone()).await {
                Some((pointer, digest)) => {
                    output.bytes = u64::try_from(bytes.len()).ok();
                    output.pointer.get_or_insert(pointer);
                    output.sha256 = Some(digest);
                }
                // Better a large record than a lost result.
                None => output.value = Some(payload.0.clone()),
            },
            Err(error) => tracing::error!(%error, "an output cannot be written as JSON"),
        }
        return output;
    }
    // A worker points to its own result; what it says of others' is kept, and not read on its word.
    let own = Pointer::from_wire(&result.result_ptr)
        .ok()
        .filter(|pointer| matches!(pointer, Pointer::Result(id) if *id == result.job_id));
    let Some(key) = own.and_then(|pointer| BlobKey::parse(&pointer.key()?).ok()) else { return output };
    // An unreadable pointer stays what it is: it does not fail the job.
    match shared.blobs.get(&key).await {
        Ok(Some(bytes)) => {
            output.sha256 = pin(shared, bytes.clone()).await;
            if bytes.len() <= shared.options.inline_bytes && is_shallow(shared, &bytes) {
                let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
                output.value = Some(Arc::new(value));
            } else {
                output.bytes = u64::try_from(bytes.len()).ok();
            }
        }
        Ok(None) => tracing::debug!(pointer = %result.result_ptr, "a result pointer leads nowhere"),
        Err(error) => tracing::warn!(%error, pointer = %result.result_ptr, "a result cannot be read"),
    }
    output
}

fn is_shallow(shared: &Shared, bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes)
        .map_or(true, |value| limits::measure(&value).depth <= shared.options.max_input_depth)
}

/// Text from outside, clipped to what a record should hold.
fn clip(text: &str) -> &str {
    const MOST: usize = 4_096;
    if text.len() <= MOST {
        return text;
    }
    text.char_indices().nth(MOST).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// Writes an output that is too large for a record where its pointer says, and pins it.
async fn move_out(shared: &Shared, job: &str, bytes: bytes::Bytes) -> Option<(Arc<str>, Arc<str>)> {
    let pointer = Pointer::Result(job.to_owned());
    let key = BlobKey::parse(&pointer.key()?).ok()?;
    if let Err(error) = shared.blobs.put(&key, bytes.clone()).await {
        tracing::warn!(%error, job, "a large output cannot be moved to the blob store");
        return None;
    }
    Some((pointer.to_wire().into(), pin(shared, bytes).await?))
}

/// Keeps an immutable copy under the digest of its bytes, so that nobody can change what a run has seen.
async fn pin(shared: &Shared, bytes: bytes::Bytes) -> Option<Arc<str>> {
    let digest = Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    });
    let key = BlobKey::parse(&format!("{PINNED}{digest}")).ok()?;
    let _nobody_removes = shared.pinning.read().await;
    match shared.blobs.put(&key, bytes).await {
        Ok(_) => Some(digest.into()),
        Err(error) => {
            tracing::warn!(%error, "a result cannot be pinned");
            None
        }
    }
}

async fn take_progress(shared: Arc<Shared>, mut progress: Box<dyn Subscription>) {
    while let Some(delivery) = progress.next().await {
        let packet = &delivery.message.packet;
        let Some(report) = packet.job_progress() else { continue };
        let Ok(job) = JobId::parse(&report.job_id) else { continue };
        let (aggregate, _) = aggregate_of(&job);
        let input = job_input(&aggregate, &job, JobInput::Started { worker: packet.sender_id.as_str().into() });
        // A start signal is a courtesy; the result says the same.
        let _closed = shared.send(aggregate, Work::Input(input), Reply::Nobody).await;
    }
}

async fn take_signs_of_life(shared: Arc<Shared>, mut signs: Box<dyn Subscription>) {
    while let Some(delivery) = signs.next().await {
        let packet = &delivery.message.packet;
        match &packet.payload {
            Some(protocol::Payload::Heartbeat(beat)) => shared.workers.heartbeat(beat, shared.now()),
            Some(protocol::Payload::Handshake(handshake)) => shared.workers.handshake(handshake, shared.now()),
            _ => {}
        }
    }
}
