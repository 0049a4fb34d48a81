//! Workers on the in-memory bus, in virtual time, seen through the public API.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod build;
mod control;
mod layers;
mod quick;
mod repeats;
mod results;
mod rig;
mod shutdown;
mod slots;
mod snooze;
mod wire;
