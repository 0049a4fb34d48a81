//! Whether a rule matches: the one place that says so.

use std::fmt;

use serde::Serialize;

use super::Facts;
use crate::{
    fold,
    rule::{Match, McpLists},
};

/// One key of `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the key of that name")]
pub enum Criterion {
    Tenants,
    Topics,
    Capabilities,
    RiskTags,
    Requires,
    PackIds,
    ActorIds,
    ActorTypes,
    Labels,
    SecretsPresent,
    Mcp,
}

impl Criterion {
    /// The key in the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Topics => "topics",
            Self::Capabilities => "capabilities",
            Self::RiskTags => "risk_tags",
            Self::Requires => "requires",
            Self::PackIds => "pack_ids",
            Self::ActorIds => "actor_ids",
            Self::ActorTypes => "actor_types",
            Self::Labels => "labels",
            Self::SecretsPresent => "secrets_present",
            Self::Mcp => "mcp",
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first criterion that a request does not meet; `None` if the rule matches.
pub(crate) fn first_failure(rule: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    indexed_failure(rule, facts).or_else(|| unindexed_failure(rule, facts))
}

/// Whether the rule matches. Asks first what the index could not answer, because of the rest most is known.
pub(crate) fn matches(rule: &Match, facts: &Facts<'_>) -> bool {
    unindexed_failure(rule, facts).is_none() && indexed_failure(rule, facts).is_none()
}

fn indexed_failure(rule: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    if !one_of(&rule.tenants, facts.tenant) {
        return Some(Criterion::Tenants);
    }
    if !rule.topics.is_empty() && !rule.topics.iter().any(|topic| topic.matches(facts.topic)) {
        return Some(Criterion::Topics);
    }
    if !one_of(&rule.capabilities, facts.capability) {
        return Some(Criterion::Capabilities);
    }
    if !rule.risk_tags.is_empty() && !facts.risk_tags.iter().any(|tag| contains(&rule.risk_tags, tag)) {
        return Some(Criterion::RiskTags);
    }
    if !one_of(&rule.pack_ids, facts.pack_id) {
        return Some(Criterion::PackIds);
    }
    if !one_of(&rule.actor_ids, facts.actor_id) {
        return Some(Criterion::ActorIds);
    }
    if !one_of(&rule.actor_types, facts.actor_type) {
        return Some(Criterion::ActorTypes);
    }
    None
}

fn unindexed_failure(rule: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    if !rule.requires.iter().all(|needed| contains(facts.requires, needed)) {
        return Some(Criterion::Requires);
    }
    if !rule.labels.iter().all(|(key, value)| facts.labels.get(key) == Some(value)) {
        return Some(Criterion::Labels);
    }
    if rule.secrets_present.is_some_and(|wanted| wanted != facts.secrets()) {
        return Some(Criterion::SecretsPresent);
    }
    if !mcp_passes(&rule.mcp, facts) {
        return Some(Criterion::Mcp);
    }
    None
}

/// Whether the lists let the request pass. One that is not about MCP always does.
pub(crate) fn mcp_passes(lists: &McpLists, facts: &Facts<'_>) -> bool {
    let Some(mcp) = &facts.mcp else { return true };
    let passes = |value: &str, allow: &[String], deny: &[String]| {
        !contains(deny, value) && (allow.is_empty() || contains(allow, value))
    };
    passes(mcp.server, &lists.allow_servers, &lists.deny_servers)
        && passes(mcp.tool, &lists.allow_tools, &lists.deny_tools)
        && passes(mcp.resource, &lists.allow_resources, &lists.deny_resources)
        && passes(mcp.action, &lists.allow_actions, &lists.deny_actions)
}

fn one_of(list: &[String], value: &str) -> bool {
    list.is_empty() || contains(list, value)
}

/// Membership; an empty value is a member of nothing.
fn contains(list: &[String], value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && list.iter().any(|own| fold::same(own.trim(), value))
}
