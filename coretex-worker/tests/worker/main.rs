//! Workers on the in-memory bus, in virtual time, seen through the public API.

mod build;
mod control;
mod repeats;
mod results;
mod rig;
mod shutdown;
mod slots;
mod wire;
