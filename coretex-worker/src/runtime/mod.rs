//! The running worker.
//!
//! ```text
//!            sys.job.cancel ----> presence ---- stop ---+
//!                                                       v
//! bus --> intake (a free slot first) --> admit --> run: input, handler, result, ack
//!                                          |            ^
//!                                       registry <-- ticker: deadlines, extensions, announcements
//! ```
//!
//! `intake` takes a delivery only with a slot in its hand and spawns one task per job; a job of a handler that never waits
//! (`pace`) runs where it arrives. `registry` knows what runs, what ended and what must not start. `ticker` is the only timer that jobs have. `lifecycle` starts all of it and
//! brings it to an end.

mod answer;
mod asked;
mod intake;
pub(crate) mod job;
mod lifecycle;
pub(crate) mod pace;
mod presence;
mod registry;
mod run;
pub(crate) mod shared;
mod signal;
mod ticker;

pub use self::{
    lifecycle::{RunningWorker, Worker, WorkerError},
    shared::WorkerStats,
};
