//! What a draft would change: the same requests under the policy in force and under the policy with the draft.

use std::sync::Arc;

use coretex_core::policy::{Decision, PolicyRequest};
use serde::Serialize;

use crate::{
    bundle::{Bundle, PolicySet},
    error::BundleErrors,
    snapshot::CompiledPolicy,
};

/// The outcome of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulation {
    /// The policy in force.
    pub snapshot_before: Arc<str>,
    /// The policy with the draft.
    pub snapshot_after: Arc<str>,
    /// One entry per request, in their order.
    pub requests: Vec<Simulated>,
}

/// One request under both policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulated {
    /// Its topic.
    pub topic: String,
    /// What is decided now.
    pub before: Decision,
    /// What would be decided.
    pub after: Decision,
}

impl Simulated {
    /// Whether anything but the snapshot differs.
    #[must_use]
    pub fn changed(&self) -> bool {
        let mut after = self.after.clone();
        after.snapshot = self.before.snapshot.clone();
        after != self.before
    }
}

impl Simulation {
    pub(crate) fn of(before: &CompiledPolicy, after: &CompiledPolicy, requests: &[PolicyRequest<'_>]) -> Self {
        Self {
            snapshot_before: before.id.clone(),
            snapshot_after: after.id.clone(),
            requests: requests
                .iter()
                .map(|request| Simulated {
                    topic: request.topic.to_owned(),
                    before: before.decide(request),
                    after: after.decide(request),
                })
                .collect(),
        }
    }

    /// The requests whose decision would change.
    pub fn changes(&self) -> impl Iterator<Item = &Simulated> {
        self.requests.iter().filter(|one| one.changed())
    }
}

impl CompiledPolicy {
    /// Decides `requests` with this policy and with `draft` in it: in place of the bundle of the same id, or
    /// beside the others. Nothing is published.
    ///
    /// # Errors
    ///
    /// What is wrong with the draft.
    pub fn simulate(&self, draft: Bundle, requests: &[PolicyRequest<'_>]) -> Result<Simulation, BundleErrors> {
        Ok(Simulation::of(self, &self.with_drafts([draft])?, requests))
    }

    /// This policy with `drafts` in it: each in place of the bundle of its id, or beside the others.
    ///
    /// # Errors
    ///
    /// What is wrong with the drafts.
    pub fn with_drafts(&self, drafts: impl IntoIterator<Item = Bundle>) -> Result<Self, BundleErrors> {
        let drafts = drafts.into_iter().collect::<PolicySet>().judged()?;
        let replaced = |bundle: &&Bundle| !drafts.iter().any(|draft| draft.id == bundle.id);
        let mut bundles: Vec<_> = self.bundles.iter().filter(replaced).cloned().collect();
        bundles.extend(drafts);
        Ok(Self::build(bundles, self.on_no_match))
    }
}
