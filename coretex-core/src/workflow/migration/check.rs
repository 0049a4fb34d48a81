//! Whether a run can move, and everything that is in the way if it cannot.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    Refusal,
    RefusalReason::{self, *},
    rules::{Rules, Verdict},
};
use crate::{
    job::JobState,
    workflow::{
        Phase, Run, StepRun, StepStatus, WaitsFor, Workflow,
        decide::{MAX_STEP_RUNS, request_hash},
        definition::FINALLY,
        fold::{self, slots_of},
    },
};

/// Most that is named of what is in the way of one run.
const MOST: usize = 100;

/// `run` under the definition `to`, as it would go on from `now`.
///
/// # Errors
/// Everything that is in the way, what is about the run first, then by step; each step once for each reason, and a
/// hundred of them at most. O(size of the run and of both definitions).
pub(in crate::workflow) fn check(run: &Run, to: &Arc<Workflow>, now: Timestamp) -> Result<Run, Vec<Refusal>> {
    let mut found = Findings { run, refusals: Vec::new(), told: BTreeSet::new() };
    found.look_at_run(to);
    if !found.refusals.is_empty() {
        return Err(found.refusals);
    }
    let rules = Rules::new(&run.workflow, to);
    found.look_at_steps(&rules);
    found.look_at_ended_blocks(&rules);
    found.look_at_input(to);
    if !found.refusals.is_empty() {
        return Err(found.refusals);
    }
    let Some(moved) = fold::moved(run, to, now) else {
        // The steps were looked at one by one, so this names what no rule did.
        return Err(vec![Refusal::run(StepRemoved, "the version does not hold what the run has begun")]);
    };
    found.look_at_result(&moved, now);
    if found.refusals.is_empty() { Ok(moved) } else { Err(found.refusals) }
}

struct Findings<'a> {
    run: &'a Run,
    refusals: Vec<Refusal>,
    /// Reasons told, by position of the step: of ten thousand items one says it.
    told: BTreeSet<(RefusalReason, usize)>,
}

impl Findings<'_> {
    fn about_run(&mut self, code: RefusalReason, message: impl Into<String>) {
        self.refusals.push(Refusal::run(code, message));
    }

    fn about_step(&mut self, slot: usize, (code, message): Verdict) {
        let position = self.run.steps.get(slot).map_or(0, StepRun::position);
        if self.refusals.len() < MOST && self.told.insert((code, position)) {
            let step = fold::run_id(self.run, slot).map(|id| id.to_string());
            self.refusals.push(Refusal { code, step, message });
        }
    }

    fn look_at_run(&mut self, to: &Workflow) {
        let run = self.run;
        if run.workflow.id() != to.id() || run.tenant() != to.tenant() {
            self.about_run(RunOnOtherVersion, format!("it is a run of workflow `{}`", run.workflow.id()));
        } else if run.status().is_terminal() || run.id().is_none() {
            self.about_run(RunEnded, format!("the run is {}", run.status().as_str()));
        } else if run.phase() != Phase::Forward {
            self.about_run(RunEnding, format!("the run is {} on its way to its end", run.phase().as_str()));
        }
    }

    fn look_at_steps(&mut self, rules: &Rules<'_>) {
        for (slot, state) in self.run.slots().filter(|(_, state)| state.is_reached()) {
            if is_under_way(state) {
                let message = match &state.waits_for {
                    Some(WaitsFor::Alert) => "its alert is not published yet",
                    Some(WaitsFor::Artifact { .. }) => "its artifact is on its way",
                    _ if state.group.is_some() => "its group is being stopped",
                    _ => "a worker has its job, or policy is still being asked about it",
                };
                self.about_step(slot, (StepUnderWay, message.into()));
            }
            for verdict in rules.judge(state) {
                self.about_step(slot, verdict);
            }
        }
    }

    /// What has ended cannot go on with a step that came.
    fn look_at_ended_blocks(&mut self, rules: &Rules<'_>) {
        let mut seen = BTreeSet::new();
        for (n, block) in self.run.blocks.iter().enumerate() {
            let Some(holder) = block.holder.map(|holder| holder as usize) else { continue };
            let is_over = self.run.steps.get(holder).is_some_and(|step| step.status.is_terminal());
            if block.base.is_none()
                || block.scope as usize <= FINALLY
                || !(is_over || block.open == 0)
                || slots_of(self.run, n).is_empty()
                || !seen.insert(block.scope)
            {
                continue;
            }
            let added = rules.added_to(block.scope as usize);
            if !added.is_empty() {
                let steps = added.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ");
                let message = format!("a part of its group has ended, and {steps} came into it");
                self.about_step(holder, (StepAddedTooLate, message));
            }
        }
    }

    fn look_at_input(&mut self, to: &Workflow) {
        let input = match to.fill_input(&self.run.input()) {
            Ok(input) => input,
            Err(error) => {
                return self.about_run(RunInputInvalid, format!("the input with the defaults of its schema: {error}"));
            }
        };
        if let Some(Err(violations)) = to.input_schema().map(|schema| schema.validate(&input)) {
            let list = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            self.about_run(
                RunInputInvalid,
                format!("the input does not match the input schema of the version: {list}"),
            );
        }
        let slot = to.concurrency().map(|rule| rule.slot(to.id(), &input)).transpose();
        let held = self.run.slot().map(|slot| slot.key.clone());
        match slot {
            Ok(slot) if slot.as_ref().map(|slot| &slot.key) == held.as_ref() => {}
            Ok(slot) => {
                let name = |key: Option<&Arc<str>>| key.map_or("none".to_owned(), |key| format!("`{key}`"));
                let (old, new) = (name(held.as_ref()), name(slot.as_ref().map(|slot| &slot.key)));
                self.about_run(ConcurrencyKeyChanged, format!("its concurrency key is {old} and would be {new}"));
            }
            Err(error) => {
                self.about_run(ConcurrencyKeyChanged, format!("`concurrency.key` cannot be used: {error}"));
            }
        }
        let (stood, stands) = (self.run.workflow.clock_stands_while_waiting(), to.clock_stands_while_waiting());
        if stands && !stood && !self.run.core.queued {
            let message = "the version counts active time only, and how much of that the run has used is not known";
            self.about_run(DeadlineUnclear, message);
        }
    }

    /// What only shows in the run as it would be.
    fn look_at_result(&mut self, moved: &Run, now: Timestamp) {
        let limit_changed =
            (moved.core.deadline_at, moved.core.time_left) != (self.run.core.deadline_at, self.run.core.time_left);
        let is_late =
            moved.deadline_at().is_some_and(|at| at <= now) || moved.core.time_left.is_some_and(|left| left <= 0);
        if limit_changed && is_late {
            self.about_run(DeadlinePassed, "the time that the version gives a run is over for this one");
        }
        if moved.size() > MAX_STEP_RUNS && moved.size() > self.run.size() {
            self.about_run(RunTooLarge, format!("the run would have {} step runs", moved.size()));
        }
        // A job that policy or a human holds back is the one that they were asked about.
        let held = |state: &StepRun| {
            state.status != StepStatus::Pending && state.job.as_ref().is_some_and(|job| !job.state.is_terminal())
        };
        for (slot, state) in self.run.slots().filter(|(_, state)| !state.status.is_terminal() && held(state)) {
            let Some(id) = fold::run_id(self.run, slot) else { continue };
            let there = fold::locate(moved, id.as_str());
            if there.and_then(|there| request_hash(moved, there)) != request_hash(self.run, slot) {
                let waits = match state.job.as_ref().map(|job| job.state) {
                    Some(JobState::ApprovalRequired) => "a human is asked about its job",
                    _ => "policy holds its job back",
                };
                let message = format!("{waits}, and the version would make another job of it");
                self.about_step(slot, (StepRequestChanged, message));
            }
        }
    }
}

/// Whether somebody else has a part of the step and will answer, or it is being stopped.
fn is_under_way(state: &StepRun) -> bool {
    if state.status.is_terminal() {
        return false;
    }
    let job = state.job.as_ref().filter(|_| state.status != StepStatus::Pending);
    job.is_some_and(|job| {
        job.state.is_in_flight()
            || job.state == JobState::Scheduled
            || (job.state == JobState::Pending && job.due_at.is_none())
    }) || matches!(state.waits_for, Some(WaitsFor::Alert | WaitsFor::Artifact { .. }))
        || state.group.as_ref().is_some_and(|group| group.ending.is_some())
}
