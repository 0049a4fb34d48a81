//! Random documents and requests: few names, so that rules and requests meet often.

use std::fmt::Write as _;

use coretex_core::policy::{ActorType, JobMeta, Labels, PolicyRequest, RunFacts};
use jiff::Timestamp;
use proptest::prelude::*;

use super::naive;

const NAMES: [&str; 6] = ["acme", "Globex", "ÉCOLE", "prod", "write", "a-rather-long-name"];
const TOPICS: [&str; 7] = ["job.a", "job.ab", "job.a.b", "job.a.b.c", "job.sre.scan", "job.sre.Scan", "job.b.x"];
const PATTERNS: [&str; 14] = [
    "job.*",
    "job.a",
    "job.a*",
    "job.a.*",
    "job.a.b*",
    "job.ab",
    "job.?",
    "*",
    "job.sre.*",
    "job.sre.scan",
    "job.*.b",
    "job.sre.S*",
    "job.b.*",
    "job.a.b.c",
];
const KEYS: [&str; 4] = ["mcp.server", "mcp.tool", "env", "secrets_present"];
const HOURS: [&str; 5] = [
    "{ days: [mon-fri], from: \"09:00\", to: \"17:00\" }",
    "{ days: [fri], from: \"22:00\", to: \"06:00\" }",
    "{ days: [sat-sun] }",
    "{ from: \"12:00\" }",
    "{ to: \"12:30\", time_zone: UTC }",
];

/// Dense in some dimensions, absent in most.
fn list(of: &'static [&'static str], likely: f64) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop::option::weighted(likely, prop::collection::vec(prop::sample::select(of), 1..4))
}

type Lists = [Option<Vec<&'static str>>; 8];

fn lists(likely: f64) -> impl Strategy<Value = Lists> {
    let names = || list(&NAMES, likely);
    (names(), list(&PATTERNS, likely), names(), names(), names(), names(), names(), list(&["human", "service"], likely))
        .prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h])
}

fn write(out: &mut String, indent: &str, lists: &Lists) {
    let keys = ["tenants", "topics", "capabilities", "risk_tags", "requires", "pack_ids", "actor_ids", "actor_types"];
    for (key, values) in keys.iter().zip(lists) {
        if let Some(values) = values {
            writeln!(out, "{indent}{key}: {values:?}").unwrap();
        }
    }
}

fn criteria() -> impl Strategy<Value = String> {
    let others = (
        prop::option::weighted(0.1, prop::sample::select(&NAMES[..])),
        prop::option::weighted(0.1, any::<bool>()),
        prop::option::weighted(0.1, prop::sample::select(&NAMES[..])),
        prop::option::weighted(0.1, prop::sample::select(&HOURS[..])),
        prop::option::weighted(0.1, prop::sample::select(&NAMES[..])),
    );
    (lists(0.25), lists(0.06), others).prop_map(|(yes, no, (label, secrets, server, hours, not_label))| {
        let mut out = String::new();
        write(&mut out, "      ", &yes);
        if no.iter().any(Option::is_some) || not_label.is_some() {
            out.push_str("      not:\n");
            write(&mut out, "        ", &no);
            if let Some(value) = not_label {
                writeln!(out, "        labels: {{ env: {value} }}").unwrap();
            }
        }
        if let Some(value) = label {
            writeln!(out, "      labels: {{ env: {value} }}").unwrap();
        }
        if let Some(value) = secrets {
            writeln!(out, "      secrets_present: {value}").unwrap();
        }
        if let Some(value) = server {
            writeln!(out, "      mcp: {{ allow_servers: [{value}, acme], deny_tools: [{value}] }}").unwrap();
        }
        if let Some(hours) = hours {
            writeln!(out, "      during: {hours}").unwrap();
        }
        out
    })
}

fn decision() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "allow",
        "deny",
        "require_approval",
        "allow_with_constraints\n    constraints: { budgets: { max_retries: 3 } }",
        "allow\n    constraints: { budgets: { max_retries: 2 } }",
        "throttle",
        "throttle\n    retry_after: 30s",
        "throttle\n    retry_after: 2m",
    ])
}

/// A document of up to 90 rules.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let conditions: Vec<_> = naive::conditions().iter().map(|(text, _)| *text).collect();
    let rule = (
        criteria(),
        decision(),
        prop::option::weighted(0.2, -2..3),
        prop::option::weighted(0.1, prop::sample::select(conditions)),
    );
    let tenant = (prop::sample::select(&NAMES[..]), list(&PATTERNS, 0.5), list(&PATTERNS, 0.5));
    (prop::collection::vec(rule, 0..90), prop::option::weighted(0.3, tenant)).prop_map(|(rules, tenant)| {
        let mut out = if rules.is_empty() { "rules: []\n" } else { "rules:\n" }.to_owned();
        for (n, (criteria, decision, priority, when)) in rules.iter().enumerate() {
            writeln!(out, "  - id: r{n}\n    decision: {decision}").unwrap();
            if let Some(priority) = priority {
                writeln!(out, "    priority: {priority}").unwrap();
            }
            if let Some(when) = when {
                writeln!(out, "    when: \"{when}\"").unwrap();
            }
            if !criteria.is_empty() {
                write!(out, "    match:\n{criteria}").unwrap();
            }
        }
        if let Some((tenant, allow, deny)) = tenant {
            writeln!(out, "tenants:\n  {tenant}:\n    max_concurrent_jobs: 0").unwrap();
            for (key, topics) in [("allow_topics", allow), ("deny_topics", deny)] {
                if let Some(topics) = topics {
                    writeln!(out, "    {key}: {topics:?}").unwrap();
                }
            }
        }
        out
    })
}

/// An owned request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    topic: &'static str,
    tenant: String,
    meta: JobMeta,
    labels: Labels,
    attempt: u32,
    now: Option<Timestamp>,
    facts: Option<RunFacts>,
}

impl Ask {
    pub(crate) fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            job_id: "j",
            topic: self.topic,
            tenant: &self.tenant,
            principal_id: "",
            meta: &self.meta,
            labels: &self.labels,
            workflow_id: None,
            run_id: None,
            step_id: None,
            attempt: self.attempt,
            input: None,
            now: self.now,
            facts: self.facts.as_ref(),
        }
    }
}

/// A name in some other case, or nothing.
fn name() -> impl Strategy<Value = String> {
    (prop::sample::select(&NAMES[..]), 0..4).prop_map(|(name, case)| match case {
        0 => name.to_uppercase(),
        1 => name.to_lowercase(),
        2 => name.to_owned(),
        _ => String::new(),
    })
}

pub(crate) fn ask() -> impl Strategy<Value = Ask> {
    let kind = prop::option::of(prop::sample::select(vec![ActorType::Human, ActorType::Service]));
    let names = || prop::collection::vec(name(), 0..9);
    let optional = || prop::option::of(name());
    let facts = prop::option::of((prop::option::of(0..10_i64), any::<bool>()).prop_map(|(calls, secrets)| {
        let facts = RunFacts::new().flag("secrets", secrets);
        calls.map_or(facts.clone(), |calls| facts.count("calls", calls))
    }));
    // A week, to the minute.
    let now = prop::option::weighted(
        0.9,
        (0..10_080_i64).prop_map(|m| Timestamp::from_second(1_790_000_000 + m * 60).unwrap()),
    );
    (
        prop::sample::select(&TOPICS[..]),
        name(),
        (optional(), optional(), optional(), kind),
        (names(), names()),
        prop::collection::btree_map(prop::sample::select(&KEYS[..]).prop_map(str::to_owned), name(), 0..3),
        (1..3_u32, now, facts),
    )
        .prop_map(
            |(topic, tenant, (capability, pack_id, actor_id, actor_type), (risk_tags, requires), labels, rest)| {
                let (attempt, now, facts) = rest;
                let meta =
                    JobMeta { capability, pack_id, actor_id, actor_type, risk_tags, requires, ..JobMeta::default() };
                Ask { topic, tenant, meta, labels: labels.into(), attempt, now, facts }
            },
        )
}
