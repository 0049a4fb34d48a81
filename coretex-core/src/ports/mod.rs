//! What the engine asks of the outside: narrow traits and their in-memory implementations.
//!
//! A port is the least that an adapter has to do. Comfort is written once above it. Each trait's page is the
//! contract, told to the people who implement it: what is atomic, what is ordered, what may repeat. An adapter
//! proves itself with the conformance suite of its port (feature `conformance`).

mod clock;
mod ids;
mod store;

pub use clock::{Busy, BusyGauge, Clock, SystemClock};
pub use ids::{IdSource, SeededIds, SystemIds};
pub use store::{
    Batch, Capabilities, Change, ChangeSender, Changes, Condition, Entry, Expected, Key, Op, OpResult, Page, Receipt,
    Scan, Store, StoreError, StoreErrorKind, StreamPage, Version, WriteClass, change_channel, limits,
};
