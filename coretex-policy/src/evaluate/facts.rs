//! What rules look at, taken from a request without copying.

use std::{collections::BTreeMap, ops::Bound};

use coretex_core::policy::{ActorType, PolicyRequest};

use crate::fold;

/// A request as rules see it. Missing values are empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) capability: &'a str,
    pub(crate) pack_id: &'a str,
    pub(crate) actor_id: &'a str,
    pub(crate) actor_type: &'a str,
    pub(crate) risk_tags: &'a [String],
    pub(crate) requires: &'a [String],
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) mcp: Option<Mcp<'a>>,
    /// As it was asked.
    pub(crate) request: PolicyRequest<'a>,
}

/// The MCP call that a job is about, as its labels tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mcp<'a> {
    pub(crate) server: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) action: &'a str,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(request: &PolicyRequest<'a>, default_tenant: &'a str) -> Self {
        let PolicyRequest { topic, tenant, meta, labels, .. } = *request;
        let word = |text: &'a Option<String>| text.as_deref().map_or("", str::trim);
        let tenant = tenant.trim();
        Self {
            topic,
            tenant: if tenant.is_empty() { default_tenant } else { tenant },
            capability: word(&meta.capability),
            pack_id: word(&meta.pack_id),
            actor_id: word(&meta.actor_id),
            actor_type: meta.actor_type.map_or("", ActorType::as_str),
            risk_tags: &meta.risk_tags,
            requires: &meta.requires,
            labels,
            mcp: Mcp::of(labels),
            request: *request,
        }
    }

    /// Whether the job declares secrets.
    pub(crate) fn secrets(&self) -> bool {
        let yes = |value: &String| ["true", "1", "yes"].iter().any(|yes| value.trim().eq_ignore_ascii_case(yes));
        self.labels.get("secrets_present").is_some_and(yes)
            || self.risk_tags.iter().any(|tag| fold::same(tag.trim(), "secrets"))
    }

    /// Whether the topic is one that patterns can speak about: in the `job.` space, and without the `/` that no
    /// `*` crosses and that would therefore slip past a ban.
    pub(crate) fn topic_is_sound(&self) -> bool {
        self.topic.len() > "job.".len()
            && self.topic.starts_with("job.")
            && !self.topic.chars().any(|c| c == '/' || c.is_whitespace() || c.is_control())
    }
}

impl<'a> Mcp<'a> {
    /// `None` if no label names an MCP server, tool, resource or action.
    fn of(labels: &'a BTreeMap<String, String>) -> Option<Self> {
        // Most jobs are no MCP calls: one look instead of twelve.
        let (first, _) = labels.range::<str, _>((Bound::Included("mcp"), Bound::Unbounded)).next()?;
        if !first.starts_with("mcp") {
            return None;
        }
        let label = |names: [&str; 3]| {
            let found = names.iter().filter_map(|name| labels.get(*name)).map(|value| value.trim());
            found.into_iter().find(|value| !value.is_empty()).unwrap_or("")
        };
        let mcp = Self {
            server: label(["mcp.server", "mcp_server", "mcpServer"]),
            tool: label(["mcp.tool", "mcp_tool", "mcpTool"]),
            resource: label(["mcp.resource", "mcp_resource", "mcpResource"]),
            action: label(["mcp.action", "mcp_action", "mcpAction"]),
        };
        [mcp.server, mcp.tool, mcp.resource, mcp.action].iter().any(|value| !value.is_empty()).then_some(mcp)
    }
}
