//! Whether a rule matches: the one place that says so.

use std::fmt;

use serde::Serialize;

use super::{Facts, scope::RequestScope};
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
    Not,
    During,
    When,
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
            Self::Not => "not",
            Self::During => "during",
            Self::When => "when",
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule is to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judged {
    /// It matches.
    Matches,
    /// It does not; the first criterion that is not met.
    Fails(Criterion),
    /// All else holds, and this criterion cannot be told.
    Unclear(Criterion, String),
}

/// Judges the criteria in the order of the documentation.
pub(crate) fn judge(rule: &Match, facts: &Facts<'_>) -> Judged {
    match indexed_failure(rule, facts).or_else(|| unindexed_failure(rule, facts)) {
        Some(criterion) => Judged::Fails(criterion),
        None => late(rule, facts),
    }
}

/// The same, asking first what the index could not answer, because of the rest most is known.
pub(crate) fn judge_candidate(rule: &Match, facts: &Facts<'_>) -> Judged {
    match unindexed_failure(rule, facts).or_else(|| indexed_failure(rule, facts)) {
        Some(criterion) => Judged::Fails(criterion),
        None => late(rule, facts),
    }
}

/// What costs more, and what may be unclear.
fn late(rule: &Match, facts: &Facts<'_>) -> Judged {
    if fails(Criterion::Not, rule, facts) {
        return Judged::Fails(Criterion::Not);
    }
    if let Some(during) = &rule.during {
        match facts.request.now {
            Some(now) if during.contains(now) => {}
            Some(_) => return Judged::Fails(Criterion::During),
            None => return Judged::Unclear(Criterion::During, "nobody told the time".to_owned()),
        }
    }
    match rule.when.as_ref().map(|when| when.holds(&RequestScope::of(facts))) {
        None | Some(Ok(true)) => Judged::Matches,
        Some(Ok(false)) => Judged::Fails(Criterion::When),
        Some(Err(error)) => Judged::Unclear(Criterion::When, error.reason().to_owned()),
    }
}

/// The first list of a `not` that has a value of the request.
pub(crate) fn touched(not: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    if contains(&not.tenants, facts.tenant) {
        Some(Criterion::Tenants)
    } else if not.topics.iter().any(|topic| topic.matches(facts.topic)) {
        Some(Criterion::Topics)
    } else if contains(&not.capabilities, facts.capability) {
        Some(Criterion::Capabilities)
    } else if facts.risk_tags.iter().any(|tag| contains(&not.risk_tags, tag)) {
        Some(Criterion::RiskTags)
    } else if facts.requires.iter().any(|own| contains(&not.requires, own)) {
        Some(Criterion::Requires)
    } else if contains(&not.pack_ids, facts.pack_id) {
        Some(Criterion::PackIds)
    } else if contains(&not.actor_ids, facts.actor_id) {
        Some(Criterion::ActorIds)
    } else if contains(&not.actor_types, facts.actor_type) {
        Some(Criterion::ActorTypes)
    } else if not.labels.iter().any(|(key, value)| facts.labels.get(key) == Some(value)) {
        Some(Criterion::Labels)
    } else {
        None
    }
}

/// What the index answers, at least in part, in the order of the documentation.
const INDEXED: [Criterion; 7] = [
    Criterion::Tenants,
    Criterion::Topics,
    Criterion::Capabilities,
    Criterion::RiskTags,
    Criterion::PackIds,
    Criterion::ActorIds,
    Criterion::ActorTypes,
];
const UNINDEXED: [Criterion; 4] = [Criterion::Requires, Criterion::Labels, Criterion::SecretsPresent, Criterion::Mcp];

#[inline]
fn indexed_failure(rule: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    INDEXED.into_iter().find(|criterion| fails(*criterion, rule, facts))
}

#[inline]
fn unindexed_failure(rule: &Match, facts: &Facts<'_>) -> Option<Criterion> {
    UNINDEXED.into_iter().find(|criterion| fails(*criterion, rule, facts))
}

/// Everything that the request does not meet, `during` and `when` aside.
pub(crate) fn failures(rule: &Match, facts: &Facts<'_>) -> Vec<Criterion> {
    let all = INDEXED.into_iter().chain(UNINDEXED).chain([Criterion::Not]);
    all.filter(|criterion| fails(*criterion, rule, facts)).collect()
}

#[inline(always)]
fn fails(criterion: Criterion, rule: &Match, facts: &Facts<'_>) -> bool {
    match criterion {
        Criterion::Tenants => !one_of(&rule.tenants, facts.tenant),
        Criterion::Topics => !rule.topics.is_empty() && !rule.topics.iter().any(|topic| topic.matches(facts.topic)),
        Criterion::Capabilities => !one_of(&rule.capabilities, facts.capability),
        Criterion::RiskTags => {
            !rule.risk_tags.is_empty() && !facts.risk_tags.iter().any(|tag| contains(&rule.risk_tags, tag))
        }
        Criterion::Requires => !rule.requires.iter().all(|needed| contains(facts.requires, needed)),
        Criterion::PackIds => !one_of(&rule.pack_ids, facts.pack_id),
        Criterion::ActorIds => !one_of(&rule.actor_ids, facts.actor_id),
        Criterion::ActorTypes => !one_of(&rule.actor_types, facts.actor_type),
        Criterion::Labels => !rule.labels.iter().all(|(key, value)| facts.labels.get(key) == Some(value)),
        Criterion::SecretsPresent => rule.secrets_present.is_some_and(|wanted| wanted != facts.secrets()),
        Criterion::Mcp => !mcp_passes(&rule.mcp, facts),
        Criterion::Not => rule.not.as_deref().is_some_and(|not| touched(not, facts).is_some()),
        Criterion::During | Criterion::When => false,
    }
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

/// Allow and deny list for server, tool, resource and action.
pub(crate) fn mcp_lists(lists: &McpLists) -> [[&[String]; 2]; 4] {
    [
        [&lists.allow_servers, &lists.deny_servers],
        [&lists.allow_tools, &lists.deny_tools],
        [&lists.allow_resources, &lists.deny_resources],
        [&lists.allow_actions, &lists.deny_actions],
    ]
}

fn one_of(list: &[String], value: &str) -> bool {
    list.is_empty() || contains(list, value)
}

/// Membership; an empty value is a member of nothing.
pub(crate) fn contains(list: &[String], value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && list.iter().any(|own| fold::same(own.trim(), value))
}
