//! Things that go wrong, on purpose and by seed: decorators over any store and any bus.
//!
//! A [`FaultPlan`] says what may go wrong and how often; [`FaultPlan::arm`] makes [`Faults`] of it, which the decorators
//! [`FaultyStore`] and [`FaultyBus`] share. Equal seeds and equal calls give equal faults. Chances are given per mille.
//!
//! | fault | what the caller sees | what happened |
//! |---|---|---|
//! | `unavailable_before` | `Unavailable` | nothing |
//! | `unavailable_after` | `Unavailable` | the batch was applied: the outcome is unknown |
//! | `conflict`, `refuse_batch` | `Conflict` | nothing |
//! | `unreadable` | `Unavailable` on a read | nothing |
//! | `slow` | a late answer | as usual; others run meanwhile |
//! | `crash_after` | `Closed` for good | what was applied stays |
//! | `drop`, `duplicate`, `delay`, `reorder` | success | the message is lost, doubled, late, overtaken |
//! | `full` | `Full` | nothing |
//!
//! Slowness of the store is measured in turns of the runtime, not in time: work in flight holds virtual time, so a store
//! that slept would sleep for ever. It leaves damaged disks to the adapters that own one.

mod bus;
mod plan;
mod store;
#[cfg(test)]
mod tests;

pub use bus::FaultyBus;
pub use plan::{FaultCounts, FaultPlan, Faults};
pub use store::FaultyStore;
