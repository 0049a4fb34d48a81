//! Runs that move onto another version: what a preview says, what the move leaves true, and what crashes, repeats and
//! races do to it. Each reason to refuse is walked beside the machine, in `workflow::tests::migration`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{collections::BTreeSet, time::Duration};

use coretex_core::{
    governance::Principal,
    job::{Answer, RunId, StepRunId, TenantId, WorkflowId},
    ports::Scan,
    runtime::{
        ListPage, MigrationOutcome, MigrationQuery, MigrationRequest, PlaneError, PrunedClass, RerunRequest, Retention,
        RunMigration, StartRequest, VersionRef,
    },
    testing::{FaultPlan, Reply, ScriptedJob, TestPlane, TestPlaneBuilder},
    workflow::{RefusalReason, RunStatus, RunView, Workflow},
};
use serde_json::json;

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);
const HELD: &str =
    "  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n  z: {topic: job.z, depends_on: [hold]}";
/// The same as far as the approval, and other steps behind it.
const BETTER: &str = "  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n  check: {topic: job.check, depends_on: [hold]}\n  z: {topic: job.zz, depends_on: [check]}";
/// Without the step that a held run has done.
const WORSE: &str = "  hold: {type: approval}";

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    let script = |job: &ScriptedJob| match job.request.topic.as_str() {
        "job.busy" => Reply::retryable("busy"),
        "job.never" => Reply::Never,
        "job.slow" => Reply::succeed(json!("late")).late(60 * SECOND),
        _ => Reply::succeed(json!({"ok": true})),
    };
    builder.worker("job.>", script).run(test).unwrap().unwrap();
}

fn held() -> TestPlaneBuilder {
    TestPlane::builder().workflow(text(HELD))
}

fn text(steps: &str) -> String {
    format!("id: w\nsteps:\n{steps}")
}

fn id() -> WorkflowId {
    WorkflowId::parse("w").unwrap()
}

async fn store(plane: &TestPlane, document: &str) -> Result<String, PlaneError> {
    let parse = || Workflow::parse("w", document).unwrap();
    let stored = plane.ask(async |p| p.store_workflow(plane.principal(), parse(), None).await).await?;
    Ok(stored.version.digest.to_string())
}

/// A run that waits for its approval.
async fn held_run(plane: &TestPlane) -> Result<RunId, PlaneError> {
    let run = plane.start("w", json!({})).await?;
    plane.advance(SECOND).await;
    Ok(run)
}

async fn migrate(plane: &TestPlane, run: &RunId) -> Result<RunMigration, PlaneError> {
    let request = MigrationRequest::new().reason("better");
    plane.ask(async |p| p.migrate_run(plane.principal(), run, &request).await).await
}

async fn preview(plane: &TestPlane, run: &RunId) -> Result<RunMigration, PlaneError> {
    plane.ask(async |p| p.migrate_run_preview(plane.principal(), run, &MigrationRequest::new()).await).await
}

async fn migrate_all(plane: &TestPlane, query: &MigrationQuery) -> Result<ListPage<RunMigration>, PlaneError> {
    plane.ask(async |p| p.migrate_runs(plane.principal(), &id(), query).await).await
}

async fn preview_all(plane: &TestPlane, query: &MigrationQuery) -> Result<ListPage<RunMigration>, PlaneError> {
    plane.ask(async |p| p.migrate_runs_preview(plane.principal(), &id(), query).await).await
}

async fn values(plane: &TestPlane, prefix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = plane.store().scan(Scan::prefix(prefix).after(after)).await.unwrap();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        found.extend(page.entries.iter().map(|entry| (entry.key.to_string(), text(&entry.value))));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    values(plane, prefix).await.into_iter().map(|(key, _)| key).collect()
}

/// The log folds to what is stored beside it.
async fn agrees(plane: &TestPlane, run: &RunId) -> Told {
    let report = plane.ask(async |p| p.replay(plane.principal(), run).await).await?;
    assert!(report.agrees(), "{report:?}");
    Ok(())
}

#[test]
fn a_run_moves_and_everything_that_names_its_definition_follows() {
    tell(held(), async |plane| {
        let old = plane.ask(async |p| p.current_version(plane.principal(), &id()).await).await?.digest.to_string();
        let run = held_run(plane).await?;
        let new = store(plane, &text(BETTER)).await?;
        let before = keys(plane, "").await;
        let seen = preview(plane, &run).await?;
        assert_eq!((seen.outcome, &*seen.definition), (MigrationOutcome::CanMove, &*new));
        assert_eq!(keys(plane, "").await, before, "a preview writes nothing");

        let moved = migrate(plane, &run).await?;
        assert_eq!((moved.outcome, &*moved.definition), (MigrationOutcome::Moved, &*new));
        assert_eq!(keys(plane, "live-of/").await, [format!("live-of/w/{new}/{run}")]);
        let mut pins = vec![(format!("pins/{new}"), "1".to_owned()), (format!("pins/{old}"), "1".to_owned())];
        pins.sort();
        assert_eq!(values(plane, "pins/").await, pins, "the one that it left is still needed to read its past");
        let view = RunView::of(&plane.run_state(&run).await?).unwrap();
        assert_eq!((view.definition, view.past_definitions), (new.clone(), vec![old.clone()]));

        plane.crash_and_restart().await?;
        plane.answer(&run, "hold", "ann", true).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        let sent: Vec<String> = plane.dispatched().into_iter().map(|job| job.topic).collect();
        assert_eq!(sent, ["job.a", "job.check", "job.zz"], "nothing is done twice");
        assert_eq!(keys(plane, "live-of/").await, Vec::<String>::new());
        agrees(plane, &run).await?;

        let mut kept = Retention::default();
        kept.versions = Some("0s".parse()?);
        plane.advance(SECOND).await;
        plane.ask(async |p| p.prune(&kept).await).await?;
        assert_eq!(keys(plane, "definitions/").await.len(), 2, "neither is pruned while the run is there");
        plane.ask(async |p| p.delete_run(plane.principal(), &run).await).await?;
        assert!(
            values(plane, "pins/").await.iter().all(|(_, count)| count == "0"),
            "{:?}",
            values(plane, "pins/").await
        );
        plane.ask(async |p| p.prune(&kept).await).await?;
        assert_eq!(keys(plane, "definitions/").await, [format!("definitions/{new}")]);
        Ok(())
    });
}

#[test]
fn the_past_is_read_and_gone_on_from_under_the_definition_that_held() {
    tell(held(), async |plane| {
        let run = held_run(plane).await?;
        let old = plane.run_state(&run).await?;
        store(plane, &text(BETTER)).await?;
        migrate(plane, &run).await?;
        let moved_at = plane.run_state(&run).await?.head();
        plane.answer(&run, "hold", "ann", true).await?;
        plane.run_to_end(&run).await?;

        let then = plane.ask(async |p| p.run_at(plane.principal(), &run, old.head()).await).await?;
        assert!(then == old, "the state before the move is the one that it was");
        let at_move = plane.ask(async |p| p.run_at(plane.principal(), &run, moved_at).await).await?;
        assert!(at_move.step("check").is_some() && then.step("check").is_none());

        for (seq, topics) in [(old.head(), &["job.z"][..]), (moved_at, &["job.check", "job.zz"][..])] {
            let sent = plane.dispatched().len();
            let request = RerunRequest::new().at_event(seq);
            let again = plane.ask(async |p| p.rerun(plane.principal(), &run, request.clone()).await).await?;
            plane.advance(SECOND).await;
            plane.answer(&again, "hold", "ann", true).await?;
            assert_eq!(plane.run_to_end(&again).await?.status(), RunStatus::Succeeded);
            let fresh: Vec<String> = plane.dispatched().into_iter().skip(sent).map(|job| job.topic).collect();
            assert_eq!(fresh, topics, "from event {seq}");
        }
        let request = RerunRequest::new().from_step(StepRunId::parse("check")?);
        let sent = plane.dispatched().len();
        let again = plane.ask(async |p| p.rerun(plane.principal(), &run, request.clone()).await).await?;
        plane.run_to_end(&again).await?;
        assert_eq!(plane.dispatched().len() - sent, 2, "check and z");
        Ok(())
    });
}

#[test]
fn a_refused_run_is_left_alone_and_says_why() {
    tell(held(), async |plane| {
        let run = held_run(plane).await?;
        store(plane, &text(WORSE)).await?;
        let before = (keys(plane, "").await, plane.run_state(&run).await?);
        let seen = preview(plane, &run).await?;
        let error = migrate(plane, &run).await.unwrap_err();
        assert_eq!((seen.outcome, error.code()), (MigrationOutcome::Refused, "migration_refused"));
        assert_eq!(seen.refusals, error.refusals());
        let told: Vec<_> = seen.refusals.iter().map(|refusal| (refusal.code, refusal.step.as_deref())).collect();
        let expected =
            [(RefusalReason::StepRemoved, Some("a")), (RefusalReason::StepDependenciesChanged, Some("hold"))];
        assert_eq!(told, expected);
        assert!(before == (keys(plane, "").await, plane.run_state(&run).await?));
        plane.answer(&run, "hold", "ann", true).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        Ok(())
    });
}

#[test]
fn what_is_wrong_with_the_question_is_told_first() {
    tell(held(), async |plane| {
        let run = held_run(plane).await?;
        store(plane, &text(BETTER)).await?;
        let control = plane.plane()?;
        let (own, other) = (plane.principal(), Principal::service("other").for_tenant(TenantId::parse("other")?));
        let (plain, query) = (MigrationRequest::new(), MigrationQuery::default());
        let long = MigrationRequest::new().reason("x".repeat(1_025));
        let missing = MigrationRequest::new().version(9);
        let seen = MigrationRequest::new().at_event(1);
        let nowhere = RunId::parse("nowhere")?;
        let codes = [
            plane.drive(control.migrate_run(&other, &run, &plain)).await.unwrap_err().code(),
            plane.drive(control.migrate_run(own, &nowhere, &plain)).await.unwrap_err().code(),
            plane.drive(control.migrate_run(own, &run, &missing)).await.unwrap_err().code(),
            plane.drive(control.migrate_run(own, &run, &long)).await.unwrap_err().code(),
            plane.drive(control.migrate_runs(&other, &id(), &query)).await.unwrap_err().code(),
        ];
        let expected = ["run_not_found", "run_not_found", "version_not_found", "note_too_long", "workflow_not_found"];
        assert_eq!(codes, expected);
        let late = plane.drive(control.migrate_run(own, &run, &seen)).await.unwrap_err();
        assert_eq!(late.refusals().first().map(|refusal| refusal.code), Some(RefusalReason::RunMovedOn));
        let at = preview(plane, &run).await?.at.unwrap();
        plane.drive(control.migrate_run(own, &run, &MigrationRequest::new().at_event(at))).await?;
        Ok(())
    });
}

#[test]
fn asked_twice_or_at_once_a_run_moves_once() {
    tell(held().faults(&FaultPlan::new(3).slow(900, 20).arm()), async |plane| {
        let run = held_run(plane).await?;
        store(plane, &text(BETTER)).await?;
        let control = plane.plane()?;
        let request = MigrationRequest::new();
        let asked = (0..4).map(|_| control.migrate_run(plane.principal(), &run, &request));
        let answers = plane.drive(futures::future::try_join_all(asked)).await?;
        plane.crash_and_restart().await?;
        let late = migrate(plane, &run).await?;
        assert!(answers.iter().all(|answer| *answer == late), "{answers:?}");
        assert_eq!(preview(plane, &run).await?.outcome, MigrationOutcome::Moved);
        plane.answer(&run, "hold", "ann", true).await?;
        plane.run_to_end(&run).await?;
        assert_eq!(migrate(plane, &run).await?, late, "after its end, too");
        let moves = plane.timeline(&run).await?.into_iter().filter(|line| line.kind == "run_migrated").count();
        assert_eq!(moves, 1);
        Ok(())
    });
}

#[test]
fn a_crash_after_any_commit_leaves_the_run_on_one_of_the_two() {
    let mut seen = BTreeSet::new();
    for after in 1..10 {
        for seed in 0..3 {
            let faults = FaultPlan::new(seed).crash_after(after).arm();
            // The version lets `first` begin at once, in the batch of the move.
            let first = format!("{BETTER}\n  first: {{topic: job.first}}");
            tell(held().faults(&faults), async |plane| {
                faults.rest();
                let run = held_run(plane).await?;
                let new = store(plane, &text(&first)).await?;
                faults.resume();
                // Asked once: whoever asked dies with the process.
                let control = plane.plane()?;
                let request = MigrationRequest::new();
                let _lost = plane.drive(control.migrate_run(plane.principal(), &run, &request)).await;
                plane.advance(SECOND).await;
                faults.rest();
                plane.crash_and_restart().await?;
                let at = format!("crash after {after}, seed {seed}");
                let state = plane.run_state(&run).await?;
                let has_moved = **state.workflow().digest() == *new;
                seen.insert(has_moved);
                assert_eq!(
                    keys(plane, "live-of/").await,
                    [format!("live-of/w/{}/{run}", state.workflow().digest())],
                    "{at}"
                );
                assert_eq!(keys(plane, "pins/").await.len(), 1 + usize::from(has_moved), "{at}");
                agrees(plane, &run).await?;
                migrate(plane, &run).await?;
                plane.answer(&run, "hold", "ann", true).await?;
                let end = plane.run_to_end(&run).await?;
                assert_eq!(end.status(), RunStatus::Succeeded, "{at}");
                assert!(end.steps().all(|(_, step)| step.attempts <= 1), "{at}");
                let lines = plane.timeline(&run).await?;
                assert_eq!(lines.iter().filter(|line| line.kind == "run_migrated").count(), 1, "{at}");
                assert_eq!(lines.iter().filter(|line| line.kind == "step_dispatched").count(), 4, "{at}");
                assert_eq!(keys(plane, "live-of/").await, Vec::<String>::new(), "{at}");
                agrees(plane, &run).await
            });
        }
    }
    assert!(seen.contains(&true));
}

#[test]
fn a_move_whose_batch_is_refused_or_whose_answer_is_lost_happens_once() {
    for seed in 0..60 {
        let plan = FaultPlan::new(seed).unavailable_before(250).unavailable_after(250).conflict(250).unreadable(100);
        let faults = plan.at_most(10).arm();
        tell(held().faults(&faults), async |plane| {
            faults.rest();
            let run = held_run(plane).await?;
            store(plane, &text(BETTER)).await?;
            faults.resume();
            migrate(plane, &run).await?;
            faults.rest();
            plane.answer(&run, "hold", "ann", true).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "seed {seed}");
            let moves = plane.timeline(&run).await?.into_iter().filter(|line| line.kind == "run_migrated").count();
            assert_eq!(moves, 1, "seed {seed}");
            assert!(values(plane, "pins/").await.iter().all(|(_, count)| count == "1"), "seed {seed}");
            agrees(plane, &run).await
        });
    }
}

#[test]
fn an_answer_and_a_move_at_once_are_decided_one_after_the_other() {
    let mut outcomes = BTreeSet::new();
    for (seed, answer_first) in (0..10).flat_map(|seed| [(seed, false), (seed, true)]) {
        tell(held().seed(seed).faults(&FaultPlan::new(seed).slow(500, 20).arm()), async |plane| {
            let run = held_run(plane).await?;
            store(plane, &text(BETTER)).await?;
            let control = plane.plane()?;
            let (step, request) = (StepRunId::parse("hold")?, MigrationRequest::new());
            let answer =
                Answer { approved: true, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() };
            let answer = control.answer_step(plane.principal(), &run, &step, answer);
            let moves = control.migrate_run(plane.principal(), &run, &request);
            let (answered, moved) = if answer_first {
                plane.drive(futures::future::join(answer, moves)).await
            } else {
                let (moved, answered) = plane.drive(futures::future::join(moves, answer)).await;
                (answered, moved)
            };
            answered?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded);
            let last = plane.dispatched().last().map(|job| job.topic.clone());
            match moved {
                Ok(_) => assert_eq!(last.as_deref(), Some("job.zz")),
                // The answer was first, and a worker has what followed, or has done it.
                Err(error) => {
                    assert_eq!((error.code(), last.as_deref()), ("migration_refused", Some("job.z")));
                }
            }
            outcomes.insert(last);
            agrees(plane, &run).await
        });
    }
    assert_eq!(outcomes.len(), 2, "both orders are met: {outcomes:?}");
}

#[test]
fn a_result_that_comes_late_does_not_meet_the_new_definition() {
    // The first try is given up by its timeout; its result comes when the run is elsewhere.
    let steps = "  a: {topic: job.slow, timeout_sec: 5, retry: {max_retries: 1, initial_backoff_sec: 600, jitter: 0}}";
    let builder = TestPlane::builder().workflow(text(steps));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(20 * SECOND).await;
        store(plane, &text(&steps.replace("job.slow", "job.fast"))).await?;
        migrate(plane, &run).await?;
        plane.advance(120 * SECOND).await;
        assert!(!plane.run_state(&run).await?.status().is_terminal(), "the late result is of an older try");
        let end = plane.run_to_end(&run).await?;
        let sent: Vec<String> = plane.dispatched().into_iter().map(|job| job.topic).collect();
        assert_eq!((end.status(), sent), (RunStatus::Succeeded, vec!["job.slow".to_owned(), "job.fast".to_owned()]));
        Ok(())
    });
}

#[test]
fn a_thousand_parked_runs_move_page_by_page() {
    let builder =
        TestPlane::builder().workflow(text("  hold: {type: approval}\n  z: {topic: job.z, depends_on: [hold]}"));
    tell(builder, async |plane| {
        for n in 0..1_000 {
            let request = StartRequest::new(id(), json!({})).run_id(RunId::parse(&format!("run-{n:04}"))?);
            let kind = if n % 10 == 0 { "rare" } else { "plain" };
            plane.start_with(request.label("kind", kind)).await?;
        }
        // Two of them go on, and a worker keeps what they have.
        let busy = "  hold: {type: approval}\n  y: {topic: job.never, depends_on: [hold]}\n  z: {topic: job.z, depends_on: [y]}";
        store(plane, &text(busy)).await?;
        let two: Vec<RunId> = ["run-0003", "run-0500"].iter().map(|run| RunId::parse(run).unwrap()).collect();
        for run in &two {
            migrate(plane, run).await?;
            plane.answer(run, "hold", "ann", true).await?;
        }
        let new = store(plane, &text("  hold: {type: approval}\n  z: {topic: job.better, depends_on: [hold]}")).await?;

        let rare = MigrationQuery {
            from: Some(1.into()),
            labels: [("kind".to_owned(), "rare".to_owned())].into(),
            statuses: vec![RunStatus::Waiting],
            limit: 1_000,
            ..MigrationQuery::default()
        };
        let moved = migrate_all(plane, &rare).await?;
        assert_eq!((moved.items.len(), moved.next), (99, None), "of a hundred one is under version 2");

        let mut query = MigrationQuery { limit: 150, ..MigrationQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = preview_all(plane, &query).await?;
            seen.extend(page.items);
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        let can = seen.iter().filter(|run| run.outcome == MigrationOutcome::CanMove).count();
        assert_eq!((can, seen.len()), (899, 901), "those that have moved are not shown any more");

        let (mut ids, mut refused, mut pages) = (BTreeSet::new(), Vec::new(), 0);
        loop {
            let page = migrate_all(plane, &query).await?;
            pages += 1;
            for run in page.items {
                assert!(ids.insert(run.run_id.clone()), "{run:?}");
                refused.extend((run.outcome == MigrationOutcome::Refused).then_some(run.run_id));
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        refused.sort();
        assert_eq!((ids.len(), refused), (901, vec!["run-0003".to_owned(), "run-0500".to_owned()]));
        assert!(pages >= 7, "{pages}");
        assert_eq!(keys(plane, &format!("live-of/w/{new}/")).await.len(), 998);
        let again = migrate_all(plane, &MigrationQuery { limit: 1_000, ..MigrationQuery::default() }).await?;
        assert_eq!(again.items.len(), 2, "asked again there is nothing left but what is refused");
        Ok(())
    });
}

#[test]
fn a_crash_in_the_middle_of_many_leaves_the_rest_for_the_next_call() {
    for after in [1, 2, 5] {
        let faults = FaultPlan::new(after).slow(500, 20).crash_after(after).arm();
        tell(held().faults(&faults), async |plane| {
            faults.rest();
            for _ in 0..30 {
                plane.start("w", json!({})).await?;
            }
            plane.advance(SECOND).await;
            let new = store(plane, &text(BETTER)).await?;
            faults.resume();
            let control = plane.plane()?;
            let query = MigrationQuery::default();
            let _lost = plane.drive(control.migrate_runs(plane.principal(), &id(), &query)).await;
            faults.rest();
            plane.crash_and_restart().await?;
            let live = keys(plane, "live-of/").await.len();
            assert_eq!(live, 30, "each is on one of the two");
            migrate_all(plane, &query).await?;
            assert_eq!(keys(plane, &format!("live-of/w/{new}/")).await.len(), 30);
            assert_eq!(values(plane, &format!("pins/{new}")).await[0].1, "30");
            Ok(())
        });
    }
}

#[test]
fn a_run_in_line_takes_the_places_that_the_version_allows() {
    let limited = |limit: u32| {
        format!(
            "id: w\nconcurrency: {{key: k, limit: {limit}}}\nsteps:\n  hold: {{type: approval}}\n  z: {{topic: job.z, depends_on: [hold]}}"
        )
    };
    tell(TestPlane::builder().workflow(limited(1)), async |plane| {
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(plane.start("w", json!({})).await?);
            plane.advance(SECOND).await;
        }
        store(plane, &limited(2)).await?;
        let status = async |n: usize| plane.run_state(&runs[n]).await.map(|run| run.status());
        assert_eq!((status(1).await?, status(2).await?), (RunStatus::Pending, RunStatus::Pending));
        let page = migrate_all(plane, &MigrationQuery::default()).await?;
        assert!(page.items.iter().all(|run| run.outcome == MigrationOutcome::Moved), "{page:?}");
        plane.advance(SECOND).await;
        plane.crash_and_restart().await?;
        plane.advance(SECOND).await;
        assert_eq!((status(1).await?, status(2).await?), (RunStatus::Waiting, RunStatus::Pending));
        for run in &runs {
            plane.answer(run, "hold", "ann", true).await?;
            assert_eq!(plane.run_to_end(run).await?.status(), RunStatus::Succeeded);
            plane.advance(SECOND).await;
        }
        assert_eq!(keys(plane, "slots/").await, Vec::<String>::new());
        assert_eq!(keys(plane, "queued/").await, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_run_that_waits_for_another_run_moves_and_hears_of_its_end() {
    let steps = "  sub: {type: subworkflow, workflow: inner}";
    let builder = TestPlane::builder()
        .workflow("id: inner\nsteps:\n  ask: {type: approval}\noutput: {n: 7}")
        .workflow(text(steps));
    tell(builder, async |plane| {
        let run = held_run(plane).await?;
        let behind = "  sub: {type: subworkflow, workflow: inner}\n  z: {topic: job.z, depends_on: [sub], input: {n: '${steps.sub.output.n}'}}";
        store(plane, &text(behind)).await?;
        migrate(plane, &run).await?;
        plane.crash_and_restart().await?;
        let ask = plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.remove(0);
        let inner = RunId::parse(ask.subject.id().split_once(':').unwrap().0)?;
        plane.answer(&inner, "ask", "ann", true).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.step("z").and_then(|step| step.input.as_deref().cloned()), Some(json!({"n": 7})));
        Ok(())
    });
}

#[test]
fn snapshots_on_both_sides_of_a_move_are_read_under_their_definition() {
    // Tries make events without making the run larger, so that snapshots are due.
    let many = |name: &str, behind: &str| {
        format!(
            "  {name}: {{topic: job.busy, continue_on_error: true, depends_on: [{behind}], \
             retry: {{max_retries: 700, initial_backoff_sec: 1, max_backoff_sec: 1}}}}"
        )
    };
    let first = format!("{}\n  hold: {{type: approval, depends_on: [s]}}", many("s", ""));
    tell(TestPlane::builder().workflow(text(&first)), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(2_000 * SECOND).await;
        assert_eq!(keys(plane, "snapshots/").await.len(), 1, "there is one before the move");
        store(plane, &text(&format!("  early: {{topic: job.e}}\n{first}\n{}", many("t", "hold")))).await?;
        migrate(plane, &run).await?;
        plane.crash_and_restart().await?;
        agrees(plane, &run).await?;
        plane.answer(&run, "hold", "ann", true).await?;
        let end = plane.run_to_end(&run).await?;
        // What was out at the crash is handed out again.
        let sent: BTreeSet<String> = plane.dispatched().into_iter().map(|job| job.job_id).collect();
        assert_eq!((end.status(), sent.len()), (RunStatus::Succeeded, 1_403));
        agrees(plane, &run).await?;
        let report = plane.ask(async |p| p.replay(plane.principal(), &run).await).await?;
        assert_eq!(report.snapshot_agrees, Some(true));
        Ok(())
    });
}

#[test]
fn a_move_that_meets_the_removal_of_its_version_happens_whole_or_is_refused() {
    let mut outcomes = [0; 2];
    for turns in 0..40 {
        let faults = FaultPlan::new(turns).slow(1_000, 20).arm();
        tell(held().faults(&faults), async |plane| {
            faults.rest();
            let run = held_run(plane).await?;
            let before = plane.run_state(&run).await?.workflow().digest().to_string();
            let target = store(plane, &text(BETTER)).await?;
            // A third one is current, so that nothing but the move needs the second.
            store(plane, &text(WORSE)).await?;
            plane.advance(48 * 3_600 * SECOND).await;
            faults.resume();
            let mut retention = Retention::default();
            retention.versions = Some("1d".parse()?);
            let request = MigrationRequest::new().version(VersionRef::Digest(target.as_str().into()));
            let control = plane.plane()?;
            let (moved, pruned) = plane
                .drive(futures::future::join(
                    control.migrate_run(plane.principal(), &run, &request),
                    control.prune(&retention),
                ))
                .await;
            faults.rest();
            let removed = pruned?.of(PrunedClass::Versions).map_or(0, |pruned| pruned.count) == 1;
            assert_eq!(removed, moved.is_err(), "{moved:?}");
            outcomes[usize::from(removed)] += 1;
            if let Err(error) = moved {
                let known = ["version_not_found", "store_conflict", "store_ceiling"];
                assert!(known.contains(&error.code()), "{}: {error}", error.code());
            }
            // What the run is under is there, whichever it is, and it goes on.
            plane.crash_and_restart().await?;
            let here = plane.run_state(&run).await?.workflow().digest().to_string();
            assert_eq!(here, if removed { before } else { target });
            agrees(plane, &run).await?;
            plane.answer(&run, "hold", "ann", true).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded);
            assert_eq!(end.step("check").is_some(), !removed);
            Ok(())
        });
    }
    assert!(outcomes.iter().all(|count| *count > 0), "both came about: {outcomes:?}");
}

#[test]
fn times_that_are_armed_stay_as_they_are_armed() {
    let delay =
        |seconds: u32| format!("  d: {{type: delay, delay_sec: {seconds}}}\n  z: {{topic: job.z, depends_on: [d]}}");
    tell(TestPlane::builder().workflow(text(&delay(3_600))), async |plane| {
        let run = held_run(plane).await?;
        let timers = keys(plane, "timers/").await;
        store(plane, &text(&delay(10))).await?;
        migrate(plane, &run).await?;
        assert_eq!(keys(plane, "timers/").await, timers);
        plane.crash_and_restart().await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(plane.elapsed().as_secs(), 3_600);
        Ok(())
    });
}
