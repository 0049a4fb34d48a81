//! Stopping, time limits and progress.

use std::{fmt, sync::Arc, time::Duration};

use coretex_core::ports::Clock;
use jiff::Timestamp;

use super::{FromJob, JobContext};
use crate::{
    job_error::{JobError, Rejection},
    runtime::job::Job,
};

/// Why a job should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody asked for it.
    Requested,
    /// Its deadline has passed.
    Deadline,
    /// The worker stops; the job will be done by another one.
    Shutdown,
}

/// Tells a handler to stop. A handler that does not look is dropped some time later, at an await.
#[derive(Clone)]
pub struct Cancel(pub(crate) Arc<Job>);

impl Cancel {
    /// Completes when the job should stop; at once when that has happened.
    pub async fn cancelled(&self) -> CancelReason {
        self.0.stop.raised().await
    }

    /// Whether the job should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the job should stop, if it should.
    #[must_use]
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.stop.reason()
    }

    /// `Err(JobError::cancelled())` when the job should stop: `cancel.check()?` between two pieces of work.
    ///
    /// # Errors
    /// When the job should stop.
    pub fn check(&self) -> Result<(), JobError> {
        if self.is_cancelled() { Err(JobError::cancelled()) } else { Ok(()) }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({:?})", self.reason())
    }
}

impl<S> FromJob<S> for Cancel {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        Ok(job.cancel())
    }
}

/// Until when a job must be done. Then [`Cancel`] is raised, and a grace later the handler is dropped.
#[derive(Clone, Debug)]
pub struct Deadline {
    pub(crate) at: Option<Timestamp>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Deadline {
    /// The deadline, if there is one.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// The time that is left, zero when it has passed, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.at?.duration_since(self.clock.now());
        Some(if left.is_positive() { left.unsigned_abs() } else { Duration::ZERO })
    }
}

impl<S> FromJob<S> for Deadline {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        Ok(job.deadline())
    }
}

/// Tells how far the job is.
#[derive(Clone)]
pub struct Progress(pub(crate) Arc<Job>);

impl Progress {
    /// Announces `percent` (more than 100 counts as 100) and a note for people.
    ///
    /// Announcements of one job that follow each other faster than the worker's `progress_interval` are coalesced:
    /// the last one is sent when the interval has passed. One that is lost on the way is not an error.
    ///
    /// # Errors
    /// [`JobError::cancelled`] when the job should stop or has ended, so that `report(..).await?` is also a place to
    /// stop at.
    pub async fn report(&self, percent: u8, message: impl Into<String>) -> Result<(), JobError> {
        if self.0.stop.reason().is_some() {
            return Err(JobError::cancelled());
        }
        if let Some(announcement) = self.0.report(percent, message.into())? {
            self.0.shared.publish_lossy(announcement).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress(`{}`)", self.0.request().job_id)
    }
}

impl<S> FromJob<S> for Progress {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        Ok(job.progress())
    }
}
