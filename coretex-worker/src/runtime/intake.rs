//! Taking deliveries: none without a free slot, so that what we cannot run now goes to a worker that can.

use std::{
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use coretex_core::{
    ports::{Delivery, Message, Sink, Subscription},
    protocol::{ErrorCode, PROTOCOL_VERSION},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::coop::consume_budget};

use super::{
    answer::Answer,
    asked::Asked,
    job::Job,
    pace::Here,
    registry::{Known, key},
    run::run,
    shared::{Shared, count},
};
use crate::handler::Bound;

/// Takes deliveries from the hands of whoever publishes, as long as there is a slot for them beside the one that the
/// intake keeps for what is queued.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) shared: Weak<Shared>,
    pub(crate) runtime: Handle,
}

impl Sink for Entrance {
    fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        let Some(shared) = self.shared.upgrade() else { return Err(delivery) };
        let Ok(permit) = Arc::clone(&shared.slots).try_acquire_owned() else { return Err(delivery) };
        // Looked at with the slot in hand: whoever stops the worker waits for the slots next.
        if shared.full_stop.is_raised() {
            return Err(delivery);
        }
        take(&shared, &self.runtime, delivery, permit);
        Ok(())
    }
}

/// Takes deliveries until it is told to stop or the bus is closed.
pub(crate) async fn take_jobs(shared: Arc<Shared>, topics: Vec<Box<dyn Subscription>>, direct: Box<dyn Subscription>) {
    let mut subscriptions = topics;
    subscriptions.push(direct);
    let runtime = Handle::current();
    let mut turn = 0_usize;
    loop {
        consume_budget().await;
        let permit = match shared.full_stop.unless(Arc::clone(&shared.slots).acquire_owned()).await {
            Some(Ok(permit)) => permit,
            Some(Err(_)) | None => break,
        };
        turn = turn.wrapping_add(1);
        match next(&shared, &mut subscriptions, turn).await {
            Next::Delivery(delivery) => take(&shared, &runtime, delivery, permit),
            Next::Ended(index) => {
                if index < subscriptions.len() {
                    drop(subscriptions.swap_remove(index));
                }
                if subscriptions.is_empty() {
                    tracing::warn!(worker_id = &*shared.id, "the bus was closed; the worker stops");
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
    /// So many deliveries in a row may come from one topic while others have some too. Looking at the same one
    /// first spares a visit to the others.
    const IN_A_ROW: usize = 8;
    let first = turn.wrapping_div(IN_A_ROW) % subscriptions.len().max(1);
    let (before, from) = subscriptions.split_at_mut(first);
    let from = from.iter_mut().enumerate().map(|(index, subscription)| (first + index, subscription));
    let mut unasked = from.chain(before.iter_mut().enumerate());
    let mut asked: Vec<(usize, BoxFuture<'_, Option<Delivery>>)> = Vec::new();
    poll_fn(move |cx: &mut Context<'_>| {
        if shared.full_stop.poll(cx).is_ready() {
            return Poll::Ready(Next::Stop);
        }
        for (index, delivery) in &mut asked {
            if let Poll::Ready(delivery) = delivery.as_mut().poll(cx) {
                return Poll::Ready(delivery.map_or(Next::Ended(*index), Next::Delivery));
            }
        }
        for (index, subscription) in unasked.by_ref() {
            let mut delivery = subscription.next();
            if let Poll::Ready(delivery) = delivery.as_mut().poll(cx) {
                return Poll::Ready(delivery.map_or(Next::Ended(index), Next::Delivery));
            }
            asked.push((index, delivery));
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
        let Some(asked) = Asked::of(&delivery.message.packet) else {
            delivery.ack_now();
            continue;
        };
        let message = Answer::stopped(shared).message(shared, &asked, shared.clock.now());
        shared.answer(delivery, message).await;
    }
}

/// What is to be done with a delivery.
enum Admission {
    Start(Arc<Job>, Bound),
    Answer(Delivery, Message),
    Done,
}

fn take(shared: &Arc<Shared>, runtime: &Handle, delivery: Delivery, permit: OwnedSemaphorePermit) {
    match admit(shared, delivery) {
        Admission::Start(job, handler) => begin(runtime, job, handler, permit),
        Admission::Answer(delivery, message) => {
            let shared = Arc::clone(shared);
            drop(runtime.spawn(async move {
                shared.answer(delivery, message).await;
                drop(permit);
            }));
        }
        Admission::Done => drop(permit),
    }
}

/// Runs the job in a task of its own; that of a quick handler here, as long as it does not wait.
fn begin(runtime: &Handle, job: Arc<Job>, handler: Bound, permit: OwnedSemaphorePermit) {
    let here = if handler.is_quick() { Here::enter() } else { None };
    if here.is_none() {
        drop(runtime.spawn(run(job, handler, permit, None)));
        return;
    }
    let begun_at = job.received_at;
    let mut job_runs = Box::pin(run(job, handler, permit, Some(begun_at)));
    // What it waits for wakes nobody yet; its task asks again as soon as it is spawned.
    if job_runs.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        drop(runtime.spawn(job_runs));
    }
}

fn admit(shared: &Arc<Shared>, delivery: Delivery) -> Admission {
    let Some(asked) = Asked::of(&delivery.message.packet) else {
        let packet = &delivery.message.packet;
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
        tracing::warn!(job_id = asked.job_id(), topic = asked.topic(), problem = answer.text, "a job is refused");
        Admission::Answer(delivery, answer.message(shared, &asked, now))
    };
    let version = asked.protocol_version();
    if version != PROTOCOL_VERSION {
        let text = format!("protocol version {version} is not spoken here; use {PROTOCOL_VERSION}");
        return refuse(delivery, Answer::fatal("protocol_version_mismatch", ErrorCode::ProtocolVersionMismatch, text));
    }
    let Some(handler) = shared.handlers.of(asked.topic()) else {
        let text = format!(
            "worker `{}` has no handler for topic `{}`; it serves {}",
            shared.id,
            asked.topic().escape_debug(),
            shared.handlers.filters().join(", ")
        );
        return refuse(delivery, Answer::fatal("no_handler", ErrorCode::JobWorkerUnavailable, text));
    };
    let key = key(&asked);
    let start = |delivery| Arc::new(Job::new(shared, Arc::clone(&key), asked.clone(), delivery, now));
    let known = shared.registry().admit(&key, &asked, delivery, start);
    match known {
        Known::Started(job) => {
            shared.ticker.arm(job.first_due());
            Admission::Start(job, handler.clone())
        }
        Known::Running => {
            count(&shared.counters.repeated);
            Admission::Done
        }
        Known::Finished(answer, delivery) => {
            count(&shared.counters.repeated);
            Admission::Answer(delivery, answer.message(shared, &asked, now))
        }
        Known::Cancelled(note, delivery) => {
            count(&shared.counters.cancelled);
            Admission::Answer(delivery, Answer::cancelled(Some(&note)).message(shared, &asked, now))
        }
    }
}
