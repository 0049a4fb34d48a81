//! The compiled policy: immutable, identified by its content, indexed for evaluation.
//!
//! Invariant: equal bundles give the same id and the same decisions, in whatever order they were added and
//! however they were formatted. The index only ever leaves out rules that cannot match; whether one does match is
//! judged in one place, [`crate::evaluate::criteria`].

mod build;
mod identity;
pub(crate) mod index;
mod prefixes;
mod words;

use std::sync::Arc;

use coretex_core::{
    policy::{Decision, PolicyRequest},
    ports::{PolicySnapshot, Verdict},
};

use crate::{
    bundle::{Bundle, OnNoMatch, Origin},
    evaluate::{Facts, Resolution},
    fold::FoldMap,
    rule::{Glob, McpLists, Rule},
};

/// A policy in force, or one that could be.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    pub(crate) id: Arc<str>,
    pub(crate) bundles: Arc<[Bundle]>,
    pub(crate) on_no_match: OnNoMatch,
    /// By authority, then bundle id, then file order.
    pub(crate) rules: Box<[CompiledRule]>,
    pub(crate) index: index::Index,
    pub(crate) tenants: FoldMap<Box<[TenantLimits]>>,
    pub(crate) default_tenant: Box<str>,
    pub(crate) no_match: Decision,
    pub(crate) bad_topic: Decision,
    pub(crate) warnings: Vec<Warning>,
}

/// A rule with its decision ready to be handed out.
#[derive(Clone, Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Rule,
    pub(crate) decision: Decision,
    pub(crate) bundle: Arc<str>,
    pub(crate) origin: Origin,
    /// Where the rules of the next bundle start.
    pub(crate) end: usize,
}

/// What one bundle says about one tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantLimits {
    pub(crate) bundle: Arc<str>,
    pub(crate) denied: Box<[(Glob, Decision)]>,
    pub(crate) allowed: Box<[Glob]>,
    pub(crate) not_allowed: Decision,
    pub(crate) mcp: McpLists,
    pub(crate) mcp_denied: Decision,
}

/// Something in a policy that works, but perhaps not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The bundle.
    pub bundle: String,
    /// The way to it, `rules[3]`.
    pub path: String,
    /// What is strange, and what to do about it.
    pub message: String,
}

impl CompiledPolicy {
    /// Version and hash of the content, `<version>:<sha256>`; the hash alone if no bundle has a version.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The bundles it was made of, by authority and id, packs and tenants narrowed to what is theirs.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// How many rules it has.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// What works, but perhaps not as meant.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Decides. Allocates only if the deciding rule offers remediations, if limits of several bundles have to be
    /// joined, or for names outside ASCII.
    #[must_use]
    pub fn decide(&self, request: &PolicyRequest<'_>) -> Decision {
        self.resolve(&Facts::of(request, &self.default_tenant)).into_decision(self)
    }
}

impl CompiledPolicy {
    /// Decides, and says whether a rule could not be judged.
    pub(crate) fn decide_clearly(&self, request: &PolicyRequest<'_>) -> (Decision, bool) {
        let resolution = self.resolve(&Facts::of(request, &self.default_tenant));
        let unclear = matches!(resolution, Resolution::Unclear { .. });
        (resolution.into_decision(self), unclear)
    }
}

impl PolicySnapshot for CompiledPolicy {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn governed(&self) -> bool {
        true
    }

    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict {
        Verdict::Decided(self.decide(request))
    }
}
