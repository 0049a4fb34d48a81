//! Moving a run that is under way onto another definition of its workflow.
//!
//! A run moves only while it is at rest: no worker has a job of it, and no alert, artifact or question to a remote kernel
//! is under way. What it has reached (whatever began, ended, was skipped or waits) must be in the other definition as it
//! is in this one, so far as that still matters; what it has not reached is free. [`check`] looks at all of that and
//! names everything that is in the way, and [`fold::moved`](super::fold::moved) lays the step runs out anew.

mod check;
mod counterparts;
mod rules;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(super) use self::{check::check, counterparts::Counterparts};

/// Something that is in the way of a run that shall move onto another definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What, as a stable code.
    pub code: RefusalReason,
    /// The step run that it is about, as in `scan[2]`; absent when it is about the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For people.
    pub message: String,
}

/// What is in the way of a run that shall move onto another definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalReason {
    /// It has ended.
    RunEnded,
    /// It is about to end: it is stopped, undone or tidied up.
    RunEnding,
    /// It has other events than whoever asks has seen.
    RunMovedOn,
    /// It is not under the definition that whoever asks has seen.
    RunOnOtherVersion,
    /// It would have too many step runs.
    RunTooLarge,
    /// Its input does not match the schema.
    RunInputInvalid,
    /// It would need a place under another concurrency key.
    ConcurrencyKeyChanged,
    /// It would be out of time already.
    DeadlinePassed,
    /// How much of its time is used up is not known.
    DeadlineUnclear,
    /// A worker, the bus, the blobs or a remote kernel has a part of it, or it is being stopped.
    StepUnderWay,
    /// A step that it has reached is gone.
    StepRemoved,
    /// A step that it has reached does something else.
    StepKindChanged,
    /// A step that it has reached is in another group.
    StepMoved,
    /// A step that it has reached waits for other steps.
    StepDependenciesChanged,
    /// A step came into a group of which an item, an iteration or all has ended.
    StepAddedTooLate,
    /// A step that waits for somebody outside would ask something else.
    StepQuestionChanged,
    /// A job that is held back would be another one.
    StepRequestChanged,
    /// A group that is under way has other rules.
    StepGroupChanged,
    /// What the failure of a step means has changed after it failed.
    StepFailureHandlingChanged,
    /// What undoes a step came or went after the step was done.
    StepCompensationChanged,
    /// A step that is done wrote its output to another place.
    StepOutputPathChanged,
    /// What a step made is not what it may make.
    StepOutputUnfit,
}

impl RefusalReason {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::RunEnded => "run_ended",
            Self::RunEnding => "run_ending",
            Self::RunMovedOn => "run_moved_on",
            Self::RunOnOtherVersion => "run_on_other_version",
            Self::RunTooLarge => "run_too_large",
            Self::RunInputInvalid => "run_input_invalid",
            Self::ConcurrencyKeyChanged => "concurrency_key_changed",
            Self::DeadlinePassed => "deadline_passed",
            Self::DeadlineUnclear => "deadline_unclear",
            Self::StepUnderWay => "step_under_way",
            Self::StepRemoved => "step_removed",
            Self::StepKindChanged => "step_kind_changed",
            Self::StepMoved => "step_moved",
            Self::StepDependenciesChanged => "step_dependencies_changed",
            Self::StepAddedTooLate => "step_added_too_late",
            Self::StepQuestionChanged => "step_question_changed",
            Self::StepRequestChanged => "step_request_changed",
            Self::StepGroupChanged => "step_group_changed",
            Self::StepFailureHandlingChanged => "step_failure_handling_changed",
            Self::StepCompensationChanged => "step_compensation_changed",
            Self::StepOutputPathChanged => "step_output_path_changed",
            Self::StepOutputUnfit => "step_output_unfit",
        }
    }
}

impl Refusal {
    /// About the run as a whole.
    pub(super) fn run(code: RefusalReason, message: impl Into<String>) -> Self {
        Self { code, step: None, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step `{step}`: {} ({})", self.message, self.code.code()),
            None => write!(f, "{} ({})", self.message, self.code.code()),
        }
    }
}
