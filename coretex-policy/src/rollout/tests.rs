use coretex_core::{
    policy::Outcome,
    ports::{PolicyEngine as _, Verdict},
};

use super::*;
use crate::{
    YamlPolicy,
    testing::{Ask, ask, base},
};

const LIVE: &str = "version: live\nrules: [{ id: all, decision: allow }]";
const NEXT: &str = "version: next\nrules: [{ id: no-prod, decision: deny, match: { risk_tags: [prod] } }, { id: rest, decision: allow }]";

fn engine(stage: Stage, limits: Limits) -> YamlPolicy {
    let engine = YamlPolicy::new(base(LIVE));
    engine.begin_rollout(base(NEXT), stage, limits);
    engine
}

fn decide(engine: &YamlPolicy, ask: &Ask, run: &str, job: &str) -> Decision {
    let request = PolicyRequest { run_id: Some(run).filter(|run| !run.is_empty()), job_id: job, ..ask.request() };
    match engine.snapshot().evaluate(&request) {
        Verdict::Decided(decision) => decision,
        Verdict::Ask => panic!("rules never ask"),
    }
}

fn harmless() -> Limits {
    Limits { denied_more: 1.0, ..Limits::default() }
}

#[test]
fn a_shadow_decides_nothing_and_both_verdicts_are_kept() {
    let engine = engine(Stage::Shadow, harmless());
    let prod = ask("job.a").tenant("acme").risk(&["prod"]);
    for n in 0..10 {
        let decision = decide(&engine, &prod, &format!("run-{n}"), "j");
        assert_eq!((decision.outcome, decision.snapshot.starts_with("live:")), (Outcome::Allow, true));
        decide(&engine, &ask("job.b"), "run", "j");
    }
    let rollout = engine.rollout().unwrap();
    let counts = rollout.counts();
    assert_eq!((counts.asked, counts.candidate_denied, counts.live_denied), (20, 10, 0));
    assert_eq!((counts.differ, counts.decided_by_candidate, counts.loosened), (20, 0, 0), "rule ids differ as well");
    let first = &rollout.differences()[0];
    assert_eq!((first.arm, first.live.outcome, first.candidate.outcome), (Arm::Live, Outcome::Allow, Outcome::Deny));
    assert!(engine.snapshot().id().contains("|shadow=next:"));
}

#[test]
fn a_canary_decides_for_its_tenants_and_its_share_of_runs() {
    let canary = Stage::Canary { tenants: vec!["ACME".into()], percent: 20 };
    let engine = engine(canary, harmless());
    let prod = |tenant: &str| ask("job.a").tenant(tenant).risk(&["prod"]);
    assert_eq!(decide(&engine, &prod("acme"), "run", "j").outcome, Outcome::Deny);
    let denied = (0..2_000).filter(|n| {
        let run = format!("run-{n}");
        let first = decide(&engine, &prod("globex"), &run, &format!("{run}:a@1")).outcome;
        for job in ["b@1", "b@2", "c[3]@1"] {
            assert_eq!(
                decide(&engine, &prod("globex"), &run, &format!("{run}:{job}")).outcome,
                first,
                "one run, one policy"
            );
        }
        first == Outcome::Deny
    });
    let denied = denied.count();
    assert!((320..480).contains(&denied), "{denied} of 2,000 runs");
    let single = |attempt: u32| decide(&engine, &prod("globex"), "", &format!("job-7@{attempt}")).outcome;
    assert_eq!(single(1), single(2), "so are the attempts of a job");
}

#[test]
fn every_stage_up_to_the_end_takes_more_in() {
    let engine = engine(Stage::Canary { tenants: Vec::new(), percent: 0 }, harmless());
    let prod = ask("job.a").risk(&["prod"]);
    let denied = |engine: &YamlPolicy| {
        (0..300)
            .filter(|n| decide(engine, &prod, &format!("run-{n}"), "j").outcome == Outcome::Deny)
            .collect::<Vec<_>>()
    };
    assert_eq!(denied(&engine), Vec::<u32>::new());
    engine.set_stage(Stage::Canary { tenants: Vec::new(), percent: 10 }).unwrap();
    let ten = denied(&engine);
    engine.set_stage(Stage::Canary { tenants: Vec::new(), percent: 50 }).unwrap();
    let fifty = denied(&engine);
    assert!(ten.iter().all(|run| fifty.contains(run)), "a run does not leave the canary as it grows");
    engine.set_stage(Stage::Enforce).unwrap();
    assert_eq!(denied(&engine).len(), 300);
    assert!(engine.finish_rollout().unwrap().starts_with("next:"));
    assert!(engine.rollout().is_none());
    assert_eq!(decide(&engine, &prod, "r", "j").outcome, Outcome::Deny);
    assert!(engine.finish_rollout().is_none() && engine.set_stage(Stage::Enforce).is_none());
}

#[test]
fn a_candidate_that_denies_too_much_is_taken_back_by_itself() {
    let engine = engine(Stage::Enforce, Limits { at_least: 50, denied_more: 0.1, unclear: 0.0 });
    let prod = ask("job.a").risk(&["prod"]);
    let denied = (0..200).filter(|n| {
        // One in five is denied.
        let one = if n % 5 == 0 { prod.clone() } else { ask("job.a") };
        decide(&engine, &one, &format!("run-{n}"), "j").outcome == Outcome::Deny
    });
    assert_eq!(denied.count(), 10, "the fifty that it took to see it");
    let (candidate, why) = engine.taken_back().unwrap();
    assert!(candidate.starts_with("next:"));
    assert_eq!(why, "the candidate denies 20.0 % more of the requests, 10.0 % may be");
    assert!(engine.rollout().is_none());
}

#[test]
fn a_candidate_that_cannot_judge_is_taken_back_even_as_a_shadow() {
    let engine = YamlPolicy::new(base(LIVE));
    let unclear = "rules: [{ id: slow, decision: throttle, when: facts.untold > 1 }, { decision: allow }]";
    engine.begin_rollout(base(unclear), Stage::Shadow, Limits { at_least: 3, ..harmless() });
    for n in 0..5 {
        assert_eq!(decide(&engine, &ask("job.a"), &format!("run-{n}"), "j").outcome, Outcome::Allow);
    }
    assert!(engine.taken_back().unwrap().1.contains("cannot be judged"));
}

#[test]
fn a_publication_and_a_hand_end_a_rollout() {
    let engine = engine(Stage::Enforce, harmless());
    assert!(engine.take_back("not today"));
    assert_eq!(engine.taken_back().unwrap().1, "not today");
    assert!(!engine.take_back("again"));
    engine.begin_rollout(base(NEXT), Stage::Enforce, harmless());
    engine.replace(base(LIVE));
    assert!(engine.rollout().is_none());
    let held = engine.snapshot();
    engine.begin_rollout(base(NEXT), Stage::Enforce, harmless());
    let prod = ask("job.a").risk(&["prod"]);
    let Verdict::Decided(decision) = held.evaluate(&prod.request()) else { panic!() };
    assert_eq!(decision.outcome, Outcome::Allow, "a held snapshot does not change");
}

#[test]
fn health_is_a_matter_of_counts() {
    let limits = Limits { at_least: 10, denied_more: 0.5, unclear: 0.1 };
    let counts = |asked, live_denied, candidate_denied, candidate_unclear| Counts {
        asked,
        live_denied,
        candidate_denied,
        candidate_unclear,
        ..Counts::default()
    };
    for (counts, health) in [
        (counts(9, 0, 9, 9), "too_early"),
        (counts(10, 0, 5, 1), "good"),
        (counts(10, 0, 6, 0), "harmful"),
        (counts(10, 5, 10, 0), "good"),
        (counts(10, 0, 0, 2), "harmful"),
        (counts(10, 10, 0, 0), "good"),
    ] {
        let told = serde_json::to_value(limits.judge(&counts)).unwrap();
        assert_eq!(told["health"], health, "{counts:?}");
    }
}
