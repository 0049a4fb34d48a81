//! What failures lead to: handlers, tolerance, undoing, last steps, operators, deadlines.

use super::*;

fn fatal() -> JobStatusReport {
    JobStatusReport::Failed(crate::job::Failure::fatal("boom", "it broke"))
}

fn busy() -> JobStatusReport {
    JobStatusReport::Failed(crate::job::Failure::retryable("busy", "later"))
}

#[test]
fn a_handler_runs_when_its_step_failed_and_the_run_goes_on_behind_it() {
    let yaml = "
id: w
steps:
  a: {topic: job.a, on_error: fix}
  fix: {topic: job.fix, input: {why: '${steps.a.error.code}'}}
  only-a: {topic: job.only, depends_on: [a]}
  both: {topic: job.both, depends_on: [a, fix]}
";
    let mut run = Driver::start(yaml, json!({}));
    assert_eq!(run.dispatched(), ["r1:a@1"], "a handler is not a root");
    run.finish(1, "r1:a@1", fatal());
    assert_eq!(run.run.step("fix").and_then(|step| step.input.as_deref()), Some(&json!({"why": "boom"})));
    assert_eq!(run.status("only-a"), StepStatus::Skipped);
    run.succeed(2, "r1:fix@1", json!(1)).succeed(3, "r1:both@1", json!(1));
    assert_eq!((run.run.status(), run.status("a")), (RunStatus::Succeeded, StepStatus::Failed));

    let mut run = Driver::start(yaml, json!({}));
    run.succeed(1, "r1:a@1", json!(1));
    assert_eq!(run.status("fix"), StepStatus::Skipped);
    assert_eq!(run.dispatched(), ["r1:a@1", "r1:only-a@1", "r1:both@1"]);

    let mut run = Driver::start(yaml, json!({}));
    run.finish(1, "r1:a@1", fatal()).finish(2, "r1:fix@1", fatal());
    assert_eq!((run.run.status(), run.run.failed_step()), (RunStatus::Failed, Some("fix")));
}

#[test]
fn a_step_may_fail_without_harm() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  a: {topic: job.a, continue_on_error: true}\n  b: {topic: job.b, depends_on: [a], input: {s: '${steps.a.status}'}}\n",
        json!({}),
    );
    run.finish(1, "r1:a@1", fatal());
    assert_eq!(run.run.step("b").and_then(|step| step.input.as_deref()), Some(&json!({"s": "failed"})));
    run.succeed(2, "r1:b@1", json!(1));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

const SAGA: &str = "
id: w
steps:
  flight: {topic: job.flight, compensate: {topic: job.flight.undo, input: {f: '${steps.flight.output}'}, retry: {max_retries: 1, initial_backoff_sec: 1, jitter: 0}}}
  hotel: {topic: job.hotel, depends_on: [flight], compensate: {topic: job.hotel.undo}}
  car: {topic: job.car, depends_on: [hotel], compensate: {topic: job.car.undo}}
finally:
  report: {topic: job.report, input: {s: '${run.status}', c: '${run.error.code}'}}
";

#[test]
fn what_succeeded_is_undone_in_reverse_order_and_last_steps_run() {
    let mut run = Driver::start(SAGA, json!({}));
    run.succeed(1, "r1:flight@1", json!("F1")).succeed(2, "r1:hotel@1", json!("H1")).finish(3, "r1:car@1", fatal());
    assert_eq!(run.run.phase(), Phase::Compensating);
    assert_eq!(
        run.dispatched().last().map(String::as_str),
        Some("r1:hotel-compensate@1"),
        "one at a time, the last first"
    );
    run.succeed(4, "r1:hotel-compensate@1", json!(1));
    assert_eq!(run.run.step("flight-compensate").and_then(|step| step.input.as_deref()), Some(&json!({"f": "F1"})));
    run.finish(5, "r1:flight-compensate@1", busy());
    assert_eq!(run.run.wake(), Wake::At(at(6)), "undoing is tried again");
    run.feed(6, RunInput::Tick).succeed(7, "r1:flight-compensate@2", json!(1));
    assert_eq!((run.run.phase(), run.status("car-compensate")), (Phase::Finalizing, StepStatus::Pending));
    assert_eq!(
        run.run.step("report").and_then(|step| step.input.as_deref()),
        Some(&json!({"s": "failed", "c": "boom"}))
    );
    run.succeed(8, "r1:report@1", json!(1));
    assert_eq!((run.run.status(), run.run.failed_step()), (RunStatus::Failed, Some("car")));
    assert_eq!(run.status("car-compensate"), StepStatus::Skipped);
}

#[test]
fn a_cancelled_run_is_undone_too_and_what_a_stopped_worker_finished_with_it() {
    let mut run = Driver::start(SAGA, json!({}));
    run.succeed(1, "r1:flight@1", json!("F1")).feed(2, RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
    assert_eq!(run.run.phase(), Phase::Stopping);
    run.succeed(3, "r1:hotel@1", json!("H1"));
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:hotel-compensate@1"), "it happened after all");
    run.finish(4, "r1:hotel-compensate@1", fatal()).succeed(5, "r1:flight-compensate@1", json!(1)).succeed(
        6,
        "r1:report@1",
        json!(1),
    );
    assert_eq!(run.run.status(), RunStatus::Cancelled);
    assert_eq!(
        run.run.undo_failure().map(|failure| &*failure.code),
        Some("boom"),
        "the others were undone all the same"
    );
}

#[test]
fn last_steps_run_after_success_and_their_failure_counts() {
    let mut run = Driver::start(SAGA, json!({}));
    for (n, job) in ["flight", "hotel", "car"].into_iter().enumerate() {
        run.succeed(n as i64 + 1, &format!("r1:{job}@1"), json!(1));
    }
    assert_eq!(run.run.step("report").and_then(|step| step.input.as_deref()), Some(&json!({"s": "succeeded"})));
    run.finish(9, "r1:report@1", fatal());
    assert_eq!((run.run.status(), run.run.failed_step()), (RunStatus::Failed, Some("report")));
}

#[test]
fn each_item_and_each_iteration_is_undone_by_itself() {
    let yaml = "
id: w
steps:
  charge: {topic: job.charge, for_each: input.l, max_parallel: 1, compensate: {topic: job.refund, input: {i: '${item}', o: '${steps.charge.status}'}}}
  boom: {topic: job.boom, depends_on: [charge]}
";
    let mut run = Driver::start(yaml, json!({"l": ["x", "y"]}));
    run.succeed(1, "r1:charge[0]@1", json!(1)).succeed(2, "r1:charge[1]@1", json!(2)).finish(3, "r1:boom@1", fatal());
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:charge-compensate[1]@1"));
    run.succeed(4, "r1:charge-compensate[1]@1", json!(1));
    let input = run.run.step("charge-compensate[0]").and_then(|step| step.input.as_deref().cloned());
    assert_eq!(input.and_then(|input| input.get("i").cloned()), Some(json!("x")));
    run.succeed(5, "r1:charge-compensate[0]@1", json!(1));
    assert_eq!(run.run.status(), RunStatus::Failed);
}

#[test]
fn a_step_without_retries_left_may_wait_for_an_operator() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a, retry: {max_retries: 1, on_exhausted: park, jitter: 0}}\n  b: {topic: job.b, depends_on: [a]}\n";
    let parked = || {
        let mut run = Driver::start(yaml, json!({}));
        run.finish(1, "r1:a@1", busy()).feed(2, RunInput::Tick).finish(3, "r1:a@2", busy());
        assert_eq!(
            (run.status("a"), run.run.status(), run.run.wake()),
            (StepStatus::Waiting, RunStatus::Waiting, Wake::Human)
        );
        run
    };
    let resolve =
        |resolution| RunInput::Resolve { step: StepRunId::parse("a").expect("legal"), by: "ops".into(), resolution };
    let mut run = parked();
    run.feed(4, resolve(Resolution::Retry { input: None }));
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:a@3"));
    run.finish(5, "r1:a@3", busy());
    assert_eq!(run.status("a"), StepStatus::Pending, "with a fresh set of retries");
    let mut run = parked();
    run.feed(4, resolve(Resolution::Complete { output: Arc::new(json!(7)) }));
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:b@1"));
    let mut run = parked();
    run.feed(4, resolve(Resolution::Skip));
    assert_eq!((run.status("a"), run.status("b")), (StepStatus::Skipped, StepStatus::Running));
    let mut run = parked();
    run.feed(4, resolve(Resolution::Fail { reason: "no".into() }));
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("busy"));
    assert_eq!(
        decide(&run.run, resolve(Resolution::Skip), &run.facts(at(5))).expect_err("ended").code(),
        "step_not_waiting"
    );
}

#[test]
fn an_output_that_is_not_taken_may_wait_for_an_operator() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.a, output_schema: {type: integer}, retry: {max_retries: 3, on_exhausted: park}}\n  b: {topic: job.b, depends_on: [a], input: {got: '${steps.a.output}'}}\n";
    let resolve =
        |resolution| RunInput::Resolve { step: StepRunId::parse("a").expect("legal"), by: "ops".into(), resolution };
    for (resolution, got) in
        [(Resolution::Complete { output: Arc::new(json!(7)) }, Some(json!(7))), (Resolution::Skip, None)]
    {
        let mut run = Driver::start(yaml, json!({}));
        run.succeed(1, "r1:a@1", json!("seven"));
        assert_eq!((run.status("a"), run.run.wake()), (StepStatus::Waiting, Wake::Human), "no try is spent on it");
        run.feed(2, resolve(resolution));
        let input = run.run.step("b").and_then(|step| step.input.as_deref().cloned());
        assert_eq!(input.and_then(|input| input.get("got").cloned()), got, "what was not taken is not read");
    }
}

#[test]
fn w4_timeouts_yaml_gives_retries_and_times_to_what_does_not_say_its_own() {
    let timeouts = crate::scheduler::Timeouts::parse(
        "timeouts.yaml",
        "topics: {job.a: {timeout_seconds: 5, max_retries: 1}}\nworkflows: {w: {total_timeout_seconds: 60, child_timeout_seconds: 7}}",
    );
    let yaml = "id: w\nsteps:\n  a: {topic: job.a}\n  b: {topic: job.b}\n  c: {topic: job.a, timeout_sec: 3, retry: {max_retries: 0}}\n";
    let mut run = Driver::start_with(yaml, json!({}), Routes::open().with_timeouts(timeouts.expect("legal")));
    assert_eq!(run.run.deadline_at(), Some(at(60)), "the run");
    let due = |run: &Driver, step: &str| run.run.step(step).and_then(|step| step.job.as_ref()?.due_at);
    assert_eq!((due(&run, "a"), due(&run, "b"), due(&run, "c")), (Some(at(5)), Some(at(7)), Some(at(3))));
    run.finish(1, "r1:a@1", busy());
    assert_eq!(run.status("a"), StepStatus::Pending, "it is tried once more");
    run.feed(2, RunInput::Tick).finish(2, "r1:a@2", busy());
    assert_eq!(run.status("a"), StepStatus::Failed, "and once only");
}

#[test]
fn codes_that_no_retry_mends_fail_at_once() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  a: {topic: job.a, retry: {max_retries: 5, non_retryable: [busy]}}\n",
        json!({}),
    );
    run.finish(1, "r1:a@1", busy());
    assert_eq!(run.run.status(), RunStatus::Failed);
}

#[test]
fn the_clock_of_a_deadline_may_stand_still_while_the_run_only_waits() {
    let yaml = "id: w\ntimeout_sec: 100\ntimeout_counts: active\nsteps:\n  a: {topic: job.a}\n  wait: {type: delay, delay_sec: 1000, depends_on: [a]}\n  b: {topic: job.b, depends_on: [wait]}\n";
    let mut run = Driver::start(yaml, json!({}));
    run.succeed(60, "r1:a@1", json!(1));
    assert_eq!((run.run.wake(), run.run.deadline_at()), (Wake::At(at(1_060)), None));
    run.feed(1_060, RunInput::Tick);
    assert_eq!(run.run.deadline_at(), Some(at(1_100)), "forty seconds were left");
    run.feed(1_100, RunInput::Tick).finish(1_101, "r1:b@1", JobStatusReport::Cancelled);
    assert_eq!(run.run.status(), RunStatus::TimedOut);
}

#[test]
fn an_output_that_cannot_be_made_fails_the_run_and_undoes_it() {
    let mut run = Driver::start(
        "id: w\noutput: '${steps.a.output.n + 1}'\nsteps:\n  a: {topic: job.a, compensate: {topic: job.undo}}\n",
        json!({}),
    );
    run.succeed(1, "r1:a@1", json!({"n": "x"}));
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:a-compensate@1"));
    run.succeed(2, "r1:a-compensate@1", json!(1));
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("expression_failed"));
}

#[test]
fn definitions_of_groups_are_checked() {
    for (yaml, problem) in [
        ("steps: {g: {type: parallel, steps: {a: {}}}, a: {}}", "steps.g.steps.a: step_id_twice"),
        (
            "steps: {g: {type: parallel, steps: {a: {}}}, b: {depends_on: [a]}}",
            "steps.b.depends_on[0]: unknown_dependency",
        ),
        (
            "steps: {l: {type: loop, max_iterations: 2, steps: {a: {}}}, b: {depends_on: [l], condition: steps.a.output}}",
            "steps.b: step_not_visible",
        ),
        ("steps: {g: {type: parallel, join: 3, steps: {a: {}}}}", "steps.g.join: out_of_range"),
        // Two steps of which one waits for the other are one branch, also as an item.
        ("steps: {g: {type: parallel, join: 2, steps: {a: {}, b: {depends_on: [a]}}}}", "steps.g.join: out_of_range"),
        (
            "steps: {g: {type: parallel, for_each: input.l, join: 2, steps: {a: {}, b: {depends_on: [a]}}}}",
            "steps.g.join: out_of_range",
        ),
        ("steps: {g: {type: parallel, join: 2, steps: {a: {on_error: b}, b: {}}}}", "steps.g.join: out_of_range"),
        ("steps: {a: {condition: item == 1}}", "steps.a.condition: expression_invalid"),
        (
            "steps: {a: {type: switch, cases: [{when: 'true', then: [nowhere]}]}}",
            "steps.a.cases[0].then[0]: unknown_dependency",
        ),
        (
            "steps: {a: {compensate: {type: loop, max_iterations: 1, steps: {b: {}}}}}",
            "steps.a.compensate.type: field_misplaced",
        ),
        ("steps: {a: {for_each: input.l, on_item_error: {tolerate: 120%}}}", "steps.a.on_item_error: out_of_range"),
        ("steps: {a: {type: storage, storage: {op: get, key: k, value: 1}}}", "steps.a.storage.value: field_misplaced"),
        ("steps: {a: {type: transform}}", "steps.a.output: field_missing"),
        ("steps: {a: {on_error: b}, b: {depends_on: [a]}}", ""),
        ("steps: {a: {on_error: b, depends_on: [b]}, b: {}}", "steps.a.depends_on: workflow_cycle"),
    ] {
        let found = problems(&format!("id: w\n{yaml}\n"));
        assert!(
            if problem.is_empty() { found.is_empty() } else { found.iter().any(|found| found == problem) },
            "{yaml}: {found:?}"
        );
    }
}

fn stored(step: &str, attempt: u32, result: Result<Output, crate::job::Failure>) -> RunInput {
    RunInput::Stored { step: StepRunId::parse(step).expect("legal"), attempt, result }
}

#[test]
fn undoing_an_artifact_is_tried_again() {
    let mut run = Driver::start(
        "
id: w
steps:
  put: {type: storage, storage: {op: put, key: k, value: 1}, compensate: {type: storage, storage: {op: delete, key: k}, retry: {max_retries: 1, jitter: 0}}}
  boom: {topic: job.boom, depends_on: [put]}
",
        json!({}),
    );
    run.feed(1, stored("put", 1, Ok(Output::default()))).finish(2, "r1:boom@1", fatal());
    run.feed(3, stored("put-compensate", 1, Err(crate::job::Failure::retryable("unavailable", "later"))));
    assert_eq!((run.status("put-compensate"), run.run.wake()), (StepStatus::Pending, Wake::At(at(4))));
    run.feed(4, RunInput::Tick).feed(5, stored("put-compensate", 2, Ok(Output::default())));
    assert_eq!((run.run.status(), run.run.undo_failure()), (RunStatus::Failed, None));
}

#[test]
fn what_is_stopped_with_its_group_is_not_tried_again() {
    let mut run = Driver::start(
        "
id: w
steps:
  race:
    type: parallel
    join: any
    steps:
      a: {topic: job.a}
      put: {type: storage, storage: {op: put, key: k, value: 1}, retry: {max_retries: 5}}
",
        json!({}),
    );
    run.succeed(1, "r1:a@1", json!(1));
    assert_eq!(run.status("race"), StepStatus::Running, "what the artifact came to is waited for");
    run.feed(2, stored("put", 1, Err(crate::job::Failure::retryable("unavailable", "later"))));
    assert_eq!((run.status("put"), run.run.status()), (StepStatus::Failed, RunStatus::Succeeded));
}

#[test]
fn a_worker_that_was_told_to_stop_is_told_again_after_a_crash() {
    let mut run = Driver::start("id: w\nsteps:\n  a: {topic: job.a}\n", json!({}));
    run.feed(1, RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
    let again = outstanding(&run.run, &run.facts(at(2)));
    assert!(
        matches!(&*again, [RunEffect::Job(crate::job::Effect::Cancel { job, by, .. })] if job.as_str() == "r1:a@1" && **by == *"ann"),
        "{again:?}"
    );
}
