//! What a handler can know of its job.

use std::{collections::BTreeMap, fmt, sync::Arc};

use coretex_core::{
    protocol::{JobMetadata, JobRequest},
    value::Value,
};

use super::{Cancel, Deadline, FromJob, Progress};
use crate::{job_error::Rejection, runtime::job::Job};

/// The job at hand: its identities, labels and surroundings. Cheap to clone; what it tells does not change.
#[derive(Clone)]
pub struct JobContext(pub(crate) Arc<Job>);

impl JobContext {
    /// The job's id on the wire; `<run>:<step>@<attempt>` for a step of a workflow.
    #[must_use]
    pub fn job_id(&self) -> &str {
        self.0.asked.job_id()
    }

    /// The run, when the job is a step of a workflow.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        self.step_parts().map(|(run, _, _)| run)
    }

    /// The step, when the job is a step of a workflow.
    #[must_use]
    pub fn step_id(&self) -> Option<&str> {
        self.step_parts().map(|(_, step, _)| step)
    }

    /// Which try this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        let dispatched = || self.request().dispatch.as_ref().map(|dispatch| dispatch.attempt).filter(|n| *n > 0);
        self.step_parts().map(|(_, _, attempt)| attempt).or_else(dispatched).unwrap_or(1)
    }

    /// How often the bus has delivered this attempt, counted from 1. More than 1 means that an earlier delivery was
    /// lost or given back, maybe after it had effects.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.0.delivery_attempt
    }

    /// The kind of work.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.asked.topic()
    }

    /// Who owns the job; empty when the peer did not say.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        let request = self.request();
        let meta = || request.meta.as_ref().map(|meta| meta.tenant_id.as_str());
        let env = || request.env.get("tenant_id").map(String::as_str);
        let given = Some(request.tenant_id.as_str());
        [given, meta(), env()].into_iter().flatten().find(|tenant| !tenant.is_empty()).unwrap_or_default()
    }

    /// On whose authority it runs; empty when the peer did not say.
    #[must_use]
    pub fn principal_id(&self) -> &str {
        &self.request().principal_id
    }

    /// The workflow the job belongs to; empty for a job of its own.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        &self.request().workflow_id
    }

    /// Free key and value pairs.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.request().labels
    }

    /// Short settings for the worker.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.request().env
    }

    /// Capability, risk tags, requirements and pack, when the peer gave them.
    #[must_use]
    pub fn meta(&self) -> Option<&JobMetadata> {
        self.request().meta.as_ref()
    }

    /// Correlates all packets of one tree of jobs.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.0.asked.given_trace_id()
    }

    /// The id of the worker that runs the job.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.0.shared.id
    }

    /// The request as it came.
    #[must_use]
    pub fn request(&self) -> &JobRequest {
        self.0.request()
    }

    /// The input; `null` when there is none.
    #[must_use]
    pub fn input(&self) -> &Arc<Value> {
        self.0.input()
    }

    /// Tells when the job should stop.
    #[must_use]
    pub fn cancel(&self) -> Cancel {
        Cancel(Arc::clone(&self.0))
    }

    /// Tells how far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.0))
    }

    /// Until when the job must be done.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline { at: self.0.deadline, clock: Arc::clone(&self.0.shared.clock) }
    }

    fn step_parts(&self) -> Option<(&str, &str, u64)> {
        step_parts(self.job_id())
    }
}

/// Run, step and attempt of `<run>:<step>@<attempt>`.
pub(crate) fn step_parts(job_id: &str) -> Option<(&str, &str, u64)> {
    let (rest, attempt) = job_id.rsplit_once('@')?;
    let (run, step) = rest.split_once(':')?;
    let attempt = attempt.parse().ok().filter(|attempt| *attempt > 0)?;
    (!run.is_empty() && !step.is_empty()).then_some((run, step, attempt))
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("job_id", &self.job_id())
            .field("topic", &self.topic())
            .field("trace_id", &self.trace_id())
            .finish_non_exhaustive()
    }
}

impl<S> FromJob<S> for JobContext {
    fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
        Ok(job.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::step_parts;

    #[test]
    fn the_id_of_a_step_names_run_step_and_attempt() {
        assert_eq!(step_parts("r1:fetch@2"), Some(("r1", "fetch", 2)));
        assert_eq!(step_parts("r1:fetch[3]:x@y@12"), Some(("r1", "fetch[3]:x@y", 12)));
        for other in ["job-1", "r1:fetch", "r1:fetch@0", "r1:fetch@x", ":fetch@1", "r1:@1", "@1"] {
            assert_eq!(step_parts(other), None, "{other}");
        }
    }
}
