//! One time of a schedule, and what became of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::OverlapPolicy;
use crate::job::{IdError, RunId};

/// Why a run is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FireKind {
    /// Its time has come.
    Scheduled,
    /// Its time is long past, and somebody wants it made up for.
    Backfill,
    /// Somebody wants it now.
    Trigger,
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fire {
    /// The time that it is for.
    pub time: Timestamp,
    /// Why.
    pub kind: FireKind,
    /// Which trigger it was; 0 for the others, whose time says it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u64,
    /// What it does about a run that is under way, where that is not what the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OverlapPolicy>,
    /// A later fire took its place while its start was not confirmed: the run is cancelled when it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overtaken: bool,
}

impl Fire {
    /// A fire that nothing has happened to.
    #[must_use]
    pub const fn new(time: Timestamp, kind: FireKind, number: u64, overlap: Option<OverlapPolicy>) -> Self {
        Self { time, kind, number, overlap, overtaken: false }
    }

    /// Whether it is the same one, whatever has happened to it.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.time, self.kind, self.number) == (other.time, other.kind, other.number)
    }

    /// The id of its run: a UUID of version 7 made of its time and of what it is. `schedule` names the schedule, and one
    /// that was deleted and made anew differently. The same fire has the same id for ever, so it starts at most one run.
    ///
    /// # Errors
    /// Never.
    pub fn run_id(&self, schedule: &str) -> Result<RunId, IdError> {
        let kind: &[u8] = if self.number > 0 { b"trigger" } else { b"time" };
        let time = self.time.as_microsecond().to_be_bytes();
        run_id_of(self.time, &[schedule.as_bytes(), &time, &self.number.to_be_bytes(), kind])
    }
}

/// A UUID of version 7 made of a time and of everything else that says which run it is: lists sort by it as by any other.
///
/// # Errors
/// Never.
pub(crate) fn run_id_of(time: Timestamp, parts: &[&[u8]]) -> Result<RunId, IdError> {
    let (high, low) = spread(parts);
    let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
    let high = (millis << 16) | (0x7 << 12) | (high & 0xfff);
    let low = (0b10 << 62) | (low >> 2);
    RunId::parse(&uuid::Uuid::from_u64_pair(high, low).to_string())
}

/// What became of a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FireOutcome {
    /// It started a run.
    Started {
        /// The run.
        run_id: RunId,
    },
    /// It waits for a run of an earlier time to end.
    Queued,
    /// It was left out.
    Skipped {
        /// Why.
        reason: Arc<str>,
    },
    /// Its run could not be started.
    Failed {
        /// The stable code.
        code: Arc<str>,
        /// For people.
        message: Arc<str>,
    },
}

/// A time that has come, as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The time.
    #[serde(flatten)]
    pub fire: Fire,
    /// When that was decided.
    pub at: Timestamp,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: FireOutcome,
}

/// 128 bits that depend on every part, and on where one ends and the next begins.
pub(super) fn spread(parts: &[&[u8]]) -> (u64, u64) {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let (high, rest) = digest.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    (number(high), number(rest))
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}
