//! The rule language a second time, as plainly as it can be said: every rule is looked at, text by text.
//! The judge of the indexed evaluation in tests, and what it is measured against in benches.

use coretex_core::policy::{Outcome, PolicyRequest};
use coretex_policy::{Bundle, Match, McpLists, Rule};

/// What is decided and by which rule; `None` if no rule matches. Bundles must come in the order of authority.
/// Tenant lists are left out.
pub(crate) fn decide<'b>(bundles: &'b [Bundle], request: &PolicyRequest<'_>) -> Option<(Outcome, &'b str)> {
    let mut best: Option<&Rule> = None;
    for bundle in bundles {
        let first = bundle.document.rules().iter().find(|rule| matches(&rule.criteria, request));
        if let Some(rule) = first
            && best.is_none_or(|known| rank(rule.decision) > rank(known.decision))
        {
            best = Some(rule);
        }
    }
    best.map(|rule| (rule.decision, rule.id.as_str()))
}

fn rank(outcome: Outcome) -> usize {
    use Outcome::{Allow, AllowWithConstraints, Deny, RequireApproval, Throttle};
    [Allow, AllowWithConstraints, Throttle, RequireApproval, Deny].iter().position(|one| *one == outcome).unwrap()
}

pub(crate) fn matches(rule: &Match, request: &PolicyRequest<'_>) -> bool {
    let meta = request.meta;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let secrets = request.labels.get("secrets_present").is_some_and(|v| member(&["true", "1", "yes"], v))
        || member(&meta.risk_tags, "secrets");
    (rule.tenants.is_empty() || member(&rule.tenants, request.tenant))
        && (rule.topics.is_empty() || rule.topics.iter().any(|topic| glob(topic.as_str(), request.topic)))
        && (rule.capabilities.is_empty() || member(&rule.capabilities, &text(&meta.capability)))
        && (rule.risk_tags.is_empty() || meta.risk_tags.iter().any(|tag| member(&rule.risk_tags, tag)))
        && rule.requires.iter().all(|needed| member(&meta.requires, needed))
        && (rule.pack_ids.is_empty() || member(&rule.pack_ids, &text(&meta.pack_id)))
        && (rule.actor_ids.is_empty() || member(&rule.actor_ids, &text(&meta.actor_id)))
        && (rule.actor_types.is_empty() || meta.actor_type.is_some_and(|kind| member(&rule.actor_types, kind.as_str())))
        && rule.labels.iter().all(|(key, value)| request.labels.get(key) == Some(value))
        && rule.secrets_present.is_none_or(|wanted| wanted == secrets)
        && mcp(&rule.mcp, request)
}

fn mcp(lists: &McpLists, request: &PolicyRequest<'_>) -> bool {
    let label = |name: &str| request.labels.get(name).map_or("", String::as_str);
    let call = [label("mcp.server"), label("mcp.tool"), label("mcp.resource"), label("mcp.action")];
    let lists = [
        (&lists.allow_servers, &lists.deny_servers),
        (&lists.allow_tools, &lists.deny_tools),
        (&lists.allow_resources, &lists.deny_resources),
        (&lists.allow_actions, &lists.deny_actions),
    ];
    call.iter().all(|value| value.is_empty())
        || call
            .iter()
            .zip(lists)
            .all(|(value, (allow, deny))| !member(deny, value) && (allow.is_empty() || member(allow, value)))
}

fn member<S: AsRef<str>>(list: &[S], value: &str) -> bool {
    !value.is_empty()
        && list.iter().any(|own| {
            let own = own.as_ref();
            own.eq_ignore_ascii_case(value)
                || (!own.is_ascii() && !value.is_ascii() && own.to_lowercase() == value.to_lowercase())
        })
}

/// Classes and escapes are left out.
fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => {
            glob(rest, text) || text.chars().next().is_some_and(|c| c != '/' && glob(pattern, &text[c.len_utf8()..]))
        }
        '?' => text.chars().next().is_some_and(|c| c != '/' && glob(rest, &text[c.len_utf8()..])),
        _ => text.strip_prefix(first).is_some_and(|text| glob(rest, text)),
    }
}
