//! Paths that name a run, by itself or within its workflow, and perhaps one of its steps.

use axum::http::StatusCode;
use coretex_core::job::{RunId, StepRunId};
use serde::Deserialize;

use super::{Api, Problem, auth::Caller};

/// `/workflow-runs/{id}/…`, or `/workflows/{id}/runs/{run_id}/…`; behind it perhaps `steps/{step_id}/…`.
#[derive(Debug, Deserialize)]
pub(super) struct RunPath {
    id: String,
    run_id: Option<String>,
    step_id: Option<String>,
}

impl RunPath {
    /// The run, which is of the workflow that the path names, if it names one.
    pub(super) async fn run(&self, api: &Api, caller: &Caller) -> Result<RunId, Problem> {
        let Some(run_id) = &self.run_id else { return Ok(RunId::parse(&self.id)?) };
        let id = RunId::parse(run_id)?;
        let run = api.plane.run(&caller.0, &id).await?;
        if run.workflow().id().as_str() == self.id {
            return Ok(id);
        }
        let detail = format!("run `{id}` is of workflow `{}`, not of `{}`", run.workflow().id(), self.id);
        Err(Problem::new(StatusCode::NOT_FOUND, "run_not_found", detail))
    }

    /// The step, which may be an item or an iteration, as `scan[2]`.
    pub(super) fn step(&self) -> Result<StepRunId, Problem> {
        Ok(StepRunId::parse(self.step_id.as_deref().unwrap_or_default())?)
    }
}
