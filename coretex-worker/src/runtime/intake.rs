//! Taking deliveries: none without a free slot, so that what we cannot run now goes to a worker that can.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use coretex_core::{
    ports::{Delivery, Message, Subscription},
    protocol::{ErrorCode, PROTOCOL_VERSION},
};
use futures::FutureExt;
use tokio::{sync::OwnedSemaphorePermit, task::coop::consume_budget};

use super::{
    answer::Answer,
    job::Job,
    registry::{Known, key},
    run::run,
    shared::{Shared, count},
};
use crate::handler::Bound;

/// Takes deliveries until it is told to stop or the bus is closed.
pub(crate) async fn take_jobs(shared: Arc<Shared>, topics: Vec<Box<dyn Subscription>>, direct: Box<dyn Subscription>) {
    let mut subscriptions = topics;
    subscriptions.push(direct);
    let mut turn = 0_usize;
    loop {
        consume_budget().await;
        let permit = match shared.full_stop.unless(Arc::clone(&shared.slots).acquire_owned()).await {
            Some(Ok(permit)) => permit,
            Some(Err(_)) | None => break,
        };
        turn = turn.wrapping_add(1);
        match next(&shared, &mut subscriptions, turn).await {
            Next::Delivery(delivery) => take(&shared, delivery, permit),
            Next::Ended(index) => {
                if index < subscriptions.len() {
                    drop(subscriptions.swap_remove(index));
                }
                if subscriptions.is_empty() {
                    tracing::warn!(worker_id = shared.id, "the bus was closed; the worker stops");
                    break;
                }
            }
            Next::Stop => break,
        }
    }
    refuse_direct(&shared, subscriptions.pop()).await;
}

enum Next {
    Delivery(Delivery),
    Ended(usize),
    Stop,
}

/// Waits on all subscriptions at once, and on none of them longer than this call: who waits is given work.
async fn next(shared: &Shared, subscriptions: &mut [Box<dyn Subscription>], turn: usize) -> Next {
    let mut waiting: Vec<_> = subscriptions.iter_mut().map(|subscription| subscription.next()).collect();
    let count = waiting.len().max(1);
    poll_fn(|cx: &mut Context<'_>| {
        if shared.full_stop.poll(cx).is_ready() {
            return Poll::Ready(Next::Stop);
        }
        // Each has its turn to be looked at first, so that a busy topic does not starve the others.
        for step in 0..waiting.len() {
            let index = turn.wrapping_add(step) % count;
            let Some(waiting) = waiting.get_mut(index) else { continue };
            if let Poll::Ready(delivery) = waiting.as_mut().poll(cx) {
                return Poll::Ready(delivery.map_or(Next::Ended(index), Next::Delivery));
            }
        }
        Poll::Pending
    })
    .await
}

/// Jobs sent to this worker alone that it did not take: nobody else will, so say so.
async fn refuse_direct(shared: &Arc<Shared>, direct: Option<Box<dyn Subscription>>) {
    let Some(mut direct) = direct else { return };
    while let Some(Some(delivery)) = direct.next().now_or_never() {
        if delivery.message.subject != shared.subjects.direct {
            // The direct subscription ended earlier; this one's work is taken by others.
            return;
        }
        let message = Answer::stopped(shared).message(shared, &delivery.message.packet, shared.clock.now());
        shared.answer(delivery, message).await;
    }
}

/// What is to be done with a delivery.
enum Admission {
    Start(Arc<Job>, Bound),
    Answer(Delivery, Message),
    Done,
}

fn take(shared: &Arc<Shared>, delivery: Delivery, permit: OwnedSemaphorePermit) {
    match admit(shared, delivery) {
        Admission::Start(job, handler) => {
            let job_runs = run(job, handler, permit);
            drop(tokio::spawn(job_runs));
        }
        Admission::Answer(delivery, message) => {
            let shared = Arc::clone(shared);
            drop(tokio::spawn(async move {
                shared.answer(delivery, message).await;
                drop(permit);
            }));
        }
        Admission::Done => drop(permit),
    }
}

fn admit(shared: &Arc<Shared>, delivery: Delivery) -> Admission {
    let packet = Arc::clone(&delivery.message.packet);
    let Some(request) = packet.job_request().filter(|request| !request.job_id.is_empty()) else {
        count(&shared.counters.discarded);
        let payload = packet.payload.as_ref().map_or("nothing", |payload| payload.name());
        let (subject, sender) = (&*delivery.message.subject, packet.sender_id.as_str());
        tracing::warn!(subject, sender, payload, "not a job request with an id; it is discarded");
        delivery.ack_now();
        return Admission::Done;
    };
    let now = shared.clock.now();
    let refuse = |delivery: Delivery, answer: Answer| {
        count(&shared.counters.refused);
        tracing::warn!(job_id = request.job_id, topic = request.topic, problem = answer.text, "a job is refused");
        Admission::Answer(delivery, answer.message(shared, &packet, now))
    };
    if packet.protocol_version != PROTOCOL_VERSION {
        let text = format!("protocol version {} is not spoken here; use {PROTOCOL_VERSION}", packet.protocol_version);
        return refuse(delivery, Answer::fatal("protocol_version_mismatch", ErrorCode::ProtocolVersionMismatch, text));
    }
    let Some(handler) = shared.handlers.of(&request.topic) else {
        let text = format!(
            "worker `{}` has no handler for topic `{}`; it serves {}",
            shared.id,
            request.topic.escape_debug(),
            shared.handlers.filters().join(", ")
        );
        return refuse(delivery, Answer::fatal("no_handler", ErrorCode::JobWorkerUnavailable, text));
    };
    let known = shared.registry().admit(key(request), request, delivery, |delivery| Job::new(shared, delivery, now));
    match known {
        Known::Started(job) => {
            shared.ticker.arm(job.first_due());
            Admission::Start(job, handler.clone())
        }
        Known::Running => {
            count(&shared.counters.repeated);
            Admission::Done
        }
        Known::Finished(message, delivery) => {
            count(&shared.counters.repeated);
            Admission::Answer(delivery, message)
        }
        Known::Cancelled(note, delivery) => {
            count(&shared.counters.cancelled);
            Admission::Answer(delivery, Answer::cancelled(Some(&note)).message(shared, &packet, now))
        }
    }
}
