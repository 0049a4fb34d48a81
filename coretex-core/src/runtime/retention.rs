//! What is kept for how long, and what removing the rest leads to.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ControlPlane, PlaneError, PlaneErrorKind, sweep};
use crate::{job::JobState, workflow::RunStatus};

/// How old something may get, written as a whole number and a unit: `90s`, `15m`, `12h`, `30d`, `8w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(Duration);

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Age {
    /// An age in whole seconds; the rest is cut off.
    #[must_use]
    pub const fn new(age: Duration) -> Self {
        Self(Duration::from_secs(age.as_secs()))
    }

    /// As a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Age {
    type Err = PlaneError;

    fn from_str(text: &str) -> Result<Self, PlaneError> {
        let read = || {
            let unit = text.chars().last()?;
            let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
            Some(Self(Duration::from_secs(count.checked_mul(*seconds)?)))
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let message =
                format!("`{shown}` is no age; write a whole number and `s`, `m`, `h`, `d` or `w`, such as `30d`");
            PlaneError::new(PlaneErrorKind::Invalid, "age_invalid", message)
        })
    }
}

impl TryFrom<String> for Age {
    type Error = PlaneError;

    fn try_from(text: String) -> Result<Self, PlaneError> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, each) =
            UNITS.into_iter().find(|(_, each)| seconds > 0 && seconds.is_multiple_of(*each)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", seconds / each)
    }
}

/// What is kept for how long, by class. What is not set is kept for ever. Nothing that is live, or needed by something
/// that is kept, is ever removed; idempotency keys lapse by themselves after seven days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retention {
    /// Runs that succeeded, and jobs that were submitted by themselves, since they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Age>,
    /// Runs and such jobs that failed or were denied, since they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Age>,
    /// Runs and such jobs that were cancelled, since they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Age>,
    /// Runs and such jobs that timed out, since they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timed_out: Option<Age>,
    /// Timelines of runs that have ended, since then. The run itself stays, with its steps and outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timelines: Option<Age>,
    /// Dead letters, since the job was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Age>,
    /// Versions that no run pins, since another one became current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<Age>,
    /// Results of runs and jobs that are gone, inputs that clients wrote for such jobs, and pinned outputs that nothing needs, since they were written. Taken as an hour at
    /// least: an output is written before the event that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs: Option<Age>,
}

impl Retention {
    pub(super) const fn of_runs(&self, status: RunStatus) -> Option<Age> {
        match status {
            RunStatus::Succeeded => self.succeeded,
            RunStatus::Failed => self.failed,
            RunStatus::Cancelled => self.cancelled,
            RunStatus::TimedOut => self.timed_out,
            RunStatus::Pending | RunStatus::Running | RunStatus::Waiting => None,
        }
    }

    pub(super) const fn of_jobs(&self, state: JobState) -> Option<Age> {
        match state {
            JobState::Succeeded => self.succeeded,
            JobState::Failed | JobState::Denied => self.failed,
            JobState::Cancelled => self.cancelled,
            JobState::Timeout => self.timed_out,
            JobState::Pending
            | JobState::ApprovalRequired
            | JobState::Scheduled
            | JobState::Dispatched
            | JobState::Running => None,
        }
    }

    /// The least age at which a job may go.
    pub(super) fn youngest_job(&self) -> Option<Age> {
        [self.succeeded, self.failed, self.cancelled, self.timed_out].into_iter().flatten().min()
    }
}

/// A kind of thing that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrunedClass {
    /// Runs that succeeded.
    Succeeded,
    /// Runs that failed.
    Failed,
    /// Runs that were cancelled.
    Cancelled,
    /// Runs that timed out.
    TimedOut,
    /// Jobs that were submitted by themselves, however they ended.
    Jobs,
    /// Timelines of runs that stay.
    Timelines,
    /// Dead letters.
    DeadLetters,
    /// Contents of versions, each under all its numbers.
    Versions,
    /// Blobs.
    Blobs,
}

/// What was removed of one class, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The class.
    pub class: PrunedClass,
    /// How many.
    pub count: u64,
    /// How many bytes they take, where that is known without reading them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Some of them, ten at most.
    pub samples: Vec<String>,
}

/// What was removed, or would be, by class; classes of which there is nothing are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// The classes.
    pub classes: Vec<Pruned>,
}

impl PruneReport {
    /// The part about `class`.
    #[must_use]
    pub fn of(&self, class: PrunedClass) -> Option<&Pruned> {
        self.classes.iter().find(|pruned| pruned.class == class)
    }

    pub(super) fn add(&mut self, class: PrunedClass, sample: &str, bytes: Option<u64>) {
        let at = match self.classes.iter().position(|pruned| pruned.class == class) {
            Some(at) => at,
            None => {
                self.classes.push(Pruned { class, count: 0, bytes: None, samples: Vec::new() });
                self.classes.len() - 1
            }
        };
        let Some(pruned) = self.classes.get_mut(at) else { return };
        pruned.count += 1;
        if let Some(bytes) = bytes {
            pruned.bytes = Some(pruned.bytes.unwrap_or(0) + bytes);
        }
        if pruned.samples.len() < 10 {
            pruned.samples.push(sample.to_owned());
        }
    }
}

impl ControlPlane {
    /// What [`ControlPlane::prune`] would remove, of all tenants. What a removal would free in its turn (the versions
    /// and blobs of removed runs) is not counted. O(what is older than the ages set, and all versions and blobs when
    /// those are set).
    ///
    /// # Errors
    /// When the store or the blobs cannot be read.
    pub async fn prune_preview(&self, retention: &Retention) -> Result<PruneReport, PlaneError> {
        sweep::sweep(self.shared(), retention, false).await
    }

    /// Removes what is older than `retention` says, of all tenants, a bounded number at a time. Each thing goes whole or
    /// not at all; a crash in between leaves the rest for the next call.
    ///
    /// # Errors
    /// When the store or the blobs refuse; what was removed until then is gone.
    pub async fn prune(&self, retention: &Retention) -> Result<PruneReport, PlaneError> {
        sweep::sweep(self.shared(), retention, true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written_in_the_largest_unit_that_fits() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400), ("0s", 0)]
        {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.as_duration(), age.to_string().as_str()), (Duration::from_secs(seconds), text));
        }
        assert_eq!(Age::new(Duration::from_secs(7_200)).to_string(), "2h");
        for wrong in ["", "d", "30", "-1d", "1.5h", "30 d", "3ö", "99999999999999999999s", "40000000000000w"] {
            assert_eq!(wrong.parse::<Age>().unwrap_err().code(), "age_invalid", "{wrong}");
        }
    }
}
