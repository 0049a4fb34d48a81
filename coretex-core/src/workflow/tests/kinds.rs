//! Each kind of step: how it goes well, how it fails, how it is stopped.

use super::*;

fn fatal() -> JobStatusReport {
    JobStatusReport::Failed(crate::job::Failure::fatal("boom", "it broke"))
}

fn step(id: &str) -> StepRunId {
    StepRunId::parse(id).expect("legal")
}

#[test]
fn a_for_each_runs_so_many_items_at_once_and_collects_their_outputs_in_order() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  scan: {topic: job.x, for_each: input.hosts, max_parallel: 2, input: {host: '${item}', n: '${index}'}, output_path: found}\n  \
         sum: {type: transform, depends_on: [scan], output: '${steps.scan.output}'}\noutput: '${steps.sum.output}'\n",
        json!({"hosts": ["a", "b", "c"]}),
    );
    assert_eq!(run.dispatched(), ["r1:scan[0]@1", "r1:scan[1]@1"]);
    assert_eq!(
        run.run.step("scan[1]").and_then(|step| step.input.as_deref()),
        Some(&json!({"host": "b", "n": 1, "item": "b"}))
    );
    run.succeed(1, "r1:scan[1]@1", json!("B"));
    assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:scan[2]@1"));
    run.succeed(2, "r1:scan[2]@1", json!("C")).succeed(3, "r1:scan[0]@1", json!("A"));
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!(["A", "B", "C"])));
    assert_eq!(**run.run.context(), json!({"found": ["A", "B", "C"]}));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

#[test]
fn an_empty_or_missing_list_has_no_items_and_what_is_no_list_fails() {
    let yaml = "id: w\nsteps:\n  scan: {topic: job.x, for_each: input.hosts}\noutput: '${steps.scan.output}'\n";
    for input in [json!({"hosts": []}), json!({}), json!({"hosts": null})] {
        let run = Driver::start(yaml, input);
        assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!([])));
    }
    let run = Driver::start(yaml, json!({"hosts": 3}));
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("input_invalid"));
}

#[test]
fn the_first_failed_item_stops_the_others_and_fails_the_step() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  scan: {topic: job.x, for_each: input.hosts, max_parallel: 2}\n",
        json!({"hosts": [1, 2, 3]}),
    );
    run.finish(1, "r1:scan[0]@1", fatal());
    assert_eq!(run.status("scan"), StepStatus::Running, "the other item is asked to stop");
    assert!(run.run.step("scan[2]").is_none(), "no further item begins");
    run.succeed(2, "r1:scan[1]@1", json!(1));
    assert_eq!((run.status("scan"), run.status("scan[1]")), (StepStatus::Failed, StepStatus::Succeeded));
    assert_eq!(run.run.failed_step(), Some("scan"));
    assert_eq!(run.run.failure().map(|failure| failure.message.to_string()), Some("step `scan[0]`: it broke".into()));
}

#[test]
fn failed_items_are_tolerated_up_to_a_number_or_a_share() {
    let yaml = |rule: &str| {
        format!(
            "id: w\nsteps:\n  s: {{topic: job.x, for_each: input.l, on_item_error: {rule}}}\noutput: '${{steps.s.output}}'\n"
        )
    };
    let play = |rule: &str, failures: usize| {
        let mut run = Driver::start(&yaml(rule), json!({"l": [0, 1, 2, 3]}));
        for n in 0..4 {
            if run.run.status().is_terminal() || run.status("s").is_terminal() {
                break;
            }
            let job = format!("r1:s[{n}]@1");
            if n < failures {
                run.finish(1, &job, fatal());
            } else {
                run.succeed(1, &job, json!(n));
            }
        }
        (run.run.status(), run.run.output().map(|output| (**output).clone()))
    };
    assert_eq!(play("collect", 4), (RunStatus::Succeeded, Some(json!([null, null, null, null]))));
    assert_eq!(play("{tolerate: 1}", 1), (RunStatus::Succeeded, Some(json!([null, 1, 2, 3]))));
    assert_eq!(play("{tolerate: 1}", 2).0, RunStatus::Failed);
    assert_eq!(play("{tolerate: 50%}", 2).0, RunStatus::Succeeded);
    assert_eq!(play("{tolerate: 49%}", 2).0, RunStatus::Failed);
}

#[test]
fn an_item_is_tried_again_by_itself() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  s: {topic: job.x, for_each: input.l, retry: {max_retries: 1, initial_backoff_sec: 5, jitter: 0}}\n",
        json!({"l": [1, 2]}),
    );
    run.finish(1, "r1:s[1]@1", JobStatusReport::Failed(crate::job::Failure::retryable("busy", "later")));
    run.succeed(2, "r1:s[0]@1", json!(1));
    assert_eq!(run.run.wake(), Wake::At(at(6)));
    run.feed(6, RunInput::Tick).succeed(7, "r1:s[1]@2", json!(2));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

#[test]
fn a_group_per_item_keeps_its_steps_apart() {
    let yaml = "
id: w
steps:
  host:
    type: parallel
    for_each: input.hosts
    steps:
      fetch: {topic: job.fetch, input: {h: '${item}'}}
      post: {topic: job.post, depends_on: [fetch], input: {v: '${steps.fetch.output}', i: '${index}'}}
output: '${steps.host.output}'
";
    let mut run = Driver::start(yaml, json!({"hosts": ["a", "b"]}));
    assert_eq!(run.dispatched(), ["r1:fetch[0]@1", "r1:fetch[1]@1"]);
    run.succeed(1, "r1:fetch[1]@1", json!("fb"));
    assert_eq!(
        run.run.step("post[1]").and_then(|step| step.input.as_deref()),
        Some(&json!({"v": "fb", "i": 1, "item": "b"}))
    );
    run.succeed(2, "r1:post[1]@1", json!("pb")).succeed(3, "r1:fetch[0]@1", json!("fa")).succeed(
        4,
        "r1:post[0]@1",
        json!("pa"),
    );
    let output = run.run.output().map(|output| (**output).clone());
    assert_eq!(output, Some(json!([{"fetch": "fa", "post": "pa"}, {"fetch": "fb", "post": "pb"}])));
}

#[test]
fn a_parallel_group_joins_by_its_rule() {
    let yaml = |join: &str| {
        format!(
            "id: w\nsteps:\n  g: {{type: parallel, join: {join}, steps: {{a: {{topic: job.x}}, b: {{topic: job.x}}, c: {{topic: job.x}}}}}}\n  \
             then: {{topic: job.y, depends_on: [g], input: {{a: '${{steps.a.output}}'}}}}\n"
        )
    };
    let mut run = Driver::start(&yaml("all"), json!({}));
    run.succeed(1, "r1:a@1", json!(1)).succeed(1, "r1:b@1", json!(2)).succeed(1, "r1:c@1", json!(3));
    let output = run.run.step("g").and_then(|step| step.output.as_ref()?.value.as_deref().cloned());
    assert_eq!(output, Some(json!({"a": 1, "b": 2, "c": 3})));
    assert_eq!(
        run.run.step("then").and_then(|step| step.input.as_deref()),
        Some(&json!({"a": 1})),
        "seen from outside"
    );

    let mut run = Driver::start(&yaml("all"), json!({}));
    run.finish(1, "r1:a@1", fatal()).finish(2, "r1:b@1", JobStatusReport::Cancelled);
    assert_eq!(run.status("g"), StepStatus::Running);
    run.feed(11, RunInput::Tick);
    assert_eq!((run.status("g"), run.status("c")), (StepStatus::Failed, StepStatus::Cancelled), "the grace is over");

    let mut run = Driver::start(&yaml("any"), json!({}));
    run.finish(1, "r1:a@1", fatal()).succeed(2, "r1:b@1", json!(2));
    run.finish(3, "r1:c@1", JobStatusReport::Cancelled);
    assert_eq!(
        (run.status("g"), run.status("c"), run.status("then")),
        (StepStatus::Succeeded, StepStatus::Cancelled, StepStatus::Running)
    );

    let mut run = Driver::start(&yaml("2"), json!({}));
    run.finish(1, "r1:a@1", fatal()).finish(2, "r1:b@1", fatal());
    run.finish(3, "r1:c@1", JobStatusReport::Cancelled);
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("join_impossible"));

    let mut run = Driver::start(&yaml("settled"), json!({}));
    run.finish(1, "r1:a@1", fatal()).finish(2, "r1:b@1", fatal()).succeed(3, "r1:c@1", json!(3));
    let output = run.run.step("g").and_then(|step| step.output.as_ref()?.value.as_deref().cloned());
    assert_eq!(output, Some(json!({"a": null, "b": null, "c": 3})));
}

#[test]
fn what_waits_for_a_failed_step_in_a_tolerant_group_is_skipped() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  g: {type: parallel, join: settled, steps: {a: {topic: job.x}, b: {topic: job.x, depends_on: [a, c]}, c: {topic: job.x}}}\n",
        json!({}),
    );
    run.finish(1, "r1:a@1", fatal()).succeed(2, "r1:c@1", json!(1));
    assert_eq!((run.status("b"), run.run.status()), (StepStatus::Skipped, RunStatus::Succeeded));
}

#[test]
fn a_group_that_is_not_done_in_time_has_timed_out() {
    let mut run =
        Driver::start("id: w\nsteps:\n  g: {type: parallel, timeout_sec: 5, steps: {a: {topic: job.x}}}\n", json!({}));
    run.feed(5, RunInput::Tick).finish(6, "r1:a@1", JobStatusReport::Cancelled);
    assert_eq!((run.status("g"), run.run.status()), (StepStatus::TimedOut, RunStatus::TimedOut));
}

#[test]
fn a_loop_carries_a_value_until_its_condition_holds() {
    let yaml = "
id: w
steps:
  poll:
    type: loop
    carry: {n: 0}
    until: steps.ask.output.done
    next: {n: '${carry.n + 1}'}
    steps:
      ask: {topic: job.ask, input: {n: '${carry.n}', i: '${index}'}}
output: '${steps.poll.output}'
";
    let mut run = Driver::start(yaml, json!({}));
    for n in 0..3 {
        let id = format!("ask[{n}]");
        assert_eq!(run.run.step(&id).and_then(|step| step.input.as_deref()), Some(&json!({"n": n, "i": n})));
        run.succeed(n + 1, &format!("r1:ask[{n}]@1"), json!({"done": n == 2}));
    }
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!({"n": 3})));
}

#[test]
fn a_loop_asks_before_each_iteration_and_ends_at_its_bound() {
    let yaml = |rule: &str| {
        format!(
            "id: w\nsteps:\n  l: {{type: loop, {rule}, steps: {{t: {{type: transform, output: '${{index}}'}}}}}}\noutput: '${{steps.l.output}}'\n"
        )
    };
    let run = Driver::start(&yaml("while: index < 3"), json!({}));
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!({"t": 2})));
    let run = Driver::start(&yaml("while: 'false'"), json!({}));
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!(null)));
    let run = Driver::start(&yaml("max_iterations: 5"), json!({}));
    assert_eq!(run.run.step("t[4]").map(|step| step.status), Some(StepStatus::Succeeded));
    let run = Driver::start(&yaml("until: 'false', max_iterations: 4"), json!({}));
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("loop_exhausted"));
}

#[test]
fn ten_thousand_items_without_jobs_do_not_overflow_the_stack() {
    let items: Vec<u32> = (0..10_000).collect();
    let run = Driver::start(
        "id: w\nsteps:\n  t: {type: transform, for_each: input.l, output: '${item * 2}', max_parallel: 1}\noutput: '${steps.t.output[9999]}'\n",
        json!({"l": items}),
    );
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!(19_998)));
}

#[test]
fn a_switch_lets_the_chosen_branch_go_and_skips_the_others_up_to_the_join() {
    let yaml = "
id: w
steps:
  kind: {type: switch, cases: [{name: big, when: input.n > 10, then: [big]}, {when: input.n > 5, then: [mid]}], default: [small]}
  big: {topic: job.big}
  big2: {topic: job.big, depends_on: [big]}
  mid: {topic: job.mid}
  small: {topic: job.small}
  join: {topic: job.join, depends_on: [big2, mid, small]}
";
    for (n, chosen, cases) in [(11, "big", json!(["big"])), (6, "mid", json!(["1"])), (1, "small", json!([]))] {
        let mut run = Driver::start(yaml, json!({"n": n}));
        assert_eq!(run.dispatched(), [format!("r1:{chosen}@1")]);
        let output = run.run.step("kind").and_then(|step| step.output.as_ref()?.value.as_deref().cloned());
        assert_eq!(output, Some(json!({"cases": cases, "taken": [chosen]})));
        run.succeed(1, &format!("r1:{chosen}@1"), json!(1));
        if chosen == "big" {
            run.succeed(2, "r1:big2@1", json!(1));
        } else {
            assert_eq!(run.status("big2"), StepStatus::Skipped, "what follows only a branch not taken is skipped too");
        }
        assert_eq!(run.dispatched().last().map(String::as_str), Some("r1:join@1"));
    }
    let all = yaml.replace("type: switch", "type: switch, match: all");
    assert_eq!(Driver::start(&all, json!({"n": 11})).dispatched(), ["r1:big@1", "r1:mid@1"]);
}

#[test]
fn a_signal_is_kept_until_a_step_waits_for_it_and_a_repeat_is_known() {
    let yaml = "id: w\nsteps:\n  a: {topic: job.x}\n  paid: {type: signal, depends_on: [a], timeout_sec: 60}\noutput: '${steps.paid.output}'\n";
    let signal = |id: &str, n: u32| RunInput::Signal {
        name: "paid".into(),
        id: id.into(),
        by: "shop".into(),
        payload: Arc::new(json!(n)),
    };
    let mut early = Driver::start(yaml, json!({}));
    early.feed(1, signal("1", 5)).feed(2, signal("1", 6)).succeed(3, "r1:a@1", json!(0));
    assert_eq!(early.run.output().map(|output| (**output).clone()), Some(json!(5)));
    let mut late = Driver::start(yaml, json!({}));
    late.succeed(1, "r1:a@1", json!(0));
    assert_eq!((late.status("paid"), late.run.wake()), (StepStatus::Waiting, Wake::At(at(61))));
    late.feed(2, signal("", 7));
    assert_eq!(late.run.output().map(|output| (**output).clone()), Some(json!(7)));
    let over = decide(&late.run, signal("", 8), &late.facts(at(3))).expect_err("it has ended");
    assert_eq!(over.code(), "run_ended");
    let mut never = Driver::start(yaml, json!({}));
    never.succeed(1, "r1:a@1", json!(0)).feed(61, RunInput::Tick);
    assert_eq!((never.status("paid"), never.run.status()), (StepStatus::TimedOut, RunStatus::TimedOut));
}

#[test]
fn data_for_an_input_step_is_judged_by_its_schema() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  form: {type: input, output_schema: {type: object, required: [age]}}\noutput: '${steps.form.output.age}'\n",
        json!({}),
    );
    let give = |value: Value| RunInput::Provide { step: step("form"), by: "ann".into(), value: Arc::new(value) };
    let bad = decide(&run.run, give(json!({})), &run.facts(at(1))).expect_err("age is missing");
    assert_eq!(bad.code(), "step_data_invalid");
    run.feed(2, give(json!({"age": 4})));
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!(4)));
    assert!(decide(&run.run, give(json!({"age": 4})), &run.facts(at(3))).expect("a repeat").is_empty());
    assert_eq!(
        decide(&run.run, give(json!({"age": 5})), &run.facts(at(3))).expect_err("too late").code(),
        "step_not_waiting"
    );
}

#[test]
fn an_artifact_is_asked_for_again_after_a_failure_that_may_pass() {
    let mut run = Driver::start(
        "id: w\nsteps:\n  keep: {type: storage, storage: {op: put, key: 'reports/${input.n}', value: '${input}'}, retry: {max_retries: 1, jitter: 0}}\n",
        json!({"n": 3}),
    );
    let asked = |run: &Driver| {
        run.effects
            .iter()
            .filter(|effect| matches!(effect, RunEffect::Store { key, .. } if **key == *"reports/3"))
            .count()
    };
    assert_eq!((asked(&run), run.run.wake()), (1, Wake::Hot));
    assert_eq!(outstanding(&run.run, &run.facts(at(0))), run.effects, "recovery asks again");
    let stored = |attempt, result| RunInput::Stored { step: step("keep"), attempt, result };
    run.feed(1, stored(1, Err(crate::job::Failure::retryable("blob_unavailable", "away")))).feed(2, RunInput::Tick);
    assert_eq!(asked(&run), 2);
    run.feed(3, stored(1, Ok(Output::default())));
    assert_eq!(run.status("keep"), StepStatus::Running, "an answer to the first try is too late");
    let output = Output { value: Some(Arc::new(json!({"size": 1}))), ..Output::default() };
    run.feed(4, stored(2, Ok(output)));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
}

#[test]
fn a_subworkflow_is_a_run_of_its_own_whose_end_is_the_steps() {
    let yaml =
        "id: w\nsteps:\n  sub: {type: subworkflow, workflow: other, input: {n: 1}}\noutput: '${steps.sub.output}'\n";
    let child = |run: &Driver| match &run.run.step("sub").expect("a step").waits_for {
        Some(WaitsFor::Child { run }) => run.clone(),
        other => panic!("{other:?}"),
    };
    let ended = |run: crate::job::RunId, status, output| {
        let end = ChildEnd { run, status, output, failure: Some(crate::job::Failure::fatal("boom", "it broke")) };
        RunInput::Child { step: step("sub"), attempt: 1, end }
    };
    let mut run = Driver::start(yaml, json!({}));
    assert!(
        matches!(run.effects.as_slice(), [RunEffect::Child(ChildEffect::StartChild(start))] if *start.input == json!({"n": 1}))
    );
    assert_eq!(run.run.wake(), Wake::Human, "the other run wakes it");
    let other = child(&run);
    run.feed(1, ended(RunId::parse("somebody").expect("legal"), RunStatus::Succeeded, None));
    assert_eq!(run.status("sub"), StepStatus::Running, "another run's end is not its end");
    run.feed(2, ended(other.clone(), RunStatus::Succeeded, Some(Arc::new(json!(9)))));
    assert_eq!(run.run.output().map(|output| (**output).clone()), Some(json!(9)));
    let mut run = Driver::start(yaml, json!({}));
    run.feed(1, RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
    assert!(
        run.effects
            .iter()
            .any(|effect| matches!(effect, RunEffect::Child(ChildEffect::StopChild { run, .. }) if *run == other))
    );
    assert_eq!(run.run.phase(), Phase::Stopping);
    run.feed(2, ended(other, RunStatus::Cancelled, None));
    assert_eq!(run.run.status(), RunStatus::Cancelled);
}

#[test]
fn a_delay_takes_a_length_of_time_in_any_form() {
    for (delay, seconds) in [("90s", 90), ("1h 30m", 5_400), ("PT1M", 60), ("${input.n}", 7), ("${'2m'}", 120)] {
        let run = Driver::start(&format!("id: w\nsteps:\n  d: {{type: delay, delay: \"{delay}\"}}\n"), json!({"n": 7}));
        assert_eq!(run.run.wake(), Wake::At(at(seconds)), "{delay}");
    }
    assert_eq!(problems("id: w\nsteps:\n  d: {type: delay, delay: soon}\n"), ["steps.d.delay: time_invalid"]);
}

#[test]
fn a_delay_lasts_until_the_next_time_of_a_calendar() {
    assert_eq!(at(0).to_string(), "2027-01-15T08:00:00Z", "a Friday");
    for (next, until) in [
        ("{time: '09:00'}", "2027-01-15T09:00:00Z"),
        ("{time: '08:00:01'}", "2027-01-15T08:00:01Z"),
        // In Berlin it is nine: the next nine is tomorrow's.
        ("{time: '09:00', time_zone: Europe/Berlin}", "2027-01-16T08:00:00Z"),
        ("{time: '00:30', time_zone: '${input.zone}'}", "2027-01-15T15:30:00Z"),
        ("{time: '06:00', days: [mon]}", "2027-01-18T06:00:00Z"),
        ("{time: '06:00', days: [sat-sun, thu]}", "2027-01-16T06:00:00Z"),
        ("{time: '06:00', days: [sun-tue]}", "2027-01-17T06:00:00Z"),
        ("{time: '06:00', days: [mon-fri], except: ['2027-01-18']}", "2027-01-19T06:00:00Z"),
        ("{cron: '*/5 * * * *'}", "2027-01-15T08:05:00Z"),
        ("{cron: '0 0 * * *', time_zone: America/New_York}", "2027-01-16T05:00:00Z"),
    ] {
        let text = format!("id: w\nsteps:\n  d: {{type: delay, delay_next: {next}}}\n");
        let run = Driver::start(&text, json!({"zone": "Asia/Tokyo"}));
        assert_eq!(run.run.wake(), Wake::At(until.parse().unwrap()), "{next}");
    }
    let lost = "id: w\nsteps:\n  d: {type: delay, delay_next: {time: '09:00', time_zone: '${input.zone}'}}\n";
    let run = Driver::start(lost, json!({"zone": "Mars/Base"}));
    assert_eq!(run.run.failure().map(|failure| &*failure.code), Some("time_zone_unknown"));
}

#[test]
fn a_calendar_that_names_nothing_is_refused_with_its_place() {
    for (step, problem) in [
        ("delay_next: {}", "delay_next: field_missing"),
        ("delay_next: {time: '9 am'}", "delay_next.time: time_invalid"),
        ("delay_next: {time: '24:00'}", "delay_next.time: time_invalid"),
        ("delay_next: {time: '09:00', days: [mon, someday]}", "delay_next.days[1]: time_invalid"),
        ("delay_next: {time: '09:00', except: [christmas]}", "delay_next.except[0]: time_invalid"),
        ("delay_next: {time: '09:00', time_zone: Mars/Base}", "delay_next.time_zone: time_zone_unknown"),
        ("delay_next: {cron: '61 * * * *'}", "delay_next.cron: cron_invalid"),
        ("delay_next: {cron: '0 0 30 2 *'}", "delay_next: schedule_never_fires"),
        ("delay_next: {cron: '@daily', days: [mon]}", "delay_next.cron: field_misplaced"),
        ("delay_next: {cron: '@daily'}, delay_sec: 5", "delay_next: field_misplaced"),
    ] {
        let found = problems(&format!("id: w\nsteps:\n  d: {{type: delay, {step}}}\n"));
        assert_eq!(found, [format!("steps.d.{problem}")], "{step}");
    }
    let job = "id: w\nsteps:\n  d: {delay_next: {cron: '@daily'}}\n";
    assert_eq!(problems(job), ["steps.d.delay_next: field_misplaced"]);
}

#[test]
fn a_dry_run_decides_everything_and_sends_nothing() {
    let yaml = "
id: w
steps:
  job: {topic: job.x, output_schema: {type: object, default: {n: 1}}}
  ask: {type: approval, depends_on: [job]}
  tell: {type: notify, depends_on: [ask]}
  keep: {type: storage, depends_on: [ask], storage: {op: get, key: a}}
  wait: {type: delay, delay: 30d, depends_on: [ask]}
  sig: {type: signal, depends_on: [wait]}
  form: {type: input, depends_on: [wait]}
";
    let run = Driver::start_as(&yaml.replace("30d", "720h"), json!({}), true);
    assert_eq!(run.run.status(), RunStatus::Succeeded, "{:?}", run.run.failure());
    assert_eq!((run.effects.len(), run.records.len()), (0, 0));
    let simulated = run.log.iter().filter(|event| matches!(event.event, RunEvent::StepSimulated { .. })).count();
    assert_eq!(simulated, 6);
}
