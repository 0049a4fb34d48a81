//! The API over a real control plane, request by request: codes, shapes, refusals.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod approvals;
mod concurrency;
mod dead_letters;
mod ending;
mod events;
mod history;
mod jobs;
mod parameters;
mod refusals;
mod rig;
mod runs;
mod schedules;
mod steps;
mod triggers;
mod versions;
mod workflows;
