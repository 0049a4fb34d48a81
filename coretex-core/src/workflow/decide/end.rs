//! How steps end, and how that ends the run.

use std::sync::Arc;

use super::{Machine, RunEffect};
use crate::{
    job::{Effect, Failure, JobState},
    value::Value,
    workflow::{RunEvent, StepStatus, evolve::RunMut},
};

impl Machine<'_> {
    /// The step is done; `output` where that is not its job's.
    pub(super) fn succeed(&mut self, position: usize, output: Option<Arc<Value>>) {
        let workflow = self.draft.workflow().clone();
        let Some(step) = workflow.steps().get(position) else { return };
        self.record(RunEvent::StepSucceeded { step: step.id.clone(), output });
        for dependent in &step.dependents {
            if self.draft.step_at(*dependent).is_some_and(|step| step.open_deps == 0) {
                self.ready.push_back(*dependent);
            }
        }
    }

    /// The step failed for good, and the run with it.
    pub(super) fn fail(&mut self, position: usize, failure: Failure) {
        let Some(step) = self.step_id(position) else { return };
        self.record(RunEvent::StepFailed { step, failure: failure.clone() });
        self.fail_run(position, failure);
    }

    /// The step's last attempt was not done in time, and the run failed with it.
    pub(super) fn time_out(&mut self, position: usize, failure: Failure) {
        let Some(step) = self.step_id(position) else { return };
        self.record(RunEvent::StepTimedOut { step, failure: failure.clone() });
        self.fail_run(position, failure);
    }

    pub(super) fn fail_run(&mut self, position: usize, failure: Failure) {
        if self.is_over() {
            return;
        }
        let Some(step) = self.step_id(position) else { return };
        self.stop_open_steps("coretex", &format!("step `{step}` failed"));
        let timed_out = self.draft.step_at(position).is_some_and(|step| step.status == StepStatus::TimedOut);
        self.record(RunEvent::RunFailed { step, failure, timed_out });
    }

    /// Tells workers to stop the jobs they may have, and withdraws questions. The event that ends the run follows.
    pub(super) fn stop_open_steps(&mut self, by: &str, reason: &str) {
        // What this very decision was about to send stays here.
        let mut unsent = Vec::new();
        self.effects.retain(|effect| match effect {
            RunEffect::Job(Effect::Dispatch { spec, .. } | Effect::AskPolicy { spec }) => {
                unsent.push(spec.id.clone());
                false
            }
            RunEffect::Notify { .. } => false,
            RunEffect::Job(_) => true,
        });
        for position in 0..self.draft.workflow().steps().len() {
            let Some(state) = self.draft.step_at(position).filter(|step| !step.status.is_terminal()) else { continue };
            let job = state.job.as_ref().map(|job| (job.id.clone(), job.state));
            let waiting = state.status == StepStatus::Waiting;
            match job {
                Some((job, JobState::Dispatched | JobState::Running)) if !unsent.contains(&job) => {
                    let trace_id = self.draft.core().id.as_ref().map(crate::job::RunId::shared).unwrap_or_default();
                    let (by, reason): (Arc<str>, Arc<str>) = (by.into(), reason.into());
                    self.effects.push(RunEffect::Job(Effect::Report {
                        job: job.clone(),
                        trace_id: trace_id.clone(),
                        state: JobState::Cancelled,
                        failure: Failure::fatal(crate::job::codes::CANCELLED, reason.clone()),
                    }));
                    self.effects.push(RunEffect::Job(Effect::Cancel { job, trace_id, by, reason }));
                }
                Some((job, JobState::ApprovalRequired)) => self.close(job.to_string()),
                _ if waiting => {
                    if let Some(step) = self.step_id(position) {
                        self.close(self.approval_id(&step));
                    }
                }
                _ => {}
            }
        }
    }
}
