//! Triggers: events that come in any number, gathered under a key until they start one run.
//!
//! A [`Bucket`] is what has been gathered under one key of one trigger. [`decide`] says what an event or the passing of
//! time means for it. Events are counted in generations: one gathers; those that are complete wait in
//! [`Bucket::firing`] until the start of their run is confirmed. A generation has one run id for ever
//! ([`Bucket::run_id`]), so that it starts one run however often the start is repeated, and whoever sent an event knows
//! at once which run it will be part of.
//!
//! The events themselves are none of this room's business: it says where each lies, and whether it is kept.

mod bucket;
mod decide;
#[cfg(test)]
mod tests;

pub use bucket::{Bucket, Firing, Gather, Gathering, Rule};
pub use decide::{Backlog, BucketInput, Place, decide};
