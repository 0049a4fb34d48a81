use coretex_core::policy::ActorType;

use crate::{
    Bundle, Consideration, Criterion, Origin,
    testing::{ask, base, set},
};

const RULES: &str = "
version: v3
rules:
  - { id: humans, decision: allow, match: { topics: ['job.deploy.*'], actor_types: [human] } }
  - { id: prod, decision: require_approval, reason: people change production, match: { risk_tags: [prod] } }
  - { id: labels, decision: deny, match: { labels: { freeze: 'on' } } }
";

#[test]
fn w30_an_explanation_tells_every_rule_and_the_one_that_decided() {
    let policy = set(&[
        ("base", Origin::Base, RULES),
        (
            "deploy/default",
            Origin::Pack,
            "rules: [{ id: own, decision: allow, constraints: { budgets: { max_retries: 1 } } }]",
        ),
        (
            "secops/mcp",
            Origin::SecOps,
            "rules: [{ id: tools, decision: deny, match: { requires: [root], secrets_present: true } }]",
        ),
    ]);
    let request = ask("job.deploy.apply").actor("bot", ActorType::Service).risk(&["prod", "write"]);
    let text = request.why(&policy).to_string();
    insta::assert_snapshot!(text.replace(&**policy.id(), "<id>"));
}

#[test]
fn an_explanation_decides_as_an_evaluation_does() {
    let policy = base(RULES);
    for request in [ask("job.deploy.x"), ask("job.x").risk(&["prod"]), ask("job.x").label("freeze", "on"), ask("sys.x")]
    {
        assert_eq!(request.why(&policy).decision, request.of(&policy));
    }
}

#[test]
fn each_criterion_is_named_when_it_fails() {
    for (key, criteria) in [
        (Criterion::Tenants, "tenants: [x]"),
        (Criterion::Topics, "topics: [job.x]"),
        (Criterion::Capabilities, "capabilities: [x]"),
        (Criterion::RiskTags, "risk_tags: [x]"),
        (Criterion::Requires, "requires: [x]"),
        (Criterion::PackIds, "pack_ids: [x]"),
        (Criterion::ActorIds, "actor_ids: [x]"),
        (Criterion::ActorTypes, "actor_types: [human]"),
        (Criterion::Labels, "labels: { x: y }"),
        (Criterion::SecretsPresent, "secrets_present: true"),
        (Criterion::Mcp, "mcp: { deny_tools: [t] }"),
    ] {
        let policy = base(&format!("rules: [{{ decision: deny, match: {{ {criteria} }} }}]"));
        let explanation = ask("job.a").label("mcp.tool", "t").why(&policy);
        match &explanation.considered[0].result {
            Consideration::Failed { criterion, detail, .. } => {
                assert_eq!(*criterion, key);
                assert!(!detail.is_empty());
            }
            other => panic!("{key}: {other:?}"),
        }
        assert_eq!(key.as_str(), serde_json::to_value(key).unwrap());
    }
}

#[test]
fn w30_a_simulated_draft_is_judged_together_with_everything_else() {
    let policy = set(&[("base", Origin::Base, "rules: [{ id: ban, decision: deny, match: { risk_tags: [prod] } }]")]);
    let draft = || Bundle::parse("sre/default", Origin::Pack, "rules: [{ id: own, decision: allow }]").unwrap();
    let asks = [ask("job.sre.a"), ask("job.sre.a").risk(&["prod"]), ask("job.other.a")];
    let requests: Vec<_> = asks.iter().map(crate::testing::Ask::request).collect();
    let simulation = policy.simulate(draft(), &requests).unwrap();
    let changed: Vec<_> = simulation.requests.iter().map(crate::Simulated::changed).collect();
    assert_eq!(changed, [true, false, false], "the operator's ban holds in the simulation too");
    assert_eq!(simulation.changes().count(), 1);
    assert_ne!(simulation.snapshot_before, simulation.snapshot_after);

    let with = set(&[
        ("base", Origin::Base, "rules: [{ id: ban, decision: deny, match: { risk_tags: [prod] } }]"),
        ("sre/default", Origin::Pack, "rules: [{ id: own, decision: allow }]"),
    ]);
    assert_eq!(simulation.snapshot_after, *with.id());
    assert_eq!(with.simulate(draft(), &requests).unwrap().changes().count(), 0);
    let outside = Bundle::parse("sre/default", Origin::Pack, "default_decision: allow").unwrap();
    assert!(policy.simulate(outside, &requests).is_err());
}
