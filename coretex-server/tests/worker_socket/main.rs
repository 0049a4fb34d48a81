//! Workers in other processes, over the server's worker socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod kill;
mod peer;
mod process;
mod remote;
mod restart;
mod rig;
