//! What the worker's end knows, whether or not it is connected.
//!
//! Invariants: `outgoing` is empty unless the connection is up; a delivery is in `held` from its arrival to its settling;
//! numbers are never used twice. No callback of others (a sink, a waker, the drop of a delivery) runs under the lock.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use coretex_core::{
    ports::{BusError, BusErrorKind, Delivery, Message, Payload, Sink, Subscribe},
    protocol::{BusPacket, subjects},
};
use prost::Message as _;
use tokio::sync::{Notify, oneshot, watch};

use super::{
    SocketOptions,
    address::Address,
    blobs::{Transfer, Transfers},
    subscription::SocketAck,
    tls::Tls,
};
use crate::socket::{
    VERSION,
    frame::{
        Answer, Deliver, Demand, Frame, Hello, How, Publish, Settle, Subscribe as SubscribeFrame, Unsubscribe, Want,
        Welcome,
    },
};

/// Messages of a subscription without a group that may be unread before the oldest is lost.
const WATCH_CAPACITY: usize = 4_096;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Nobody has used it yet.
    Idle,
    /// It is being made.
    Down,
    /// It is there.
    Up,
    /// It will not be made again.
    Closed,
}

type Answered = oneshot::Sender<Result<(), BusError>>;

pub(super) struct Core {
    pub(super) address: Address,
    pub(super) tls: Option<Tls>,
    pub(super) options: SocketOptions,
    /// There is something to send, or the end has come.
    pub(super) write: Notify,
    /// Somebody has stopped waiting for a message.
    pub(super) calm: Notify,
    pub(super) life: watch::Sender<Life>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    outgoing: VecDeque<Frame>,
    last_number: u64,
    subscriptions: BTreeMap<u64, Held>,
    publishes: BTreeMap<u64, (Publish, Answered)>,
    /// What the worker last said of itself: told again to a server that does not know it.
    presence: BTreeMap<String, Publish>,
    session: Bytes,
    /// Sessions so far; tells their deliveries apart.
    epoch: u64,
    held: HashSet<u64>,
    /// Done while the server could not be told.
    done: Vec<u64>,
    pub(super) transfers: Transfers,
    pub(super) welcome: Option<Welcome>,
    closed: Option<BusError>,
}

/// A subscription.
struct Held {
    subscribe: Subscribe,
    /// Who waits to hear that it is there.
    answer: Option<Answered>,
    /// Deliveries that nobody has taken, with their numbers.
    queue: VecDeque<(u64, Delivery)>,
    waker: Option<Waker>,
    /// Somebody stands in line.
    waiting: bool,
    /// What the server knows.
    told: Want,
}

impl Held {
    /// Whether it takes what comes without asking for each: it only watches, or its sink has room for a whole window.
    const fn takes_all(&self) -> bool {
        self.subscribe.group.is_none() || self.subscribe.sink.is_some()
    }

    fn wants(&self) -> Want {
        match (self.takes_all(), self.waiting) {
            (true, _) => Want::All,
            (false, true) => Want::One,
            (false, false) => Want::Nothing,
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("address", &self.address).field("life", &self.life()).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(address: Address, tls: Option<Tls>, options: SocketOptions) -> Self {
        Self {
            address,
            tls,
            options,
            write: Notify::new(),
            calm: Notify::new(),
            life: watch::Sender::new(Life::Idle),
            state: Mutex::default(),
        }
    }

    pub(super) fn life(&self) -> Life {
        *self.life.borrow()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the first to use it, and so starts the task.
    pub(super) fn begin(&self) -> bool {
        self.life.send_if_modified(|life| {
            let first = *life == Life::Idle;
            if first {
                *life = Life::Down;
            }
            first
        })
    }

    /// Whether it was there before, and is not now.
    pub(super) fn is_interrupted(&self) -> bool {
        self.life() == Life::Down && self.state().epoch > 0
    }

    /// Queues a frame while the connection is up. The state must be locked by the caller.
    pub(super) fn send(&self, state: &mut State, frame: impl Into<Frame>) {
        if self.life() == Life::Up {
            state.outgoing.push_back(frame.into());
            self.write.notify_one();
        }
    }

    pub(super) fn next_frame(&self) -> Option<Frame> {
        self.state().outgoing.pop_front()
    }

    pub(super) fn publish(&self, mut publish: Publish, answer: Answered) -> Result<(), BusError> {
        let mut state = self.state();
        state.check_open()?;
        publish.number = state.number();
        if matches!(&*publish.subject, subjects::HANDSHAKE | subjects::HEARTBEAT) {
            state.presence.insert(publish.subject.clone(), publish.clone());
        }
        self.send(&mut state, publish.clone());
        state.publishes.insert(publish.number, (publish, answer));
        Ok(())
    }

    pub(super) fn subscribe(&self, subscribe: Subscribe, answer: Answered) -> Result<u64, BusError> {
        let mut state = self.state();
        state.check_open()?;
        let number = state.number();
        let mut held = Held {
            subscribe,
            answer: Some(answer),
            queue: VecDeque::new(),
            waker: None,
            waiting: false,
            told: Want::Nothing,
        };
        self.introduce(&mut state, number, &mut held);
        state.subscriptions.insert(number, held);
        Ok(number)
    }

    /// Tells the server of a subscription and of what it wants.
    fn introduce(&self, state: &mut State, number: u64, held: &mut Held) {
        let Subscribe { filter, group, ack_wait, .. } = &held.subscribe;
        let ack_wait_ms = millis(*ack_wait);
        self.send(state, SubscribeFrame { number, filter: filter.clone(), group: group.clone(), ack_wait_ms });
        held.told = held.wants();
        if held.told != Want::Nothing {
            self.send(state, Demand { number, want: held.told as i32 });
        }
    }

    pub(super) fn unsubscribe(&self, number: u64) {
        let mut state = self.state();
        let Some(left) = state.subscriptions.remove(&number) else { return };
        self.send(&mut state, Unsubscribe { number });
        drop(state);
        drop(left);
    }

    pub(super) fn poll_next(&self, number: u64, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.state();
        let Some(held) = state.subscriptions.get_mut(&number) else { return Poll::Ready(None) };
        if let Some((delivery, message)) = held.queue.pop_front() {
            self.begins(&mut state, delivery);
            return Poll::Ready(Some(message));
        }
        held.waker = Some(cx.waker().clone());
        held.waiting = true;
        let want = held.wants();
        // Said again only when more is wanted; that less is wanted waits for a calm moment.
        if want > held.told {
            held.told = want;
            self.send(&mut state, Demand { number, want: want as i32 });
        }
        Poll::Pending
    }

    pub(super) fn wait_ends(&self, number: u64) {
        let mut state = self.state();
        let Some(held) = state.subscriptions.get_mut(&number) else { return };
        held.waiting = false;
        held.waker = None;
        if !held.takes_all() && (held.told != Want::Nothing || !held.queue.is_empty()) {
            self.calm.notify_one();
        }
    }

    /// Gives back what came for those who do not wait any more, and tells the server that they do not.
    pub(super) fn calm_down(&self) {
        let mut left = Vec::new();
        let mut state = self.state();
        let mut told = Vec::new();
        for (number, held) in &mut state.subscriptions {
            if held.takes_all() || held.waiting {
                continue;
            }
            left.append(&mut Vec::from(mem::take(&mut held.queue)));
            if held.told != Want::Nothing {
                held.told = Want::Nothing;
                told.push(*number);
            }
        }
        for number in told {
            self.send(&mut state, Demand { number, want: Want::Nothing as i32 });
        }
        drop(state);
        drop(left);
    }

    /// Takes a message. `Err` says what is wrong with it.
    pub(super) fn arrive(self: &Arc<Self>, deliver: Deliver) -> Result<(), String> {
        let Deliver { number, delivery, attempt, subject, packet, payload } = deliver;
        let packet = BusPacket::decode(packet).map_err(|error| format!("a packet cannot be read: {error}"))?;
        let payload = match payload {
            Some(bytes) => {
                let value = serde_json::from_slice(&bytes).map_err(|error| format!("a payload is no JSON: {error}"))?;
                Some(Payload(Arc::new(value)))
            }
            None => None,
        };
        let message = Message::new(subject, packet).with_payload(payload);
        let mut state = self.state();
        let epoch = state.epoch;
        if delivery > 0 {
            state.held.insert(delivery);
        }
        let handle = (delivery > 0).then(|| {
            let ack: Box<dyn coretex_core::ports::Ack> = Box::new(SocketAck::new(self.clone(), epoch, delivery));
            ack
        });
        let mut message = Delivery { message, attempt, handle };
        let Some(held) = state.subscriptions.get_mut(&number) else {
            // It crossed the end of its subscription.
            drop(state);
            drop(message);
            return Ok(());
        };
        if held.told == Want::One {
            held.told = Want::Nothing;
        }
        if let Some(sink) = held.subscribe.sink.clone().filter(|_| held.subscribe.group.is_some()) {
            drop(state);
            message = match offer(&*sink, message) {
                None => {
                    let mut state = self.state();
                    self.begins(&mut state, delivery);
                    return Ok(());
                }
                Some(back) => back,
            };
            state = self.state();
        }
        let Some(held) = state.subscriptions.get_mut(&number) else {
            drop(state);
            drop(message);
            return Ok(());
        };
        held.queue.push_back((delivery, message));
        let lost = if held.queue.len() > WATCH_CAPACITY && held.subscribe.group.is_none() {
            held.queue.pop_front()
        } else {
            None
        };
        if !held.waiting && !held.takes_all() {
            self.calm.notify_one();
        }
        let waker = held.waker.take();
        drop(state);
        drop(lost);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Work on a delivery begins: the server keeps it over a short break.
    fn begins(&self, state: &mut State, delivery: u64) {
        if state.held.contains(&delivery) {
            self.send(state, Settle { delivery, how: How::Begun as i32, delay_ms: 0 });
        }
    }

    pub(super) fn settle(&self, epoch: u64, delivery: u64, how: How, delay: Duration) {
        let mut state = self.state();
        if state.epoch != epoch || !state.held.remove(&delivery) {
            return;
        }
        if self.life() == Life::Up {
            self.send(&mut state, Settle { delivery, how: how as i32, delay_ms: millis(delay) });
        } else if how == How::Done {
            state.done.push(delivery);
        }
    }

    /// As [`Core::settle`], for what does not end it.
    pub(super) fn say(&self, epoch: u64, delivery: u64, how: How) {
        let mut state = self.state();
        if state.epoch == epoch && state.held.contains(&delivery) {
            self.send(&mut state, Settle { delivery, how: how as i32, delay_ms: 0 });
        }
    }

    pub(super) fn answer(&self, answer: Answer) {
        let Answer { number, code, message } = answer;
        let mut state = self.state();
        let outcome = if code.is_empty() { Ok(()) } else { Err(BusError::new(kind_of(&code), message.clone())) };
        if let Some((_, waits)) = state.publishes.remove(&number) {
            drop(state);
            // Whoever published may have stopped waiting.
            let _gone = waits.send(outcome);
            return;
        }
        if let Some(held) = state.subscriptions.get_mut(&number) {
            let waits = held.answer.take();
            let ended = if outcome.is_err() { state.subscriptions.remove(&number) } else { None };
            drop(state);
            if let (None, Err(error)) = (&waits, &outcome) {
                tracing::error!(%error, "a subscription is refused after a new connection, and ends");
            }
            if let Some(waits) = waits {
                let _gone = waits.send(outcome);
            }
            if let Some(waker) = ended.and_then(|held| held.waker) {
                waker.wake();
            }
            return;
        }
        state.transfers.refused(number, &code, message);
    }

    /// The first frame.
    pub(super) fn hello(&self) -> Frame {
        let state = self.state();
        Hello {
            version: VERSION,
            worker_id: self.options.worker_id.clone(),
            window: self.options.window,
            session: state.session.clone(),
            holds: state.held.iter().copied().collect(),
            done: state.done.clone(),
            sdk: concat!("coretex-worker/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
        .into()
    }

    /// The connection is there: takes up what there was before it. False when it was closed meanwhile.
    pub(super) fn welcome(&self, welcome: Welcome) -> bool {
        let mut state = self.state();
        if state.closed.is_some() {
            return false;
        }
        state.done.clear();
        if !welcome.resumed {
            state.epoch += 1;
            state.held.clear();
        }
        state.session = welcome.session.clone();
        self.life.send_replace(Life::Up);
        let mut subscriptions = mem::take(&mut state.subscriptions);
        for (number, held) in &mut subscriptions {
            self.introduce(&mut state, *number, held);
        }
        state.subscriptions = subscriptions;
        if !welcome.resumed {
            for mut publish in state.presence.values().cloned().collect::<Vec<_>>() {
                if !state.publishes.contains_key(&publish.number) {
                    publish.number = state.number();
                    self.send(&mut state, publish);
                }
            }
        }
        let unanswered: Vec<_> = state.publishes.values().map(|(publish, _)| publish.clone()).collect();
        for publish in unanswered {
            self.send(&mut state, publish);
        }
        state.welcome = Some(welcome);
        true
    }

    /// The connection is gone.
    pub(super) fn went_down(&self) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        self.life.send_replace(Life::Down);
        for frame in mem::take(&mut state.outgoing) {
            if let Some(crate::socket::frame::Kind::Settle(settle)) = frame.kind
                && settle.how() == How::Done
            {
                state.done.push(settle.delivery);
            }
        }
        let mut left = Vec::new();
        for held in state.subscriptions.values_mut().filter(|held| held.subscribe.group.is_some()) {
            // The server gives them to others.
            left.append(&mut Vec::from(mem::take(&mut held.queue)));
        }
        state.transfers.lost();
        drop(state);
        drop(left);
    }

    /// Ends everything, for this reason. The first reason stays.
    pub(super) fn close(&self, reason: BusError) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(reason.clone());
        self.life.send_replace(Life::Closed);
        state.outgoing.clear();
        let subscriptions = mem::take(&mut state.subscriptions);
        let publishes = mem::take(&mut state.publishes);
        state.transfers.closed(&reason);
        drop(state);
        self.write.notify_one();
        for (_, waits) in publishes.into_values() {
            let _gone = waits.send(Err(reason.clone()));
        }
        for held in subscriptions.into_values() {
            if let Some(waits) = held.answer {
                let _gone = waits.send(Err(reason.clone()));
            }
            if let Some(waker) = held.waker {
                waker.wake();
            }
        }
    }

    /// Starts a transfer, if the connection is up.
    pub(super) fn transfer(&self, make: impl FnOnce(u64) -> Frame, transfer: Transfer) -> Option<u64> {
        let mut state = self.state();
        if self.life() != Life::Up {
            return None;
        }
        let number = state.number();
        state.transfers.insert(number, transfer);
        self.send(&mut state, make(number));
        Some(number)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn check_open(&self) -> Result<(), BusError> {
        match &self.closed {
            Some(reason) => Err(BusError::new(BusErrorKind::Closed, reason.to_string())),
            None => Ok(()),
        }
    }

    /// Why it was closed, if it was.
    pub(super) const fn closed(&self) -> Option<&BusError> {
        self.closed.as_ref()
    }
}

fn offer(sink: &dyn Sink, message: Delivery) -> Option<Delivery> {
    sink.offer(message).err()
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// The kind of the server's refusals, by their code.
fn kind_of(code: &str) -> BusErrorKind {
    use BusErrorKind as Kind;
    let kinds = [Kind::Full, Kind::Unavailable, Kind::Closed, Kind::Unsupported, Kind::Denied];
    kinds.into_iter().find(|kind| kind.code() == code).unwrap_or(Kind::Invalid)
}
