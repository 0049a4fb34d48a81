//! What runs and jobs do, told on a `TestPlane`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    governance::Principal,
    job::{Answer, JobEvent, JobId, JobState, Topic, WorkflowId},
    policy::{JobMeta, Outcome},
    protocol::subjects,
    runtime::{ControlPlane, JobRequest, JobView, PlaneError, PlaneErrorKind, StartRequest},
    scheduler::Routes,
    testing::{Reply, Say, ScriptedJob, TestPlane, TestPlaneBuilder, policy_fn},
    workflow::{Run, RunStatus, StepStatus, Workflow},
};
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);

/// Runs `test` on what `builder` makes.
fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// A workflow `w` with these steps.
fn steps(yaml: &str) -> TestPlaneBuilder {
    TestPlane::builder().workflow(format!("id: w\nsteps:\n{yaml}"))
}

fn ok() -> Reply {
    Reply::succeed(json!({"ok": true}))
}

fn status(run: &Run, step: &str) -> StepStatus {
    run.step(step).unwrap().status
}

async fn kinds(plane: &TestPlane, run: &coretex_core::job::RunId) -> Vec<String> {
    plane.timeline(run).await.unwrap().into_iter().map(|event| event.kind).collect()
}

async fn job(plane: &TestPlane, id: &JobId) -> Result<JobView, PlaneError> {
    plane.ask(async |p| p.job(plane.principal(), id).await).await
}

async fn submit(plane: &TestPlane, id: &str, meta: JobMeta) -> Result<JobId, PlaneError> {
    let request = JobRequest::new(Topic::parse_job("job.a")?, json!({"x": 1}))
        .id(JobId::parse(id)?)
        .meta(meta)
        .label("team", "red")
        .timeout(60 * SECOND);
    plane.ask(async |p| p.submit_job(plane.principal(), request.clone()).await).await
}

async fn letters(plane: &TestPlane) -> Vec<coretex_core::job::DeadLetter> {
    plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await.unwrap().items
}

#[test]
fn more_jobs_than_are_handed_out_in_one_round_are_all_done_and_all_stopped() {
    const ITEMS: usize = 1_000;
    let list = json!({"l": (0..ITEMS).collect::<Vec<_>>()});
    let yaml = "  each: {topic: job.a, for_each: input.l}";
    tell(steps(yaml).worker("job.a", [ok()]), async |plane| {
        let run = plane.start("w", list.clone()).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        assert_eq!(end.steps().filter(|(_, step)| step.attempts == 1 && step.job.is_some()).count(), ITEMS);
        Ok(())
    });
    tell(steps(yaml).worker("job.a", [ok().after(60 * SECOND)]), async |plane| {
        let run = plane.start("w", list.clone()).await?;
        plane.ask(async |p| p.cancel_run(plane.principal(), &run, "enough").await).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Cancelled);
        Ok(())
    });
}

#[test]
fn late_result_after_timeout_is_absorbed() {
    let script = [ok().late(5 * SECOND), ok().after(8 * SECOND)];
    tell(
        steps("  a: {topic: job.a, timeout_sec: 10, retry: {max_retries: 1, initial_backoff_sec: 1, jitter: 0}}")
            .worker("job.a", script),
        async |plane| {
            let run = plane.start("w", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Succeeded, 2));
            // 10 s until the timeout, a second of backoff, 8 s of work: the late result at 15 s changed nothing.
            assert_eq!(plane.elapsed(), 19 * SECOND);
            let kinds = kinds(plane, &run).await;
            let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
            assert_eq!((count("step_result"), count("step_completed")), (1, 1), "{kinds:?}");
            Ok(())
        },
    );
}

#[test]
fn a_repeated_result_counts_once() {
    let builder =
        steps("  a: {topic: job.a}\n  b: {type: delay, delay_sec: 60}\n  c: {topic: job.c, depends_on: [a, b]}");
    tell(builder.worker("job.a", ok().twice()).worker("job.c", ok()), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(SECOND).await;
        let state = plane.run_state(&run).await?;
        // A result that counted twice would release `c` twice, and start it before `b` has ended.
        assert_eq!(status(&state, "c"), StepStatus::Pending);
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        let ended = kinds(plane, &run).await.iter().filter(|kind| *kind == "step_completed").count();
        assert_eq!(ended, 3);
        Ok(())
    });
}

#[test]
fn a_cancelled_run_stops_its_workers_and_its_questions() {
    let builder = steps("  a: {topic: job.a}\n  q: {type: approval}\n  z: {topic: job.a, depends_on: [q]}");
    tell(builder.worker("job.a", Reply::UntilCancelled), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        plane.ask(async |p| p.cancel_run(plane.principal(), &run, "enough").await).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Cancelled);
        for step in ["a", "q", "z"] {
            assert_eq!(status(&end, step), StepStatus::Cancelled, "{step}");
        }
        plane.settle().await;
        let cancels = plane.published(subjects::JOB_CANCEL);
        assert_eq!(cancels[0].packet.job_cancel().unwrap().job_id, format!("{run}:a@1"));
        assert!(plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.is_empty());
        // Nothing more happens to it, and stopping it again is fine.
        let head = plane.run_state(&run).await?.head();
        plane.ask(async |p| p.cancel_run(plane.principal(), &run, "enough").await).await?;
        plane.advance(100 * SECOND).await;
        assert_eq!(plane.run_state(&run).await?.head(), head);
        assert!(letters(plane).await.is_empty(), "what was stopped was not given up");
        Ok(())
    });
}

#[test]
fn a_cancelled_job_of_a_step_fails_the_step_and_is_no_dead_letter() {
    tell(steps("  a: {topic: job.a}").worker("job.a", Reply::UntilCancelled), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        let id = JobId::parse(&format!("{run}:a@1"))?;
        plane.ask(async |p| p.cancel_job(plane.principal(), &id, "enough").await).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), status(&end, "a")), (RunStatus::Failed, StepStatus::Failed));
        assert!(letters(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn policy_asks_a_human_and_their_answer_is_bound_to_the_work() {
    let builder = steps("  a: {topic: job.a}")
        .worker("job.a", ok())
        .policy(policy_fn("p1", |_| Outcome::RequireApproval))
        .approver("ann", Say::Yes.after(60 * SECOND));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({"amount": 1})).await?;
        let waiting = plane.run_state(&run).await?;
        assert_eq!((waiting.status(), status(&waiting, "a")), (RunStatus::Waiting, StepStatus::Waiting));
        let question = plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.remove(0);
        assert_eq!(*question.input, json!({"amount": 1}));
        let end = plane.run_to_end(&run).await?;
        let job = end.step("a").unwrap().job.clone().unwrap();
        assert_eq!((end.status(), plane.elapsed()), (RunStatus::Succeeded, 60 * SECOND));
        let grant = job.grant.unwrap();
        assert_eq!((&*grant.answer.by, Some(&grant.hash)), ("ann", question.hash.as_ref()));
        // Other input is other work: it is asked about again.
        let other = plane.start("w", json!({"amount": 1_000_000})).await?;
        let asked = plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.remove(0);
        assert_ne!(asked.hash, question.hash);
        assert_eq!(plane.run_state(&other).await?.status(), RunStatus::Waiting);
        Ok(())
    });
}

#[test]
fn what_policy_denies_after_the_approval_does_not_run() {
    let builder =
        steps("  a: {topic: job.a}").worker("job.a", ok()).policy(policy_fn("p1", |_| Outcome::RequireApproval));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.set_policy(policy_fn("p2", |_| Outcome::Deny));
        plane.answer(&run, "a", "ann", true).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.failure().unwrap().code.as_ref(), "safety_denied");
        assert!(plane.dispatched().is_empty());
        assert_eq!(letters(plane).await.len(), 1);
        Ok(())
    });
}

#[test]
fn a_rejected_approval_fails_the_run() {
    let builder =
        steps("  q: {type: approval}\n  a: {topic: job.a, depends_on: [q]}").approver("ann", Say::no("too risky"));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), status(&end, "a")), (RunStatus::Failed, StepStatus::Cancelled));
        let failure = end.failure().unwrap();
        assert_eq!(failure.code.as_ref(), "approval_rejected");
        assert!(failure.message.contains("too risky"));
        // The question is gone; a second answer is told so.
        let error = plane.answer(&run, "q", "bob", true).await.unwrap_err();
        assert_eq!(error.code(), "step_not_waiting");
        Ok(())
    });
}

#[test]
fn an_unanswered_question_lapses() {
    tell(steps("  q: {type: approval, timeout_sec: 3600}"), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((plane.elapsed(), status(&end, "q")), (3_600 * SECOND, StepStatus::TimedOut));
        assert_eq!(end.failure().unwrap().code.as_ref(), "approval_expired");
        assert!(plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.is_empty());
        Ok(())
    });
}

#[test]
fn a_question_that_is_withdrawn_at_once_leaves_no_record() {
    // `z` fails in the decision that asks `q`.
    let builder = steps("  q: {type: approval}\n  z: {type: condition, condition: \"input.missing + 1 == 2\"}");
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Failed);
        assert!(plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.is_empty());
        Ok(())
    });
}

#[test]
fn retries_wait_longer_each_time_up_to_the_limit() {
    let retry = "retry: {max_retries: 3, initial_backoff_sec: 2, multiplier: 3, max_backoff_sec: 10, jitter: 0}";
    tell(steps(&format!("  a: {{topic: job.a, {retry}}}")).worker("job.a", Reply::retryable("busy")), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Failed, 4));
        assert_eq!(plane.elapsed(), (2 + 6 + 10) * SECOND);
        assert_eq!(letters(plane).await[0].attempts, 4);
        Ok(())
    });
}

#[test]
fn jittered_backoff_is_due_when_its_timer_fires() {
    let retry = "retry: {max_retries: 5, initial_backoff_sec: 1}";
    let script = [Reply::retryable("busy"), Reply::retryable("busy"), Reply::retryable("busy"), ok()];
    for seed in 0..20 {
        let builder = steps(&format!("  a: {{topic: job.a, {retry}}}")).worker("job.a", script.clone()).seed(seed);
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
            Ok(())
        });
    }
}

#[test]
fn a_fatal_failure_is_not_tried_again() {
    tell(
        steps("  a: {topic: job.a, retry: {max_retries: 3}}").worker("job.a", Reply::fatal("broken")),
        async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.step("a").unwrap().attempts, 1);
            Ok(())
        },
    );
}

#[test]
fn the_timeout_of_a_later_step_counts_after_an_earlier_one_has_ended() {
    let builder = steps("  a: {topic: job.a, timeout_sec: 10}\n  b: {topic: job.b, timeout_sec: 60, depends_on: [a]}");
    tell(builder.worker("job.a", ok().after(5 * SECOND)), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), status(&end, "b")), (RunStatus::TimedOut, StepStatus::TimedOut));
        assert_eq!(plane.elapsed(), 65 * SECOND);
        Ok(())
    });
}

#[test]
fn a_run_ends_at_its_own_timeout() {
    let text = "id: w\ntimeout_sec: 100\nsteps:\n  a: {type: delay, delay_sec: 1000}\n  b: {topic: job.a}";
    tell(TestPlane::builder().workflow(text).worker("job.a", Reply::Never), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        // The worker has ten seconds to say that it stopped.
        assert_eq!((end.status(), plane.elapsed()), (RunStatus::TimedOut, 110 * SECOND));
        Ok(())
    });
}

#[test]
fn a_false_gate_skips_and_what_depends_on_it_goes_on() {
    let builder = steps(
        "  a: {topic: job.a, condition: \"input.n > 5\"}\n  c: {type: condition, condition: \"input.n == 1\", depends_on: [a]}\n  b: {topic: job.a, condition: \"steps.c.output\", depends_on: [c]}",
    );
    tell(builder.worker("job.a", ok()), async |plane| {
        let run = plane.start("w", json!({"n": 1})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((status(&end, "a"), status(&end, "b")), (StepStatus::Skipped, StepStatus::Succeeded));
        assert_eq!(end.step("c").unwrap().output.as_ref().unwrap().value.as_deref(), Some(&json!(true)));
        assert_eq!(plane.dispatched().len(), 1);
        Ok(())
    });
}

#[test]
fn an_alert_is_published_and_confirmed() {
    let builder = steps("  n: {type: notify, input: {message: \"${input.text}\", level: error}}");
    tell(builder, async |plane| {
        let run = plane.start("w", json!({"text": "look here"})).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        let alerts = plane.published(subjects::WORKFLOW_EVENT);
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].packet.alert().unwrap().message, "look here");
        Ok(())
    });
}

#[test]
fn a_topic_without_a_pool_fails_fast_and_its_job_can_be_tried_again() {
    let builder = steps("  a: {topic: job.lost, retry: {max_retries: 3}, meta: {risk_tags: [write], requires: [git]}}")
        .routes(Routes::parse("pools", "topics: {job.known: p}").unwrap())
        .worker("job.lost", ok());
    tell(builder, async |plane| {
        let run = plane.start("w", json!({"x": 1})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((plane.elapsed(), end.failure().unwrap().code.as_ref()), (Duration::ZERO, "no_pool_mapping"));
        let letter = letters(plane).await.remove(0);
        assert_eq!((letter.state, letter.last_state), (JobState::Failed, JobState::Pending));
        // Judged again by the policy of today, with all that the job was.
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = asked.clone();
        plane.set_policy(policy_fn("p2", move |request| {
            note.lock().unwrap().push((request.meta.clone(), request.labels.clone(), request.input.cloned()));
            Outcome::Allow
        }));
        plane.set_routes(Routes::open())?;
        let id = plane.ask(async |p| p.retry_dead_letter(plane.principal(), &letter.spec.id).await).await?;
        plane.advance(SECOND).await;
        let view = job(plane, &id).await?;
        assert_eq!(view.job.state, JobState::Succeeded);
        assert_eq!((&view.spec.meta, &view.spec.input), (&letter.spec.meta, &letter.spec.input));
        assert_eq!(view.spec.labels["retry_of_job"], letter.spec.id.as_str());
        let (meta, labels, input) = asked.lock().unwrap().remove(0);
        assert_eq!((&meta, input), (&*letter.spec.meta, Some(json!({"x": 1}))));
        assert_eq!(labels["run_id"], run.as_str());
        assert!(letters(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn a_throttled_job_is_asked_about_again_later() {
    let times = Mutex::new(0);
    let policy = policy_fn("p", move |_| {
        let mut times = times.lock().unwrap();
        *times += 1;
        if *times < 3 { Outcome::Throttle } else { Outcome::Allow }
    });
    tell(steps("  a: {topic: job.a}").worker("job.a", ok()).policy(policy), async |plane| {
        let run = plane.start("w", json!({})).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(plane.elapsed(), 10 * SECOND);
        Ok(())
    });
}

#[test]
fn an_edit_of_the_definition_does_not_touch_a_run_under_way() {
    tell(
        steps("  a: {type: delay, delay_sec: 60}\n  b: {topic: job.a, depends_on: [a]}").worker("job.>", ok()),
        async |plane| {
            let run = plane.start("w", json!({})).await?;
            let edited = Workflow::parse("w", "id: w\nsteps:\n  only: {topic: job.other}").unwrap();
            let edited = plane.drive(plane.plane()?.put_workflow(plane.principal(), edited)).await?;
            plane.crash_and_restart().await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!((status(&end, "b"), end.step("only")), (StepStatus::Succeeded, None));
            let next = plane.start("w", json!({})).await?;
            let next = plane.run_to_end(&next).await?;
            assert_eq!(next.workflow().digest(), edited.digest());
            assert!(next.step("only").is_some());
            Ok(())
        },
    );
}

#[test]
fn a_submitted_job_lives_and_ends_by_itself() {
    let seen: Arc<Mutex<Vec<ScriptedJob>>> = Arc::default();
    let note = seen.clone();
    let script = move |job: &ScriptedJob| {
        note.lock().unwrap().push(job.clone());
        ok().with_progress().after(10 * SECOND)
    };
    tell(TestPlane::builder().worker("job.a", script), async |plane| {
        let meta = JobMeta { capability: Some("repo.write".into()), ..JobMeta::default() };
        let id = submit(plane, "mine-1", meta.clone()).await?;
        assert_eq!(job(plane, &id).await?.job.state, JobState::Dispatched);
        assert_eq!(submit(plane, "mine-1", meta).await?, id, "submitting it twice submits it once");
        let other = submit(plane, "mine-1", JobMeta::default()).await;
        assert_eq!(other.unwrap_err().code(), "job_exists", "another job does not hide behind its id");
        plane.advance(10 * SECOND).await;
        let view = job(plane, &id).await?;
        assert_eq!(view.job.state, JobState::Succeeded);
        assert_eq!(view.job.output.unwrap().value.as_deref(), Some(&json!({"ok": true})));
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].request.meta.as_ref().unwrap().capability, "repo.write");
        assert_eq!(seen[0].request.labels["team"], "red");
        // Only its id ties the result to it: that is on record.
        let stream = plane.store().read(&"job/mine-1".into(), 1, 100).await.unwrap();
        let last: Value = serde_json::from_slice(stream.events.last().unwrap()).unwrap();
        assert_eq!(last["unfenced"], json!(true), "{last}");
        let _: JobEvent = serde_json::from_value(last).unwrap();
        Ok(())
    });
}

#[test]
fn a_submitted_job_times_out_is_cancelled_or_denied_and_what_was_given_up_is_on_record() {
    tell(TestPlane::builder().worker("job.a", Reply::UntilCancelled), async |plane| {
        let late = submit(plane, "late", JobMeta::default()).await?;
        plane.advance(61 * SECOND).await;
        assert_eq!(job(plane, &late).await?.job.state, JobState::Timeout);
        let stopped = submit(plane, "stopped", JobMeta::default()).await?;
        plane.ask(async |p| p.cancel_job(plane.principal(), &stopped, "enough").await).await?;
        plane.settle().await;
        assert_eq!(job(plane, &stopped).await?.job.state, JobState::Cancelled);
        plane.set_policy(policy_fn("p2", |_| Outcome::Deny));
        let denied = submit(plane, "denied", JobMeta::default()).await?;
        assert_eq!(job(plane, &denied).await?.job.state, JobState::Denied);
        let ids: Vec<String> = letters(plane).await.iter().map(|letter| letter.spec.id.to_string()).collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert!(ids.contains(&"late".into()) && ids.contains(&"denied".into()));
        Ok(())
    });
}

#[test]
fn a_submitted_job_waits_for_a_human() {
    let builder = TestPlane::builder().worker("job.a", ok()).policy(policy_fn("p", |_| Outcome::RequireApproval));
    tell(builder, async |plane| {
        let id = submit(plane, "asked", JobMeta::default()).await?;
        plane.crash_and_restart().await?;
        assert_eq!(job(plane, &id).await?.job.state, JobState::ApprovalRequired);
        let answer = Answer { approved: true, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() };
        plane.ask(async |p| p.answer(plane.principal(), "asked", answer.clone()).await).await?;
        plane.settle().await;
        assert_eq!(job(plane, &id).await?.job.state, JobState::Succeeded);
        let error = plane.ask(async |p| p.answer(plane.principal(), "asked", answer.clone()).await).await.unwrap_err();
        assert_eq!(error.kind(), PlaneErrorKind::NotFound);
        Ok(())
    });
}

#[test]
fn nonsense_of_workers_harms_nothing() {
    let builder =
        steps("  a: {topic: job.a, timeout_sec: 10, retry: {max_retries: 1, initial_backoff_sec: 1, jitter: 0}}");
    tell(builder.worker("job.a", [Reply::Garbage, ok()]), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), plane.elapsed()), (RunStatus::Succeeded, 11 * SECOND));
        assert!(plane.plane()?.workers().is_empty());
        Ok(())
    });
}

#[test]
fn a_run_that_has_ended_ignores_everything_and_still_answers() {
    tell(steps("  a: {topic: job.a}").worker("job.a", ok().twice()), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        plane.advance(100 * SECOND).await;
        plane.crash_and_restart().await?;
        assert_eq!(plane.run_to_end(&run).await?, end, "waiting for what has ended answers at once");
        assert_eq!(plane.plane()?.recovery().resumed, 0);
        let error = plane.answer(&run, "a", "ann", true).await.unwrap_err();
        assert_eq!(error.kind(), PlaneErrorKind::Conflict);
        assert_eq!(plane.run_state(&run).await?, end);
        Ok(())
    });
}

#[test]
fn a_repeated_start_of_a_run_that_has_ended_is_answered() {
    tell(steps("  c: {type: condition, condition: \"true\"}"), async |plane| {
        let run = plane.start("w", json!({"n": 1})).await?;
        assert!(plane.run_to_end(&run).await?.status().is_terminal());
        let request = |n: u64| StartRequest::new(WorkflowId::parse("w").unwrap(), json!({"n": n})).run_id(run.clone());
        assert_eq!(plane.start_with(request(1)).await?, run);
        let error = plane.start_with(request(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (PlaneErrorKind::Conflict, "run_exists"));
        Ok(())
    });
}

#[test]
fn a_panic_in_the_hosts_policy_closes_the_door_instead_of_leaving_a_dead_shard() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let policy = policy_fn("buggy", |_| panic!("a bug of the host"));
        let plane = ControlPlane::builder(policy).start().await.unwrap();
        let me = Principal::service("tester");
        let workflow = Workflow::parse("w.yaml", "id: w\nsteps: {a: {topic: job.a}}\n").unwrap();
        plane.put_workflow(&me, workflow).await.unwrap();
        let start = || StartRequest::new(WorkflowId::parse("w").unwrap(), json!({}));
        for _ in 0..2 {
            assert_eq!(plane.start(&me, start()).await.unwrap_err().code(), "plane_closed");
        }
        plane.shutdown().await.unwrap();
    });
}
