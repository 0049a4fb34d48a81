//! What travels over a worker socket: one [`Frame`] in each binary message, in the wire format of protobuf.
//!
//! Numbers (`number`) are chosen by the worker, count up from 1, and name a subscription, a publication or a transfer for
//! as long as the connection lasts. Fields that a reader does not know are skipped, frames that it does not know are
//! refused.

use bytes::Bytes;
use prost::Message as _;

/// One message of the socket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// What it says.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    pub kind: Option<Kind>,
}

/// What a frame says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Worker: the first frame.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Server: the answer to it.
    #[prost(message, tag = "2")]
    Welcome(Welcome),
    /// Worker: wants messages.
    #[prost(message, tag = "3")]
    Subscribe(Subscribe),
    /// Worker: wants them no more.
    #[prost(message, tag = "4")]
    Unsubscribe(Unsubscribe),
    /// Worker: how many messages it waits for.
    #[prost(message, tag = "5")]
    Demand(Demand),
    /// Server: a message.
    #[prost(message, tag = "6")]
    Deliver(Deliver),
    /// Worker: what became of a delivery.
    #[prost(message, tag = "7")]
    Settle(Settle),
    /// Worker: a message.
    #[prost(message, tag = "8")]
    Publish(Publish),
    /// Server: whether what was asked for is done.
    #[prost(message, tag = "9")]
    Answer(Answer),
    /// Worker: wants a blob, or to know of it.
    #[prost(message, tag = "10")]
    Get(Get),
    /// Worker: has a blob.
    #[prost(message, tag = "11")]
    Put(Put),
    /// Server: what is known of a blob.
    #[prost(message, tag = "12")]
    Found(Found),
    /// Either: bytes of a blob, in order.
    #[prost(message, tag = "13")]
    Chunk(Chunk),
    /// Either: there is room for more bytes of a blob.
    #[prost(message, tag = "14")]
    More(More),
    /// Worker: a transfer is not wanted any more.
    #[prost(message, tag = "15")]
    Stop(Stop),
}

/// Who connects, and what it still has in its hands from before.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// [`VERSION`](super::VERSION).
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The worker's id, one token; the sender of all that it publishes.
    #[prost(string, tag = "2")]
    pub worker_id: String,
    /// How many deliveries it wants unsettled at most.
    #[prost(uint32, tag = "3")]
    pub window: u32,
    /// The session to go on with; empty for a new one.
    #[prost(bytes = "bytes", tag = "4")]
    pub session: Bytes,
    /// Deliveries of that session which it still works on.
    #[prost(uint64, repeated, tag = "5")]
    pub holds: Vec<u64>,
    /// Deliveries of that session which it is done with, and may not have been able to say so.
    #[prost(uint64, repeated, tag = "6")]
    pub done: Vec<u64>,
    /// Its library and version, for logs.
    #[prost(string, tag = "7")]
    pub sdk: String,
}

/// What holds for the connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The session; a secret between the two, to go on with it after a broken connection.
    #[prost(bytes = "bytes", tag = "1")]
    pub session: Bytes,
    /// Whether it is the one that was asked for.
    #[prost(bool, tag = "2")]
    pub resumed: bool,
    /// How many deliveries may be unsettled.
    #[prost(uint32, tag = "3")]
    pub window: u32,
    /// Largest blob, in bytes.
    #[prost(uint64, tag = "4")]
    pub max_blob: u64,
    /// Either side is gone when nothing was heard of it for so many milliseconds. The server pings in between.
    #[prost(uint64, tag = "5")]
    pub idle_ms: u64,
    /// Whether blobs outlive the server's process.
    #[prost(bool, tag = "6")]
    pub durable: bool,
}

/// A subscription. [`Answer`] says whether it is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscribe {
    /// Names it.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Subject filter.
    #[prost(string, tag = "2")]
    pub filter: String,
    /// Queue group; without one every message is seen, and none is settled.
    #[prost(string, optional, tag = "3")]
    pub group: Option<String>,
    /// Longest time to settle, in milliseconds.
    #[prost(uint64, tag = "4")]
    pub ack_wait_ms: u64,
}

/// The end of a subscription. What was delivered stays to be settled.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Unsubscribe {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// How many more messages a subscription is given, within the window: none at first, and no more than this was said.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Demand {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// None, one, or as many as come.
    #[prost(enumeration = "Want", tag = "2")]
    pub want: i32,
}

/// How many messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Want {
    /// None.
    Nothing = 0,
    /// One; after it, none.
    One = 1,
    /// As many as come.
    All = 2,
}

/// A message for a subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Deliver {
    /// The subscription's number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Names the delivery within the session; 0 when nothing needs settling.
    #[prost(uint64, tag = "2")]
    pub delivery: u64,
    /// 1 for the first time.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Where it was published.
    #[prost(string, tag = "4")]
    pub subject: String,
    /// A CAP v2 `BusPacket`.
    #[prost(bytes = "bytes", tag = "5")]
    pub packet: Bytes,
    /// The payload beside it, as JSON; a large one is behind the packet's pointer instead.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub payload: Option<Bytes>,
}

/// What became of a delivery. It is not answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Settle {
    /// The delivery.
    #[prost(uint64, tag = "1")]
    pub delivery: u64,
    /// What became of it.
    #[prost(enumeration = "How", tag = "2")]
    pub how: i32,
    /// With [`How::Back`]: after how many milliseconds it is delivered again.
    #[prost(uint64, tag = "3")]
    pub delay_ms: u64,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum How {
    /// Nothing that is known here.
    Unknown = 0,
    /// Done.
    Done = 1,
    /// Given back.
    Back = 2,
    /// Still at work: the time to settle starts anew.
    Busy = 3,
    /// Work on it begins: it outlives a short break of the connection.
    Begun = 4,
}

/// A message of the worker. [`Answer`] says whether it was accepted; they are answered in their order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Publish {
    /// Names it.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Where to.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// A CAP v2 `BusPacket` whose sender is the worker.
    #[prost(bytes = "bytes", tag = "3")]
    pub packet: Bytes,
    /// The payload beside it, as JSON.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub payload: Option<Bytes>,
}

/// Whether what `number` names is done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// What it answers.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Empty when it is done; otherwise a stable code.
    #[prost(string, tag = "2")]
    pub code: String,
    /// Why not, and what to do.
    #[prost(string, tag = "3")]
    pub message: String,
}

/// A blob that is wanted: answered by [`Found`], then by its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Get {
    /// Names the transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The blob's key.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Only to know of it: no bytes follow.
    #[prost(bool, tag = "3")]
    pub head: bool,
}

/// A blob to write: answered by [`More`], after the bytes by [`Found`], or by an [`Answer`] that refuses it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Put {
    /// Names the transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The blob's key.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Its length in bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
}

/// What is known of a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Found {
    /// The transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Whether there is one; the rest is empty otherwise.
    #[prost(bool, tag = "2")]
    pub exists: bool,
    /// Its length in bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// SHA-256 of its bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub sha256: Bytes,
    /// When it was written, in microseconds since 1970.
    #[prost(int64, tag = "5")]
    pub written_at_us: i64,
}

/// Bytes of a blob, those after the ones before.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// The transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// At most [`MAX_CHUNK`](super::MAX_CHUNK), and not none.
    #[prost(bytes = "bytes", tag = "2")]
    pub bytes: Bytes,
}

/// Room for more bytes of a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct More {
    /// The transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// So many more than was said before.
    #[prost(uint32, tag = "2")]
    pub bytes: u32,
}

/// A transfer that is given up. It is not answered, and nothing is written.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stop {
    /// The transfer.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// A frame cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame cannot be read: {0}")]
pub struct FrameError(String);

impl Frame {
    /// The bytes of one binary message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads one binary message.
    ///
    /// # Errors
    /// The bytes are no frame, or one of a kind that is not known here.
    pub fn read(bytes: Bytes) -> Result<Kind, FrameError> {
        let frame = Self::decode(bytes).map_err(|error| FrameError(error.to_string()))?;
        frame.kind.ok_or_else(|| FrameError("it is of no kind that is known here".to_owned()))
    }
}

macro_rules! kinds {
    ($($name:ident)*) => {$(
        impl From<$name> for Frame {
            fn from(kind: $name) -> Self {
                Self { kind: Some(Kind::$name(kind)) }
            }
        }
    )*};
}

kinds! { Hello Welcome Subscribe Unsubscribe Demand Deliver Settle Publish Answer Get Put Found Chunk More Stop }

impl Answer {
    /// It is done.
    #[must_use]
    pub fn done(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// It is not done.
    pub fn refused(number: u64, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { number, code: code.into(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let deliver = Deliver {
            number: 3,
            delivery: 9,
            attempt: 2,
            subject: "job.a".to_owned(),
            packet: Bytes::from_static(b"packet"),
            payload: Some(Bytes::new()),
        };
        let bytes = Frame::from(deliver.clone()).to_bytes();
        assert_eq!(Frame::read(bytes.clone()), Ok(Kind::Deliver(deliver)));
        assert!(Frame::read(bytes.slice(..bytes.len() - 1)).is_err(), "cut off");
        assert!(Frame::read(Bytes::new()).is_err(), "of no kind");
        // Field 16, which is no kind that is known.
        assert!(Frame::read(Bytes::from_static(&[0x82, 0x01, 0x00])).is_err());
    }

    #[test]
    fn the_wire_form_is_fixed() {
        let settle = Settle { delivery: 300, how: How::Back as i32, delay_ms: 5 };
        assert_eq!(&*Frame::from(settle).to_bytes(), [0x3a, 0x07, 0x08, 0xac, 0x02, 0x10, 0x02, 0x18, 0x05]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(kind) = Frame::read(bytes.into()) {
                let again = Frame { kind: Some(kind.clone()) }.to_bytes();
                prop_assert_eq!(Frame::read(again), Ok(kind));
            }
        }
    }
}
