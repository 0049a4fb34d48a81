//! The safety kernel's rule engine: YAML rules that every job passes before it runs.
//!
//! A [`Document`] is what an author wrote: the platform's established rule language, read strictly. Nothing that
//! is not understood is skipped, and nothing falls back to allow. A [`Bundle`] is a document with an owner, and
//! the owner's [`Origin`] limits what it may speak about. A [`PolicySet`] compiles bundles into a
//! [`CompiledPolicy`], an immutable, indexed snapshot; [`YamlPolicy`] holds the one in force and is the
//! [`PolicyEngine`](coretex_core::ports::PolicyEngine) that a control plane is given.
//!
//! ```
//! use coretex_policy::{Origin, PolicySet, YamlPolicy};
//!
//! let policy = PolicySet::new()
//!     .source("secops/baseline", Origin::SecOps, "
//!         rules:
//!           - { id: no-secrets-abroad, match: { secrets_present: true, tenants: [emea] }, decision: deny }
//!     ")
//!     .source("incident/default", Origin::Pack, "
//!         rules:
//!           - { id: incident, decision: allow, constraints: { budgets: { max_runtime_ms: 60000 } } }
//!     ")
//!     .compile()?;
//! let engine = YamlPolicy::new(policy);
//! # let _ = engine;
//! # Ok::<(), coretex_policy::BundleErrors>(())
//! ```
//!
//! How bundles combine is told in [`evaluate`]; the language is in `docs/reference/policy.md`.
//! The crate knows nothing of stores or HTTP: who may publish is the host's to judge. Feature `signatures` checks Ed25519
//! signatures of bundles. `docs/guides/policy.md` shows it all in use.

mod analyse;
mod bundle;
mod engine;
mod error;
pub mod evaluate;
mod explain;
mod fold;
pub mod profiles;
mod publish;
mod rollout;
mod rule;
mod simulate;
mod snapshot;
#[cfg(test)]
mod testing;

pub use analyse::{Analysis, Finding, FindingKind, RuleRef};
pub use bundle::{Bundle, OnNoMatch, Origin, PolicySet};
pub use engine::{PolicyFiles, Published, YamlPolicy};
pub use error::{BundleError, BundleErrors, ErrorCode, Place};
pub use evaluate::Criterion;
pub use explain::{Attribute, Consideration, Considered, Edit, Edited, Explanation, MOST_EDITS, Nearest};
#[cfg(feature = "signatures")]
pub use publish::PublicKey;
pub use publish::{Action, Change, History, KEPT, Publication, Source, Trust};
pub use rollout::{Arm, Counts, Difference, Health, Limits, Rollout, Stage};
pub use rule::{
    Condition, DECISION_WORDS, DefaultDecision, Document, During, Glob, Match, McpLists, Rule, TenantPolicy,
};
pub use simulate::{Simulated, Simulation};
pub use snapshot::{CompiledPolicy, Warning};

/// The examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/policy.md")]
struct Guide;
