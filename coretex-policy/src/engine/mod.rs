//! The engine: the policy in force, and how another one takes its place.
//!
//! Invariant: there is always a complete policy in force. A publication either replaces it in one step or leaves
//! it as it is.

mod files;
mod reload;
mod staged;
#[cfg(test)]
mod tests;

pub use reload::PolicyFiles;

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use coretex_core::{
    policy::PolicyRequest,
    ports::{PolicyEngine, PolicySnapshot},
};

use crate::{
    bundle::{Bundle, Origin, PolicySet},
    error::BundleErrors,
    explain::Explanation,
    profiles,
    rollout::Rollout,
    simulate::Simulation,
    snapshot::CompiledPolicy,
};

/// A [`PolicyEngine`] over YAML rules, in process.
///
/// ```
/// use coretex_core::{policy::{JobMeta, Outcome, PolicyRequest}, ports::{PolicyEngine, Verdict}};
/// use coretex_policy::YamlPolicy;
///
/// let policy = YamlPolicy::from_yaml("safety.yaml", "
/// version: v1
/// rules:
///   - id: prod-needs-a-human
///     match: { topics: ['job.deploy.*'], risk_tags: [prod] }
///     decision: require_approval
///     reason: production is changed by people
/// ")?;
/// let meta = JobMeta { risk_tags: vec!["prod".into()], ..JobMeta::default() };
/// let labels = Default::default();
/// let request = PolicyRequest {
///     job_id: "run-1:deploy@1", topic: "job.deploy.apply", tenant: "acme", principal_id: "ada", meta: &meta,
///     labels: &labels, workflow_id: None, run_id: None, step_id: None, attempt: 1, input: None,
///     now: None, facts: None,
/// };
/// let Verdict::Decided(decision) = policy.snapshot().evaluate(&request) else { unreachable!() };
/// assert_eq!(decision.outcome, Outcome::RequireApproval);
/// assert_eq!(&*decision.rule_id, "prod-needs-a-human");
/// # Ok::<(), coretex_policy::BundleErrors>(())
/// ```
#[derive(Debug)]
pub struct YamlPolicy {
    current: ArcSwap<InForce>,
}

/// Replaced as a whole, so that nobody sees half of a change.
#[derive(Clone, Debug)]
struct InForce {
    live: Arc<CompiledPolicy>,
    rollout: Option<Arc<Rollout>>,
    /// The last rollout that was taken back because it did harm, and why.
    taken_back: Option<(Arc<str>, String)>,
}

/// What a publication did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The policy that was in force.
    pub before: Arc<str>,
    /// The policy in force now; the same if nothing changed.
    pub after: Arc<str>,
    /// Broken bundles whose last good version stays in force.
    pub kept: Vec<String>,
    /// Broken bundles without a good version: what they govern is denied.
    pub quarantined: Vec<String>,
    /// What is wrong with them.
    pub errors: BundleErrors,
}

impl YamlPolicy {
    /// Puts a compiled policy in force.
    #[must_use]
    pub fn new(policy: CompiledPolicy) -> Self {
        Self { current: ArcSwap::from_pointee(InForce { live: Arc::new(policy), rollout: None, taken_back: None }) }
    }

    /// Puts a compiled policy in force in one step, and ends a rollout: it was measured against another policy. Answers
    /// its id.
    pub fn replace(&self, policy: CompiledPolicy) -> Arc<str> {
        let id = policy.id().clone();
        self.current.store(Arc::new(InForce { live: Arc::new(policy), rollout: None, taken_back: None }));
        id
    }

    /// The operator's policy from text. `name` is its bundle id and what errors show.
    ///
    /// # Errors
    ///
    /// Every mistake in the text.
    pub fn from_yaml(name: &str, text: &str) -> Result<Self, BundleErrors> {
        PolicySet::new().source(name, Origin::Base, text).compile().map(Self::new)
    }

    /// The operator's policy from files, each a bundle of its own named by its path.
    ///
    /// # Errors
    ///
    /// Every file that cannot be read and every mistake in the others.
    pub fn from_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, BundleErrors> {
        files::bundles(paths)?.into_iter().collect::<PolicySet>().compile().map(Self::new)
    }

    /// The operator's policy from every `.yaml`, `.yml` and `.json` file directly in `dir`, hidden files aside.
    ///
    /// # Errors
    ///
    /// As [`Self::from_files`], and if the directory cannot be read or has no such file: an empty directory is
    /// more often a mistaken path than a policy.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, BundleErrors> {
        Self::from_files(files::listing(dir.as_ref())?)
    }

    /// The profile for development: see [`profiles::DEV`].
    ///
    /// # Errors
    ///
    /// None; the profile is tested to compile.
    pub fn development() -> Result<Self, BundleErrors> {
        Self::from_yaml("profile/dev", profiles::DEV)
    }

    /// The profile that denies everything: see [`profiles::STRICT`].
    ///
    /// # Errors
    ///
    /// None; the profile is tested to compile.
    pub fn strict() -> Result<Self, BundleErrors> {
        Self::from_yaml("profile/strict", profiles::STRICT)
    }

    /// The policy in force.
    #[must_use]
    pub fn current(&self) -> Arc<CompiledPolicy> {
        self.current.load().live.clone()
    }

    /// Replaces the policy in force by these bundles, all of them or none, in one step: an evaluation sees either
    /// the old policy or the new one. Answers the id of the policy now in force. What is to hold where no rule
    /// matches stays as it was set.
    ///
    /// # Errors
    ///
    /// Every mistake in every bundle; the policy in force stays.
    pub fn publish(&self, bundles: impl IntoIterator<Item = Bundle>) -> Result<Arc<str>, BundleErrors> {
        let on_no_match = self.current.load().live.on_no_match;
        let policy = bundles.into_iter().collect::<PolicySet>().on_no_match(on_no_match).compile()?;
        Ok(self.replace(policy))
    }

    /// Replaces the policy in force by what of `set` can be used. A broken bundle keeps its last good version if
    /// it has one in force; without one, what it governs is denied until it is repaired. So one bad fragment
    /// neither stops the others nor opens anything. What is to hold where no rule matches is taken from `set`.
    pub fn publish_lenient(&self, set: PolicySet) -> Published {
        let current = self.current();
        let on_no_match = set.chosen_on_no_match();
        let (mut bundles, broken) = set.judge();
        let mut published = Published {
            before: current.id().clone(),
            after: current.id().clone(),
            kept: Vec::new(),
            quarantined: Vec::new(),
            errors: BundleErrors::default(),
        };
        let mut closed = Vec::new();
        for (id, origin, errors) in broken {
            published.errors.0.extend(errors);
            let twice = bundles.iter().any(|bundle| bundle.id == id);
            let known = current
                .bundles()
                .iter()
                .find(|bundle| bundle.id == id && bundle.origin == origin && !bundle.document.stand_in);
            match known {
                Some(good) if !twice => {
                    bundles.push(good.clone());
                    published.kept.push(id);
                }
                _ => {
                    bundles.retain(|bundle| bundle.id != id);
                    closed.push((id.clone(), origin));
                    published.quarantined.push(id);
                }
            }
        }
        bundles.extend(closed.into_iter().map(|(id, origin)| Bundle::quarantine(&id, origin)));
        let policy = CompiledPolicy::build(bundles, on_no_match);
        published.after = policy.id().clone();
        if published.after != published.before {
            self.replace(policy);
        }
        published
    }

    /// Explains the decision of the policy in force.
    #[must_use]
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Explanation {
        self.current.load().live.explain(request)
    }

    /// What `draft` would change for `requests`: see [`CompiledPolicy::simulate`].
    ///
    /// # Errors
    ///
    /// What is wrong with the draft.
    pub fn simulate(&self, draft: Bundle, requests: &[PolicyRequest<'_>]) -> Result<Simulation, BundleErrors> {
        self.current.load().live.simulate(draft, requests)
    }
}

impl PolicyEngine for YamlPolicy {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        let current = self.current.load();
        match &current.rollout {
            None => current.live.clone(),
            Some(rollout) => self.healthy(rollout),
        }
    }
}
