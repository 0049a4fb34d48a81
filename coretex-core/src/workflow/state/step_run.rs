//! One execution of a step.

use std::{num::NonZeroU64, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StepStatus;
use crate::{
    job::{Failure, Job, Output, RunId},
    value::Value,
};

/// One execution of a step: of an ordinary step there is one, of a step inside of a loop or a `for_each` one for each
/// iteration or item that has begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// How far it has come.
    pub status: StepStatus,
    /// Tries so far.
    #[serde(default)]
    pub attempts: u32,
    /// Position of its step.
    pub(in crate::workflow) position: u32,
    /// The block that it is in.
    pub(in crate::workflow) block: u32,
    /// Edges that lead to it whose step has not ended.
    #[serde(default)]
    pub(in crate::workflow) open_edges: u32,
    /// Whether one of the edges that lead to it was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::workflow) is_taken: bool,
    /// Whether a step that it waits for failed, in a group that goes on all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::workflow) is_broken: bool,
    /// Whether it may go and was held back, because the run moves or holds as many bytes as it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::workflow) is_held: bool,
    /// Bytes of JSON of its own input, its output and its items.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub(in crate::workflow) bytes: u64,
    /// Tries that do not count, because an operator allowed a fresh set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::workflow) forgiven: u32,
    /// Tries that its workers put off, since an operator last allowed a fresh set. They do not count either.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::workflow) snoozed: u32,
    /// Where it can be undone: a number that grows with each step that succeeds.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub(in crate::workflow) done_at: u64,
    /// When it first left `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it goes on by itself: the next attempt, the end of a delay, the lapse of a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The rendered input; `None` where the run's whole input is used, and where it was left to the log
    /// ([`input_at`](Self::input_at)) when the step run ended.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    /// Number (from 1) of the event that holds its input, where it has one of its own. Of a step run that was taken over
    /// from another run, the event lies in the log of the run in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_at: Option<NonZeroU64>,
    /// What it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it did not, or why the last try did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The last attempt, of a step that makes jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<Job>>,
    /// What it waits for, other than a job and a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// How far its group has come, of a step that holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<Group>>,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WaitsFor {
    /// A human's answer.
    Answer,
    /// Data from outside.
    Data,
    /// A signal.
    Signal {
        /// Its name.
        name: Arc<str>,
    },
    /// An operator, who says how it goes on.
    Operator,
    /// The bus, to take an alert.
    Alert,
    /// The blob store, to keep, read or remove an artifact.
    Artifact {
        /// Its name.
        key: Arc<str>,
    },
    /// Another run.
    Child {
        /// Which.
        run: RunId,
    },
}

/// How far a group of steps has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The first of its blocks; those of a `for_each` lie side by side.
    pub(in crate::workflow) first_block: u32,
    /// The one begun last.
    pub(in crate::workflow) last_block: u32,
    /// Items of a `for_each`; 1 for a parallel group; iterations begun so far for a loop.
    pub total: u32,
    /// Blocks begun so far.
    pub begun: u32,
    /// Blocks under way.
    pub active: u32,
    /// Blocks that ended well.
    pub succeeded: u32,
    /// Blocks that did not.
    pub failed: u32,
    /// The items of a `for_each`.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub items: Option<Arc<Value>>,
    /// How it ends, once that is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) ending: Option<Arc<Ending>>,
}

/// How a group ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::workflow) struct Ending {
    /// Why it has failed, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::workflow) timed_out: bool,
    /// It was stopped with what it is in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::workflow) cancelled: bool,
}

/// The steps of a scope, as they are executed once: all steps of the workflow, one item, one iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::workflow) struct Block {
    pub(in crate::workflow) scope: u32,
    /// Where the run of its first step lies; `None` before it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) base: Option<u32>,
    /// The step run that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) holder: Option<u32>,
    /// Which item or iteration.
    #[serde(default)]
    pub(in crate::workflow) index: u32,
    /// The iteration before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) previous: Option<u32>,
    /// Its steps that have not ended.
    #[serde(default)]
    pub(in crate::workflow) open: u32,
    /// The step run that made it fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) failed: Option<u32>,
    /// What the iteration starts with.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) carry: Option<Arc<Value>>,
}

impl StepRun {
    /// When it next needs attention by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.status.is_terminal() {
            return None;
        }
        let job = self.job.as_ref().filter(|job| !job.state.is_terminal()).and_then(|job| job.due_at);
        match (self.due_at, job) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether it worked on an input of its own that lies in the log only.
    #[must_use]
    pub const fn has_input_in_log(&self) -> bool {
        self.input.is_none() && self.input_at.is_some()
    }

    /// The signal that it waits for.
    pub(in crate::workflow) fn listens_to(&self) -> Option<&Arc<str>> {
        match &self.waits_for {
            Some(WaitsFor::Signal { name }) if !self.status.is_terminal() => Some(name),
            _ => None,
        }
    }

    pub(in crate::workflow) fn position(&self) -> usize {
        self.position as usize
    }

    /// Whether the run has come to it: it began, was skipped, or waits for its next try.
    pub(in crate::workflow) const fn is_reached(&self) -> bool {
        !matches!(self.status, StepStatus::Pending) || self.attempts > 0 || self.due_at.is_some()
    }

    /// Whether it is under way: begun and not ended.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.status.is_terminal() && self.started_at.is_some()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}
