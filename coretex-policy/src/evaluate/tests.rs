use coretex_core::policy::{ActorType, Outcome};

use crate::{
    OnNoMatch, Origin, PolicySet,
    testing::{Ask, ask, base, set},
};

/// One rule with this `match`, and whether it answers.
#[track_caller]
fn matches(criteria: &str, request: &Ask, expected: bool) {
    let policy = base(&format!("rules: [{{ id: it, decision: throttle, match: {criteria} }}]"));
    let decision = request.of(&policy);
    let found = decision.outcome == Outcome::Throttle;
    assert_eq!(found, expected, "{criteria} {request:?}\n{}", request.why(&policy));
}

#[test]
fn each_criterion_matches_as_documented() {
    let job = || ask("job.sre.scan");
    let cases = [
        ("{}", job(), true),
        ("{ tenants: [acme] }", job().tenant("ACME"), true),
        ("{ tenants: [' Acme '] }", job().tenant(" acme "), true),
        ("{ tenants: [acme] }", job().tenant("other"), false),
        ("{ tenants: [acme] }", job(), false),
        ("{ topics: [job.sre.scan] }", job(), true),
        ("{ topics: [job.sre] }", job(), false),
        ("{ topics: [job.x, 'job.sre.*'] }", job(), true),
        ("{ topics: ['job.*'] }", job(), true),
        ("{ topics: ['*'] }", job(), true),
        ("{ topics: ['*.scan'] }", job(), true),
        ("{ topics: ['job.s?e.[q-t]can'] }", job(), true),
        ("{ topics: ['job.SRE.*'] }", job(), false),
        ("{ capabilities: [repo.write] }", job().capability("Repo.Write"), true),
        ("{ capabilities: [repo.write] }", job().capability("repo.read"), false),
        ("{ capabilities: [repo.write] }", job(), false),
        ("{ risk_tags: [prod, write] }", job().risk(&["read", "WRITE"]), true),
        ("{ risk_tags: [prod] }", job().risk(&["read"]), false),
        ("{ risk_tags: [prod] }", job(), false),
        ("{ risk_tags: [prod] }", job().risk(&["a", "b", "c", "d", "e", "f", "g", "h", "prod"]), true),
        ("{ requires: [git, go] }", job().requires(&["Go", "x", "git"]), true),
        ("{ requires: [git, go] }", job().requires(&["git"]), false),
        ("{ requires: [git] }", job(), false),
        ("{ pack_ids: [sre] }", job().pack("SRE"), true),
        ("{ pack_ids: [sre] }", job().pack("ops"), false),
        ("{ actor_ids: [ada] }", job().actor("Ada", ActorType::Human), true),
        ("{ actor_ids: [ada] }", job().actor("bob", ActorType::Human), false),
        ("{ actor_types: [Human] }", job().actor("ada", ActorType::Human), true),
        ("{ actor_types: [service] }", job().actor("ada", ActorType::Human), false),
        ("{ actor_types: [service] }", job(), false),
        ("{ labels: { env: prod, n: 1 } }", job().label("env", "prod").label("n", "1").label("x", "y"), true),
        ("{ labels: { env: prod } }", job().label("env", "Prod"), false),
        ("{ labels: { env: prod } }", job(), false),
        ("{ labels: { env: '' } }", job(), false),
        ("{ secrets_present: true }", job().label("secrets_present", "Yes"), true),
        ("{ secrets_present: true }", job().label("secrets_present", "1"), true),
        ("{ secrets_present: true }", job().label("secrets_present", "false"), false),
        ("{ secrets_present: true }", job().label("secrets_present", "false").risk(&["Secrets"]), true),
        ("{ secrets_present: true }", job().risk(&["secrets"]), true),
        ("{ secrets_present: true }", job(), false),
        ("{ secrets_present: false }", job(), true),
        ("{ secrets_present: false }", job().risk(&["secrets"]), false),
    ];
    for (criteria, request, expected) in cases {
        matches(criteria, &request, expected);
    }
}

#[test]
fn labels_of_the_meta_do_not_count() {
    let mut request = ask("job.a");
    request.meta.labels.insert("env".into(), "prod".into());
    matches("{ labels: { env: prod } }", &request, false);
}

#[test]
fn mcp_lists_judge_mcp_requests_only() {
    let lists = ["servers", "tools", "resources", "actions"];
    let keys = ["server", "tool", "resource", "action"];
    for (list, key) in lists.into_iter().zip(keys) {
        for label in
            [format!("mcp.{key}"), format!("mcp_{key}"), format!("mcp{}{}", key[..1].to_uppercase(), &key[1..])]
        {
            let call = |value: &str| ask("job.a").label(&label, value);
            let (allow, deny) =
                (format!("{{ mcp: {{ allow_{list}: [one] }} }}"), format!("{{ mcp: {{ deny_{list}: [one] }} }}"));
            let both = format!("{{ mcp: {{ allow_{list}: [one], deny_{list}: [one] }} }}");
            let star = format!("{{ mcp: {{ allow_{list}: ['*'] }} }}");
            matches(&allow, &call("ONE"), true);
            matches(&allow, &call("two"), false);
            matches(&deny, &call("one"), false);
            matches(&deny, &call("two"), true);
            matches(&both, &call("one"), false);
            matches(&star, &call("one"), false);
            matches(&both, &ask("job.a"), true);
        }
    }
    let server_only = ask("job.a").label("mcp.server", "github");
    matches("{ mcp: { allow_tools: [read] } }", &server_only, false);
}

#[test]
fn topics_outside_the_job_space_are_denied_whatever_rules_say() {
    let policy = base("default_decision: allow\nrules: [{ id: all, decision: allow }]");
    for topic in ["", "job.", "job", "sys.job.a", "Job.a", "job.a b", "job.a\n", "job.a/b", " job.a"] {
        let decision = ask(topic).of(&policy);
        assert_eq!(decision.outcome, Outcome::Deny, "{topic:?}");
        assert!(decision.reason.contains("must start with `job.`"));
    }
    assert_eq!(ask("job.a").of(&policy).outcome, Outcome::Allow);
}

#[test]
fn a_slash_in_a_topic_does_not_slip_past_a_ban() {
    let policy =
        base("rules: [{ id: ban, decision: deny, match: { topics: ['job.x.*'] } }, { id: all, decision: allow }]");
    assert_eq!(ask("job.x.a/b").of(&policy).outcome, Outcome::Deny);
}

#[test]
fn within_a_bundle_the_first_match_speaks() {
    let policy = base(
        "rules:\n  - { id: exception, decision: allow, match: { tenants: [acme] } }\n  - { id: ban, decision: deny }",
    );
    assert_eq!(&*ask("job.a").tenant("acme").of(&policy).rule_id, "exception");
    assert_eq!(&*ask("job.a").of(&policy).rule_id, "ban");
}

#[test]
fn between_bundles_the_strictest_wins_whoever_it_is() {
    let strict_order = ["allow", "allow_with_constraints", "throttle", "require_approval", "deny"];
    for (low, weaker) in strict_order.iter().enumerate() {
        for stricter in &strict_order[low + 1..] {
            for (first, second) in [(weaker, stricter), (stricter, weaker)] {
                let one = format!("rules: [{{ id: {first}, decision: {first} }}]");
                let two = format!("rules: [{{ id: {second}, decision: {second} }}]");
                let policy = set(&[("secops/x", Origin::SecOps, &one), ("sre/x", Origin::Pack, &two)]);
                assert_eq!(&*ask("job.sre.a").of(&policy).rule_id, *stricter, "{first} and {second}");
            }
        }
    }
}

#[test]
fn among_equals_the_higher_authority_is_named() {
    let rule = |id: &str| format!("rules: [{{ id: {id}, decision: require_approval }}]");
    let bundles = [
        ("sre/x", Origin::Pack, rule("pack")),
        ("acme/x", Origin::Tenant, rule("tenant")),
        ("base", Origin::Base, rule("base")),
        ("secops/b", Origin::SecOps, rule("secops-b")),
        ("secops/a", Origin::SecOps, rule("secops-a")),
    ];
    let mut named = Vec::new();
    for left_out in 0..bundles.len() {
        let some: Vec<_> =
            bundles.iter().take(bundles.len() - left_out).map(|(a, b, c)| (*a, *b, c.as_str())).collect();
        named.push(ask("job.sre.a").tenant("acme").of(&set(&some)).rule_id.to_string());
    }
    assert_eq!(named, ["secops-a", "secops-b", "base", "tenant", "pack"]);
}

#[test]
fn limits_of_several_bundles_all_hold() {
    let policy = set(&[
        (
            "secops/x",
            Origin::SecOps,
            "rules: [{ id: s, decision: allow, constraints: { budgets: { max_runtime_ms: 100, max_retries: 5 }, \
             sandbox: { network_allowlist: [a, b] }, diff: { deny_path_globs: [x] }, redaction_level: high } }]",
        ),
        (
            "sre/x",
            Origin::Pack,
            "rules: [{ id: p, decision: allow, constraints: { budgets: { max_runtime_ms: 900, max_retries: 2, \
             max_concurrent_jobs: 3 }, sandbox: { isolated: true, network_allowlist: [b, c] }, \
             diff: { max_files: 7, deny_path_globs: [x, y] }, redaction_level: low } }]",
        ),
    ]);
    let decision = ask("job.sre.a").of(&policy);
    assert_eq!((decision.outcome, &*decision.rule_id), (Outcome::AllowWithConstraints, "s"));
    let limits = decision.constraints.unwrap();
    let budgets = limits.budgets.as_ref().unwrap();
    assert_eq!((budgets.max_runtime_ms, budgets.max_retries, budgets.max_concurrent_jobs), (100, 2, 3));
    let sandbox = limits.sandbox.as_ref().unwrap();
    assert!(sandbox.isolated);
    assert_eq!(sandbox.network_allowlist, ["b"]);
    let diff = limits.diff.as_ref().unwrap();
    assert_eq!((diff.max_files, diff.deny_path_globs.len()), (7, 2));
    assert_eq!(limits.redaction_level.as_deref(), Some("high"));
}

#[test]
fn an_approval_does_not_lift_the_limits_of_others() {
    let policy = set(&[
        ("secops/x", Origin::SecOps, "rules: [{ id: ask, decision: require_human }]"),
        ("sre/x", Origin::Pack, "rules: [{ id: p, decision: allow, constraints: { budgets: { max_retries: 1 } } }]"),
    ]);
    let decision = ask("job.sre.a").of(&policy);
    assert_eq!(decision.outcome, Outcome::RequireApproval);
    assert_eq!(decision.constraints.unwrap().budgets.as_ref().unwrap().max_retries, 1);
}

#[test]
fn limits_with_nothing_in_common_deny_instead_of_opening() {
    let rule = |tool: &str| {
        format!(
            "rules: [{{ id: {tool}, decision: allow, constraints: {{ toolchain: {{ allowed_tools: [{tool}] }} }} }}]"
        )
    };
    let policy = set(&[("secops/x", Origin::SecOps, &rule("go")), ("sre/x", Origin::Pack, &rule("npm"))]);
    let decision = ask("job.sre.a").of(&policy);
    assert_eq!(decision.outcome, Outcome::Deny);
    assert_eq!(&*decision.reason, "the limits of rules `go` and `npm` leave no tool in allowed_tools in common");
}

#[test]
fn w21_tenant_lists_hold_beside_rules() {
    let policy = base(
        "rules: [{ id: all, decision: allow }]\n\
         tenants: { acme: { allow_topics: ['job.a.*', 'job.b.*'], deny_topics: ['job.a.secret*'] } }",
    );
    let outcome = |topic: &str, tenant: &str| ask(topic).tenant(tenant).of(&policy);
    assert_eq!(outcome("job.a.x", "acme").outcome, Outcome::Allow);
    let banned = outcome("job.a.secret.x", "ACME");
    assert_eq!((banned.outcome, &*banned.rule_id), (Outcome::Deny, "tenant:acme:deny:1"));
    let unlisted = outcome("job.c.x", "acme");
    assert_eq!((unlisted.outcome, &*unlisted.rule_id), (Outcome::Deny, "tenant:acme:allow"));
    assert_eq!(outcome("job.c.x", "globex").outcome, Outcome::Allow);
}

#[test]
fn w21_allow_topics_limits_and_does_not_grant() {
    let policy = base("tenants: { acme: { allow_topics: ['job.a.*'] } }");
    assert_eq!(ask("job.a.x").tenant("acme").of(&policy).outcome, Outcome::Deny);
    assert!(policy.warnings()[0].message.contains("does not grant"));
}

#[test]
fn each_bundles_tenant_lists_hold_by_themselves() {
    let all = "rules: [{ decision: allow }]\ntenants: { acme: { allow_topics: ['job.*'] } }";
    let some = "tenants: { acme: { allow_topics: ['job.a.*'] } }";
    let policy = set(&[("base", Origin::Base, all), ("secops/x", Origin::SecOps, some)]);
    assert_eq!(ask("job.a.x").tenant("acme").of(&policy).outcome, Outcome::Allow);
    assert_eq!(ask("job.b.x").tenant("acme").of(&policy).outcome, Outcome::Deny);
}

#[test]
fn tenant_mcp_lists_deny() {
    let policy = base("rules: [{ decision: allow }]\ntenants: { acme: { mcp: { allow_servers: [github] } } }");
    let call = |server: &str| ask("job.a").tenant("acme").label("mcp.server", server).of(&policy);
    assert_eq!(call("github").outcome, Outcome::Allow);
    assert_eq!(&*call("evil").rule_id, "tenant:acme:mcp");
    assert_eq!(ask("job.a").tenant("acme").of(&policy).outcome, Outcome::Allow);
}

#[test]
fn a_request_without_a_tenant_is_the_default_tenants() {
    let policy =
        base("default_tenant: acme\nrules: [{ decision: allow }]\ntenants: { acme: { deny_topics: [job.x] } }");
    assert_eq!(ask("job.x").of(&policy).outcome, Outcome::Deny);
    assert_eq!(ask("job.x").tenant("other").of(&policy).outcome, Outcome::Allow);
}

#[test]
fn without_a_match_the_default_is_deny_unless_somebody_entitled_says_allow() {
    let none = "rules: []";
    let cases = [
        (none, none, OnNoMatch::Deny, Outcome::Deny, "no rule matched; add a rule that allows this"),
        (none, none, OnNoMatch::Allow, Outcome::Allow, "no rule matched (development default)"),
        ("default_decision: allow", none, OnNoMatch::Deny, Outcome::Allow, "no rule matched (default_decision: allow)"),
        (
            "default_decision: deny",
            none,
            OnNoMatch::Allow,
            Outcome::Deny,
            "no rule matched; add a rule that allows this",
        ),
        (
            "default_decision: allow",
            "default_decision: deny",
            OnNoMatch::Allow,
            Outcome::Deny,
            "no rule matched; add a rule that allows this",
        ),
        ("default_decision: block\ndefault_reason: closed", none, OnNoMatch::Deny, Outcome::Deny, "closed"),
    ];
    for (first, second, option, outcome, reason) in cases {
        let set = PolicySet::new().source("base", Origin::Base, first).source("secops/x", Origin::SecOps, second);
        let decision = ask("job.a").of(&set.on_no_match(option).compile().unwrap());
        assert_eq!(
            (decision.outcome, &*decision.reason, &*decision.rule_id),
            (outcome, reason, ""),
            "{first} {second}"
        );
    }
}

#[test]
fn decisions_carry_everything_the_rule_says() {
    let policy = base(
        "version: v1\nrules: [{ id: no, reason: too risky, decision: deny, remediations: [{ id: r, replacement_topic: job.b }] }]",
    );
    let decision = ask("job.a").of(&policy);
    assert_eq!(&*decision.reason, "too risky");
    assert_eq!(decision.snapshot, *policy.id());
    assert_eq!(decision.remediations[0].replacement_topic, "job.b");
    assert!(!decision.ungoverned);
}

#[test]
fn warnings_name_what_is_probably_not_meant() {
    let policy = base(
        "rules:\n  - { id: all, decision: allow }\n  - { id: late, decision: deny }\n\
         tenants: { acme: { max_concurrent_jobs: 3 } }",
    );
    let texts: Vec<_> = policy.warnings().iter().map(|w| (w.path.as_str(), w.message.as_str())).collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], ("rules[1]", "rule `late` is never reached: rule `all` before it matches everything"));
    assert_eq!(texts[1].0, "tenants.acme");
}
