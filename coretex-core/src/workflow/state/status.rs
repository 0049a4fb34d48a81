//! The states of runs and steps, by their established names.

use serde::{Deserialize, Serialize};

/// State of a run. Established names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Not started, or waiting for a place under its workflow's rule of concurrency.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Under way, and somebody outside must do something.
    Waiting,
    /// Every step succeeded or was skipped.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Not done in time.
    TimedOut,
}

impl RunStatus {
    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// State of a step. Established names, and `skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Waits for other steps, or for its next attempt.
    #[default]
    Pending,
    /// A job, a delay, an alert, a group or another run is under way.
    Running,
    /// Somebody outside must do something: answer, provide data, signal, say how to go on.
    Waiting,
    /// Done.
    Succeeded,
    /// It was not needed.
    Skipped,
    /// Failed for good.
    Failed,
    /// Stopped before it ended.
    Cancelled,
    /// Not done in time.
    TimedOut,
}

impl StepStatus {
    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}
