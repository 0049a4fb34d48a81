//! The typed form of a rule document.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coretex_core::policy::{Constraints, Outcome, Remediation};
use serde::Serialize;

use super::{Condition, During, Glob, read};
use crate::error::BundleErrors;

/// One checked rule document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// Where it came from, for messages; not part of what it says.
    #[serde(skip)]
    pub(crate) source: Arc<str>,
    /// Written by us in place of a broken one.
    #[serde(skip)]
    pub(crate) stand_in: bool,
    pub(crate) version: String,
    pub(crate) default_tenant: String,
    pub(crate) default_decision: Option<DefaultDecision>,
    pub(crate) default_reason: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tenants: BTreeMap<String, TenantPolicy>,
}

impl Document {
    /// Reads YAML (or JSON). `source` is the file or bundle name that errors show.
    ///
    /// # Errors
    ///
    /// Every mistake in the document, in order, each with its place; after a syntax error only that one.
    pub fn parse(source: &str, text: &str) -> Result<Self, BundleErrors> {
        read::document(source, text)
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The version its author gave it; may be empty.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The tenant of requests that name none; may be empty.
    #[must_use]
    pub fn default_tenant(&self) -> &str {
        &self.default_tenant
    }

    /// What it says about requests that no rule matches, if anything.
    #[must_use]
    pub const fn default_decision(&self) -> Option<DefaultDecision> {
        self.default_decision
    }

    /// Its rules in file order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Its tenant lists.
    #[must_use]
    pub const fn tenants(&self) -> &BTreeMap<String, TenantPolicy> {
        &self.tenants
    }
}

/// What holds for a request that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultDecision {
    /// It may run.
    Allow,
    /// It may not.
    Deny,
}

/// One rule: which requests, what is decided, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its name in decisions; `rules[n]` where the author gave none.
    pub id: String,
    /// The line it starts at.
    #[serde(skip)]
    pub line: u32,
    /// Higher ones speak first within their bundle, whatever the order of the file; 0 unless given. It means nothing
    /// between bundles.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// What is decided. An allow with constraints is always [`Outcome::AllowWithConstraints`].
    pub decision: Outcome,
    /// Why, for people.
    pub reason: String,
    /// Which requests.
    #[serde(rename = "match")]
    pub criteria: Match,
    /// Limits put on the job.
    pub constraints: Option<Constraints>,
    /// Safer alternatives.
    pub remediations: Vec<Remediation>,
    /// How long to wait before asking again, with [`Outcome::Throttle`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Which requests a rule is about: all criteria that are present must hold; a rule without any matches every
/// request.
///
/// Membership ignores case and surrounding space, and a request's empty value is a member of nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Match {
    /// The tenant is one of these.
    pub tenants: Vec<String>,
    /// The topic matches one of these.
    pub topics: Vec<Glob>,
    /// The capability is one of these.
    pub capabilities: Vec<String>,
    /// At least one risk tag is one of these.
    pub risk_tags: Vec<String>,
    /// The job requires all of these.
    pub requires: Vec<String>,
    /// The pack is one of these.
    pub pack_ids: Vec<String>,
    /// The actor is one of these.
    pub actor_ids: Vec<String>,
    /// The actor is of one of these kinds, `human` or `service`.
    pub actor_types: Vec<String>,
    /// The job has all of these labels with exactly these values.
    pub labels: BTreeMap<String, String>,
    /// Whether the job declares secrets: label `secrets_present` or risk tag `secrets`.
    pub secrets_present: Option<bool>,
    /// Lists for requests that go to an MCP server; other requests always pass.
    pub mcp: McpLists,
    /// Nothing in this applies: the request has none of the values that any of its lists names. It has no
    /// `secrets_present`, `mcp`, `not`, `during` or `when` of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Match>>,
    /// It is asked within these hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<During>,
    /// The expression is true. Written beside `match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// Allow and deny lists for MCP requests. Deny wins; a non-empty allow list requires membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it, and the type says how the lists work together")]
pub struct McpLists {
    pub allow_servers: Vec<String>,
    pub deny_servers: Vec<String>,
    pub allow_tools: Vec<String>,
    pub deny_tools: Vec<String>,
    pub allow_resources: Vec<String>,
    pub deny_resources: Vec<String>,
    pub allow_actions: Vec<String>,
    pub deny_actions: Vec<String>,
}

impl McpLists {
    /// Whether no list says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits on one tenant. They only ever deny.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TenantPolicy {
    /// If present, the tenant may use only topics that match one of these.
    pub allow_topics: Vec<Glob>,
    /// The tenant may not use topics that match one of these.
    pub deny_topics: Vec<Glob>,
    /// Accepted for compatibility; not enforced here.
    pub allowed_repo_hosts: Vec<String>,
    /// Accepted for compatibility; not enforced here.
    pub denied_repo_hosts: Vec<String>,
    /// Accepted for compatibility; 0 means no limit; not enforced here.
    pub max_concurrent_jobs: u32,
    /// Lists for the tenant's MCP requests.
    pub mcp: McpLists,
}
