//! The bus port: messages to workers and back, at least once.
//!
//! # Contract for implementors
//!
//! * **Subjects** are dot-separated tokens as in [`crate::protocol::subjects`]; a subscription's filter may use `*`
//!   (one token) and `>` (one or more last tokens).
//! * **Fan-out and groups.** A message goes to every subscription without a group whose filter matches, and to one
//!   member of every group. A group is a name together with a filter; members that joined under different filters
//!   are different groups.
//! * **Work subjects** ([`is_work_subject`]) are held, within the adapter's bound, while no group listens, and given
//!   in order to the first group that does. Everything else is forgotten when nobody listens. Held messages need
//!   not survive the process: the store is the truth, the bus never is.
//! * **At least once.** A delivery to a group member is settled by [`Ack`]: acknowledged, or given back at once or
//!   after a delay, or extended. A delivery that is dropped unsettled, or that stays unsettled longer than the
//!   subscription's `ack_wait`, is delivered again to any member, its `attempt` one higher; giving the
//!   old one back then changes nothing. Deliveries to subscriptions without a group need no settling and are not
//!   repeated.
//! * **Order.** Messages of one publisher on one subject reach one subscription in order, redeliveries excepted.
//! * **Back-pressure.** A group's queue is bounded. A full one refuses the message with [`BusErrorKind::Full`];
//!   nothing is delivered anywhere then. A subscription without a group that is too slow loses the oldest messages
//!   it has not read; it is for watching, not for work.
//! * **Fairness.** A message is given to a member that waits in [`Subscription::next`]; a busy member is not
//!   handed work that an idle one could take. Members with a [`Sink`] are asked first, in turn.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::Packet;
use crate::value::Value;

/// A payload that travels beside its packet inside one process. Adapters that leave the process write it to the
/// blob store and put the pointer into the packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload(pub Arc<Value>);

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes; no wildcards.
    pub subject: Arc<str>,
    /// The typed envelope; encoded only where it leaves the process.
    pub packet: Packet,
    /// Input of a job or output of a result.
    pub payload: Option<Payload>,
}

impl Message {
    /// A message without a payload.
    #[must_use]
    pub fn new(subject: impl Into<Arc<str>>, packet: impl Into<Packet>) -> Self {
        Self { subject: subject.into(), packet: packet.into(), payload: None }
    }

    /// Adds the payload.
    #[must_use]
    pub fn with_payload(mut self, payload: Option<Payload>) -> Self {
        self.payload = payload;
        self
    }
}

/// Whether messages on `subject` are held until a group listens: `job.>`, `worker.*.jobs`, `sys.job.submit`,
/// `sys.job.result` and `sys.job.dlq`.
#[must_use]
pub fn is_work_subject(subject: &str) -> bool {
    match subject.split_once('.') {
        Some(("job", rest)) => !rest.is_empty(),
        Some(("worker", rest)) => rest.split_once('.').is_some_and(|(_, last)| last == "jobs"),
        Some(("sys", rest)) => matches!(rest, "job.submit" | "job.result" | "job.dlq"),
        _ => false,
    }
}

/// Takes deliveries of a group in the task of whoever publishes, so that none has to be woken in between.
///
/// A delivery that a sink took is settled like any other, but is not repeated for want of time: whoever has it is in
/// this process, and settles or drops it. What a sink takes may overtake what it gave back.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes the delivery, or gives it back unsettled, to wait for [`Subscription::next`]. Called with no lock held;
    /// must neither wait nor panic.
    ///
    /// # Errors
    /// The delivery, when it is not taken now.
    fn offer(&self, delivery: Delivery) -> Result<(), Delivery>;
}

/// What a subscriber wants.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subscribe {
    /// Subject filter.
    pub filter: String,
    /// Queue group, not empty: one member gets each message. Without one, every message is seen.
    pub group: Option<String>,
    /// Longest time between delivery and settling (or extending) before it is delivered again; above zero.
    pub ack_wait: Duration,
    /// Is offered what arrives for the group before it is queued, by adapters within one process. Others leave it, and
    /// everything comes through [`Subscription::next`].
    pub sink: Option<Arc<dyn Sink>>,
}

impl Subscribe {
    /// Sees every message that matches.
    pub fn all(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), group: None, ack_wait: Duration::from_secs(30), sink: None }
    }

    /// Shares the messages with the other members of `group`.
    pub fn group(filter: impl Into<String>, group: impl Into<String>) -> Self {
        Self { filter: filter.into(), group: Some(group.into()), ack_wait: Duration::from_secs(30), sink: None }
    }

    /// Sets the time to settle; 30 s unless told.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait;
        self
    }

    /// Sets the sink.
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }
}

/// How an adapter settles one delivery. Calls after the first settling do nothing.
pub trait Ack: fmt::Debug + Send + Sync {
    /// Done: never deliver it again.
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>>;
    /// Give it back, to be delivered again after `delay`.
    fn nak(&self, delay: Duration) -> BoxFuture<'_, Result<(), BusError>>;
    /// Still working: start `ack_wait` anew.
    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>>;
    /// Done, without waiting for the bus to confirm. The default spawns nothing and is right for adapters
    /// whose `ack` never waits.
    fn ack_now(&self);
}

/// A message in the hands of a subscriber. Dropping it unsettled gives it back.
#[derive(Debug)]
#[must_use]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// Settles it; `None` where nothing needs settling.
    pub handle: Option<Box<dyn Ack>>,
}

impl Delivery {
    /// Done: never deliver it again.
    ///
    /// # Errors
    /// When the bus cannot be reached; the delivery may then be repeated.
    pub async fn ack(&self) -> Result<(), BusError> {
        match &self.handle {
            Some(handle) => handle.ack().await,
            None => Ok(()),
        }
    }

    /// Done, without waiting.
    pub fn ack_now(&self) {
        if let Some(handle) = &self.handle {
            handle.ack_now();
        }
    }

    /// Gives it back, to be delivered again after `delay`.
    ///
    /// # Errors
    /// When the bus cannot be reached; it is then repeated after `ack_wait`.
    pub async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        match &self.handle {
            Some(handle) => handle.nak(delay).await,
            None => Ok(()),
        }
    }

    /// Still working on it.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub async fn in_progress(&self) -> Result<(), BusError> {
        match &self.handle {
            Some(handle) => handle.in_progress().await,
            None => Ok(()),
        }
    }
}

/// The receiving end of a subscription; dropping it leaves the group and gives back what it holds.
#[async_trait]
pub trait Subscription: fmt::Debug + Send {
    /// The next delivery; `None` when the bus is closed. Cancel-safe.
    async fn next(&mut self) -> Option<Delivery>;
}

/// What sets one adapter apart from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCapabilities {
    /// Short name: `memory`, `nats`.
    pub name: &'static str,
    /// Messages stay in this process: packets are not encoded and payloads travel beside them.
    pub in_process: bool,
    /// Payloads of up to about so many bytes of JSON (escapes are not counted) travel beside their packet; 0 for none.
    pub payload_bytes: usize,
}

impl BusCapabilities {
    /// Describes an adapter. Payloads of any size travel beside their packet in process, and none otherwise.
    #[must_use]
    pub const fn new(name: &'static str, in_process: bool) -> Self {
        Self { name, in_process, payload_bytes: if in_process { usize::MAX } else { 0 } }
    }

    /// Sets [`payload_bytes`](Self::payload_bytes).
    #[must_use]
    pub const fn with_payload_bytes(mut self, bytes: usize) -> Self {
        self.payload_bytes = bytes;
        self
    }
}

/// Moves messages. See the [module page](self) for the contract.
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// What this adapter offers.
    fn capabilities(&self) -> BusCapabilities;

    /// Hands `message` to the bus; `Ok` means accepted.
    async fn publish(&self, message: Message) -> Result<(), BusError>;

    /// Hands `message` to the bus if that needs no waiting. `Err` gives it back, and the caller goes on with
    /// [`Bus::publish`].
    fn try_publish(&self, message: Message) -> Result<(), Message> {
        Err(message)
    }

    /// Starts a subscription. It sees messages published after the call returned.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BusError>;

    /// Ends all subscriptions. Later calls answer [`BusErrorKind::Closed`].
    async fn close(&self) -> Result<(), BusError>;
}

/// Why a bus did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusErrorKind {
    /// A queue is full; try again later.
    Full,
    /// The bus cannot be reached; the message may or may not have been accepted.
    Unavailable,
    /// The subject, filter or message is not legal.
    Invalid,
    /// The bus was closed.
    Closed,
    /// The adapter does not offer this.
    Unsupported,
    /// The bus does not let this caller do that.
    Denied,
}

impl BusErrorKind {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "bus_full",
            Self::Unavailable => "bus_unavailable",
            Self::Invalid => "bus_invalid",
            Self::Closed => "bus_closed",
            Self::Unsupported => "bus_unsupported",
            Self::Denied => "bus_denied",
        }
    }
}

/// An error of the bus port.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BusError {
    kind: BusErrorKind,
    message: String,
}

impl BusError {
    /// An error of `kind`; `message` says what happened and what to do.
    pub fn new(kind: BusErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> BusErrorKind {
        self.kind
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, BusErrorKind::Full | BusErrorKind::Unavailable)
    }
}
