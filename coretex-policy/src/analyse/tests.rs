use proptest::prelude::*;

use super::*;
use crate::{
    Consideration, Origin,
    testing::{ask, set},
};

fn found(bundles: &[(&str, Origin, &str)]) -> Vec<(FindingKind, String, String)> {
    let findings = set(bundles).analyse().findings;
    findings.into_iter().map(|one| (one.kind, one.rule.rule_id, one.other.rule_id)).collect()
}

fn one(yaml: &str) -> Vec<(FindingKind, String, String)> {
    found(&[("base", Origin::Base, yaml)])
}

fn finding(kind: FindingKind, rule: &str, other: &str) -> (FindingKind, String, String) {
    (kind, rule.to_owned(), other.to_owned())
}

#[test]
fn w30_rules_behind_a_wider_one_are_unreachable() {
    use FindingKind::Unreachable;
    let pair = |first: &str, second: &str| {
        one(&format!(
            "groups: {{ all: [acme, globex] }}\nrules:\n  - {{ id: a, decision: deny, {first} }}\n  - {{ id: b, decision: allow, {second} }}"
        ))
    };
    for (first, second, unreachable) in [
        ("match: { topics: ['job.*'] }", "match: { topics: ['job.a.*'] }", true),
        ("match: { topics: ['job.a.*'] }", "match: { topics: ['job.*'] }", false),
        ("match: { tenants: [ACME, globex] }", "match: { tenants: [acme], risk_tags: [x] }", true),
        ("match: { tenants: [acme] }", "match: { tenants: [acme, globex] }", false),
        ("match: { risk_tags: [x, y] }", "match: { risk_tags: [y] }", true),
        ("match: { requires: [git] }", "match: { requires: [git, gpu] }", true),
        ("match: { requires: [git, gpu] }", "match: { requires: [git] }", false),
        ("match: { labels: { a: b } }", "match: { labels: { a: b, c: d } }", true),
        ("match: { labels: { a: b } }", "match: { labels: { a: x } }", false),
        ("match: { not: { tenants: [x] } }", "match: { not: { tenants: [x, y] } }", true),
        ("match: { not: { tenants: [x, y] } }", "match: { not: { tenants: [x] } }", false),
        ("when: attempt > 1", "when: attempt > 1, match: { tenants: [acme] }", true),
        ("when: attempt > 1", "when: attempt > 2", false),
        ("match: { during: { days: [mon] } }", "match: { during: { days: [mon] } }", true),
        ("match: { secrets_present: true }", "match: { secrets_present: true, tenants: ['@all'] }", true),
        ("match: { mcp: { deny_tools: [x] } }", "match: { tenants: [acme] }", false),
        ("priority: -1", "match: { tenants: [acme] }", false),
    ] {
        let expected = if unreachable { vec![finding(Unreachable, "b", "a")] } else { Vec::new() };
        assert_eq!(pair(first, second), expected, "{first} | {second}");
    }
}

#[test]
fn a_rule_that_a_later_one_repeats_could_go() {
    let redundant = one("rules:\n  - { id: a, decision: allow, match: { tenants: [acme] } }\n  \
                         - { id: b, decision: deny, match: { tenants: [globex] } }\n  - { id: c, decision: allow }");
    assert_eq!(redundant, [finding(FindingKind::Redundant, "a", "c")]);
    let needed = one("rules:\n  - { id: a, decision: allow, match: { tenants: [acme] } }\n  \
                      - { id: b, decision: deny, match: { risk_tags: [x] } }\n  - { id: c, decision: allow }");
    assert_eq!(needed, [], "an exception to what comes between");
}

#[test]
fn bans_of_other_bundles_shadow_or_conflict() {
    let pack = "rules: [{ id: mine, decision: allow, match: { topics: ['job.a.*'] } }]";
    let with = |ban: &str| found(&[("a/x", Origin::Pack, pack), ("secops/x", Origin::SecOps, ban)]);
    assert_eq!(with("rules: [{ id: ban, decision: deny }]"), [finding(FindingKind::Shadowed, "mine", "ban")]);
    let partly = "rules: [{ id: ban, decision: deny, match: { topics: ['job.*.write'], tenants: [acme] } }]";
    assert_eq!(with(partly), [finding(FindingKind::Conflict, "mine", "ban")]);
    let excepted = "rules: [{ id: ok, decision: allow, match: { tenants: [acme] } }, { id: ban, decision: deny }]";
    assert_eq!(with(excepted), [finding(FindingKind::Conflict, "mine", "ban")], "not shadowed: acme may");
    assert_eq!(with("rules: [{ id: ban, decision: deny, match: { topics: ['job.b.*'] } }]"), []);
    let conflict = &set(&[("a/x", Origin::Pack, pack), ("secops/x", Origin::SecOps, partly)]).analyse().findings[0];
    assert!(conflict.topic.as_ref().is_some_and(|topic| topic.starts_with("job.a.") && topic.ends_with(".write")));
}

const NAMES: [&str; 3] = ["x", "y", "z"];
const TOPICS: [&str; 5] = ["job.*", "job.a.*", "job.a.x", "job.*.x", "job.?.[xy]"];

fn rule() -> impl Strategy<Value = String> {
    let list = |key: &'static str, of: &'static [&'static str]| {
        prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(of), 1..3))
            .prop_map(move |values| values.map(|values| format!("{key}: {values:?}")))
    };
    let parts = (
        list("tenants", &NAMES),
        list("topics", &TOPICS),
        list("risk_tags", &NAMES),
        list("requires", &NAMES),
        list("not", &NAMES).prop_map(|not| not.map(|not| not.replace("not: [", "not: { tenants: [") + " }")),
    );
    let decision = prop::sample::select(vec!["allow", "deny", "require_approval"]);
    (parts, decision).prop_map(|((a, b, c, d, e), decision)| {
        let parts: Vec<_> = [a, b, c, d, e].into_iter().flatten().collect();
        format!("decision: {decision}, match: {{ {} }}", parts.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_an_analysis_says_is_so(
        first in prop::collection::vec(rule(), 1..6),
        second in prop::collection::vec(rule(), 1..6),
        asks in prop::collection::vec(
            (prop::sample::subsequence(&NAMES[..], 0..3), prop::sample::subsequence(&NAMES[..], 0..3),
             prop::sample::select(&["x", "y", "w", ""][..]), prop::sample::select(&["job.a.x", "job.a.w", "job.b.y", "job.q"][..])),
            1..30),
    ) {
        let yaml = |prefix: &str, rules: &[String]| {
            let rules: Vec<_> = rules.iter().enumerate().map(|(n, rule)| format!("  - {{ id: {prefix}{n}, {rule} }}")).collect();
            format!("rules:\n{}", rules.join("\n"))
        };
        let policy = set(&[("base", Origin::Base, &yaml("b", &first)), ("secops/x", Origin::SecOps, &yaml("s", &second))]);
        let analysis = policy.analyse();
        let silent: Vec<_> = analysis.findings.iter().filter(|one| one.kind == FindingKind::Unreachable).collect();
        let shadowed: Vec<_> = analysis.findings.iter().filter(|one| one.kind == FindingKind::Shadowed).collect();
        // Without any one of the redundant rules the same is decided.
        let without = |id: &str| {
            let keep = |prefix: &str, rules: &[String]| yaml(prefix, rules).lines().filter(|line| !line.contains(&format!("id: {id},"))).collect::<Vec<_>>().join("\n");
            let bundle = |text: String| if text == "rules:" { "rules: []".to_owned() } else { text };
            set(&[("base", Origin::Base, &bundle(keep("b", &first))), ("secops/x", Origin::SecOps, &bundle(keep("s", &second)))])
        };
        let redundant = analysis.findings.iter().filter(|one| one.kind == FindingKind::Redundant);
        let thinner: Vec<_> = redundant.map(|found| without(&found.rule.rule_id)).collect();
        for (tags, requires, tenant, topic) in asks {
            let request = ask(topic).tenant(tenant).risk(&tags).requires(&requires);
            let why = request.why(&policy);
            for other in &thinner {
                prop_assert_eq!(request.of(other).outcome, why.decision.outcome);
            }
            for one in &why.considered {
                if one.result == Consideration::Matched {
                    prop_assert!(!silent.iter().any(|found| found.rule.rule_id == one.rule_id), "{}", why);
                    if shadowed.iter().any(|found| found.rule.rule_id == one.rule_id) {
                        prop_assert_eq!(why.decision.outcome, coretex_core::policy::Outcome::Deny);
                    }
                }
            }
        }
    }
}
