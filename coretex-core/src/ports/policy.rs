//! The policy port: one question, answered in process and without waiting.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use crate::policy::{Decision, Outcome, PolicyRequest};

/// Hands out what is in force now.
pub trait PolicyEngine: fmt::Debug + Send + Sync + 'static {
    /// The policy in force: immutable, so that every decision of one transition is made by the same one.
    fn snapshot(&self) -> Arc<dyn PolicySnapshot>;

    /// Asks whoever a snapshot referred to with [`Verdict::Ask`]. The default fails closed.
    fn ask<'a>(&'a self, _request: &'a PolicyRequest<'a>) -> BoxFuture<'a, Decision> {
        Box::pin(async move {
            let snapshot = self.snapshot().id().clone();
            Decision::new(Outcome::Deny, "", "the policy refers to a remote kernel, and none is configured", snapshot)
        })
    }
}

/// One immutable version of the policy.
///
/// Equal requests get equal verdicts from one snapshot; evaluation neither blocks nor reads a clock.
pub trait PolicySnapshot: fmt::Debug + Send + Sync {
    /// Version and hash, as recorded with every decision.
    fn id(&self) -> &Arc<str>;

    /// Whether rules stand behind the decisions. A fixed answer is marked `ungoverned` in the timeline.
    fn governed(&self) -> bool;

    /// Judges a request.
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict;
}

/// What a snapshot says to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is decided.
    Decided(Decision),
    /// Somebody else must be asked; the job stays pending until the answer returns as an input.
    Ask,
}
