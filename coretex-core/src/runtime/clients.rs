//! Clients on the bus: the jobs that they submit, and those that they want stopped.
//!
//! Served only where the host says on whose authority ([`Options::bus_clients`](super::Options::bus_clients)): a message
//! on the bus proves nothing about its sender. What a packet says of itself must agree with that authority, and what is
//! not carried out is refused rather than left out.
//!
//! A message is acknowledged when what it asks for is durable, or when it never will be. A refusal is counted by its code
//! and logged. A client hears of it as a failed result, unless the id belongs to a job that is there: that job is
//! somebody's, and did not fail.

mod read;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;

use self::read::Asked;
use super::{
    PlaneError, PlaneErrorKind,
    inbound::GROUP,
    keys::AggregateId,
    outbound::publish,
    shared::{Reply, Shared, Work},
    submit::{self, is_free},
};
use crate::{
    governance::Principal,
    job::JobId,
    ports::{Delivery, Message, Subscribe, Subscription},
    protocol::{self, BusPacket, ErrorCode, JobStatus, Payload, subjects},
};

/// Messages that are looked at once: one may wait for a blob or a record, and those behind it need not.
const AT_ONCE: usize = 256;
/// The wait before a message is looked at again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Looks for a job that is to be stopped. A cancel may overtake the submission.
const LOOKS: u32 = 6;
/// Time to make one message durable before the bus gives it to another control plane.
const ACK_WAIT: Duration = Duration::from_secs(60);

/// Subscribes, if there is somebody on whose authority clients are served.
pub(super) async fn listen(shared: &Arc<Shared>) -> Result<(), PlaneError> {
    let Some(principal) = shared.options.bus_clients.clone().map(Arc::new) else { return Ok(()) };
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for subject in [subjects::JOB_SUBMIT, subjects::JOB_CANCEL] {
        let messages = shared.bus.subscribe(Subscribe::group(subject, GROUP).ack_wait(ACK_WAIT)).await?;
        let serving = serve(shared.clone(), principal.clone(), room.clone(), subject, messages);
        shared.spawn_vital("the listener for clients", serving);
    }
    Ok(())
}

async fn serve(
    shared: Arc<Shared>,
    principal: Arc<Principal>,
    room: Arc<Semaphore>,
    subject: &'static str,
    mut messages: Box<dyn Subscription>,
) {
    while let Some(delivery) = messages.next().await {
        // Given back, with all that follows, to whoever listens next.
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        if delivery.message.packet.sender_id == shared.options.sender_id {
            // What we tell workers reaches us too.
            delivery.ack_now();
            continue;
        }
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (shared, principal) = (shared.clone(), principal.clone());
        shared.clone().spawn(async move {
            take(&shared, &principal, subject, Box::new(delivery)).await;
            drop(place);
        });
    }
}

async fn take(shared: &Arc<Shared>, principal: &Principal, subject: &'static str, delivery: Box<Delivery>) {
    let error = match work(shared, principal, subject, &delivery).await {
        Ok((aggregate, work)) => {
            // Settled when the work is durable. When the control plane is shutting down it is given back.
            let _closed = shared.send(aggregate, work, Reply::Delivery(delivery)).await;
            return;
        }
        Err(error) => error,
    };
    match error.kind() {
        // Dropped unsettled, so that it is given back.
        PlaneErrorKind::Closed => {}
        PlaneErrorKind::Unavailable => shared.give_back(delivery, FIRST_WAIT),
        PlaneErrorKind::NotFound if delivery.attempt < LOOKS => shared.give_back(delivery, FIRST_WAIT),
        _ => {
            refuse(shared, subject, &delivery.message.packet, &error).await;
            delivery.ack_now();
        }
    }
}

/// What the message asks for, as work for whoever owns the job.
async fn work(
    shared: &Arc<Shared>,
    principal: &Principal,
    subject: &'static str,
    delivery: &Delivery,
) -> Result<(AggregateId, Work), PlaneError> {
    match read::read(shared, principal, subject, &delivery.message).await? {
        Asked::Submit(request) => {
            let spec = submit::spec(shared, principal, *request)?;
            Ok((AggregateId::Job(spec.id.shared()), Work::Submit(Arc::new(spec))))
        }
        Asked::Cancel { job, reason } => submit::cancelling(shared, principal, &job, &reason).await,
    }
}

/// Counts and tells that a message is not carried out. A submission that leads to no job is answered with a result.
async fn refuse(shared: &Arc<Shared>, subject: &'static str, packet: &BusPacket, error: &PlaneError) {
    tracing::warn!(subject, code = error.code(), %error, "a message of a client is refused");
    shared.refused.count(error.code());
    let Some(Payload::JobRequest(request)) = &packet.payload else { return };
    let Some(job) = JobId::parse(&request.job_id).ok().filter(is_free) else { return };
    // One that is there, or that cannot be looked at, must not be told to have failed.
    if !matches!(submit::find(shared, &job).await, Ok(None)) {
        return;
    }
    let result = protocol::JobResult {
        job_id: job.to_string(),
        status: JobStatus::Failed.into(),
        worker_id: shared.options.sender_id.clone(),
        error_code: error.code().to_owned(),
        error_message: error.to_string(),
        error_code_enum: ErrorCode::JobInvalidInput.into(),
        ..protocol::JobResult::default()
    };
    let trace = if packet.trace_id.is_empty() { job.as_str() } else { &packet.trace_id };
    let packet = BusPacket::new(trace, shared.options.sender_id.as_str(), shared.now(), result);
    let message = Message::new(subjects::JOB_RESULT, packet);
    if let Err(error) = publish(shared, message, shared.clock.busy()).await {
        tracing::warn!(%error, "a client is not told of a refusal");
    }
}
