//! Gathering bundles and compiling them together.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Bundle, Origin, scope};
use crate::{
    error::{BundleError, BundleErrors, ErrorCode, Place},
    rule::Document,
    snapshot::CompiledPolicy,
};

/// What holds for a request that no rule matches, where no document says it with `default_decision`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoMatch {
    /// It may not run.
    #[default]
    Deny,
    /// It may run, with the reason `no rule matched (development default)`.
    Allow,
}

/// Bundles on their way to becoming a policy.
///
/// ```
/// use coretex_policy::{Bundle, Document, Origin, PolicySet};
///
/// let policy = PolicySet::new()
///     .source("secops/baseline", Origin::SecOps, "rules: [{id: no-prod, decision: deny, match: {risk_tags: [prod]}}]")
///     .source("sre/default", Origin::Pack, "rules: [{id: sre, decision: allow}]")
///     .compile()?;
/// assert_eq!(policy.rule_count(), 2);
/// # Ok::<(), coretex_policy::BundleErrors>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    bundles: Vec<Bundle>,
    broken: Vec<(String, Origin, BundleErrors)>,
    on_no_match: OnNoMatch,
}

impl PolicySet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bundle.
    #[must_use]
    pub fn bundle(mut self, bundle: Bundle) -> Self {
        self.bundles.push(bundle);
        self
    }

    /// Adds a bundle as text. What is wrong with it is told when the set is compiled.
    #[must_use]
    pub fn source(mut self, id: impl Into<String>, origin: Origin, yaml: &str) -> Self {
        let id = id.into();
        match Document::parse(&id, yaml) {
            Ok(document) => self.bundles.push(Bundle { id, origin, document }),
            Err(errors) => self.broken.push((id, origin, errors)),
        }
        self
    }

    /// Adds a bundle that could not be read.
    pub(crate) fn broken(mut self, id: String, origin: Origin, errors: BundleErrors) -> Self {
        self.broken.push((id, origin, errors));
        self
    }

    /// What holds for a request that no rule matches, where no document says it.
    #[must_use]
    pub const fn on_no_match(mut self, on_no_match: OnNoMatch) -> Self {
        self.on_no_match = on_no_match;
        self
    }

    /// Compiles the bundles. The order in which they were added does not matter.
    ///
    /// # Errors
    ///
    /// Every mistake in every bundle.
    pub fn compile(self) -> Result<CompiledPolicy, BundleErrors> {
        let on_no_match = self.on_no_match;
        Ok(CompiledPolicy::build(self.judged()?, on_no_match))
    }

    /// Compiles what can be compiled: a broken bundle does not stop the others. What it governs stays closed: a
    /// broken pack's topics, a broken tenant's jobs, and everything if a bundle of the operator or the security
    /// team is broken, because nobody can tell what it would have denied.
    #[must_use = "the errors tell what stays closed"]
    pub fn compile_lenient(self) -> (CompiledPolicy, BundleErrors) {
        let on_no_match = self.on_no_match;
        let (mut bundles, broken) = self.judge();
        let mut errors = Vec::new();
        for (id, origin, found) in broken {
            let stand_in = scope::quarantine(&id, origin);
            match bundles.iter_mut().find(|bundle| bundle.id == id) {
                // Two bundles of one name: neither may hide the other.
                Some(first) => *first = stand_in,
                None => bundles.push(stand_in),
            }
            errors.extend(found);
        }
        (CompiledPolicy::build(bundles, on_no_match), BundleErrors(errors))
    }

    pub(crate) const fn chosen_on_no_match(&self) -> OnNoMatch {
        self.on_no_match
    }

    /// The bundles, narrowed to their scope, or everything that is wrong with any.
    pub(crate) fn judged(self) -> Result<Vec<Bundle>, BundleErrors> {
        let (bundles, broken) = self.judge();
        if broken.is_empty() {
            return Ok(bundles);
        }
        Err(BundleErrors(broken.into_iter().flat_map(|(.., errors)| errors).collect()))
    }

    /// The ids and origins of bundles that cannot be used, and why.
    pub(crate) fn judge(self) -> (Vec<Bundle>, Vec<(String, Origin, BundleErrors)>) {
        let mut broken = self.broken;
        let mut good = Vec::new();
        let mut seen: HashSet<String> = broken.iter().map(|(id, ..)| id.clone()).collect();
        for mut bundle in self.bundles {
            let mut errors = Vec::new();
            if !seen.insert(bundle.id.clone()) {
                errors.push(BundleError::new(
                    ErrorCode::DuplicateBundle,
                    Place { source: bundle.id.as_str().into(), ..Place::default() },
                    format!("bundle `{}` stands twice", bundle.id),
                    "give each bundle its own id",
                ));
            }
            scope::narrow(&mut bundle, &mut errors);
            if errors.is_empty() {
                good.push(bundle);
            } else {
                broken.push((bundle.id, bundle.origin, BundleErrors(errors)));
            }
        }
        (good, broken)
    }
}

impl FromIterator<Bundle> for PolicySet {
    fn from_iter<I: IntoIterator<Item = Bundle>>(bundles: I) -> Self {
        Self { bundles: bundles.into_iter().collect(), ..Self::default() }
    }
}
