//! The worker socket: a worker in another process, connected to a server by one WebSocket and nothing else.
//!
//! [`frame`] is what travels, and is all that a server needs. [`SocketBus`] (feature `ws`) is the worker's end.
//! The protocol is described in `docs/reference/worker-socket.md`.

#[cfg(feature = "ws")]
mod client;
pub mod frame;
pub mod refusal;

#[cfg(feature = "ws")]
pub use client::{AddressError, SocketBlobs, SocketBus, SocketOptions};

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;

/// Where a server answers, below the address that a worker is given.
pub const PATH: &str = "/api/v1/worker-socket";

/// Longest WebSocket message, in bytes: one frame.
pub const MAX_FRAME: usize = 1_200_000;

/// Longest encoded packet in a frame, in bytes.
pub const MAX_PACKET: usize = 512 * 1024;

/// Longest payload in a frame, in bytes of JSON. What is longer goes through the blob store.
pub const MAX_PAYLOAD: usize = 512 * 1024;

/// About how many bytes of JSON a sender lets travel beside a packet. Escapes, which the estimate does not count, make
/// it at most [`MAX_PAYLOAD`].
pub const INLINE: usize = 64 * 1024;

/// Longest chunk of a blob, in bytes.
pub const MAX_CHUNK: usize = 256 * 1024;

/// Blobs on their way at once on one connection.
pub const MAX_TRANSFERS: usize = 4;

/// How many bytes of a blob are on their way before the receiver says that there is more room.
pub const BLOB_WINDOW: usize = 1024 * 1024;
