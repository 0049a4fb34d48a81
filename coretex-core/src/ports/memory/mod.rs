//! The ports in memory: the reference that tests and hosts without durability run on.
//!
//! Each is as strict as the adapters that keep data, passes the same conformance suite, and loses everything with
//! the process.

mod blobs;
mod bus;
mod store;

pub use blobs::MemoryBlobs;
pub use bus::{MemoryBus, MemoryBusOptions};
pub use store::MemoryStore;
