//! What scripted workers and people do.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{job::ApprovalRequest, protocol::JobRequest};

/// What a scripted worker does with a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Answers that it is done, with this output.
    Succeed(Value),
    /// Answers that it could not be done.
    Fail {
        /// Stable code.
        code: String,
        /// Whether another try may help.
        retryable: bool,
    },
    /// Answers that it was stopped.
    Cancelled,
    /// Says nothing any more, as a worker that died.
    Never,
    /// Says things that make no sense (an answer for an unknown job, one without a legal id, packets of the wrong kind,
    /// progress of nothing), and no answer.
    Garbage,
    /// Gives the same answer twice.
    Twice(Box<Reply>),
    /// Answers this long after the job's deadline.
    Late(Duration, Box<Reply>),
    /// Says first that it works on it.
    Progress(Box<Reply>),
    /// Answers after this long.
    After(Duration, Box<Reply>),
    /// Works until it is told to stop, and then answers so.
    UntilCancelled,
}

impl Reply {
    /// Done, with `output`.
    pub fn succeed(output: impl Into<Value>) -> Self {
        Self::Succeed(output.into())
    }

    /// Not done; another try may help.
    pub fn retryable(code: impl Into<String>) -> Self {
        Self::Fail { code: code.into(), retryable: true }
    }

    /// Not done, and another try does not help.
    pub fn fatal(code: impl Into<String>) -> Self {
        Self::Fail { code: code.into(), retryable: false }
    }

    /// The same, this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }

    /// The same, this long after the job's deadline.
    #[must_use]
    pub fn late(self, by: Duration) -> Self {
        Self::Late(by, Box::new(self))
    }

    /// The same, twice.
    #[must_use]
    pub fn twice(self) -> Self {
        Self::Twice(Box::new(self))
    }

    /// The same, announced by a sign of progress.
    #[must_use]
    pub fn with_progress(self) -> Self {
        Self::Progress(Box::new(self))
    }
}

/// A job as a scripted worker gets it.
#[derive(Clone, Debug)]
pub struct ScriptedJob {
    /// The request on the wire.
    pub request: JobRequest,
    /// The input.
    pub input: Arc<Value>,
    /// The trace that it belongs to.
    pub trace_id: String,
    /// Which try of the step it is, from 1, by its id; 1 for a job that is no step's.
    pub attempt: u32,
    /// How often this message was delivered.
    pub delivery: u32,
}

/// Decides what a scripted worker does. Implemented for a [`Reply`] (always the same), for a list of them (by attempt;
/// the last one goes on for ever) and for functions of the job.
pub trait WorkerScript: Send + 'static {
    /// What to do with `job`.
    fn reply(&mut self, job: &ScriptedJob) -> Reply;
}

impl WorkerScript for Reply {
    fn reply(&mut self, _: &ScriptedJob) -> Reply {
        self.clone()
    }
}

impl WorkerScript for Vec<Reply> {
    fn reply(&mut self, job: &ScriptedJob) -> Reply {
        by_attempt(self, job.attempt)
    }
}

impl<const N: usize> WorkerScript for [Reply; N] {
    fn reply(&mut self, job: &ScriptedJob) -> Reply {
        by_attempt(self, job.attempt)
    }
}

impl<F: FnMut(&ScriptedJob) -> Reply + Send + 'static> WorkerScript for F {
    fn reply(&mut self, job: &ScriptedJob) -> Reply {
        self(job)
    }
}

fn by_attempt(replies: &[Reply], attempt: u32) -> Reply {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    replies.get(index).or(replies.last()).cloned().unwrap_or(Reply::Never)
}

/// What a scripted person says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Yes.
    Yes,
    /// No, and why.
    No(String),
    /// Nothing.
    Nothing,
    /// That, after this long.
    After(Duration, Box<Say>),
}

impl Say {
    /// No, because of `reason`.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::No(reason.into())
    }

    /// The same, this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }
}

/// Decides what a scripted person says. Implemented for a [`Say`] (always the same) and for functions of the question.
pub trait ApproverScript: Send + 'static {
    /// What to say to `request`.
    fn say(&mut self, request: &ApprovalRequest) -> Say;
}

impl ApproverScript for Say {
    fn say(&mut self, _: &ApprovalRequest) -> Say {
        self.clone()
    }
}

impl<F: FnMut(&ApprovalRequest) -> Say + Send + 'static> ApproverScript for F {
    fn say(&mut self, request: &ApprovalRequest) -> Say {
        self(request)
    }
}

pub(super) struct Hidden<T: ?Sized>(pub(super) Box<T>);

impl<T: ?Sized> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<script>")
    }
}
