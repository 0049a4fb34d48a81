use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    policy::{Decision, FixedPolicy, Outcome, PolicyRequest, fixed},
    ports::{PolicyEngine, PolicySnapshot, Verdict},
    scheduler::Routes,
};

fn spec(id: &str) -> Arc<JobSpec> {
    Arc::new(JobSpec {
        id: JobId::parse(id).expect("a legal id"),
        attempt: 1,
        topic: Topic::parse_job("job.mail.send").expect("a legal topic"),
        tenant: TenantId::default(),
        team: "".into(),
        principal: "someone".into(),
        meta: Arc::default(),
        labels: Default::default(),
        priority: Priority::Batch,
        memory_id: "".into(),
        adapter_id: None,
        trace_id: "trace".into(),
        workflow: None,
        run: None,
        step: None,
        item: None,
        index: None,
        timeout: Some(Duration::from_secs(60)),
        input: Arc::new(json!({"to": "a@example.org"})),
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

struct World {
    policy: Arc<dyn PolicySnapshot>,
    routes: Routes,
}

impl World {
    fn new(outcome: Outcome) -> Self {
        let engine: FixedPolicy = fixed(outcome);
        Self { policy: engine.snapshot(), routes: Routes::open() }
    }

    fn facts(&self, now: Timestamp) -> Facts<'_> {
        Facts {
            now,
            seed: 7,
            policy: &*self.policy,
            routes: &self.routes,
            default_job_timeout: Duration::from_secs(9_000),
            stop_grace: Duration::from_secs(10),
            payload_limits: crate::value::Limits::default(),
            gate: Default::default(),
            bounds: Default::default(),
            outputs: None,
        }
    }
}

/// Opens the job and folds what happened.
fn opened(world: &World, spec: &Arc<JobSpec>) -> (Job, Moves) {
    let mut job = Job::new(spec.id.clone(), 1, at(0));
    let moves = open(spec, None, &world.facts(at(0)));
    fold(&mut job, at(0), &moves);
    (job, moves)
}

fn fold(job: &mut Job, now: Timestamp, moves: &Moves) {
    for event in &moves.events {
        job.apply(now, event);
    }
}

fn finished(spec: &JobSpec) -> JobInput {
    let status = JobStatusReport::Succeeded(Output { value: Some(Arc::new(json!(1))), ..Output::default() });
    let result = JobResult { job: spec.id.clone(), worker: "w1".into(), status, execution_ms: 5 };
    JobInput::Finished { result, fenced: true }
}

fn answer(approved: bool) -> JobInput {
    JobInput::Answered(Answer {
        approved,
        by: "ann".into(),
        role: "".into(),
        reason: "because".into(),
        note: "".into(),
    })
}

#[test]
fn a_permitted_job_is_dispatched_with_its_deadline_and_ends_with_its_result() {
    let (world, spec) = (World::new(Outcome::Allow), spec("run:step@1"));
    let (mut job, moves) = opened(&world, &spec);
    assert_eq!(job.state, JobState::Dispatched);
    assert_eq!(job.due_at, Some(at(60)));
    assert!(matches!(moves.effects.as_slice(), [Effect::Dispatch { deadline_at, .. }] if *deadline_at == at(60)));

    let moves = decide(&job, &spec, finished(&spec), &world.facts(at(3))).expect("legal");
    fold(&mut job, at(3), &moves);
    assert_eq!((job.state, job.completed_at, job.worker.as_deref()), (JobState::Succeeded, Some(at(3)), Some("w1")));
    assert!(moves.effects.is_empty());

    let repeat = decide(&job, &spec, finished(&spec), &world.facts(at(4))).expect("absorbed");
    assert_eq!(repeat, Moves::default(), "a repeated result changes nothing");
}

#[test]
fn a_denied_job_never_leaves_and_is_reported() {
    let (world, spec) = (World::new(Outcome::Deny), spec("j1"));
    let (job, moves) = opened(&world, &spec);
    assert_eq!(job.state, JobState::Denied);
    assert!(matches!(moves.effects.as_slice(), [Effect::Report { state: JobState::Denied, .. }]));
    assert_eq!(job.failure.map(|failure| failure.code.to_string()), Some("safety_denied".into()));
}

#[test]
fn a_job_without_a_pool_fails_at_once_and_says_what_to_map() {
    let mut world = World::new(Outcome::Allow);
    world.routes = Routes::parse("pools.yaml", "topics: {job.other: p}").expect("legal");
    let (job, moves) = opened(&world, &spec("j1"));
    let failure = job.failure.expect("a reason");
    assert_eq!((job.state, &*failure.code), (JobState::Failed, "no_pool_mapping"));
    assert!(failure.message.contains("job.mail.send"), "{}", failure.message);
    assert!(moves.effects.iter().all(|effect| !matches!(effect, Effect::Dispatch { .. })));
}

#[test]
fn an_approval_lets_exactly_the_approved_work_go_and_a_rejection_ends_it() {
    let (world, spec) = (World::new(Outcome::RequireApproval), spec("j1"));
    let (mut job, moves) = opened(&world, &spec);
    assert_eq!(job.state, JobState::ApprovalRequired);
    let request = moves.opened.expect("a question");
    assert_eq!(request.hash.as_deref(), Some(spec.hash().as_str()));

    let rejected = decide(&job, &spec, answer(false), &world.facts(at(9))).expect("legal");
    assert!(rejected.closed);
    assert!(
        matches!(rejected.events.as_slice(), [JobEvent::Denied { failure, .. }] if &*failure.code == "approval_rejected")
    );

    let approved = decide(&job, &spec, answer(true), &world.facts(at(9))).expect("legal");
    assert!(approved.closed && approved.opened.is_none());
    assert!(matches!(approved.events.as_slice(), [JobEvent::Approved { .. }, JobEvent::Dispatched { .. }]));
    fold(&mut job, at(9), &approved);
    assert_eq!(job.due_at, Some(at(69)), "the deadline counts from the dispatch, not from the question");

    assert!(decide(&job, &spec, answer(true), &world.facts(at(10))).is_err(), "there is nothing left to answer");
}

#[test]
fn policy_is_asked_again_when_a_human_agrees_so_that_a_new_denial_wins() {
    let (asking, denying) = (World::new(Outcome::RequireApproval), World::new(Outcome::Deny));
    let spec = spec("j1");
    let (mut job, _) = opened(&asking, &spec);
    let moves = decide(&job, &spec, answer(true), &denying.facts(at(9))).expect("legal");
    fold(&mut job, at(9), &moves);
    assert_eq!(job.state, JobState::Denied);
    assert!(moves.effects.iter().all(|effect| !matches!(effect, Effect::Dispatch { .. })));
}

#[test]
fn a_late_result_after_the_deadline_is_absorbed() {
    let (world, spec) = (World::new(Outcome::Allow), spec("run:step@1"));
    let (mut job, _) = opened(&world, &spec);
    assert_eq!(decide(&job, &spec, JobInput::Tick, &world.facts(at(59))).expect("legal"), Moves::default());
    let moves = decide(&job, &spec, JobInput::Tick, &world.facts(at(60))).expect("legal");
    fold(&mut job, at(60), &moves);
    assert_eq!(job.state, JobState::Timeout);
    assert!(moves.effects.iter().any(|effect| matches!(effect, Effect::Cancel { .. })), "the worker is told to stop");
    assert_eq!(decide(&job, &spec, finished(&spec), &world.facts(at(61))).expect("absorbed"), Moves::default());
    assert_eq!(job.state, JobState::Timeout);
}

#[test]
fn a_result_for_a_job_that_was_never_dispatched_is_not_legal() {
    let (world, spec) = (World::new(Outcome::RequireApproval), spec("j1"));
    let (job, _) = opened(&world, &spec);
    let rejected = decide(&job, &spec, finished(&spec), &world.facts(at(1))).expect_err("not legal");
    assert_eq!(rejected.to_string(), "job `j1` is APPROVAL_REQUIRED and cannot take a result");
}

#[derive(Debug)]
struct Throttling(Arc<str>);

impl PolicySnapshot for Throttling {
    fn id(&self) -> &Arc<str> {
        &self.0
    }
    fn governed(&self) -> bool {
        true
    }
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Verdict {
        let mut decision = Decision::new(Outcome::Throttle, "slow", "too much", self.0.clone());
        decision.retry_after = Some(Duration::from_secs(30));
        Verdict::Decided(decision)
    }
}

#[test]
fn a_throttled_job_is_asked_about_again_after_its_wait() {
    let spec = spec("j1");
    let throttling = World { policy: Arc::new(Throttling("t".into())), routes: Routes::open() };
    let allowing = World::new(Outcome::Allow);
    let (mut job, _) = opened(&throttling, &spec);
    assert_eq!((job.state, job.due_at), (JobState::Pending, Some(at(30))));
    assert_eq!(decide(&job, &spec, JobInput::Tick, &allowing.facts(at(29))).expect("early"), Moves::default());
    let moves = decide(&job, &spec, JobInput::Tick, &allowing.facts(at(30))).expect("due");
    fold(&mut job, at(30), &moves);
    assert_eq!(job.state, JobState::Dispatched);
}

#[test]
fn cancelling_reaches_the_worker_only_where_one_may_have_the_job() {
    let spec = spec("j1");
    let cancel = || JobInput::Cancel { by: "ann".into(), reason: "stop".into() };
    let world = World::new(Outcome::Allow);
    let (job, _) = opened(&world, &spec);
    let moves = decide(&job, &spec, cancel(), &world.facts(at(1))).expect("legal");
    assert!(moves.effects.iter().any(|effect| matches!(effect, Effect::Cancel { .. })));
    let world = World::new(Outcome::RequireApproval);
    let (job, _) = opened(&world, &spec);
    let moves = decide(&job, &spec, cancel(), &world.facts(at(1))).expect("legal");
    assert!(moves.closed, "the question is withdrawn");
    assert!(moves.effects.iter().all(|effect| !matches!(effect, Effect::Cancel { .. })));
}

#[test]
fn the_hash_binds_what_is_done_and_not_which_try_it_is() {
    let first = spec("run:step@1");
    let mut second = JobSpec::clone(&first);
    second.id = JobId::parse("run:step@2").expect("legal");
    second.attempt = 2;
    assert_eq!(first.hash(), second.hash());
    second.input = Arc::new(json!({"to": "b@example.org"}));
    assert_ne!(first.hash(), second.hash());
}

#[test]
fn a_yes_to_one_try_covers_the_next_of_the_same_work_and_no_other() {
    let (world, first) = (World::new(Outcome::RequireApproval), spec("run:step@1"));
    let (mut job, _) = opened(&world, &first);
    let approved = decide(&job, &first, answer(true), &world.facts(at(1))).expect("legal");
    fold(&mut job, at(1), &approved);
    let grant = job.grant.expect("a yes");
    let mut second = JobSpec::clone(&first);
    (second.id, second.attempt) = (JobId::parse("run:step@2").expect("legal"), 2);
    let kept = open(&Arc::new(second.clone()), Some(&grant), &world.facts(at(2)));
    assert!(
        matches!(kept.events.as_slice(), [JobEvent::Covered { given_to: 1, .. }, JobEvent::Dispatched { .. }]),
        "{kept:?}"
    );
    type Change = (&'static str, fn(&mut JobSpec));
    let changes: [Change; 6] = [
        ("input", |spec| spec.input = Arc::new(json!({"to": "mallory@example.org"}))),
        ("topic", |spec| spec.topic = Topic::parse_job("job.mail.delete").expect("legal")),
        ("principal", |spec| spec.principal = "mallory".into()),
        ("adapter", |spec| spec.adapter_id = Some("other".into())),
        ("time", |spec| spec.timeout = Some(Duration::from_secs(86_400))),
        ("item", |spec| spec.item = Some(Arc::new(json!(2)))),
    ];
    for (what, change) in changes {
        let mut other = second.clone();
        change(&mut other);
        let asked = open(&Arc::new(other), Some(&grant), &world.facts(at(2)));
        let [JobEvent::ApprovalRequired { again, .. }] = asked.events.as_slice() else { panic!("{what}: {asked:?}") };
        assert_eq!(*again, Some(GrantLapse::RequestChanged), "{what}");
        assert_eq!(asked.opened.expect("a question").asked_again, *again);
    }
}

#[test]
fn what_an_older_record_does_not_tell_of_a_yes_covers_nothing() {
    let (world, spec) = (World::new(Outcome::RequireApproval), spec("run:step@2"));
    let old = json!({
        "approved": true, "by": "ann", "at": at(0), "hash": spec.hash(), "snapshot": "fixed:require_approval",
    });
    let grant: ApprovalGrant = serde_json::from_value(old).expect("an older record");
    let moves = open(&spec, Some(&grant), &world.facts(at(1)));
    assert!(matches!(moves.events.as_slice(), [JobEvent::ApprovalRequired { .. }]), "{moves:?}");
}

#[test]
fn ids_are_refused_with_the_reason() {
    for (text, reason) in
        [("", "it is empty"), ("a b", "letters"), ("job..x", "empty word"), ("mail.x", "does not start")]
    {
        let error = Topic::parse_job(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert!(StepId::parse("a.b").is_err() && StepId::parse("a:b").is_err() && StepId::parse("fetch-data_1").is_ok());
    assert!(JobId::parse(&"x".repeat(361)).is_err());
    let (run, step) = (RunId::parse(&"r".repeat(128)).expect("legal"), StepId::parse(&"s".repeat(128)).expect("legal"));
    assert!(
        JobId::parse(JobId::of_step(&run, &super::StepRunId::of_step(&step), u32::MAX).as_str()).is_ok(),
        "what the platform makes is legal"
    );
}

#[test]
fn events_read_back_as_they_were_written() {
    let (world, spec) = (World::new(Outcome::Allow), spec("run:step@1"));
    let (job, moves) = opened(&world, &spec);
    let more = decide(&job, &spec, finished(&spec), &world.facts(at(3))).expect("legal");
    for event in moves.events.iter().chain(&more.events) {
        let text = serde_json::to_string(event).expect("JSON");
        assert_eq!(&serde_json::from_str::<JobEvent>(&text).expect(&text), event);
    }
}
