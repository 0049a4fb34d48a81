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
    /// Of the run as a whole: when it is given up, whatever it waits for; absent where it has no `timeout_sec`, or while
    /// its clock stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

impl Wait {
    const fn of_step(step_id: StepRunId, cause: WaitCause) -> Self {
        Self { step_id: Some(step_id), cause, deadline: None }
    }
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
    /// The other items of its `for_each`, of which no more may be under way at once.
    MaxParallel {
        /// The step that holds the items.
        group: StepRunId,
        /// Items that may be under way at once.
        limit: u32,
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
    /// A slot of a worker, or its turn for one.
    Placement {
        /// The job.
        job_id: String,
        /// The topic.
        topic: String,
        /// The pool that it waits in; absent where nobody asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
        /// What it waits for there: `workers`, `slot`, `limit` or `paused`.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        /// The same for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// When it is given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
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
    /// Why the run is not further, and then each step run that has not ended, items that `max_parallel` holds back
    /// included. The run waits for the steps that wait for something else than other steps, or for a place, and has its
    /// deadline. Empty when it has ended. O(steps + edges).
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        if self.status().is_terminal() || self.id().is_none() {
            return Vec::new();
        }
        let of_run = |cause| Wait { step_id: None, cause, deadline: self.deadline_at() };
        if let Some(slot) = self.slot().filter(|_| self.core.queued) {
            return vec![of_run(WaitCause::Place { key: slot.key.to_string(), held_by: Vec::new() })];
        }
        let mut waits = Vec::new();
        for (slot, step) in self.slots().filter(|(_, step)| !step.status.is_terminal()) {
            let Some((id, cause)) = fold::run_id(self, slot).zip(self.cause_of(slot, step)) else { continue };
            self.add_held_back(step, &id, &mut waits);
            waits.push(Wait::of_step(id, cause));
        }
        let of_others = |cause: &WaitCause| {
            matches!(
                cause,
                WaitCause::Group { .. }
                    | WaitCause::Phase { .. }
                    | WaitCause::MaxParallel { .. }
                    | WaitCause::Bytes { .. }
            )
        };
        let ends = |wait: &&Wait| !of_others(&wait.cause) && !matches!(wait.cause, WaitCause::Steps { .. });
        let mut steps: Vec<StepRunId> = waits.iter().filter(ends).filter_map(|wait| wait.step_id.clone()).collect();
        if steps.is_empty() {
            steps = waits.iter().filter_map(|wait| wait.step_id.clone()).collect();
        }
        if !steps.is_empty() {
            waits.insert(0, of_run(WaitCause::Steps { steps }));
        }
        waits
    }

    /// The items that have not begun because as many as may be are under way.
    fn add_held_back(&self, step: &StepRun, group_id: &StepRunId, waits: &mut Vec<Wait>) {
        let Some(group) = step.group.as_deref().filter(|group| group.ending.is_none()) else { return };
        let Some(StepKind::ForEach { max_parallel, .. }) =
            self.workflow.steps().get(step.position()).map(|step| &step.kind)
        else {
            return;
        };
        if *max_parallel == 0 || group.active < *max_parallel {
            return;
        }
        for index in group.begun..group.total {
            let Ok(id) = StepRunId::parse(&format!("{group_id}[{index}]")) else { continue };
            let cause = WaitCause::MaxParallel { group: group_id.clone(), limit: *max_parallel };
            waits.push(Wait::of_step(id, cause));
        }
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
            (JobState::Scheduled, _) => {
                let topic = self.topic_of(slot).unwrap_or_default();
                Some(WaitCause::Placement { job_id, topic, pool: None, reason: None, detail: None, until: None })
            }
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
