//! The values that a policy tells apart: those that it names. Whatever it does not name is like nothing to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    evaluate::criteria,
    fold,
    rule::{Glob, Match, McpLists, common},
    snapshot::CompiledPolicy,
};

/// Label keys of an MCP call, first spelling, and the lists about each.
pub(super) const MCP_KEYS: [[&str; 3]; 4] = [
    ["mcp.server", "mcp_server", "mcpServer"],
    ["mcp.tool", "mcp_tool", "mcpTool"],
    ["mcp.resource", "mcp_resource", "mcpResource"],
    ["mcp.action", "mcp_action", "mcpAction"],
];

/// Named values by attribute, each in one spelling.
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) topics: BTreeSet<String>,
    pub(super) tenants: BTreeSet<String>,
    pub(super) packs: BTreeSet<String>,
    pub(super) capabilities: BTreeSet<String>,
    pub(super) actors: BTreeSet<String>,
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
    pub(super) mcp: [BTreeSet<String>; 4],
    /// A rule reads something that edits cannot be computed for.
    pub(super) opaque: bool,
}

impl Domain {
    pub(super) fn of(policy: &CompiledPolicy) -> Self {
        let mut domain = Self::default();
        for rule in &policy.rules {
            domain.add(&rule.rule.criteria);
        }
        for (tenant, lists) in policy.bundles.iter().flat_map(|bundle| &bundle.document.tenants) {
            domain.tenants.insert(fold::lower(tenant));
            domain.add_mcp(&lists.mcp);
            domain.add_topics(lists.allow_topics.iter().chain(&lists.deny_topics));
        }
        // An MCP call about nothing that is named.
        for values in &mut domain.mcp {
            values.insert("other".to_owned());
        }
        domain
    }

    fn add(&mut self, rule: &Match) {
        let lower = |list: &[String]| list.iter().map(|own| fold::lower(own.trim())).collect::<Vec<_>>();
        self.tenants.extend(lower(&rule.tenants));
        self.packs.extend(lower(&rule.pack_ids));
        self.capabilities.extend(lower(&rule.capabilities));
        self.actors.extend(lower(&rule.actor_ids));
        for (key, value) in &rule.labels {
            self.labels.entry(key.clone()).or_default().insert(value.clone());
            if let Some(at) = MCP_KEYS.iter().position(|keys| keys.contains(&key.as_str()))
                && let Some(values) = self.mcp.get_mut(at)
            {
                values.insert(value.clone());
            }
        }
        self.add_mcp(&rule.mcp);
        self.add_topics(&rule.topics);
        self.opaque |= rule.when.is_some();
        if let Some(not) = &rule.not {
            self.add(not);
        }
    }

    fn add_mcp(&mut self, lists: &McpLists) {
        for (values, lists) in self.mcp.iter_mut().zip(criteria::mcp_lists(lists)) {
            for list in lists {
                values.extend(list.iter().cloned());
            }
        }
    }

    fn add_topics<'t>(&mut self, topics: impl IntoIterator<Item = &'t Glob>) {
        let Ok(any) = Glob::new("job.?*") else { return };
        self.topics.extend(topics.into_iter().filter_map(|topic| common(topic, &any)));
    }
}
