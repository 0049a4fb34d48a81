//! What the engine asks of the outside: six narrow traits and their in-memory implementations.
//!
//! A port is the least that an adapter has to do. Comfort is written once above it. Each trait's page is the
//! contract, told to the people who implement it: what is atomic, what is ordered, what may repeat. An adapter
//! proves itself with the conformance suite of its port (feature `conformance`).
//!
//! | port | answers | in memory |
//! |---|---|---|
//! | [`Store`] | what is true, durably | `memory::MemoryStore` |
//! | [`Bus`] | how messages reach workers and come back | `memory::MemoryBus` |
//! | [`Blobs`] | where large payloads lie | `memory::MemoryBlobs` |
//! | [`PolicyEngine`] | whether a job may run | in [`crate::policy`] |
//! | [`Clock`] | what time it is, and when to wake | [`SystemClock`] |
//! | [`IdSource`] | fresh identities and randomness | [`SystemIds`] |

pub mod blobs;
pub mod bus;
pub mod clock;
pub mod ids;
mod judge;
pub mod memory;
mod packet;
pub mod policy;
pub mod store;

pub use blobs::{BlobEntry, BlobError, BlobErrorKind, BlobKey, Blobs};
pub use bus::{
    Ack, Bus, BusCapabilities, BusError, BusErrorKind, Delivery, Message, Payload, Sink, Subscribe, Subscription,
    is_work_subject,
};
pub use clock::{Busy, BusyGauge, Clock, SystemClock};
pub use ids::{IdSource, SeededIds, SystemIds};
pub use judge::{counter_after, expiry_after};
pub use packet::{JobDone, Order, Packet, PacketSource};
pub use policy::{PolicyEngine, PolicySnapshot, Verdict};
pub use store::{
    Batch, Capabilities, Change, ChangeSender, Changes, Condition, Entry, Expected, Key, Op, OpResult, Page, Receipt,
    Scan, Store, StoreError, StoreErrorKind, StreamPage, Version, WriteClass, change_channel, limits,
};
