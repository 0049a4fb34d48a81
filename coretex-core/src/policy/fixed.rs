//! A policy that answers everything alike, for tests and for hosts that decide elsewhere.

use std::sync::Arc;

use super::{Decision, Outcome, PolicyRequest};
use crate::ports::{PolicyEngine, PolicySnapshot, Verdict};

/// Answers every request with `outcome`. Its decisions are marked `ungoverned` in the timeline, so that nobody
/// mistakes them for the work of rules.
#[must_use]
pub fn fixed(outcome: Outcome) -> FixedPolicy {
    let snapshot: Arc<str> = format!("fixed:{}", outcome.as_str().to_ascii_lowercase()).into();
    let mut decision = Decision::new(outcome, "", "fixed policy", snapshot);
    decision.ungoverned = true;
    FixedPolicy(Arc::new(Fixed(decision)))
}

/// See [`fixed`].
#[derive(Clone, Debug)]
pub struct FixedPolicy(Arc<Fixed>);

#[derive(Debug)]
struct Fixed(Decision);

impl PolicyEngine for FixedPolicy {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        self.0.clone()
    }
}

impl PolicySnapshot for Fixed {
    fn id(&self) -> &Arc<str> {
        &self.0.snapshot
    }

    fn governed(&self) -> bool {
        false
    }

    fn evaluate(&self, _: &PolicyRequest<'_>) -> Verdict {
        Verdict::Decided(self.0.clone())
    }
}
