//! Tests of what the language has beyond the established one, each rule feature as a table.

use std::time::Duration;

use coretex_core::policy::{ActorType, Outcome, RunFacts};
use serde_json::json;

use crate::{
    Document, ErrorCode, Origin,
    testing::{Ask, ask, base, set},
};

fn codes(yaml: &str) -> Vec<ErrorCode> {
    Document::parse("p", yaml).err().map(|errors| errors.iter().map(|error| error.code).collect()).unwrap_or_default()
}

/// Whether one rule with these lines matches.
fn matches(lines: &str, ask: &Ask) -> bool {
    let policy = base(&format!("default_decision: allow\nrules:\n  - id: it\n    decision: deny\n{lines}"));
    let decision = ask.of(&policy);
    assert!(!decision.reason.contains("cannot be judged"), "{lines}: {}", decision.reason);
    decision.outcome == Outcome::Deny
}

#[test]
fn w30_priorities_order_the_rules_of_a_bundle_and_nothing_else() {
    let rules = "rules:\n  - { id: first, decision: allow }\n  - { id: high, priority: 10, decision: throttle }\n  \
                 - { id: higher, priority: 20, decision: require_approval, match: { risk_tags: [prod] } }\n  \
                 - { id: low, priority: -1, decision: deny }";
    let policy = base(rules);
    assert_eq!(&*ask("job.a").of(&policy).rule_id, "high");
    assert_eq!(&*ask("job.a").risk(&["prod"]).of(&policy).rule_id, "higher");
    let pack = "rules: [{ id: mine, priority: 2000000000, decision: allow }]";
    let ban = "rules: [{ id: ban, priority: -5, decision: deny }]";
    let both = set(&[("a/x", Origin::Pack, pack), ("secops/x", Origin::SecOps, ban)]);
    assert_eq!(&*ask("job.a.x").of(&both).rule_id, "ban", "a priority cannot outrank another bundle's ban");
    assert_eq!(codes("rules: [{ decision: deny, priority: high }]"), [ErrorCode::WrongType]);
}

#[test]
fn what_not_names_keeps_a_rule_from_matching() {
    let request = ask("job.a.x")
        .tenant("acme")
        .capability("cap")
        .pack("pack")
        .actor("bot", ActorType::Service)
        .risk(&["write", "prod"])
        .requires(&["git"])
        .label("env", "eu");
    for (not, holds) in [
        ("tenants: [ACME]", false),
        ("tenants: [globex]", true),
        ("topics: ['job.a.*']", false),
        ("topics: ['job.b.*']", true),
        ("capabilities: [cap]", false),
        ("risk_tags: [prod]", false),
        ("risk_tags: [other]", true),
        ("requires: [gpu, git]", false),
        ("requires: [gpu]", true),
        ("pack_ids: [pack]", false),
        ("actor_ids: [bot]", false),
        ("actor_types: [human]", true),
        ("actor_types: [service]", false),
        ("labels: { env: eu }", false),
        ("labels: { env: us, other: x }", true),
        ("labels: { env: us, tenants: x }", true),
        ("tenants: [globex], risk_tags: [prod]", false),
        ("tenants: [globex], risk_tags: [other]", true),
    ] {
        assert_eq!(matches(&format!("    match: {{ not: {{ {not} }} }}"), &request), holds, "{not}");
    }
    assert!(matches("    match: { not: { tenants: [acme] } }", &ask("job.a")), "a request without one is not of it");
    for broken in ["not: {}", "not:", "not: { tenants: [] }"] {
        assert_eq!(
            codes(&format!("rules:\n  - decision: deny\n    match:\n      {broken}")),
            [ErrorCode::EmptyPattern]
        );
    }
    for key in ["secrets_present: true", "mcp: {}", "not: { tenants: [a] }", "during: {}"] {
        let codes = codes(&format!("rules: [{{ decision: deny, match: {{ not: {{ {key} }} }} }}]"));
        assert_eq!(codes[0], ErrorCode::UnknownKey, "{key}");
    }
}

#[test]
fn groups_stand_for_their_members() {
    let yaml = "groups: { eu: [acme, globex], prod: ['job.deploy.*', 'job.dns.*'] }\n\
                rules: [{ id: r, decision: allow, match: { tenants: ['@eu', other], topics: ['@prod'], not: { actor_ids: ['@eu'] } } }]";
    let policy = base(yaml);
    for (topic, tenant, outcome) in [
        ("job.deploy.x", "Globex", Outcome::Allow),
        ("job.dns.x", "other", Outcome::Allow),
        ("job.dns.x", "@eu", Outcome::Deny),
        ("job.x", "acme", Outcome::Deny),
    ] {
        assert_eq!(ask(topic).tenant(tenant).of(&policy).outcome, outcome, "{topic} {tenant}");
    }
    let written_out = base(
        "rules: [{ id: r, decision: allow, match: { tenants: [acme, globex, other], topics: ['job.deploy.*', 'job.dns.*'], not: { actor_ids: [acme, globex] } } }]",
    );
    assert_eq!(policy.id(), written_out.id(), "a policy is what it says, not how");
    let typo = Document::parse("p", "groups: { eu: [a] }\nrules: [{ decision: deny, match: { tenants: ['@eo'] } }]");
    let error = &typo.unwrap_err().0[0];
    assert_eq!((error.code, &*error.hint, error.place.line), (ErrorCode::UnknownGroup, "did you mean `@eu`?", 2));
    assert_eq!(codes("groups: { eu: [] }"), [ErrorCode::EmptyPattern]);
    let established = base("rules: [{ decision: allow, match: { tenants: ['@eu'] } }]");
    assert_eq!(ask("job.a").tenant("@eu").of(&established).outcome, Outcome::Allow, "no groups, no meaning of `@`");
}

#[test]
fn groups_cannot_make_a_document_explode() {
    let members = vec!["m"; 2_000].join(",");
    let uses = vec!["'@g'"; 1_000].join(",");
    let yaml = format!("groups: {{ g: [{members}] }}\nrules: [{{ decision: deny, match: {{ tenants: [{uses}] }} }}]");
    assert_eq!(codes(&yaml), [ErrorCode::TooLarge]);
}

#[test]
fn w30_hours_are_those_of_a_time_zone() {
    let at = |time: &str| ask("job.a").at(time);
    // 2026-11-23 is a Monday; Berlin is an hour ahead then, and two in summer.
    for (during, time, inside) in [
        ("days: [mon-fri], from: '09:00', to: '17:00', time_zone: Europe/Berlin", "2026-11-23T08:00:00Z", true),
        ("days: [mon-fri], from: '09:00', to: '17:00', time_zone: Europe/Berlin", "2026-11-23T07:59:59Z", false),
        ("days: [mon-fri], from: '09:00', to: '17:00', time_zone: Europe/Berlin", "2026-11-23T16:00:00Z", false),
        ("days: [mon-fri], from: '09:00', to: '17:00', time_zone: Europe/Berlin", "2026-07-20T07:00:00Z", true),
        ("days: [sat-sun]", "2026-11-23T00:00:00Z", false),
        ("days: [sat-sun]", "2026-11-22T23:59:59Z", true),
        ("days: [fri], from: '22:00', to: '06:00'", "2026-11-28T05:59:00Z", true),
        ("days: [fri], from: '22:00', to: '06:00'", "2026-11-27T05:59:00Z", false),
        ("days: [fri-mon]", "2026-11-23T12:00:00Z", true),
        ("from: '18:00', to: '24:00'", "2026-11-23T23:59:00Z", true),
        ("to: '06:00'", "2026-11-23T06:00:00Z", false),
    ] {
        let lines = format!("    match: {{ during: {{ {during} }} }}");
        assert_eq!(matches(&lines, &at(time)), inside, "{during} {time}");
    }
    for broken in [
        "days: [someday]",
        "from: '25:00'",
        "from: 9",
        "to: '9:00'",
        "time_zone: Mars/Base",
        "from: '09:00', to: '09:00'",
    ] {
        let yaml = format!("rules: [{{ decision: deny, match: {{ during: {{ {broken} }} }} }}]");
        assert_eq!(codes(&yaml), [ErrorCode::WrongType], "{broken}");
    }
}

#[test]
fn w30_conditions_read_the_request_and_what_is_known_of_the_run() {
    let request = ask("job.pay.send")
        .tenant("acme")
        .capability("pay")
        .risk(&["write"])
        .requires(&["git"])
        .actor("bot", ActorType::Service)
        .label("env", "eu")
        .at("2026-11-23T08:00:00Z")
        .input(json!({"amount": 700}))
        .facts(
            RunFacts::new().flag("touched_secrets", true).count("jobs_last_minute", 40).words("hosts", ["a.example"]),
        );
    for (when, holds) in [
        ("input.amount > 500", true),
        ("input.amount > 900", false),
        ("input.missing > 900", false),
        ("topic == 'job.pay.send' && tenant == 'acme' && principal == 'ada'", true),
        ("capability == 'pay' && pack == '' && actor_id == 'bot' && actor_type == 'service'", true),
        ("'write' in risk_tags && size(requires) == 1", true),
        ("labels.env == 'eu' && !has(labels.other)", true),
        ("attempt == 1 && run == null", true),
        ("secrets_present", false),
        ("facts.touched_secrets && 'network' in risk_tags", false),
        ("facts.touched_secrets", true),
        ("facts.jobs_last_minute >= 40", true),
        ("facts.hosts.exists(h, h.endsWith('.example'))", true),
        ("'spent' in known && facts.spent > 3", false),
        ("timestamp(now).getHours('+01:00') == 9", true),
    ] {
        assert_eq!(matches(&format!("    when: \"{when}\""), &request), holds, "{when}");
    }
    for broken in ["tenantt == 'x'", "1 +", "", "now.getHours(", "steps.a.output"] {
        let yaml = format!("rules:\n  - decision: deny\n    when: \"{broken}\"");
        let errors = Document::parse("p", &yaml).unwrap_err();
        assert_eq!((errors.0[0].code, errors.0[0].place.line), (ErrorCode::BadCondition, 3), "{broken}");
    }
}

#[test]
fn what_cannot_be_judged_is_denied_whatever_the_rule_would_decide() {
    for decision in ["allow", "deny", "require_approval", "throttle"] {
        for lines in [
            "    when: facts.jobs_last_minute > 3",
            "    when: input.amount + 1 > 3",
            "    when: timestamp(now).getHours() > 3",
            "    match: { during: { days: [mon] } }",
        ] {
            let policy = set(&[
                ("base", Origin::Base, &format!("rules:\n  - id: it\n    decision: {decision}\n{lines}")),
                ("x/y", Origin::Pack, "rules: [{ decision: allow }]"),
            ]);
            let denied = ask("job.x.a").of(&policy);
            assert_eq!((denied.outcome, &*denied.rule_id), (Outcome::Deny, "it"), "{decision} {lines}");
            assert!(denied.reason.contains("cannot be judged"), "{}", denied.reason);
            assert_eq!(ask("job.x.a").why(&policy).decision, denied);
        }
    }
    let only_if_all_else_holds = base(
        "rules:\n  - { id: it, decision: deny, match: { tenants: [acme] }, when: facts.x }\n  - { id: rest, decision: allow }",
    );
    assert_eq!(&*ask("job.a").of(&only_if_all_else_holds).rule_id, "rest");
}

#[test]
fn a_condition_cannot_run_away() {
    let nested = "input.list.all(a, input.list.all(b, a + b >= 0))";
    let policy = base(&format!("rules: [{{ id: it, decision: allow, when: \"{nested}\" }}]"));
    let list: Vec<u32> = (0..20_000).collect();
    let decision = ask("job.a").input(json!({ "list": list })).of(&policy);
    assert_eq!(decision.outcome, Outcome::Deny);
    assert!(decision.reason.contains("cannot be judged"), "{}", decision.reason);
}

#[test]
fn a_throttle_says_how_long_and_the_longest_wait_holds() {
    for (text, wait) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000)] {
        let policy = base(&format!("rules: [{{ decision: throttle, retry_after: {text} }}]"));
        assert_eq!(ask("job.a").of(&policy).retry_after, Some(Duration::from_millis(wait)));
    }
    let two = |other: &str| {
        set(&[
            ("base", Origin::Base, "rules: [{ decision: throttle, retry_after: 30s }]"),
            ("secops/x", Origin::SecOps, &format!("rules: [{{ decision: {other} }}]")),
        ])
    };
    assert_eq!(ask("job.a").of(&two("throttle, retry_after: 1m")).retry_after, Some(Duration::from_mins(1)));
    assert_eq!(ask("job.a").of(&two("throttle")).retry_after, Some(Duration::from_secs(30)));
    assert_eq!(ask("job.a").of(&two("deny")).retry_after, None);
    for broken in ["30", "0s", "2d", "25h", "-1s", "1.5s", "''", "99999999999999999999s"] {
        let yaml = format!("rules: [{{ decision: throttle, retry_after: {broken} }}]");
        assert_eq!(codes(&yaml), [ErrorCode::WrongType], "{broken}");
    }
    assert_eq!(codes("rules: [{ decision: allow, retry_after: 3s }]"), [ErrorCode::Misplaced]);
}

#[test]
fn a_pack_cannot_use_the_extensions_to_leave_its_own() {
    let policy = set(&[(
        "a/x",
        Origin::Pack,
        "groups: { g: [job.a.x] }\nrules: [{ priority: 9, decision: allow, match: { not: { tenants: [nobody] } }, when: \"attempt > 0\" }]",
    )]);
    assert_eq!(ask("job.a.x").of(&policy).outcome, Outcome::Allow);
    assert_eq!(ask("job.b.x").of(&policy).outcome, Outcome::Deny);
    let outside = crate::PolicySet::new().source(
        "a/x",
        Origin::Pack,
        "groups: { g: [job.a.x, job.b.x] }\nrules: [{ decision: allow, match: { topics: ['@g'] } }]",
    );
    assert_eq!(outside.compile().unwrap_err().0[0].code, ErrorCode::OutOfScope);
}
