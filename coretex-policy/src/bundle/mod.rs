//! Bundles: policy published as one unit, whose it is, and what it may therefore speak about.
//!
//! Invariant: nobody loosens what somebody else tightened. That has two halves. The combination of bundles
//! ([`crate::evaluate`]) lets the strictest bundle win; the scope, judged here, keeps packs to topics
//! `job.<pack>.…` and tenants to themselves.

mod scope;
mod set;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use set::{OnNoMatch, PolicySet};

use crate::{error::BundleErrors, rule::Document};

/// Who stands behind a bundle. The order is that of authority: where several bundles decide alike, the decision
/// names the rule of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The security team: anything.
    SecOps,
    /// The operator's own file: anything.
    Base,
    /// A tenant: rules and lists about itself.
    Tenant,
    /// An installed pack: rules about topics `job.<pack>.…`.
    Pack,
}

impl Origin {
    /// The established prefix of bundle ids tells: `secops/…` is the security team's, everything else a pack's.
    #[must_use]
    pub fn of_established_id(id: &str) -> Self {
        if id.split('/').next() == Some("secops") { Self::SecOps } else { Self::Pack }
    }

    /// The word in explanations and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecOps => "secops",
            Self::Base => "base",
            Self::Tenant => "tenant",
            Self::Pack => "pack",
        }
    }
}

/// One published document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bundle {
    /// Its name, unique in a policy: `secops/baseline`, `<pack>/<overlay>`, `<tenant>/<name>`. For packs and
    /// tenants the part before the first `/` is the owner.
    pub id: String,
    /// Who stands behind it.
    pub origin: Origin,
    /// What it says.
    pub document: Document,
}

impl Bundle {
    /// A bundle from a checked document.
    pub fn new(id: impl Into<String>, origin: Origin, document: Document) -> Self {
        Self { id: id.into(), origin, document }
    }

    /// A bundle from YAML.
    ///
    /// # Errors
    ///
    /// Every mistake in the text, each with its place.
    pub fn parse(id: impl Into<String>, origin: Origin, yaml: &str) -> Result<Self, BundleErrors> {
        let id = id.into();
        Ok(Self { document: Document::parse(&id, yaml)?, id, origin })
    }

    /// The pack or tenant that owns it: the part of the id before the first `/`.
    #[must_use]
    pub fn owner(&self) -> &str {
        owner(&self.id)
    }

    /// What stands in for a broken bundle.
    pub(crate) fn quarantine(id: &str, origin: Origin) -> Self {
        scope::quarantine(id, origin)
    }
}

pub(crate) fn owner(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}
