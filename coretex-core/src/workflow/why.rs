//! Why is it waiting? One answer for every step run that has begun or could, read from the state that decisions are made
//! on: what is said here is what the machine itself waits for.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Phase, Role, Run, StepKind, StepRun, StepStatus, WaitsFor,
    definition::{EdgeKind, FINALLY},
    fold::{self, RunMut, of_step},
};
use crate::job::{JobState, StepRunId, Subject};

/// Why a step run, or a run as a whole, is not further.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wait {
    /// The step run; absent for the run as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepRunId>,
    /// Why.
    #[serde(flatten)]
    pub cause: WaitCause,
}

/// What something waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitCause {
    /// Steps that have not ended.
    Steps {
        /// Which.
        steps: Vec<StepRunId>,
    },
    /// The steps of its group.
    Group {
        /// Blocks under way.
        active: u32,
        /// Blocks that have not begun.
        waiting: u32,
        /// How it ends is settled; what is left is being stopped.
        stopping: bool,
    },
    /// A delay.
    Timer {
        /// Until when.
        until: Timestamp,
        /// By which rule of the definition.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<Arc<str>>,
    },
    /// The next try.
    Backoff {
        /// Until when.
        until: Timestamp,
        /// Which try it will be.
        attempt: u32,
        /// Why the last one failed.
        code: String,
    },
    /// Policy said: later.
    Throttled {
        /// Until when.
        until: Timestamp,
        /// The rule that says so.
        rule_id: String,
    },
    /// A remote policy kernel.
    Kernel {
        /// The job that it was asked about.
        job_id: String,
        /// When it was asked first.
        since: Timestamp,
        /// How often it was asked.
        asked: u32,
        /// When it is asked again, or the job is given up.
        until: Timestamp,
    },
    /// A human's answer.
    Approval {
        /// The question.
        approval_id: String,
        /// When it lapses.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Data from outside.
    Data {
        /// When the step is given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// When the step is given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An operator, who says how it goes on.
    Operator {
        /// Why the last try failed.
        code: String,
    },
    /// A worker of the pool, to take the job or to say that it works on it.
    Pool {
        /// The job.
        job_id: String,
        /// The pool.
        pool: String,
        /// The topic.
        topic: String,
        /// When it is given up.
        until: Timestamp,
        /// Live workers that serve the topic; absent where nobody counted them.
        #[serde(skip_serializing_if = "Option::is_none")]
        workers: Option<usize>,
    },
    /// A worker that works on it.
    Worker {
        /// The job.
        job_id: String,
        /// Which.
        worker_id: String,
        /// When it is given up.
        until: Timestamp,
    },
    /// A worker that was told to stop.
    Stopping {
        /// The job.
        job_id: String,
        /// When it counts as stopped without an answer.
        until: Timestamp,
    },
    /// Another run.
    Child {
        /// Which.
        run_id: String,
    },
    /// The bus, to take an alert.
    Bus,
    /// The blob store.
    Artifact {
        /// The artifact.
        key: String,
    },
    /// A place under its workflow's rule of concurrency.
    Place {
        /// The key.
        key: String,
        /// Runs that hold the places, up to ten; empty where nobody looked.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        held_by: Vec<String>,
    },
    /// Workers have as many bytes of the run as they may; it begins when something of the run ends.
    Bytes {
        /// Bytes that they have.
        in_flight: u64,
    },
    /// The other steps, before what succeeded is undone or last steps run.
    Phase {
        /// What the run does first.
        phase: &'static str,
    },
}

impl Run {
    /// Why each step run that has not ended is not further, and first why the run is not: the same causes, without those
    /// that only wait for others. Empty when the run has ended. O(steps + edges).
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        if self.status().is_terminal() || self.id().is_none() {
            return Vec::new();
        }
        if let Some(slot) = self.slot().filter(|_| self.core.queued) {
            let cause = WaitCause::Place { key: slot.key.to_string(), held_by: Vec::new() };
            return vec![Wait { step_id: None, cause }];
        }
        let steps: Vec<Wait> = self
            .slots()
            .filter(|(_, step)| !step.status.is_terminal())
            .filter_map(|(slot, step)| {
                Some(Wait { step_id: fold::run_id(self, slot), cause: self.cause_of(slot, step)? })
            })
            .collect();
        let ends = |wait: &&Wait| {
            !matches!(
                wait.cause,
                WaitCause::Steps { .. } | WaitCause::Group { .. } | WaitCause::Phase { .. } | WaitCause::Bytes { .. }
            )
        };
        let of_run = steps.iter().filter(ends).map(|wait| Wait { step_id: None, cause: wait.cause.clone() });
        of_run.collect::<Vec<_>>().into_iter().chain(steps.clone()).collect()
    }

    fn cause_of(&self, slot: usize, step: &StepRun) -> Option<WaitCause> {
        let until = step.due_at;
        match (&step.waits_for, step.status) {
            (Some(WaitsFor::Answer), _) => {
                let subject = Subject::Step { run_id: self.id()?.clone(), step_id: fold::run_id(self, slot)? };
                Some(WaitCause::Approval { approval_id: subject.id(), until })
            }
            (Some(WaitsFor::Data), _) => Some(WaitCause::Data { until }),
            (Some(WaitsFor::Signal { name }), _) => Some(WaitCause::Signal { name: name.to_string(), until }),
            (Some(WaitsFor::Operator), _) => Some(WaitCause::Operator { code: code_of(step) }),
            (Some(WaitsFor::Child { run }), _) => Some(WaitCause::Child { run_id: run.to_string() }),
            (Some(WaitsFor::Alert), _) => Some(WaitCause::Bus),
            (Some(WaitsFor::Artifact { key }), _) => Some(WaitCause::Artifact { key: key.to_string() }),
            (None, StepStatus::Pending) => self.cause_of_pending(slot, step),
            (None, _) if step.group.is_some() => step.group.as_deref().map(|group| WaitCause::Group {
                active: group.active,
                waiting: group.total.saturating_sub(group.begun),
                stopping: group.ending.is_some(),
            }),
            (None, _) => self
                .cause_of_job(slot, step)
                .or_else(|| Some(WaitCause::Timer { until: until?, rule: self.delay_rule(step) })),
        }
    }

    fn delay_rule(&self, step: &StepRun) -> Option<Arc<str>> {
        match &self.workflow.steps().get(step.position())?.kind {
            StepKind::Delay(delay) => Some(delay.rule().clone()),
            _ => None,
        }
    }

    fn cause_of_pending(&self, slot: usize, step: &StepRun) -> Option<WaitCause> {
        if step.is_held {
            return Some(WaitCause::Bytes { in_flight: self.core.in_flight_bytes });
        }
        if let Some(until) = step.due_at {
            return Some(WaitCause::Backoff { until, attempt: step.attempts + 1, code: code_of(step) });
        }
        let definition = self.workflow.steps().get(step.position())?;
        let in_finally = self.blocks.get(step.block as usize)?.scope as usize == FINALLY;
        if definition.role == Role::Compensation || (in_finally && self.phase() != Phase::Finalizing) {
            // It waits for nothing that may not come.
            return (self.phase() == Phase::Compensating || in_finally)
                .then(|| WaitCause::Phase { phase: self.phase().as_str() });
        }
        let scope = self.workflow.scopes().get(definition.scope)?;
        let leads_here = |from: &usize| {
            self.workflow.steps().get(*from).is_some_and(|source| {
                source.dependents.iter().any(|edge| {
                    edge.to == step.position()
                        && matches!(edge.kind, EdgeKind::Success | EdgeKind::Choice | EdgeKind::Failure)
                })
            })
        };
        let steps = (scope.first..scope.first + scope.len).filter(leads_here).filter_map(|from| {
            let before = of_step(self, slot, from)?;
            let is_open = self.step_at(before).is_some_and(|step| !step.status.is_terminal());
            is_open.then(|| fold::run_id(self, before))?
        });
        Some(WaitCause::Steps { steps: steps.collect() })
    }

    fn cause_of_job(&self, slot: usize, step: &StepRun) -> Option<WaitCause> {
        let job = step.job.as_deref()?;
        let job_id = job.id.to_string();
        match (job.state, job.due_at) {
            (JobState::Pending, Some(until)) if job.is_asking() => {
                let asking = job.asking?;
                Some(WaitCause::Kernel { job_id, since: asking.since, asked: asking.times, until })
            }
            (JobState::Pending, Some(until)) => {
                let rule_id = job.decision.as_ref().map(|decision| decision.rule_id.to_string()).unwrap_or_default();
                Some(WaitCause::Throttled { until, rule_id })
            }
            (JobState::ApprovalRequired, until) => Some(WaitCause::Approval { approval_id: job_id, until }),
            (_, Some(until)) if job.stop.is_some() => Some(WaitCause::Stopping { job_id, until }),
            (JobState::Dispatched, Some(until)) => {
                let pool = job.pool.as_deref().unwrap_or_default().to_owned();
                let topic = self.topic_of(slot).unwrap_or_default();
                Some(WaitCause::Pool { job_id, pool, topic, until, workers: None })
            }
            (JobState::Running, Some(until)) => {
                let worker_id = job.worker.as_deref().unwrap_or_default().to_owned();
                Some(WaitCause::Worker { job_id, worker_id, until })
            }
            _ => None,
        }
    }

    fn topic_of(&self, slot: usize) -> Option<String> {
        let step = self.workflow.steps().get(self.step_at(slot)?.position())?;
        match &step.kind {
            super::StepKind::Job { topic, .. } => Some(topic.to_string()),
            _ => None,
        }
    }
}

fn code_of(step: &StepRun) -> String {
    step.failure.as_ref().map(|failure| failure.code.to_string()).unwrap_or_default()
}
