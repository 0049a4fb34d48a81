//! One suite per port, which every adapter runs unchanged, each case under its own name.

pub mod blobs;
pub mod bus;
