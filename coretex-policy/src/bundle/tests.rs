use coretex_core::policy::Outcome;

use super::*;
use crate::{
    error::ErrorCode,
    testing::{ask, set},
};

fn refused(bundles: &[(&str, Origin, &str)]) -> Vec<crate::BundleError> {
    let set = bundles.iter().fold(PolicySet::new(), |set, (id, origin, yaml)| set.source(*id, *origin, yaml));
    set.compile().expect_err("the set is broken").0
}

#[test]
fn w20_a_pack_whose_name_sorts_first_cannot_shadow_a_security_deny() {
    let policy = set(&[
        ("a-pack/default", Origin::Pack, "rules: [{ id: mine, decision: allow, match: { topics: [job.a-pack.*] } }]"),
        ("secops/baseline", Origin::SecOps, "rules: [{ id: no-prod, decision: deny, match: { risk_tags: [prod] } }]"),
    ]);
    let denied = ask("job.a-pack.run").risk(&["prod"]).of(&policy);
    assert_eq!((denied.outcome, &*denied.rule_id), (Outcome::Deny, "no-prod"));
    let allowed = ask("job.a-pack.run").of(&policy);
    assert_eq!((allowed.outcome, &*allowed.rule_id), (Outcome::Allow, "mine"));
}

#[test]
fn w20_a_pack_cannot_speak_about_topics_of_others() {
    for topic in ["job.other.x", "job.*", "*", "job.sre*", "job.sre", "job.sre-extra.x", "job.s?e.x", "sys.job"] {
        let yaml = format!("rules: [{{ id: r, decision: allow, match: {{ topics: [job.sre.ok, '{topic}'] }} }}]");
        let errors = refused(&[("sre/default", Origin::Pack, &yaml)]);
        assert_eq!(errors.len(), 1, "{topic}");
        assert_eq!(errors[0].code, ErrorCode::OutOfScope);
        assert_eq!(errors[0].place.path, "rules[0].match.topics[1]");
    }
}

#[test]
fn w20_a_pack_rule_without_topics_reaches_only_its_own() {
    let policy = set(&[("sre/default", Origin::Pack, "rules: [{ id: all, decision: allow }]")]);
    assert_eq!(ask("job.sre.scan").of(&policy).outcome, Outcome::Allow);
    assert_eq!(ask("job.other.scan").of(&policy).outcome, Outcome::Deny);
    assert_eq!(ask("job.srex.scan").of(&policy).outcome, Outcome::Deny);
}

#[test]
fn packs_and_tenants_cannot_set_what_holds_for_everybody() {
    for (id, origin) in [("sre/default", Origin::Pack), ("acme/rules", Origin::Tenant)] {
        for yaml in
            ["default_decision: allow", "default_tenant: acme", "default_reason: because", "tenants: { globex: {} }"]
        {
            let errors = refused(&[(id, origin, yaml)]);
            assert!(errors.len() == 1 && errors[0].code == ErrorCode::OutOfScope, "{id} {yaml}: {errors:?}");
        }
    }
    assert_eq!(refused(&[("Not A Pack/x", Origin::Pack, "rules: []")])[0].code, ErrorCode::OutOfScope);
}

#[test]
fn a_tenant_speaks_only_about_itself() {
    let yaml = "rules: [{ id: freeze, decision: deny }]\ntenants: { ACME: { deny_topics: [job.x] } }";
    let allow = "rules: [{ id: all, decision: allow }]";
    let policy = set(&[("acme/rules", Origin::Tenant, yaml), ("base", Origin::Base, allow)]);
    assert_eq!(ask("job.a").tenant("Acme").of(&policy).outcome, Outcome::Deny);
    assert_eq!(ask("job.a").tenant("globex").of(&policy).outcome, Outcome::Allow);
    let errors =
        refused(&[("acme/rules", Origin::Tenant, "rules: [{ decision: allow, match: { tenants: [acme, globex] } }]")]);
    assert_eq!(errors[0].place.path, "rules[0].match.tenants[1]");
}

#[test]
fn w24_a_broken_pack_fragment_stops_nobody_else_and_opens_nothing() {
    let (policy, errors) = PolicySet::new()
        .source("base", Origin::Base, "rules: [{ id: all, decision: allow }]")
        .source("bad/default", Origin::Pack, "rules: [{ id: x, decision: alow }]")
        .source("good/default", Origin::Pack, "rules: [{ id: ask, decision: require_approval }]")
        .compile_lenient();
    assert_eq!(errors.0.len(), 1);
    assert_eq!(ask("job.other.x").of(&policy).outcome, Outcome::Allow);
    assert_eq!(ask("job.good.x").of(&policy).outcome, Outcome::RequireApproval);
    let closed = ask("job.bad.x").of(&policy);
    assert_eq!((closed.outcome, &*closed.rule_id), (Outcome::Deny, "quarantine:bad/default"));
    assert!(closed.reason.contains("until it is repaired"));
}

#[test]
fn w24_a_broken_security_bundle_closes_everything() {
    let (policy, errors) = PolicySet::new()
        .source("base", Origin::Base, "rules: [{ id: all, decision: allow }]")
        .source("secops/baseline", Origin::SecOps, "rules: [")
        .compile_lenient();
    assert_eq!(errors.0.len(), 1);
    assert_eq!(ask("job.any").of(&policy).outcome, Outcome::Deny);
}

#[test]
fn two_bundles_of_one_name_are_refused_and_neither_is_trusted() {
    let twice = || {
        PolicySet::new().source("sre/a", Origin::Pack, "rules: [{ decision: deny }]").source(
            "sre/a",
            Origin::Pack,
            "rules: [{ decision: allow }]",
        )
    };
    assert_eq!(twice().compile().unwrap_err().0[0].code, ErrorCode::DuplicateBundle);
    let (policy, _) = twice().compile_lenient();
    assert_eq!(&*ask("job.sre.x").of(&policy).rule_id, "quarantine:sre/a");
    assert_eq!(policy.bundles().len(), 1);
}

#[test]
fn the_id_names_the_content_not_its_form() {
    let base = "version: v7\nrules: [{ id: a, decision: deny }]";
    let one = set(&[("base", Origin::Base, base), ("x/y", Origin::Pack, "rules: [{ decision: allow }]")]);
    let same = set(&[
        ("x/y", Origin::Pack, "# a comment\nrules:\n  - decision: permit\n"),
        ("base", Origin::Base, "version: 'v7'\nrules:\n- {decision: block, id: a}\n"),
    ]);
    assert_eq!(one.id(), same.id());
    assert!(one.id().starts_with("v7:") && one.id().len() == 3 + 64, "{}", one.id());
    let other = set(&[("base", Origin::Base, base), ("x/y", Origin::Pack, "rules: [{ decision: throttle }]")]);
    assert_ne!(one.id(), other.id());
    let open = PolicySet::new().source("base", Origin::Base, base).on_no_match(OnNoMatch::Allow).compile().unwrap();
    let shut = PolicySet::new().source("base", Origin::Base, base).compile().unwrap();
    assert_ne!(open.id(), shut.id(), "what decides differently is another policy");
}

#[test]
fn an_established_id_tells_its_origin() {
    assert_eq!(Origin::of_established_id("secops/base"), Origin::SecOps);
    assert_eq!(Origin::of_established_id("secops-lookalike/base"), Origin::Pack);
}
