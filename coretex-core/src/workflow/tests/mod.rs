use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

mod ending;
mod failures;
mod kinds;
mod migration;
mod properties;
mod refused;
use crate::{
    job::{Answer, Facts, JobId, JobInput, JobResult, JobState, JobStatusReport, Output, RunId, StepRunId},
    policy::{Outcome, fixed},
    ports::{PolicyEngine, PolicySnapshot},
    scheduler::Routes,
};

fn problems(yaml: &str) -> Vec<String> {
    match Workflow::parse("flow.yaml", yaml) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.code)).collect(),
    }
}

#[test]
fn every_problem_of_a_definition_is_named_with_its_place() {
    let yaml = r#"
id: broken
steps:
  a: {type: worker, topic: job.x, depends_on: [b, nowhere]}
  b: {type: worker, topic: nojob, depends_on: [a]}
  "c:d": {type: worker}
  e: {type: delay, delay_until: tomorrow}
  f: {type: condition}
  g: {type: worker, input: {x: "${input.y"}}
  h: {type: worker, condition: "steps.zz.output > 1"}
  i: {type: worker, timeout_sec: -1}
  j: {type: worker, output_path: steps.a}
  k: {type: worker, retry: {jitter: 2}}
"#;
    let found = problems(yaml);
    for expected in [
        "steps.a.depends_on[1]: unknown_dependency",
        "steps.b.topic: id_invalid",
        "steps.c:d: id_invalid",
        "steps.e.delay_until: time_invalid",
        "steps.f.condition: condition_missing",
        "steps.h.condition: expression_invalid",
        "steps.i.timeout_sec: out_of_range",
        "steps.k.retry.jitter: out_of_range",
    ] {
        assert!(found.iter().any(|problem| problem == expected), "{expected} is missing in {found:#?}");
    }
    assert!(found.iter().any(|problem| problem.starts_with("steps.g.input")), "{found:#?}");
    assert!(found.iter().any(|problem| problem.starts_with("steps.j.output_path")), "{found:#?}");
}

#[test]
fn a_cycle_is_shown_whole() {
    let error = Workflow::parse(
        "flow.yaml",
        "id: w\nsteps:\n  a: {depends_on: [c]}\n  b: {depends_on: [a]}\n  c: {depends_on: [b]}\n  d: {}\n",
    )
    .expect_err("a cycle");
    assert_eq!(error.code(), "workflow_cycle");
    let text = error.to_string();
    assert!(text.starts_with("flow.yaml: `steps."), "{text}");
    assert!(
        ["a -> c -> b -> a", "b -> a -> c -> b", "c -> b -> a -> c"].iter().any(|path| text.contains(path)),
        "{text}"
    );
}

#[test]
fn a_chain_of_ten_thousand_steps_is_checked_without_overflowing_the_stack() {
    let mut steps = serde_json::Map::new();
    for n in 0..10_000 {
        let deps = if n == 0 { json!([]) } else { json!([format!("s{:05}", n - 1)]) };
        steps.insert(format!("s{n:05}"), json!({"type": "worker", "topic": "job.x", "depends_on": deps}));
    }
    Workflow::from_value("big", json!({"id": "big", "steps": steps.clone()})).expect("legal");
    steps.insert("s00000".into(), json!({"depends_on": ["s09999"]}));
    let error = Workflow::from_value("big", json!({"id": "big", "steps": steps})).expect_err("a cycle");
    assert_eq!(error.code(), "workflow_cycle");
}

#[test]
fn fields_and_types_that_are_not_carried_out_are_refused_by_name() {
    for (step, place) in [
        ("{on_error: b}", "steps.a.on_error: unknown_dependency"),
        ("{on_error: a}", "steps.a.on_error: workflow_cycle"),
        ("{max_parallel: 3}", "steps.a.max_parallel: field_misplaced"),
        ("{cases: [{when: 'true'}]}", "steps.a.cases: field_misplaced"),
        ("{input_schema_id: x/y}", "steps.a.input_schema_id: not_supported"),
        ("{type: loop, max_iterations: 3}", "steps.a.steps: field_missing"),
        ("{type: lopo}", "steps.a.type: unknown_step_type"),
        ("{depend_on: [b]}", "steps.a.depend_on: unknown_field"),
        ("{depends_on: b}", "steps.a.depends_on: wrong_type"),
    ] {
        assert_eq!(problems(&format!("id: w\nsteps:\n  a: {step}\n")), [place], "{step}");
    }
    assert!(problems("id: w\nsteps:\n  a: {max_parallel: 0, on_error: \"\", for_each: null}\n").is_empty(), "not set");
}

#[test]
fn equal_definitions_have_equal_digests_whatever_their_form_and_stamps() {
    let yaml = Workflow::parse("a.yaml", "id: w\nsteps: {a: {topic: job.x}}\n").expect("legal");
    let json = r#"{"steps":{"a":{"topic":"job.x","type":"worker"}},"id":"w","created_at":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(yaml.digest(), Workflow::parse("a.json", json).expect("legal").digest());
    let other = Workflow::parse("a.yaml", "id: w\nsteps: {a: {topic: job.y}}\n").expect("legal");
    assert_ne!(yaml.digest(), other.digest());
}

#[test]
fn reading_a_step_without_waiting_for_it_is_a_warning() {
    let workflow = Workflow::parse(
        "w.yaml",
        "id: w\nsteps:\n  a: {topic: job.x}\n  b: {topic: job.x, input: {v: \"${steps.a.output}\"}}\n",
    )
    .expect("legal");
    assert_eq!(workflow.warnings().iter().map(|warning| warning.code).collect::<Vec<_>>(), ["reads_without_waiting"]);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

/// Folds `event` in, under the definition that it may move the run onto.
fn under(run: &mut Run, event: &StoredEvent, definitions: &[Arc<Workflow>]) {
    match event.event.migrates_to() {
        None => run.apply(event),
        Some(digest) => {
            let definition = definitions.iter().find(|definition| definition.digest() == digest).expect("it is known");
            assert!(run.apply_under(event, definition.clone()), "it moves");
        }
    }
}

/// A run that is driven by hand: what a test feeds it is all that happens.
struct Driver {
    policy: Arc<dyn PolicySnapshot>,
    routes: Routes,
    run: Run,
    /// Those that the run was under, the last one last.
    definitions: Vec<Arc<Workflow>>,
    log: Vec<StoredEvent>,
    effects: Vec<RunEffect>,
    records: Vec<Records>,
}

impl Driver {
    fn start(yaml: &str, input: Value) -> Self {
        Self::start_as(yaml, input, false)
    }

    fn start_as(yaml: &str, input: Value, dry_run: bool) -> Self {
        Self::begin(fixed(Outcome::Allow).snapshot(), yaml, input, dry_run, Routes::open())
    }

    fn start_under(policy: Arc<dyn PolicySnapshot>, yaml: &str, input: Value) -> Self {
        Self::begin(policy, yaml, input, false, Routes::open())
    }

    fn start_with(yaml: &str, input: Value, routes: Routes) -> Self {
        Self::begin(fixed(Outcome::Allow).snapshot(), yaml, input, false, routes)
    }

    fn begin(policy: Arc<dyn PolicySnapshot>, yaml: &str, input: Value, dry_run: bool, routes: Routes) -> Self {
        let workflow = Arc::new(Workflow::parse("flow.yaml", yaml).expect("a legal workflow"));
        let mut driver = Self {
            policy,
            routes,
            run: Run::new(workflow.clone()),
            definitions: vec![workflow.clone()],
            log: Vec::new(),
            effects: Vec::new(),
            records: Vec::new(),
        };
        let id = RunId::parse("r1").expect("legal");
        let start_run = StartRun { dry_run, ..StartRun::new(id, Arc::new(input), "tester".into()) };
        let transition = start(&workflow, start_run, &driver.facts(at(0))).expect("it starts");
        driver.fold(transition);
        driver
    }

    fn facts(&self, now: Timestamp) -> Facts<'_> {
        Facts {
            now,
            seed: 1,
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

    fn fold(&mut self, transition: Transition) {
        let mut adopted = self.run.clone();
        adopted.adopt(transition.changes);
        for event in &transition.events {
            under(&mut self.run, event, &self.definitions);
        }
        assert_eq!(adopted, self.run, "what a decision folded is not the fold of its events");
        assert_eq!(adopted.next_due(), self.run.next_due(), "the timers of both differ");
        self.log.extend(transition.events);
        self.effects.extend(transition.effects);
        if !transition.records.is_empty() {
            self.records.push(transition.records);
        }
        // Recovery folds the same events from what was stored.
        let mut again = Run::new(self.definitions.first().expect("it started on one").clone());
        for event in &self.log {
            let text = serde_json::to_vec(event).expect("JSON");
            under(&mut again, &serde_json::from_slice(&text).expect("readable"), &self.definitions);
        }
        assert_eq!(again, self.run, "replaying the stored events gives another state");
        let snapshot = self.run.to_snapshot().expect("JSON");
        assert_eq!(Run::from_snapshot(self.run.workflow().clone(), &snapshot).expect("readable"), self.run);
    }

    fn feed(&mut self, second: i64, input: RunInput) -> &mut Self {
        let transition = decide(&self.run, input, &self.facts(at(second))).expect("a legal input");
        self.fold(transition);
        self
    }

    fn finish(&mut self, second: i64, job: &str, status: JobStatusReport) -> &mut Self {
        let job = JobId::parse(job).expect("a legal id");
        let result = JobResult { job: job.clone(), worker: "w1".into(), status, execution_ms: 1 };
        self.feed(second, RunInput::Job { job, input: JobInput::Finished { result, fenced: true } })
    }

    fn succeed(&mut self, second: i64, job: &str, value: Value) -> &mut Self {
        let output = Output { value: Some(Arc::new(value)), ..Output::default() };
        self.finish(second, job, JobStatusReport::Succeeded(output))
    }

    fn dispatched(&self) -> Vec<String> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                RunEffect::Job(crate::job::Effect::Dispatch { spec, .. }) => Some(spec.id.to_string()),
                _ => None,
            })
            .collect()
    }

    fn status(&self, step: &str) -> StepStatus {
        self.run.step(step).expect("a step").status
    }
}

#[test]
fn a_finished_step_releases_what_waited_for_it_in_the_same_transition() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  a: {topic: job.x}\n  b: {topic: job.x, depends_on: [a], input: {v: \"${steps.a.output.n}\", w: \"${input.missing}\"}}\n  c: {topic: job.x, depends_on: [a, b]}\n",
        json!({"k": 1}),
    );
    assert_eq!(run.dispatched(), ["r1:a@1"]);
    run.succeed(1, "r1:a@1", json!({"n": 7}));
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:b@1"]);
    assert_eq!(
        run.run.step("b").and_then(|step| step.input.as_deref()),
        Some(&json!({"v": 7})),
        "an undefined key is dropped"
    );
    run.succeed(2, "r1:b@1", json!(null)).succeed(3, "r1:c@1", json!(true));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
    assert_eq!(run.run.wake(), Wake::Never);
}

#[test]
fn a_false_gate_skips_the_step_and_lets_its_dependents_go() {
    let run = Driver::start(
        "id: w\nsteps:\n  check: {type: condition, condition: \"input.n > 3\"}\n  big: {topic: job.x, depends_on: [check], condition: steps.check.output}\n  after: {topic: job.x, depends_on: [big]}\n",
        json!({"n": 1}),
    );
    assert_eq!(run.status("check"), StepStatus::Succeeded);
    assert_eq!(run.status("big"), StepStatus::Skipped);
    assert_eq!(run.dispatched(), ["r1:after@1"]);
}

#[test]
fn a_retryable_failure_opens_the_next_attempt_after_its_backoff_and_a_fatal_one_does_not() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.x, retry: {max_retries: 2, initial_backoff_sec: 10, jitter: 0}}\n";
    let failed = |retryable| {
        JobStatusReport::Failed(crate::job::Failure {
            code: "boom".into(),
            message: "it broke".into(),
            retryable,
            retry_after_ms: None,
        })
    };
    let mut run = Driver::start(yaml, json!({}));
    run.finish(1, "r1:a@1", failed(true));
    assert_eq!((run.status("a"), run.run.wake()), (StepStatus::Pending, Wake::At(at(11))));
    run.feed(10, RunInput::Tick);
    assert_eq!(run.dispatched().len(), 1, "a tick before the time does nothing");
    run.succeed(10, "r1:a@1", json!("late"));
    assert_eq!(run.status("a"), StepStatus::Pending, "the old attempt cannot come back");
    run.feed(11, RunInput::Tick);
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:a@2"]);
    run.finish(12, "r1:a@2", failed(true));
    assert_eq!(run.run.wake(), Wake::At(at(32)), "the second wait is twice the first");
    run.feed(32, RunInput::Tick).finish(33, "r1:a@3", failed(true));
    assert_eq!((run.run.status(), run.run.failed_step()), (RunStatus::Failed, Some("a")));
    assert_eq!(run.records.last().map(|records| records.dead_letters.len()), Some(1), "the job is given up");

    let mut run = Driver::start(yaml, json!({}));
    run.finish(1, "r1:a@1", failed(false));
    assert_eq!(run.run.status(), RunStatus::Failed);
}

#[test]
fn a_failed_step_stops_its_siblings() {
    let mut run =
        Driver::start("id: w\nsteps:\n  a: {topic: job.x}\n  b: {topic: job.x}\n  c: {type: approval}\n", json!({}));
    assert_eq!(run.run.status(), RunStatus::Waiting);
    run.finish(1, "r1:a@1", JobStatusReport::Failed(crate::job::Failure::fatal("boom", "it broke")));
    assert_eq!((run.status("b"), run.status("c")), (StepStatus::Running, StepStatus::Cancelled));
    assert_eq!(run.run.phase(), Phase::Stopping, "the worker that has `b` may still say how it ended");
    let told = run.effects.iter().any(
        |effect| matches!(effect, RunEffect::Job(crate::job::Effect::Cancel { job, .. }) if job.as_str() == "r1:b@1"),
    );
    assert!(told, "the worker that has `b` is told to stop");
    assert_eq!(run.records.last().map(|records| records.closed.clone()), Some(vec!["r1:c".to_owned()]));
    run.finish(2, "r1:b@1", JobStatusReport::Cancelled);
    assert_eq!((run.run.status(), run.status("b")), (RunStatus::Failed, StepStatus::Cancelled));
    let before = run.run.clone();
    run.succeed(3, "r1:b@1", json!(1));
    assert_eq!(run.run, before, "what comes after the end changes nothing");
}

#[test]
fn an_approval_step_waits_for_its_answer_or_its_time() {
    let yaml = "id: w\nsteps:\n  ask: {type: approval, timeout_sec: 60}\n  go: {topic: job.x, depends_on: [ask], input: {by: \"${steps.ask.output.by}\"}}\n";
    let answer = |approved| Answer { approved, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() };
    let step = || StepRunId::parse("ask").expect("legal");
    let mut run = Driver::start(yaml, json!({}));
    assert_eq!(run.run.wake(), Wake::At(at(60)));
    run.feed(5, RunInput::Answer { step: step(), answer: answer(true) });
    assert_eq!(run.run.step("go").and_then(|step| step.input.as_deref()), Some(&json!({"by": "ann"})));
    let again = decide(&run.run, RunInput::Answer { step: step(), answer: answer(true) }, &run.facts(at(6)));
    assert!(again.expect("the same answer again changes nothing").is_empty());
    let other = decide(&run.run, RunInput::Answer { step: step(), answer: answer(false) }, &run.facts(at(6)));
    assert_eq!(other.expect_err("answered otherwise").code(), "step_not_waiting");

    let mut run = Driver::start(yaml, json!({}));
    run.feed(5, RunInput::Answer { step: step(), answer: answer(false) });
    assert_eq!(run.run.status(), RunStatus::Failed);
    let mut run = Driver::start(yaml, json!({}));
    run.feed(60, RunInput::Tick);
    assert_eq!(
        (run.status("ask"), run.run.failure().map(|failure| failure.code.to_string())),
        (StepStatus::TimedOut, Some("approval_expired".into()))
    );
}

#[test]
fn a_delay_of_thirty_days_parks_the_run_on_one_timer() {
    let month = 30 * 24 * 3600;
    let mut run = Driver::start(
        &format!(
            "id: w\nsteps:\n  wait: {{type: delay, delay_sec: {month}}}\n  go: {{topic: job.x, depends_on: [wait]}}\n"
        ),
        json!({}),
    );
    assert_eq!(run.run.wake(), Wake::At(at(month)));
    run.feed(month, RunInput::Tick);
    assert_eq!((run.status("wait"), run.run.wake()), (StepStatus::Succeeded, Wake::Hot));
}

#[test]
fn a_run_that_passes_its_deadline_times_out_with_everything_in_it() {
    let mut run = Driver::start("id: w\ntimeout_sec: 100\nsteps:\n  a: {topic: job.x}\n", json!({}));
    run.feed(100, RunInput::Tick);
    assert_eq!((run.run.status(), run.run.wake()), (RunStatus::Running, Wake::Hot), "the worker is told");
    run.feed(110, RunInput::Tick);
    assert_eq!((run.run.status(), run.status("a")), (RunStatus::TimedOut, StepStatus::Cancelled));
}

#[test]
fn an_output_that_does_not_match_its_schema_fails_the_step() {
    let mut run =
        Driver::start("id: w\nsteps:\n  a: {topic: job.x, output_schema: {type: object, required: [n]}}\n", json!({}));
    run.succeed(1, "r1:a@1", json!({"m": 1}));
    let failure = run.run.failure().expect("a reason");
    assert_eq!((run.run.status(), &*failure.code), (RunStatus::Failed, "output_invalid"));
    let lines = timeline("r1", "w", 1, &run.log);
    assert!(lines.iter().any(|line| line.kind == "step_output_invalid"), "{lines:#?}");
}

#[test]
fn a_notify_step_ends_when_its_alert_was_published_and_is_published_again_until_then() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  tell: {type: notify, input: {message: \"n is ${input.n}\"}}\n",
        json!({"n": 3}),
    );
    assert!(
        matches!(run.effects.as_slice(), [RunEffect::Notify { payload, .. }] if **payload == json!({"message": "n is 3"}))
    );
    assert_eq!(run.run.wake(), Wake::Hot);
    assert_eq!(outstanding(&run.run, &run.facts(at(1))), run.effects, "recovery publishes it again");
    run.feed(1, RunInput::Notified { step: StepRunId::parse("tell").expect("legal") });
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

#[test]
fn an_output_path_writes_into_the_context_that_later_steps_read() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  a: {topic: job.x, output_path: report.first}\n  b: {topic: job.x, depends_on: [a], input: {r: \"${ctx.report.first.n}\"}}\n",
        json!({}),
    );
    run.succeed(1, "r1:a@1", json!({"n": 5}));
    assert_eq!(**run.run.context(), json!({"report": {"first": {"n": 5}}}));
    assert_eq!(run.run.step("b").and_then(|step| step.input.as_deref()), Some(&json!({"r": 5})));
}

#[test]
fn what_a_recovery_dispatches_is_what_was_dispatched() {
    let mut run =
        Driver::start("id: w\nsteps:\n  a: {topic: job.x, input: {v: \"${input.v}\"}}\n", json!({"v": [1, 2]}));
    assert_eq!(outstanding(&run.run, &run.facts(at(50))), run.effects);
    run.succeed(51, "r1:a@1", json!(0));
    assert!(outstanding(&run.run, &run.facts(at(52))).is_empty());
}

#[test]
fn the_timeline_shows_every_transition_in_order() {
    let mut run = Driver::start("id: w\nsteps:\n  a: {topic: job.x}\n", json!({}));
    run.feed(
        1,
        RunInput::Job { job: JobId::parse("r1:a@1").expect("legal"), input: JobInput::Started { worker: "w1".into() } },
    );
    run.succeed(2, "r1:a@1", json!(1));
    let lines = timeline("r1", "w", 1, &run.log);
    let seen: Vec<_> =
        lines.iter().map(|line| (line.seq, line.kind.as_str(), line.status.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        seen,
        [
            (1, "run_status", "running"),
            (2, "step_dispatched", "running"),
            (3, "step_started", "RUNNING"),
            (4, "step_completed", "succeeded"),
            (5, "run_status", "succeeded"),
        ]
    );
    assert_eq!(lines.get(1).and_then(|line| line.job_id.as_deref()), Some("r1:a@1"));
    assert_eq!(lines.get(1).map(|line| line.data["ungoverned"].clone()), Some(json!(true)));
    assert_eq!(
        run.run.job(&JobId::parse("r1:a@1").expect("legal")).map(|(_, job)| job.state),
        Some(JobState::Succeeded)
    );
}
