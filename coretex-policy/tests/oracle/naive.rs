//! The rule language a second time, as plainly as it can be said: every rule is looked at, text by text.
//! The judge of the indexed evaluation in tests, and what it is measured against in benches.

use std::time::Duration;

use coretex_core::policy::{Outcome, PolicyRequest};
use coretex_policy::{Bundle, Match, McpLists, Rule};

/// What is decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said<'b> {
    pub(crate) outcome: Outcome,
    /// Empty for a default or a tenant's list.
    pub(crate) rule: &'b str,
    pub(crate) wait: Option<Duration>,
    /// The lowest `max_retries` of all voices; 0 is none.
    pub(crate) retries: u32,
}

/// Bundles must come in the order of authority.
pub(crate) fn decide<'b>(bundles: &'b [Bundle], request: &PolicyRequest<'_>) -> Said<'b> {
    let mut voices = Vec::new();
    for bundle in bundles {
        let mut rules: Vec<&Rule> = bundle.document.rules().iter().collect();
        rules.sort_by_key(|rule| -rule.priority);
        for rule in rules {
            let matches = matches(&rule.criteria, request);
            if matches != Some(false) {
                let outcome = if matches.is_none() { Outcome::Deny } else { rule.decision };
                voices.push((outcome, rule));
                break;
            }
        }
    }
    let plain = |outcome, rule| Said { outcome, rule, wait: None, retries: 0 };
    if let Some((_, rule)) = voices.iter().find(|(outcome, _)| *outcome == Outcome::Deny) {
        return plain(Outcome::Deny, &rule.id);
    }
    if bundles.iter().any(|bundle| tenant_refuses(bundle, request)) {
        return plain(Outcome::Deny, "");
    }
    let strictest = voices.iter().map(|(outcome, _)| rank(*outcome)).max();
    let Some((outcome, rule)) = voices.iter().find(|(outcome, _)| Some(rank(*outcome)) == strictest) else {
        return plain(Outcome::Deny, "");
    };
    let limits = voices.iter().filter_map(|(_, rule)| rule.constraints.as_ref()?.budgets.as_ref());
    Said {
        outcome: *outcome,
        rule: &rule.id,
        wait: voices.iter().filter_map(|(_, rule)| rule.retry_after).max().filter(|_| *outcome == Outcome::Throttle),
        retries: limits.map(|limits| limits.max_retries).filter(|n| *n > 0).min().unwrap_or(0),
    }
}

fn rank(outcome: Outcome) -> usize {
    use Outcome::{Allow, AllowWithConstraints, Deny, RequireApproval, Throttle};
    [Allow, AllowWithConstraints, Throttle, RequireApproval, Deny].iter().position(|one| *one == outcome).unwrap()
}

fn tenant_refuses(bundle: &Bundle, request: &PolicyRequest<'_>) -> bool {
    bundle.document.tenants().iter().filter(|(name, _)| member(&[name], request.tenant)).any(|(_, lists)| {
        lists.deny_topics.iter().any(|topic| glob(topic.as_str(), request.topic))
            || (!lists.allow_topics.is_empty()
                && !lists.allow_topics.iter().any(|topic| glob(topic.as_str(), request.topic)))
    })
}

/// `None` if it cannot be told.
pub(crate) fn matches(rule: &Match, request: &PolicyRequest<'_>) -> Option<bool> {
    if !plainly(rule, request) {
        return Some(false);
    }
    if let Some(during) = &rule.during {
        let at = request.now?.as_second();
        if !within(&during.text(), at) {
            return Some(false);
        }
    }
    match &rule.when {
        None => Some(true),
        Some(when) => conditions().iter().find(|(text, _)| *text == when.text()).unwrap().1(request),
    }
}

fn plainly(rule: &Match, request: &PolicyRequest<'_>) -> bool {
    let meta = request.meta;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let kind = meta.actor_type.map_or("", |kind| kind.as_str());
    let secrets = request.labels.get("secrets_present").is_some_and(|v| member(&["true", "1", "yes"], v))
        || member(&meta.risk_tags, "secrets");
    (rule.tenants.is_empty() || member(&rule.tenants, request.tenant))
        && (rule.topics.is_empty() || rule.topics.iter().any(|topic| glob(topic.as_str(), request.topic)))
        && (rule.capabilities.is_empty() || member(&rule.capabilities, &text(&meta.capability)))
        && (rule.risk_tags.is_empty() || meta.risk_tags.iter().any(|tag| member(&rule.risk_tags, tag)))
        && rule.requires.iter().all(|needed| member(&meta.requires, needed))
        && (rule.pack_ids.is_empty() || member(&rule.pack_ids, &text(&meta.pack_id)))
        && (rule.actor_ids.is_empty() || member(&rule.actor_ids, &text(&meta.actor_id)))
        && (rule.actor_types.is_empty() || member(&rule.actor_types, kind))
        && rule.labels.iter().all(|(key, value)| request.labels.get(key) == Some(value))
        && rule.secrets_present.is_none_or(|wanted| wanted == secrets)
        && mcp(&rule.mcp, request)
        && rule.not.as_ref().is_none_or(|not| {
            !(member(&not.tenants, request.tenant)
                || not.topics.iter().any(|topic| glob(topic.as_str(), request.topic))
                || member(&not.capabilities, &text(&meta.capability))
                || meta.risk_tags.iter().any(|tag| member(&not.risk_tags, tag))
                || meta.requires.iter().any(|own| member(&not.requires, own))
                || member(&not.pack_ids, &text(&meta.pack_id))
                || member(&not.actor_ids, &text(&meta.actor_id))
                || member(&not.actor_types, kind)
                || not.labels.iter().any(|(key, value)| request.labels.get(key) == Some(value)))
        })
}

type Judge = fn(&PolicyRequest<'_>) -> Option<bool>;

/// Conditions that random rules have, and what they mean.
pub(crate) fn conditions() -> [(&'static str, Judge); 6] {
    fn calls(request: &PolicyRequest<'_>) -> Option<bool> {
        request.facts?.get("calls")?.as_i64().map(|calls| calls > 5)
    }
    [
        ("attempt > 1", |request| Some(request.attempt > 1)),
        ("'prod' in risk_tags", |request| Some(request.meta.risk_tags.iter().any(|tag| tag == "prod"))),
        ("labels.env == 'acme'", |request| Some(request.labels.get("env").is_some_and(|env| env == "acme"))),
        ("facts.calls > 5", calls),
        ("attempt > 1 && facts.calls > 5", |request| if request.attempt > 1 { calls(request) } else { Some(false) }),
        ("'calls' in known && facts.calls > 5", |request| Some(calls(request).unwrap_or(false))),
    ]
}

/// `mon,fri 09:00-17:00 UTC`, by arithmetic.
fn within(hours: &str, second: i64) -> bool {
    let [days, span, _] = hours.split(' ').collect::<Vec<_>>()[..] else { panic!("{hours}") };
    let (from, to) = span.split_once('-').unwrap();
    let minutes = |text: &str| {
        let (hour, minute) = text.split_once(':').unwrap();
        hour.parse::<i64>().unwrap() * 60 + minute.parse::<i64>().unwrap()
    };
    let (from, to) = (minutes(from), minutes(to));
    // The first day of 1970 was a Thursday.
    let on = |day: i64| {
        days.split(',').any(|one| one == ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][day.rem_euclid(7) as usize])
    };
    let (day, minute) = (second.div_euclid(86_400), second.rem_euclid(86_400) / 60);
    let today = on(day) && minute >= from && (minute < to || to <= from);
    let since_yesterday = to <= from && on(day - 1) && minute < to;
    today || since_yesterday
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
