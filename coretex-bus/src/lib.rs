//! Bus adapters that leave the process.
//!
//! | feature | unlocks |
//! |---|---|
//! | `socket` | [`socket`]: the frames of the worker socket, which a server speaks |
//! | `ws` | [`socket::SocketBus`]: a [`Bus`](coretex_core::ports::Bus) and [`Blobs`](coretex_core::ports::Blobs) over it, which a worker speaks |

#[cfg(feature = "socket")]
pub mod socket;
