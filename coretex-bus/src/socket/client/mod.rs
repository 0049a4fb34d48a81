//! The worker's end of the socket: a [`Bus`] and a [`Blobs`](coretex_core::ports::Blobs) that a worker runs on unchanged.
//!
//! One task owns the connection ([`link`]); everybody else changes the [`state`] and wakes it. The state is the truth: what
//! is to be sent is derived from it, so that a new connection takes up where the old one broke. It knows which
//! subscriptions there are, which publications were not answered, which deliveries are in somebody's hands.

mod address;
mod blobs;
mod link;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod tls;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use coretex_core::{
    ports::{Bus, BusCapabilities, BusError, BusErrorKind, Message, Subscribe, Subscription},
    protocol::{
        BusPacket,
        subjects::{self, SubjectFilter},
    },
};
use prost::Message as _;
use tokio::sync::oneshot;

use self::{address::Address, state::Core, subscription::SocketSubscription};
pub use self::{address::AddressError, blobs::SocketBlobs};
use super::{INLINE, MAX_PACKET, MAX_PAYLOAD, frame};

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
#[must_use]
pub struct SocketOptions {
    url: String,
    worker_id: String,
    key: Option<Hidden>,
    window: u32,
    ca_file: Option<PathBuf>,
}

#[derive(Clone)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl SocketOptions {
    /// Connects the worker `worker_id` to the server at `url`: `ws://host:port`, or `wss://` for TLS. A path is one that a
    /// proxy puts before the server's own.
    pub fn new(url: impl Into<String>, worker_id: impl Into<String>) -> Self {
        Self { url: url.into(), worker_id: worker_id.into(), key: None, window: 16, ca_file: None }
    }

    /// The server's API key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Hidden(key.into()));
        self
    }

    /// How many deliveries may be unsettled: the jobs that the worker runs at once. 16 unless told; the server may allow
    /// fewer.
    pub fn window(mut self, deliveries: u32) -> Self {
        self.window = deliveries;
        self
    }

    /// Trusts the certificates of this PEM file beside the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }
}

/// A [`Bus`] over a worker socket: what a worker may do, it does; the server refuses the rest with
/// [`BusErrorKind::Denied`].
///
/// It connects when it is first used, and again for as long as it takes whenever the connection breaks, each wait longer
/// than the one before and partly random. What was published and not confirmed is sent again then. It ends, and ends its
/// subscriptions, when it is dropped or closed, when the server refuses the first connection for good (a wrong key), and when
/// another worker connects with the same id.
#[derive(Debug)]
pub struct SocketBus {
    core: Arc<Core>,
}

impl SocketBus {
    /// Judges `options`; connects later.
    ///
    /// # Errors
    /// When the address is none, or the certificates cannot be read.
    pub fn new(options: SocketOptions) -> Result<Self, AddressError> {
        let address = Address::parse(&options.url)?;
        let tls = match address.secure {
            true => Some(
                tls::Tls::new(options.ca_file.as_deref())
                    .map_err(|problem| AddressError::tls(&options.url, problem))?,
            ),
            false => None,
        };
        Ok(Self { core: Arc::new(Core::new(address, tls, options)) })
    }

    /// The blob store behind the same connection.
    #[must_use]
    pub fn blobs(&self) -> SocketBlobs {
        SocketBlobs::new(self.core.clone())
    }

    fn connect(&self) {
        if self.core.begin() {
            drop(tokio::spawn(link::run(self.core.clone())));
        }
    }
}

impl Drop for SocketBus {
    fn drop(&mut self) {
        self.core.close(closed());
    }
}

/// What a later message makes up for: sent now or not at all.
fn is_fleeting(subject: &str) -> bool {
    matches!(subject, subjects::HEARTBEAT | subjects::JOB_PROGRESS)
}

#[async_trait]
impl Bus for SocketBus {
    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::new("worker-socket", false).with_payload_bytes(INLINE)
    }

    async fn publish(&self, message: Message) -> Result<(), BusError> {
        let packet: &BusPacket = &message.packet.for_wire();
        subjects::check_publish(&message.subject)
            .map_err(|problem| BusError::new(BusErrorKind::Invalid, problem.to_string()))?;
        let payload = match &message.payload {
            Some(payload) => Some(serde_json::to_vec(&*payload.0).map_err(|error| {
                BusError::new(BusErrorKind::Invalid, format!("a payload has no JSON form: {error}"))
            })?),
            None => None,
        };
        let too_large = |what: &str, found: usize, most: usize| {
            let subject = &message.subject;
            let text =
                format!("the {what} for `{subject}` has {found} bytes; at most {most} are taken over the socket");
            Err(BusError::new(BusErrorKind::Invalid, text))
        };
        let length = packet.encoded_len();
        if length > MAX_PACKET {
            return too_large("packet", length, MAX_PACKET);
        }
        if let Some(length) = payload.as_ref().map(Vec::len).filter(|length| *length > MAX_PAYLOAD) {
            return too_large("payload", length, MAX_PAYLOAD);
        }
        let publish = frame::Publish {
            number: 0,
            subject: message.subject.to_string(),
            packet: packet.encode_to_vec().into(),
            payload: payload.map(Into::into),
        };
        self.connect();
        if is_fleeting(&message.subject) && self.core.is_interrupted() {
            let text = format!("`{}` is not connected; a later message says the same", self.core.address);
            return Err(BusError::new(BusErrorKind::Unavailable, text));
        }
        let (answer, answered) = oneshot::channel();
        self.core.publish(publish, answer)?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BusError> {
        let invalid = |text: String| BusError::new(BusErrorKind::Invalid, text);
        SubjectFilter::new(&subscribe.filter).map_err(|problem| invalid(problem.to_string()))?;
        if subscribe
            .group
            .as_ref()
            .is_some_and(|group| group.is_empty() || subscribe.ack_wait < Duration::from_millis(1))
        {
            return Err(invalid(format!(
                "a group on `{}` needs a name and an ack_wait of 1 ms or more",
                subscribe.filter
            )));
        }
        self.connect();
        let (answer, answered) = oneshot::channel();
        let number = self.core.subscribe(subscribe, answer)?;
        // Made first: whoever stops waiting for the answer wants no messages either.
        let subscription = SocketSubscription::new(self.core.clone(), number);
        answered.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(Box::new(subscription))
    }

    async fn close(&self) -> Result<(), BusError> {
        self.core.close(closed());
        Ok(())
    }
}

fn closed() -> BusError {
    BusError::new(BusErrorKind::Closed, "the worker's connection is closed; start the worker again to work on")
}
