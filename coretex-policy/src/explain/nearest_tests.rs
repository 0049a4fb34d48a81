use coretex_core::policy::{ActorType, Outcome};
use proptest::prelude::*;

use super::*;
use crate::{
    CompiledPolicy, Origin,
    testing::{Ask, ask, base, set},
};

fn nearest(policy: &CompiledPolicy, ask: &Ask) -> String {
    policy.nearest_change(&ask.request(), &Attribute::SUBMITTED).to_string()
}

#[test]
fn w30_the_smallest_change_is_told_in_words() {
    let policy = set(&[
        (
            "base",
            Origin::Base,
            "rules:
  - { id: freeze, decision: deny, match: { labels: { freeze: 'on' } } }
  - { id: people, decision: allow, match: { topics: ['job.deploy.*'], actor_types: [human], requires: [git] } }
  - { id: read, decision: allow, match: { capabilities: [read], not: { risk_tags: [prod] } } }",
        ),
        ("secops/x", Origin::SecOps, "rules: [{ id: no-prod, decision: deny, match: { risk_tags: [prod] } }]"),
    ]);
    let bot = ask("job.deploy.x").actor("bot", ActorType::Service);
    assert_eq!(nearest(&policy, &bot.clone().capability("read")), "it may run as it is");
    assert_eq!(nearest(&policy, &bot), "ALLOW if it had: capability `read`");
    assert_eq!(
        nearest(&policy, &bot.clone().label("freeze", "on").capability("read")),
        "ALLOW if it had: without label `freeze`"
    );
    assert_eq!(
        nearest(&policy, &bot.risk(&["Prod"]).label("freeze", "on")),
        "ALLOW if it had: capability `read`; without risk tag `prod`; without label `freeze`"
    );
    let closed = base("rules: [{ decision: deny }, { decision: allow }]");
    assert_eq!(nearest(&closed, &ask("job.a")), "nothing that may be changed would let it run");
    let of_others = base("rules: [{ decision: allow, match: { tenants: [acme] } }]");
    assert_eq!(nearest(&of_others, &ask("job.a")), "nothing that may be changed would let it run");
    let widened = of_others.nearest_change(&ask("job.a").request(), &[Attribute::Tenant]);
    assert_eq!(widened.to_string(), "ALLOW if it had: tenant `acme`");
    let conditional = base("rules: [{ decision: allow, when: attempt > 1 }]");
    assert_eq!(nearest(&conditional, &ask("job.a")), "no change was found; conditions (`when`) are tried, not solved");
    let topic = base("rules: [{ decision: allow, match: { topics: ['job.a.*.read'] } }]");
    assert_eq!(
        topic.nearest_change(&ask("job.b").request(), &[Attribute::Topic]).to_string(),
        "ALLOW if it had: topic `job.a..read`"
    );
}

#[test]
fn the_nearest_change_of_a_large_policy_is_found_in_bounded_work() {
    let mut yaml = "rules:\n".to_owned();
    for n in 0..2_000 {
        yaml += &format!(
            "  - {{ id: r{n}, decision: allow, match: {{ capabilities: [c{n}], labels: {{ a{n}: x }}, risk_tags: [t{n}] }} }}\n"
        );
    }
    let policy = base(&yaml);
    let Nearest::Change { edits, .. } =
        policy.nearest_change(&ask("job.a").capability("c9").request(), &Attribute::SUBMITTED)
    else {
        panic!("none")
    };
    assert_eq!(edits.len(), 2);
}

const NAMES: [&str; 2] = ["x", "y"];

fn rule() -> impl Strategy<Value = String> {
    let list = |key: &'static str, of: &'static [&'static str]| {
        prop::option::weighted(0.25, prop::collection::vec(prop::sample::select(of), 1..3))
            .prop_map(move |values| values.map(|values| format!("{key}: {values:?}")))
    };
    let one = |key: &'static str, of: &'static [&'static str]| {
        prop::option::weighted(0.2, prop::sample::select(of))
            .prop_map(move |value| value.map(|value| key.replace('@', value)))
    };
    let parts = (
        (
            list("capabilities", &NAMES),
            list("actor_types", &["human", "service"]),
            list("risk_tags", &["x", "y", "secrets"]),
        ),
        (list("requires", &NAMES), one("labels: { env: @ }", &NAMES), one("secrets_present: @", &["true", "false"])),
        (
            one("mcp: { deny_tools: [@] }", &NAMES),
            one("mcp: { allow_tools: [@] }", &NAMES),
            one("not: { risk_tags: [@] }", &NAMES),
            one("not: { capabilities: [@], labels: { env: @ } }", &NAMES),
        ),
    );
    let decision = prop::sample::select(vec!["allow", "deny", "require_approval", "throttle"]);
    (parts, decision).prop_map(|(((a, b, c), (d, e, f), (g, h, i, j)), decision)| {
        let parts: Vec<_> = [a, b, c, d, e, f, g.or(h), i.or(j)].into_iter().flatten().collect();
        format!("decision: {decision}, match: {{ {} }}", parts.join(", "))
    })
}

/// Everything that the policies above can tell apart.
fn worlds() -> Vec<Ask> {
    let mut all = Vec::new();
    for n in 0..(3 * 3 * 8 * 4 * 3 * 2 * 4) {
        let mut left = n;
        let mut take = |of: usize| {
            let digit = left % of;
            left /= of;
            digit
        };
        let mut one = ask("job.a");
        one.meta.capability =
            ["", "x", "y"].map(str::to_owned).into_iter().nth(take(3)).filter(|word| !word.is_empty());
        one.meta.actor_type = [None, Some(ActorType::Human), Some(ActorType::Service)][take(3)];
        let tags = take(8);
        one.meta.risk_tags = ["x", "y", "secrets"]
            .iter()
            .enumerate()
            .filter(|(n, _)| tags & (1 << n) != 0)
            .map(|(_, tag)| (*tag).to_owned())
            .collect();
        let needs = take(4);
        one.meta.requires =
            NAMES.iter().enumerate().filter(|(n, _)| needs & (1 << n) != 0).map(|(_, tag)| (*tag).to_owned()).collect();
        for (key, value) in [
            ("env", ["", "x", "y"][take(3)]),
            ("secrets_present", ["", "true"][take(2)]),
            ("mcp.tool", ["", "x", "y", "other"][take(4)]),
        ] {
            if !value.is_empty() {
                one = one.label(key, value);
            }
        }
        all.push(one);
    }
    all
}

fn distance(a: &Ask, b: &Ask) -> usize {
    let lists = |a: &[String], b: &[String]| {
        a.iter().filter(|own| !b.contains(own)).count() + b.iter().filter(|own| !a.contains(own)).count()
    };
    let keys = ["env", "secrets_present", "mcp.tool"];
    usize::from(a.meta.capability != b.meta.capability)
        + usize::from(a.meta.actor_type != b.meta.actor_type)
        + lists(&a.meta.risk_tags, &b.meta.risk_tags)
        + lists(&a.meta.requires, &b.meta.requires)
        + keys.iter().filter(|key| a.labels.get(**key) != b.labels.get(**key)).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 60 } else { 600 }, ..ProptestConfig::default() })]

    #[test]
    fn for_every_denial_the_change_yields_an_allow_and_none_is_smaller_or_none_exists(
        first in prop::collection::vec(rule(), 1..5),
        second in prop::collection::vec(rule(), 0..4),
        starts in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let yaml = |rules: &[String]| {
            let rules: Vec<_> = rules.iter().enumerate().map(|(n, rule)| format!("  - {{ id: r{n}, {rule} }}")).collect();
            if rules.is_empty() { "rules: []".to_owned() } else { format!("rules:\n{}", rules.join("\n")) }
        };
        let policy = set(&[("base", Origin::Base, &yaml(&first)), ("secops/x", Origin::SecOps, &yaml(&second))]);
        let worlds = worlds();
        let permitted: Vec<_> = worlds.iter().filter(|world| world.of(&policy).outcome.permits()).collect();
        for start in starts {
            let start = start.get(&worlds);
            let smallest = permitted.iter().map(|world| distance(start, world)).min();
            match policy.nearest_change(&start.request(), &Attribute::SUBMITTED) {
                Nearest::Change { edits, decision } => {
                    let edited = Edited::of(&start.request(), &edits);
                    let again = policy.decide(&edited.request());
                    prop_assert!(again.outcome.permits(), "{:?}: {:?}", edits, again);
                    prop_assert_eq!(again, decision);
                    prop_assert_eq!(Some(edits.len()), smallest, "{:?} {:?}", start, edits);
                }
                Nearest::None => prop_assert_eq!(smallest, None, "{:?}", start),
                Nearest::Unknown { why } => prop_assert!(smallest.is_none_or(|edits| edits > MOST_EDITS), "{}", why),
            }
        }
    }
}

#[test]
fn a_throttle_or_an_approval_counts_as_not_running() {
    let policy = base("rules: [{ decision: throttle, match: { risk_tags: [x] } }, { decision: allow }]");
    let busy = ask("job.a").risk(&["x"]);
    assert_eq!(busy.of(&policy).outcome, Outcome::Throttle);
    assert_eq!(nearest(&policy, &busy), "ALLOW if it had: without risk tag `x`");
}
