//! One job in the hands of a runner: its limits, its scope, and when to stop.

use std::time::Duration;

use jiff::Timestamp;

use super::{admit::Limits, redact::Redactor, template::JobScope};
use crate::{
    extract::{CancelReason, JobContext},
    job_error::JobError,
};

/// What a runner is given.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) job: JobContext,
    pub(crate) scope: JobScope,
    pub(crate) limits: Limits,
    pub(crate) redactor: Redactor,
    /// How long what was asked to stop may take to do so. A request is dropped at once.
    #[cfg_attr(not(any(feature = "script", feature = "container")), expect(dead_code, reason = "one shape for all"))]
    pub(crate) grace: Duration,
    stop_at: Option<Timestamp>,
}

impl Call {
    pub(crate) fn new(job: JobContext, scope: JobScope, limits: Limits, grace: Duration) -> Self {
        let redactor = Redactor::new(scope.secrets().cloned());
        let stop_at = job.0.shared.clock.now().checked_add(limits.timeout).ok();
        Self { job, scope, limits, redactor, grace, stop_at }
    }

    #[cfg(feature = "client")]
    pub(crate) fn now(&self) -> Timestamp {
        self.job.0.shared.clock.now()
    }

    /// Completes when the job has to stop (cancel, deadline, drain, or the endpoint's timeout), with what to answer.
    pub(crate) async fn stopped(&self) -> JobError {
        let cancel = self.job.cancel();
        let clock = &self.job.0.shared.clock;
        let timeout = async {
            match self.stop_at {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = cancel.cancelled() => match reason {
                CancelReason::Deadline => self.late(),
                CancelReason::Requested | CancelReason::Shutdown => JobError::cancelled(),
            },
            () = timeout => self.late(),
        }
    }

    /// Runs `work` until it ends or the job has to stop; then it is dropped where it is.
    #[cfg(feature = "client")]
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        tokio::select! {
            biased;
            error = self.stopped() => Err(error),
            ended = work => ended,
        }
    }

    fn late(&self) -> JobError {
        let text = format!(
            "the endpoint did not answer within {} ms; raise its `timeout_sec` or split the work",
            self.limits.timeout.as_millis()
        );
        JobError::failed(text).with_code("endpoint_timeout")
    }
}
