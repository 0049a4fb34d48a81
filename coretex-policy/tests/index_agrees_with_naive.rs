//! Random rule sets and random requests: the indexed evaluation says what a plain linear one says.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod naive;

use std::fmt::Write as _;

use coretex_core::policy::{ActorType, JobMeta, Labels, Outcome, PolicyRequest};
use coretex_policy::{Bundle, Origin, PolicySet};
use proptest::prelude::*;

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
const DECISIONS: [&str; 5] = ["allow", "deny", "require_approval", "allow_with_constraints", "throttle"];
const KEYS: [&str; 4] = ["mcp.server", "mcp.tool", "env", "secrets_present"];

/// Dense in some dimensions, absent in most.
fn list(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(of), 1..4))
}

fn criteria() -> impl Strategy<Value = String> {
    let lists = (list(&NAMES), list(&PATTERNS), list(&NAMES), list(&NAMES), list(&NAMES), list(&NAMES), list(&NAMES));
    let others = (
        list(&["human", "service"]),
        prop::option::weighted(0.1, prop::sample::select(&NAMES[..])),
        prop::option::weighted(0.1, any::<bool>()),
        prop::option::weighted(0.1, prop::sample::select(&NAMES[..])),
    );
    (lists, others).prop_map(|((a, b, c, d, e, f, g), (kinds, label, secrets, server))| {
        let mut out = String::new();
        let keys =
            ["tenants", "topics", "capabilities", "risk_tags", "requires", "pack_ids", "actor_ids", "actor_types"];
        for (key, values) in keys.iter().zip([a, b, c, d, e, f, g, kinds]) {
            if let Some(values) = values {
                writeln!(out, "      {key}: {values:?}").unwrap();
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
        out
    })
}

fn document() -> impl Strategy<Value = String> {
    let rule = (criteria(), prop::sample::select(&DECISIONS[..]));
    prop::collection::vec(rule, 0..90).prop_map(|rules| {
        let mut out = "rules:\n".to_owned();
        for (n, (criteria, decision)) in rules.iter().enumerate() {
            writeln!(out, "  - id: r{n}\n    decision: {decision}").unwrap();
            if !criteria.is_empty() {
                write!(out, "    match:\n{criteria}").unwrap();
            }
        }
        if rules.is_empty() { "rules: []".to_owned() } else { out }
    })
}

#[derive(Clone, Debug)]
struct Ask {
    topic: &'static str,
    tenant: String,
    meta: JobMeta,
    labels: Labels,
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

fn request() -> impl Strategy<Value = Ask> {
    let kind = prop::option::of(prop::sample::select(vec![ActorType::Human, ActorType::Service]));
    let names = || prop::collection::vec(name(), 0..9);
    let optional = || prop::option::of(name());
    (
        prop::sample::select(&TOPICS[..]),
        name(),
        (optional(), optional(), optional(), kind),
        (names(), names()),
        prop::collection::btree_map(prop::sample::select(&KEYS[..]).prop_map(str::to_owned), name(), 0..3),
    )
        .prop_map(|(topic, tenant, (capability, pack_id, actor_id, actor_type), (risk_tags, requires), labels)| {
            Ask {
                topic,
                tenant,
                meta: JobMeta { capability, pack_id, actor_id, actor_type, risk_tags, requires, ..JobMeta::default() },
                labels: labels.into(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // A failure prints the smallest rules and request, and the seed, which is kept beside this file.
    #[test]
    fn the_index_leaves_out_only_what_cannot_match(
        documents in prop::collection::vec(document(), 1..4),
        requests in prop::collection::vec(request(), 1..30),
    ) {
        let origins = [Origin::Base, Origin::SecOps, Origin::SecOps];
        let bundles = documents.iter().enumerate().zip(origins).map(|((n, text), origin)| {
            Bundle::parse(format!("b{n}"), origin, text).unwrap()
        });
        let policy = bundles.collect::<PolicySet>().compile().unwrap();
        for ask in &requests {
            let request = PolicyRequest {
                job_id: "j", topic: ask.topic, tenant: &ask.tenant, principal_id: "", meta: &ask.meta,
                labels: &ask.labels, workflow_id: None, run_id: None, step_id: None, attempt: 1, input: None,
            };
            let indexed = policy.decide(&request);
            let naive = naive::decide(policy.bundles(), &request).unwrap_or((Outcome::Deny, ""));
            prop_assert_eq!((indexed.outcome, &*indexed.rule_id), naive, "{:?}\n{}", ask, policy.explain(&request));
            prop_assert_eq!(&policy.explain(&request).decision, &indexed);
        }
    }
}
