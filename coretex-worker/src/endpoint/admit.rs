//! Admission: whether a job may run here, and within which limits.
//!
//! Invariant: a job that is admitted runs under everything that it demands. What cannot be enforced refuses the job
//! before anything is resolved or started.

use std::{collections::BTreeSet, time::Duration};

use super::{
    constraint,
    profile::{Profile, is_profile_requirement},
};
use crate::{extract::JobContext, job_error::JobError};

/// What an endpoint offers: measured against each job.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// What the runner enforces when a job's constraints ask for it.
    pub(crate) enforced: Profile,
    /// What the worker advertises, lower case: what is enforced for every job.
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) timeout: Duration,
    pub(crate) max_output_bytes: usize,
}

/// The limits of one job.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) max_output_bytes: usize,
    /// Hosts that the job may reach; `None` is any that the endpoint may.
    pub(crate) hosts: Option<Vec<String>>,
}

impl Offer {
    /// Admits the job or refuses it.
    pub(crate) fn admit(&self, job: &JobContext) -> Result<Limits, JobError> {
        self.judge_requirements(job)?;
        let refuse = |text: String| JobError::fatal("constraint_unsupported", text);
        let constraints =
            constraint::of(job).map_err(|why| refuse(format!("the job's constraints cannot be enforced: {why}")))?;
        let beyond = constraint::beyond_runners(&constraints);
        if !beyond.is_empty() {
            let names = beyond.join("`, `");
            return Err(refuse(format!(
                "no endpoint enforces the constraint `{names}`; send the job to a typed worker"
            )));
        }
        let missing = self.enforced.missing(&constraint::demand(&constraints));
        if !missing.is_empty() {
            let text =
                format!("the job's constraints need {}, which this endpoint does not enforce", missing.join(", "));
            return Err(refuse(text));
        }
        let mut limits = Limits { timeout: self.timeout, max_output_bytes: self.max_output_bytes, hosts: None };
        if let Some(budgets) = &constraints.budgets {
            if budgets.max_runtime_ms > 0 {
                limits.timeout = limits.timeout.min(Duration::from_millis(budgets.max_runtime_ms));
            }
            if budgets.max_artifact_bytes > 0 {
                let bytes = usize::try_from(budgets.max_artifact_bytes).unwrap_or(usize::MAX);
                limits.max_output_bytes = limits.max_output_bytes.min(bytes);
            }
        }
        limits.hosts = constraints.sandbox.map(|sandbox| sandbox.network_allowlist).filter(|hosts| !hosts.is_empty());
        Ok(limits)
    }

    /// Requirements are met by routing; those that a runner enforces are checked here again, since a route may be open.
    fn judge_requirements(&self, job: &JobContext) -> Result<(), JobError> {
        let requires = job.meta().map_or(&[][..], |meta| &meta.requires);
        for requirement in requires.iter().map(|text| text.trim().to_lowercase()) {
            if is_profile_requirement(&requirement) && !self.capabilities.contains(&requirement) {
                let text = format!(
                    "the job requires `{requirement}`, which this endpoint does not enforce; map its topic to a pool that does"
                );
                return Err(JobError::fatal("profile_unsupported", text));
            }
        }
        Ok(())
    }
}
