//! Jobs given up: finding them, seeing which are the same failure, trying them again, forgetting them.
//!
//! A letter is written in the batch that gives its job up, with its place in every index and one more for the count of
//! its group; so they always agree. It is taken away under its version, so that of several who retry, delete or prune
//! it one does, and the count goes down once.
//!
//! Trying again is deterministic in the letter: the new job's id follows from it, so a repeat after a crash or a lost
//! answer finds the job that is there. What was tried again leaves a record for thirty days, with the letter, who
//! asked, and the input that was used instead; it answers later repeats.

mod bulk;
mod groups;
mod query;
mod record;
mod retry;

pub use bulk::{BulkRetry, DeadLetterCount, RetryOutcome};
pub use groups::DeadLetterGroup;
pub use query::DeadLetterQuery;
pub use retry::{Retried, RetryRequest, RetryWay};

pub(super) use groups::tidy;
pub(super) use record::{forget, push};
pub(super) use retry::settled_step;
