//! Runs that move onto another definition, and what is in their way.

use super::*;
use crate::job::Failure;

/// What a run is, where it has come to, and how its definition changes.
struct Case {
    before: &'static str,
    after: &'static str,
    input: Value,
    to_rest: fn(&mut Driver),
    refused: &'static [&'static str],
}

impl Driver {
    fn parse(yaml: &str) -> Arc<Workflow> {
        Arc::new(Workflow::parse("flow.yaml", yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")))
    }

    fn wish(to: &Arc<Workflow>) -> RunInput {
        RunInput::Migrate { to: to.clone(), from: None, at: None, by: "ann".into(), reason: "better".into() }
    }

    fn migrate(&mut self, second: i64, yaml: &str) -> Result<(), Vec<Refusal>> {
        let to = Self::parse(yaml);
        let decided = decide(&self.run, Self::wish(&to), &self.facts(at(second)));
        let refusals = self.run.migration_refusals(&to, at(second));
        match decided {
            Ok(transition) => {
                assert_eq!(refusals, [], "the preview says the same as the decision");
                self.definitions.push(to.clone());
                self.fold(transition);
                assert_eq!(self.run.workflow().digest(), to.digest());
                let again = decide(&self.run, Self::wish(&to), &self.facts(at(second))).expect("a repeat is legal");
                assert!(again.is_empty(), "a repeat changes nothing");
                Ok(())
            }
            Err(Rejected::Migration(found)) => {
                assert_eq!(refusals, found, "the preview says the same as the decision");
                Err(found)
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn answer(&mut self, second: i64, step: &str) -> &mut Self {
        let answer = Answer { approved: true, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() };
        self.feed(second, RunInput::Answer { step: StepRunId::parse(step).expect("legal"), answer })
    }
}

fn boom() -> JobStatusReport {
    JobStatusReport::Failed(Failure::fatal("boom", "it broke"))
}

fn busy() -> JobStatusReport {
    JobStatusReport::Failed(Failure::retryable("busy", "later"))
}

const HELD: &str = "id: w
steps:
  a: {topic: job.a}
  hold: {type: approval, depends_on: [a]}
  z: {topic: job.z, depends_on: [hold]}
";

fn held(run: &mut Driver) {
    run.succeed(1, "r1:a@1", json!({"n": 1}));
}

fn stay(_: &mut Driver) {}

#[test]
fn what_is_not_reached_is_free_and_what_is_done_stays_done() {
    let mut run = Driver::start(HELD, json!({"k": 1}));
    held(&mut run);
    let after = "id: w
steps:
  a: {topic: job.other, input: {not: again}}
  extra: {topic: job.extra, depends_on: [a]}
  hold: {type: approval, depends_on: [a]}
  before: {topic: job.before, depends_on: [hold]}
  z: {topic: job.zz, depends_on: [before, extra], input: {n: '${steps.a.output.n}'}}
finally:
  last: {topic: job.last}
";
    run.migrate(2, after).expect("it can move");
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:extra@1"], "what the version lets begin begins, and nothing again");
    assert_eq!((run.run.status(), run.status("hold")), (RunStatus::Waiting, StepStatus::Waiting));
    run.answer(3, "hold").succeed(4, "r1:extra@1", json!(1)).succeed(5, "r1:before@1", json!(1));
    let z = run.run.step("z").and_then(|step| step.input.as_deref());
    assert_eq!(z, Some(&json!({"n": 1})));
    run.succeed(6, "r1:z@1", json!(1)).succeed(7, "r1:last@1", json!(1));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
    let line = timeline("r1", "w", 1, &run.log).into_iter().find(|line| line.kind == "run_migrated").expect("told");
    let (from, to) = (run.definitions[0].digest(), run.definitions[1].digest());
    assert_eq!((line.message.as_deref(), line.data["by"].as_str()), (Some("better"), Some("ann")));
    assert_eq!((line.data["from"].as_str(), line.data["definition"].as_str()), (Some(&**from), Some(&**to)));
}

#[test]
fn a_run_moves_there_and_back_and_remembers_each_definition_once() {
    let mut run = Driver::start(HELD, json!({}));
    held(&mut run);
    let other = HELD.replace("job.z", "job.y");
    for (second, yaml) in [(2, other.as_str()), (3, HELD), (4, other.as_str())] {
        run.migrate(second, yaml).expect("it can move");
    }
    let digests: Vec<_> = run.definitions[..2].iter().map(|workflow| workflow.digest().clone()).collect();
    assert_eq!(run.run.past_definitions(), digests);
    run.answer(5, "hold");
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:z@1"]);
}

#[test]
fn a_step_that_is_gone_leaves_the_run_without_anything_to_do() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a}\n  d: {type: delay, delay_sec: 60, depends_on: [a]}\n  z: {topic: job.z, depends_on: [d]}\n";
    let mut run = Driver::start(yaml, json!({}));
    held(&mut run);
    run.migrate(2, &yaml.replace("  z: {topic: job.z, depends_on: [d]}\n", "")).expect("z was never started");
    assert_eq!(run.run.next_due(), Some(at(61)), "what is armed stays as it is armed");
    run.feed(61, RunInput::Tick);
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

#[test]
fn items_and_iterations_keep_their_places_when_steps_come_before_them() {
    let yaml = "id: w
steps:
  m: {type: parallel, steps: {p: {type: approval}, q: {topic: job.q, depends_on: [p]}}}
  s: {type: approval, for_each: '[1, 2, 3]', max_parallel: 2}
";
    let mut run = Driver::start(yaml, json!({}));
    run.answer(1, "s[0]");
    let after = "id: w
steps:
  a1: {topic: job.a, depends_on: [m]}
  a2: {topic: job.a, depends_on: [a1]}
  m: {type: parallel, steps: {o: {topic: job.o}, p: {type: approval}, q: {topic: job.qq, depends_on: [o, p]}}}
  s: {type: approval, for_each: '[1, 2, 3]', max_parallel: 2}
  t: {topic: job.t, depends_on: [s], input: {all: '${steps.s.output}'}}
finally: {f: {type: condition, condition: 'true'}}
";
    run.migrate(2, after).expect("it can move");
    assert_eq!(run.dispatched(), ["r1:o@1"]);
    run.answer(3, "s[1]").answer(4, "s[2]").answer(5, "p").succeed(6, "r1:o@1", json!(1));
    run.succeed(7, "r1:q@1", json!(1)).succeed(8, "r1:a1@1", json!(1)).succeed(9, "r1:a2@1", json!(1));
    run.succeed(10, "r1:t@1", json!(1));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
    let all = run.run.step("t").and_then(|step| step.input.as_deref()).and_then(|input| input["all"].as_array());
    assert_eq!(all.map(Vec::len), Some(3));
}

#[test]
fn what_is_owed_is_undone_as_the_version_says() {
    let yaml = "id: w
steps:
  a: {topic: job.a, compensate: {topic: job.undo}}
  hold: {type: approval, depends_on: [a]}
";
    let mut run = Driver::start(yaml, json!({}));
    held(&mut run);
    run.migrate(2, &yaml.replace("job.undo", "job.undo.better")).expect("it can move");
    run.feed(3, RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
    let undo = run.effects.iter().find_map(|effect| match effect {
        RunEffect::Job(crate::job::Effect::Dispatch { spec, .. }) if spec.id.as_str() == "r1:a-compensate@1" => {
            Some(spec.topic.to_string())
        }
        _ => None,
    });
    assert_eq!(undo.as_deref(), Some("job.undo.better"));
}

#[test]
fn a_switch_that_chose_has_chosen_and_a_way_that_was_not_taken_stays_so() {
    let yaml = "id: w
steps:
  s: {type: switch, cases: [{when: 'input.n > 2', then: [b]}], default: [c]}
  b: {topic: job.b}
  c: {type: approval}
  d: {topic: job.d, depends_on: [b]}
";
    let mut run = Driver::start(yaml, json!({"n": 1}));
    assert_eq!((run.status("b"), run.status("d")), (StepStatus::Skipped, StepStatus::Skipped));
    let after = yaml.replace("then: [b]", "then: [b, e]")
        + "  e: {topic: job.e}\n  f: {topic: job.f, depends_on: [d]}\n  g: {topic: job.g, depends_on: [c]}\n";
    run.migrate(1, &after).expect("it can move");
    assert_eq!((run.status("e"), run.status("f")), (StepStatus::Skipped, StepStatus::Skipped));
    run.answer(2, "c");
    assert_eq!(run.dispatched(), ["r1:g@1"]);
}

#[test]
fn the_input_is_completed_by_the_schema_of_the_version() {
    let mut run = Driver::start(HELD, json!({"k": 1}));
    held(&mut run);
    let schema = "input_schema: {type: object, properties: {k: {type: integer}, limit: {type: integer, default: 9}}}\n";
    let after = HELD
        .replace("steps:", &format!("{schema}steps:"))
        .replace("job.z,", "job.z, input: {limit: '${input.limit}'},");
    run.migrate(2, &after).expect("it can move");
    run.answer(3, "hold");
    assert_eq!(run.run.step("z").and_then(|step| step.input.as_deref()), Some(&json!({"limit": 9})));
}

#[test]
fn a_changed_time_limit_counts_from_the_beginning_of_the_run() {
    let limit = |text: &str| HELD.replace("steps:", &format!("{text}\nsteps:"));
    let mut run = Driver::start(&limit("timeout_sec: 100"), json!({}));
    held(&mut run);
    run.migrate(50, &limit("timeout_sec: 400")).expect("it can move");
    assert_eq!(run.run.deadline_at(), Some(at(400)));
    run.migrate(60, &limit("timeout_sec: 400\nname: same limit")).expect("it can move");
    assert_eq!(run.run.deadline_at(), Some(at(400)));
    run.migrate(70, HELD).expect("it can move");
    assert_eq!(run.run.deadline_at(), None);

    let mut run = Driver::start(&limit("timeout_sec: 100\ntimeout_counts: active"), json!({}));
    run.succeed(30, "r1:a@1", json!(1));
    run.migrate(500, &limit("timeout_sec: 150\ntimeout_counts: active")).expect("it can move");
    run.answer(1_000, "hold");
    assert_eq!(run.run.deadline_at(), Some(at(1_120)), "thirty of 150 seconds are used up");
}

#[test]
fn a_job_that_is_held_back_stays_the_one_that_was_asked_about() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a, input: {n: 1}}\n  z: {topic: job.z, depends_on: [a]}\n";
    let mut run = Driver::start_under(fixed(Outcome::RequireApproval).snapshot(), yaml, json!({}));
    assert_eq!(run.status("a"), StepStatus::Waiting);
    let hash = run.records[0].opened[0].hash.clone();
    let told = run.migrate(1, &yaml.replace("job.a", "job.b")).expect_err("another job");
    assert_eq!(codes_of(&told), ["step_request_changed"]);
    run.migrate(2, &yaml.replace("job.z", "job.y")).expect("the same job");
    run.policy = fixed(Outcome::Allow).snapshot();
    run.answer(3, "a");
    let job = run.run.step("a").and_then(|step| step.job.clone()).expect("a job");
    assert_eq!(job.grant.map(|grant| grant.hash.clone()), hash, "the grant is bound to the job that was asked about");
    run.succeed(4, "r1:a@1", json!(1));
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:z@1"]);
}

fn codes_of(refusals: &[Refusal]) -> Vec<&'static str> {
    refusals.iter().map(|refusal| refusal.code.code()).collect()
}

/// Each reason alone, with the step that it names.
fn cases() -> Vec<Case> {
    let case = |before, after, to_rest, refused| Case { before, after, input: json!({"n": 1}), to_rest, refused };
    const LOOP: &str = "id: w\nsteps:\n  l: {type: loop, max_iterations: 3, steps: {q: {type: approval}}}\n";
    vec![
        case(
            HELD,
            "id: w\nsteps:\n  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n",
            stay,
            &["a: step_under_way"],
        ),
        case(
            "id: w\nsteps:\n  n: {type: notify, input: {message: hi}}\n",
            "id: w\nsteps:\n  n: {type: notify, input: {message: ho}}\n",
            stay,
            &["n: step_under_way"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  b: {topic: job.a}\n  hold: {type: approval}\n",
            held,
            &["a: step_removed", "hold: step_dependencies_changed"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  a: {type: transform, output: 1}\n  hold: {type: input, depends_on: [a]}\n",
            held,
            &["a: step_kind_changed", "hold: step_kind_changed"],
        ),
        case(
            "id: w\nsteps:\n  a: {type: approval}\n",
            "id: w\nsteps:\n  g: {type: parallel, steps: {a: {type: approval}}}\n",
            stay,
            &["a: step_moved"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  first: {topic: job.f}\n  a: {topic: job.a, depends_on: [first]}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["a: step_dependencies_changed"],
        ),
        case(
            LOOP,
            "id: w\nsteps:\n  l: {type: loop, max_iterations: 3, steps: {q: {type: approval}, r: {topic: job.r}}}\n",
            |run| _ = run.answer(1, "q[0]"),
            &["l: step_added_too_late"],
        ),
        case(
            LOOP,
            "id: w\nsteps:\n  l: {type: loop, max_iterations: 4, steps: {q: {type: approval}}}\n",
            stay,
            &["l: step_group_changed"],
        ),
        case(
            "id: w\nsteps:\n  q: {type: approval, input: {a: 1}}\n  i: {type: input}\n  s: {type: signal}\n  w: {type: subworkflow, workflow: x}\n",
            "id: w\nsteps:\n  q: {type: approval, input: {a: 2}}\n  i: {type: input, output_schema: {type: integer}}\n  s: {type: signal, signal: t}\n  w: {type: subworkflow, workflow: y}\n",
            stay,
            &[
                "i: step_question_changed",
                "q: step_question_changed",
                "s: step_question_changed",
                "w: step_question_changed",
            ],
        ),
        case(
            "id: w\nsteps:\n  a: {topic: job.a, continue_on_error: true}\n  hold: {type: approval, depends_on: [a]}\n",
            "id: w\nsteps:\n  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n",
            |run| _ = run.finish(1, "r1:a@1", boom()),
            &["a: step_failure_handling_changed"],
        ),
        case(
            "id: w\nsteps:\n  a: {topic: job.a, compensate: {topic: job.undo}}\n  hold: {type: approval, depends_on: [a]}\n",
            "id: w\nsteps:\n  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["a: step_compensation_changed"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  a: {topic: job.a, compensate: {topic: job.undo}}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["a: step_compensation_changed"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  a: {topic: job.a, output_path: kept}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["a: step_output_path_changed"],
        ),
        case(
            HELD,
            "id: w\nsteps:\n  a: {topic: job.a, output_schema: {type: object, required: [m]}}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["a: step_output_unfit"],
        ),
        case(
            HELD,
            "id: w\ninput_schema: {type: object, required: [k]}\nsteps:\n  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n",
            held,
            &["run_input_invalid"],
        ),
        case(
            "id: w\nconcurrency: {key: '${input.n}'}\nsteps:\n  hold: {type: approval}\n",
            "id: w\nconcurrency: {key: 'k-${input.n}'}\nsteps:\n  hold: {type: approval}\n",
            stay,
            &["concurrency_key_changed"],
        ),
        case(
            "id: w\nsteps:\n  hold: {type: approval}\n",
            "id: w\ntimeout_sec: 5\nsteps:\n  hold: {type: approval}\n",
            stay,
            &["deadline_passed"],
        ),
        case(
            "id: w\nsteps:\n  hold: {type: approval}\n",
            "id: w\ntimeout_sec: 500\ntimeout_counts: active\nsteps:\n  hold: {type: approval}\n",
            stay,
            &["deadline_unclear"],
        ),
        case(
            "id: w\nsteps:\n  hold: {type: condition, condition: 'true'}\n",
            "id: w\nsteps:\n  hold: {type: condition, condition: 'false'}\n",
            stay,
            &["run_ended"],
        ),
        case(
            "id: w\nsteps:\n  hold: {type: approval}\nfinally:\n  f: {type: approval}\n",
            "id: w\nsteps:\n  hold: {type: approval}\n",
            |run| _ = run.feed(1, RunInput::Cancel { by: "ann".into(), reason: "".into() }),
            &["run_ending"],
        ),
        case(HELD, "id: v\nsteps:\n  hold: {type: approval}\n", held, &["run_on_other_version"]),
    ]
}

#[test]
fn everything_that_is_in_the_way_is_named_with_its_step() {
    for (n, case) in cases().into_iter().enumerate() {
        let mut run = Driver::start(case.before, case.input);
        (case.to_rest)(&mut run);
        let told = run.migrate(10, case.after).expect_err(case.after);
        let shown = |refusal: &Refusal| match &refusal.step {
            Some(step) => format!("{step}: {}", refusal.code.code()),
            None => refusal.code.code().to_owned(),
        };
        let told: Vec<String> = told.iter().map(shown).collect();
        assert_eq!(told, case.refused, "case {n}: {}", case.after);
    }
}

#[test]
fn a_move_is_refused_when_the_run_is_not_where_it_was_thought_to_be() {
    let mut run = Driver::start(HELD, json!({}));
    held(&mut run);
    let to = Driver::parse(&HELD.replace("job.z", "job.y"));
    let wish = |from: Option<&str>, at| RunInput::Migrate {
        to: to.clone(),
        from: from.map(Arc::from),
        at,
        by: "ann".into(),
        reason: "".into(),
    };
    let told = |input| match decide(&run.run, input, &run.facts(at(2))) {
        Err(Rejected::Migration(refusals)) => codes_of(&refusals),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(wish(None, Some(run.run.head() - 1))), ["run_moved_on"]);
    assert_eq!(told(wish(Some("elsewhere"), None)), ["run_on_other_version"]);
    let digest = run.run.workflow().digest().clone();
    let there = decide(&run.run, wish(Some(&digest), Some(run.run.head())), &run.facts(at(2))).expect("it can move");
    assert_eq!(there.events.len(), 1);
}

#[test]
fn a_step_between_two_tries_goes_on_as_the_version_says() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a, retry: {max_retries: 1, initial_backoff_sec: 50, jitter: 0}}\n  b: {topic: job.b, retry: {on_exhausted: park}}\n";
    let mut run = Driver::start(yaml, json!({}));
    run.finish(1, "r1:a@1", busy()).finish(1, "r1:b@1", boom());
    run.migrate(2, &yaml.replace("job.a", "job.a2").replace("job.b", "job.b2")).expect("nobody has them");
    assert_eq!(run.run.next_due(), Some(at(51)));
    let step = StepRunId::parse("b").expect("legal");
    run.feed(3, RunInput::Resolve { step, by: "ann".into(), resolution: Resolution::Retry { input: None } })
        .feed(51, RunInput::Tick);
    let topics: Vec<String> = ["a", "b"]
        .iter()
        .filter_map(|step| Some(run.run.job(&run.run.step(step)?.job.as_ref()?.id)?.0.topic.to_string()))
        .collect();
    assert_eq!(topics, ["job.a2", "job.b2"]);
}

#[test]
fn a_late_result_of_an_older_try_changes_nothing_after_the_move() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a, retry: {max_retries: 1, initial_backoff_sec: 50, jitter: 0}}\n";
    let mut run = Driver::start(yaml, json!({}));
    run.finish(1, "r1:a@1", busy());
    run.migrate(2, &yaml.replace("job.a", "job.b")).expect("nobody has it");
    let before = run.run.clone();
    run.succeed(3, "r1:a@1", json!(1));
    assert_eq!(run.run, before);
}
