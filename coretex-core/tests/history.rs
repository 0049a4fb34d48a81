//! Time travel: going on from another run, states of the past, plans, and why a run is not further.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail by panicking, as the test does")]

use std::time::Duration;

use coretex_core::{
    job::{RunId, StepRunId, WorkflowId},
    policy::Outcome,
    runtime::{PlaneError, RerunRequest, RunQuery, StartRequest},
    testing::{FaultPlan, Reply, TestPlane, policy_fn},
    workflow::{RunStatus, StepStatus, Wait, WaitCause, Workflow},
};
use serde_json::{Value, json};

fn tell(text: &str, test: impl AsyncFn(&TestPlane) -> Result<(), PlaneError>) {
    TestPlane::builder()
        .workflow(text)
        .worker("job.echo", |job: &coretex_core::testing::ScriptedJob| {
            Reply::succeed(json!({"of": job.request.job_id}))
        })
        .worker("job.once", {
            let mut tries = 0;
            move |_: &coretex_core::testing::ScriptedJob| {
                tries += 1;
                if tries == 1 { Reply::fatal("boom") } else { Reply::succeed(json!(tries)) }
            }
        })
        .worker("job.never", Reply::Never)
        .run(async |plane| test(plane).await)
        .unwrap()
        .unwrap_or_else(|error| panic!("{error}"));
}

fn step(id: &str) -> StepRunId {
    StepRunId::parse(id).unwrap()
}

async fn rerun(plane: &TestPlane, run: &RunId, request: RerunRequest) -> Result<RunId, PlaneError> {
    plane.ask(async |inner| inner.rerun(plane.principal(), run, request.clone()).await).await
}

fn dispatched(plane: &TestPlane, run: &RunId) -> Vec<String> {
    let of = plane.dispatched().into_iter().map(|job| job.job_id);
    of.filter_map(|id| id.strip_prefix(run.as_str()).map(|rest| rest.trim_start_matches(':').to_owned())).collect()
}

#[test]
fn a_failed_run_goes_on_where_it_stopped() {
    let text = "
id: w
steps:
  a: {topic: job.echo}
  b: {topic: job.once, depends_on: [a]}
  c: {topic: job.echo, depends_on: [b], input: {a: '${steps.a.output.of}'}}
output: '${steps.c.output}'";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        assert_eq!(plane.run_to_end(&first).await?.status(), RunStatus::Failed);
        let second = rerun(plane, &first, RerunRequest::new()).await?;
        let end = plane.run_to_end(&second).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        assert_eq!(dispatched(plane, &second), ["b@1", "c@1"], "what ended well is not carried out again");
        let input = end.step("c").and_then(|step| step.input.as_deref().cloned());
        assert_eq!(input, Some(json!({"a": format!("{first}:a@1")})));
        assert_eq!(end.origin().map(|origin| &origin.run), Some(&first));
        let kinds: Vec<String> = plane.timeline(&second).await?.into_iter().map(|line| line.kind).take(2).collect();
        assert_eq!(kinds, ["run_status", "run_restored"]);
        Ok(())
    });
}

#[test]
fn a_run_goes_on_from_a_step_with_another_input() {
    let text = "
id: w
steps:
  a: {topic: job.echo}
  b: {topic: job.echo, depends_on: [a], input: {n: '${input.n}'}}
  c: {topic: job.echo, depends_on: [b]}
  d: {topic: job.echo, depends_on: [a]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({"n": 1})).await?;
        plane.run_to_end(&first).await?;
        let second = rerun(plane, &first, RerunRequest::new().from_step(step("b")).input(json!({"n": 2}))).await?;
        let end = plane.run_to_end(&second).await?;
        assert_eq!(dispatched(plane, &second), ["b@1", "c@1"]);
        assert_eq!(end.step("b").and_then(|step| step.input.as_deref().cloned()), Some(json!({"n": 2})));
        let whole = rerun(plane, &first, RerunRequest::from_the_beginning()).await?;
        plane.run_to_end(&whole).await?;
        assert_eq!(dispatched(plane, &whole).len(), 4);
        let missing = rerun(plane, &first, RerunRequest::new().from_step(step("nowhere"))).await.unwrap_err();
        assert_eq!(missing.code(), "step_not_found");
        Ok(())
    });
}

#[test]
fn a_step_whose_needs_did_not_end_well_is_no_place_to_go_on() {
    let text = "id: w\nsteps:\n  a: {topic: job.once}\n  b: {topic: job.echo, depends_on: [a]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let refused = rerun(plane, &first, RerunRequest::new().from_step(step("b"))).await.unwrap_err();
        assert_eq!(refused.code(), "rerun_impossible");
        Ok(())
    });
}

#[test]
fn one_item_of_a_list_runs_again() {
    let text = "
id: w
steps:
  s: {topic: job.echo, for_each: '[1, 2, 3]'}
  after: {topic: job.echo, depends_on: [s], input: {all: '${steps.s.output}'}}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let second = rerun(plane, &first, RerunRequest::new().from_step(step("s[1]"))).await?;
        let end = plane.run_to_end(&second).await?;
        assert_eq!(dispatched(plane, &second), ["s[1]@1", "after@1"]);
        let all = end.step("after").and_then(|step| step.input.as_deref().cloned()).unwrap();
        let of: Vec<&str> = all["all"].as_array().unwrap().iter().map(|item| item["of"].as_str().unwrap()).collect();
        let (old, new) = (first.as_str(), second.as_str());
        assert_eq!(of, [format!("{old}:s[0]@1"), format!("{new}:s[1]@1"), format!("{old}:s[2]@1")]);
        Ok(())
    });
}

#[test]
fn what_a_kept_group_tolerated_stays_as_it_was() {
    let text = "
id: w
steps:
  both:
    type: parallel
    steps:
      list: {topic: job.once, for_each: '[1]', continue_on_error: true}
      other: {topic: job.echo}
  after: {topic: job.echo, depends_on: [both]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&first).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        let second = rerun(plane, &first, RerunRequest::new().from_step(step("after"))).await?;
        let end = plane.run_to_end(&second).await?;
        assert_eq!(dispatched(plane, &second), ["after@1"]);
        let status = |id| end.step(id).map(|step| step.status);
        assert_eq!((end.status(), status("both")), (RunStatus::Succeeded, Some(StepStatus::Succeeded)));
        assert_eq!((status("list"), status("list[0]")), (Some(StepStatus::Failed), Some(StepStatus::Failed)));
        Ok(())
    });
}

#[test]
fn a_loop_goes_on_from_an_iteration_and_forgets_those_behind() {
    let text = "
id: w
steps:
  l: {type: loop, max_iterations: 4, carry: 0, next: '${carry + 1}', steps: {t: {topic: job.echo, input: {c: '${carry}'}}}}
output: '${steps.l.output}'";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let second = rerun(plane, &first, RerunRequest::new().from_step(step("t[2]"))).await?;
        let end = plane.run_to_end(&second).await?;
        assert_eq!(dispatched(plane, &second), ["t[2]@1", "t[3]@1"]);
        assert_eq!(end.step("t[3]").and_then(|step| step.input.as_deref().cloned()), Some(json!({"c": 3})));
        assert_eq!(end.output().map(|output| Value::clone(output)), Some(json!(4)));
        Ok(())
    });
}

#[test]
fn a_run_forks_from_any_event_and_the_state_of_any_event_is_at_hand() {
    let text = "
id: w
steps:
  a: {topic: job.echo}
  g: {type: parallel, depends_on: [a], steps: {x: {topic: job.echo}, y: {topic: job.echo, depends_on: [x]}}}
  z: {topic: job.echo, depends_on: [g]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&first).await?;
        let inner = plane.plane()?;
        for seq in 1..=end.head() {
            let then = inner.run_at(plane.principal(), &first, seq).await?;
            assert_eq!(then.head(), seq);
            let fork = rerun(plane, &first, RerunRequest::new().at_event(seq)).await?;
            let forked = plane.run_to_end(&fork).await?;
            assert_eq!(forked.status(), RunStatus::Succeeded, "from event {seq}");
            let kept = then.steps().filter(|(_, step)| step.status == StepStatus::Succeeded && step.group.is_none());
            let kept: Vec<String> = kept.map(|(id, _)| format!("{id}@1")).collect();
            let again = dispatched(plane, &fork);
            assert!(kept.iter().all(|job| !again.contains(job)), "from event {seq}: {kept:?} {again:?}");
            assert_eq!(kept.len() + again.len(), 4, "from event {seq}: {kept:?} {again:?}");
        }
        let missing = inner.run_at(plane.principal(), &first, end.head() + 1).await.unwrap_err();
        assert_eq!(missing.code(), "event_not_found");
        let report = inner.replay(plane.principal(), &first).await?;
        assert!(report.agrees() && report.events == end.head(), "{report:?}");
        Ok(())
    });
}

#[test]
fn a_restored_run_survives_a_crash() {
    let text = "
id: w
steps:
  s: {topic: job.echo, for_each: '[1, 2, 3]', max_parallel: 1}
  after: {topic: job.echo, depends_on: [s]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let second = rerun(plane, &first, RerunRequest::new().from_step(step("s[1]"))).await?;
        plane.crash_and_restart().await?;
        assert_eq!(plane.run_to_end(&second).await?.status(), RunStatus::Succeeded);
        let report = plane.plane()?.replay(plane.principal(), &second).await?;
        assert!(report.agrees(), "{report:?}");
        Ok(())
    });
}

#[test]
fn an_item_that_max_parallel_holds_back_says_so() {
    let text = "
id: w
steps:
  fe: {topic: job.never, for_each: '[1, 2, 3]', max_parallel: 1}";
    tell(text, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        let waits = plane.plane()?.why(plane.principal(), &run).await?;
        let shown: Vec<_> = waits.iter().map(|wait| serde_json::to_value(wait).unwrap()).collect();
        let held = |id: &str| json!({"step_id": id, "cause": "max_parallel", "group": "fe", "limit": 1});
        assert!(shown.contains(&held("fe[1]")) && shown.contains(&held("fe[2]")), "{shown:#?}");
        assert_eq!(shown[0], json!({"cause": "steps", "steps": ["fe[0]"]}));
        Ok(())
    });
}

#[test]
fn why_names_what_a_run_waits_for() {
    let text = "
id: w
timeout_sec: 86400
steps:
  ask: {type: approval, timeout_sec: 90}
  wait: {type: delay, delay: 1h}
  morning: {type: delay, delay_next: {time: '09:00', days: [mon-fri], time_zone: Europe/Berlin}}
  sig: {type: signal}
  job: {topic: job.never}
  form: {type: input}
  after: {topic: job.echo, depends_on: [ask, wait]}";
    tell(text, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        let inner = plane.plane()?;
        let waits = inner.why(plane.principal(), &run).await?;
        let of = |id: &str| waits.iter().find(|wait| wait.step_id.as_ref().is_some_and(|step| step.as_str() == id));
        assert!(matches!(&of("ask").unwrap().cause, WaitCause::Approval { until: Some(_), .. }));
        assert!(matches!(&of("wait").unwrap().cause, WaitCause::Timer { rule: Some(rule), .. } if &**rule == "1h"));
        let WaitCause::Timer { until, rule: Some(rule) } = &of("morning").unwrap().cause else { panic!("{waits:?}") };
        assert_eq!(&**rule, "the next 09:00 on mon-fri in Europe/Berlin");
        assert_eq!(until.to_string(), "2030-01-01T08:00:00Z");
        assert!(matches!(&of("sig").unwrap().cause, WaitCause::Signal { name, .. } if name == "sig"));
        assert!(matches!(&of("form").unwrap().cause, WaitCause::Data { .. }));
        assert!(matches!(&of("job").unwrap().cause, WaitCause::Pool { .. } | WaitCause::Worker { .. }));
        assert!(
            matches!(&of("after").unwrap().cause, WaitCause::Steps { steps } if *steps == [step("ask"), step("wait")])
        );
        let of_run: Vec<_> = waits.iter().filter(|wait| wait.step_id.is_none()).collect();
        let [Wait { cause: WaitCause::Steps { steps }, deadline: Some(_), .. }] = of_run.as_slice() else {
            panic!("{of_run:?}")
        };
        let names = ["ask", "form", "job", "morning", "sig", "wait"].map(step);
        assert_eq!(*steps, names, "the run waits for the steps that wait for something outside of it");
        inner.cancel_run(plane.principal(), &run, "enough").await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Cancelled);
        assert_eq!(inner.why(plane.principal(), &run).await?, []);
        Ok(())
    });
}

#[test]
fn a_plan_tells_order_branches_policy_and_pools_without_starting_anything() {
    let text = "
id: w
steps:
  pick: {type: switch, cases: [{when: input.big, then: [big]}], default: [small]}
  big: {topic: job.big}
  small: {topic: job.small}
  yes: {type: approval, depends_on: [big, small]}
  wait: {type: delay, delay_next: {cron: '0 9 * * 1-5'}, depends_on: ['yes']}
  items: {topic: job.item, for_each: input.l, depends_on: [wait]}";
    let policy = policy_fn("plan", |request| match request.topic {
        "job.big" => Outcome::Deny,
        "job.small" => Outcome::RequireApproval,
        _ => Outcome::Allow,
    });
    TestPlane::builder()
        .policy(policy)
        .run(async |plane| {
            let workflow = Workflow::parse("w.yaml", text).unwrap();
            let plan = plane.plane().unwrap().plan(plane.principal(), &workflow, None);
            let order: Vec<(&str, usize)> = plan.steps.iter().map(|step| (step.step_id.as_str(), step.level)).collect();
            assert_eq!(order, [("pick", 0), ("big", 1), ("small", 1), ("yes", 2), ("wait", 3), ("items", 4)]);
            assert_eq!(plan.approvals, ["small", "yes"]);
            assert!(plan.blocked.contains_key("big"));
            assert_eq!(plan.steps[4].delay.as_deref(), Some("the next time of `0 9 * * 1-5` in UTC"));
            let items = plan.steps.last().unwrap();
            assert_eq!((items.kind.as_str(), items.topic.as_deref()), ("for_each", Some("job.item")));
            assert_eq!(items.pool.as_deref(), Some("default"));
            assert!(plane.dispatched().is_empty());
        })
        .unwrap();
}

#[test]
fn a_dry_run_sends_nothing_and_its_subworkflows_are_dry_too() {
    let other = "id: other\nsteps:\n  j: {topic: job.echo, output_schema: {type: integer, default: 7}}\noutput: '${steps.j.output}'";
    let text = "
id: w
steps:
  j: {topic: job.echo}
  tell: {type: notify}
  keep: {type: storage, storage: {op: put, key: k, value: 1}}
  sub: {type: subworkflow, workflow: other, depends_on: [j]}
output: '${steps.sub.output}'";
    TestPlane::builder()
        .workflow(other)
        .workflow(text)
        .run(async |plane| {
            let request = StartRequest::new(WorkflowId::parse("w").unwrap(), json!({})).dry_run();
            let run = plane.start_with(request).await.unwrap();
            let end = plane.run_to_end(&run).await.unwrap();
            assert_eq!((end.status(), end.is_dry_run()), (RunStatus::Succeeded, true));
            assert_eq!(end.output().map(|output| Value::clone(output)), Some(json!(7)));
            plane.advance(Duration::from_secs(60)).await;
            assert!(plane.published(">").is_empty(), "{:?}", plane.published(">"));
            assert!(plane.plane().unwrap().blobs().list("", None, 10).await.unwrap().is_empty());
        })
        .unwrap();
}

/// Runs other than `first`.
async fn others(plane: &TestPlane, first: &RunId) -> Result<Vec<String>, PlaneError> {
    let runs = plane.ask(async |p| p.runs(plane.principal(), RunQuery::default()).await).await?;
    Ok(runs.items.into_iter().map(|run| run.id).filter(|id| *id != first.as_str()).collect())
}

#[test]
fn a_repeated_rerun_under_one_key_is_one_run() {
    let text = "id: w\nsteps:\n  a: {topic: job.echo}\n  b: {topic: job.echo, depends_on: [a]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let keyed = || RerunRequest::new().from_step(step("b")).idempotency_key("k");
        // Both at once: neither finds the other's run when it looks.
        let (one, two) = (rerun(plane, &first, keyed()), rerun(plane, &first, keyed()));
        let (one, two) = futures::join!(one, two);
        let (one, two) = (one?, two?);
        assert_eq!(one, two);
        assert_eq!(others(plane, &first).await?, [one.as_str()]);
        assert_eq!(dispatched(plane, &one), ["b@1"]);
        // The answer stays, whatever becomes of the run that it goes on from.
        assert_eq!(rerun(plane, &first, keyed()).await?, one);
        // What was asked for otherwise is no repeat.
        for other in
            [keyed().from_step(step("a")), keyed().input(json!({"n": 1})), keyed().at_event(1), keyed().dry_run()]
        {
            let refused = rerun(plane, &first, other).await.unwrap_err();
            assert!(
                refused.code() == "idempotency_key_reused" && refused.to_string().contains(one.as_str()),
                "{refused}"
            );
        }
        plane.run_to_end(&one).await?;
        plane.ask(async |p| p.delete_run(plane.principal(), &first).await).await?;
        assert_eq!(rerun(plane, &first, keyed()).await?, one);
        // Starts know the same keys.
        let start = StartRequest::new(WorkflowId::parse("w")?, json!({})).idempotency_key("k");
        assert_eq!(plane.start_with(start).await.unwrap_err().code(), "idempotency_key_reused");
        let bad = rerun(plane, &one, RerunRequest::new().idempotency_key("a\u{7}")).await.unwrap_err();
        assert_eq!(bad.code(), "idempotency_key_invalid");
        // After a week it is free again.
        plane.advance(Duration::from_secs(8 * 24 * 3600)).await;
        assert_ne!(rerun(plane, &one, keyed()).await?, one);
        Ok(())
    });
}

#[test]
fn a_crash_at_any_commit_leaves_one_rerun_of_one_key() {
    let text = "id: w\nsteps:\n  a: {topic: job.echo}\n  b: {topic: job.echo, depends_on: [a]}";
    for request in [RerunRequest::new().from_step(step("b")), RerunRequest::new().at_event(2)] {
        for commit in 1..16 {
            let faults = FaultPlan::new(1).crash_after(commit).arm();
            TestPlane::builder()
                .workflow(text)
                .worker("job.echo", Reply::succeed(json!(1)))
                .faults(&faults)
                .run(async |plane| {
                    let first = plane.start("w", json!({})).await.unwrap();
                    plane.run_to_end(&first).await.unwrap();
                    let one = rerun(plane, &first, request.clone().idempotency_key("k")).await.unwrap();
                    let again = rerun(plane, &first, request.clone().idempotency_key("k")).await.unwrap();
                    assert_eq!(one, again, "after commit {commit}");
                    assert_eq!(others(plane, &first).await.unwrap(), [one.as_str()], "after commit {commit}");
                    assert_eq!(plane.run_to_end(&one).await.unwrap().status(), RunStatus::Succeeded);
                })
                .unwrap();
        }
    }
}

#[test]
fn the_id_of_one_rerun_is_not_taken_for_another() {
    let text = "id: w\nsteps:\n  a: {topic: job.echo}\n  b: {topic: job.echo, depends_on: [a]}";
    tell(text, async |plane| {
        let first = plane.start("w", json!({})).await?;
        plane.run_to_end(&first).await?;
        let mine = || RerunRequest::new().run_id(RunId::parse("mine").unwrap());
        let one = rerun(plane, &first, mine().from_step(step("b"))).await?;
        assert_eq!(rerun(plane, &first, mine().from_step(step("b"))).await?, one);
        for other in [mine(), mine().from_step(step("a"))] {
            assert_eq!(rerun(plane, &first, other).await.unwrap_err().code(), "run_exists");
        }
        Ok(())
    });
}
