//! Definitions over time: versions, differences, rolling back, restarting runs, refusing to remove what is in use.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::time::Duration;

use coretex_core::{
    governance::Principal,
    job::{RunId, TenantId, WorkflowId},
    ports::Scan,
    runtime::{PlaneError, RESTART_OF, StartRequest, StoredWorkflow, VersionRef, WorkflowVersion},
    testing::{FaultPlan, Reply, TestPlane, TestPlaneBuilder},
    workflow::{RunStatus, Workflow},
};
use serde_json::json;

type Told = Result<(), PlaneError>;

const HELD: &str =
    "  a: {topic: job.a}\n  hold: {type: approval, depends_on: [a]}\n  z: {topic: job.z, depends_on: [hold]}";

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.worker("job.>", Reply::succeed(json!({"ok": true}))).run(test).unwrap().unwrap();
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

async fn store(plane: &TestPlane, steps: &str, note: Option<&str>) -> Result<StoredWorkflow, PlaneError> {
    let text = text(steps);
    let parse = || Workflow::parse("w", &text).unwrap();
    plane.ask(async |p| p.store_workflow(plane.principal(), parse(), note).await).await
}

async fn versions(plane: &TestPlane) -> Result<Vec<WorkflowVersion>, PlaneError> {
    Ok(plane.ask(async |p| p.workflow_versions(plane.principal(), &id(), None, 0).await).await?.items)
}

async fn roll_back(plane: &TestPlane, version: u64) -> Result<StoredWorkflow, PlaneError> {
    plane.ask(async |p| p.roll_back_workflow(plane.principal(), &id(), &version.into(), Some("back")).await).await
}

async fn restart(plane: &TestPlane, run: &RunId, version: Option<u64>) -> Result<RunId, PlaneError> {
    let version = version.map(VersionRef::from);
    plane.ask(async |p| p.restart_run_onto(plane.principal(), run, version.as_ref()).await).await
}

async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix(prefix)).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[test]
fn a_changed_content_makes_a_version_and_an_equal_one_makes_none() {
    tell(held(), async |plane| {
        let before = keys(plane, "").await;
        let same = store(plane, HELD, Some("again")).await?;
        assert_eq!((same.is_new, same.version.number), (false, 1));
        assert_eq!(keys(plane, "").await, before, "nothing is written");
        plane.advance(Duration::from_secs(60)).await;
        let changed = store(plane, "  a: {topic: job.b}", Some("only b")).await?;
        assert_eq!(
            (changed.is_new, changed.version.number, changed.version.note.as_deref()),
            (true, 2, Some("only b"))
        );
        plane.crash_and_restart().await?;

        let list = versions(plane).await?;
        let told: Vec<_> = list.iter().map(|version| (version.number, &*version.created_by, version.source)).collect();
        assert_eq!(told, [(2, "test", None), (1, "test", None)]);
        assert!(list[0].created_at > list[1].created_at && list[0].digest != list[1].digest);
        for wanted in [VersionRef::Number(1), VersionRef::Digest(list[1].digest.clone())] {
            let (version, workflow) =
                plane.ask(async |p| p.workflow_version(plane.principal(), &id(), &wanted).await).await?;
            assert_eq!((&version, workflow.steps().len()), (&list[1], 3));
        }
        let current = plane.ask(async |p| p.current_version(plane.principal(), &id()).await).await?;
        assert_eq!(current, list[0]);
        Ok(())
    });
}

#[test]
fn a_run_starts_on_the_version_it_names() {
    tell(held(), async |plane| {
        let first = versions(plane).await?[0].digest.clone();
        store(plane, "  a: {topic: job.b}", None).await?;
        for version in [VersionRef::Number(1), VersionRef::Digest(first.clone())] {
            let run = plane.start_with(StartRequest::new(id(), json!({})).version(version)).await?;
            assert_eq!(plane.run_state(&run).await?.workflow().digest(), &first);
        }
        let latest = plane.start("w", json!({})).await?;
        assert_ne!(plane.run_state(&latest).await?.workflow().digest(), &first);
        let nothing = plane.start_with(StartRequest::new(id(), json!({})).version(3)).await;
        assert_eq!(nothing.unwrap_err().code(), "version_not_found");
        Ok(())
    });
}

#[test]
fn an_older_content_becomes_current_again_as_a_new_version() {
    tell(held(), async |plane| {
        store(plane, "  a: {topic: job.b}", None).await?;
        let back = roll_back(plane, 1).await?;
        assert_eq!((back.version.number, back.version.source, back.is_new), (3, Some(1), true));
        let again = roll_back(plane, 1).await?;
        assert_eq!((again.version, again.is_new), (back.version.clone(), false), "it is current already");
        plane.crash_and_restart().await?;
        let list = versions(plane).await?;
        assert_eq!(list[0].digest, list[2].digest);
        let by_digest = VersionRef::Digest(list[2].digest.clone());
        let (newest, _) = plane.ask(async |p| p.workflow_version(plane.principal(), &id(), &by_digest).await).await?;
        assert_eq!(newest.number, 3, "a digest means the newest version that has it");

        plane.ask(async |p| p.delete_workflow(plane.principal(), &id()).await).await?;
        assert_eq!(plane.start("w", json!({})).await.unwrap_err().code(), "workflow_not_found");
        assert_eq!(versions(plane).await?.len(), 3, "its history stays");
        assert_eq!(roll_back(plane, 2).await?.version.number, 4, "and it can be brought back");
        plane.start("w", json!({})).await?;
        Ok(())
    });
}

#[test]
fn whatever_goes_wrong_versions_have_no_gap_and_no_double() {
    for seed in 0..60 {
        let plan = FaultPlan::new(seed).unavailable_before(200).unavailable_after(200).conflict(200).unreadable(100);
        let faults = plan.crash_after(1 + seed % 5).crash_after(2).at_most(12).arm();
        tell(held().faults(&faults), async |plane| {
            store(plane, "  a: {topic: job.b}", None).await?;
            store(plane, "  a: {topic: job.c}", None).await?;
            store(plane, "  a: {topic: job.c}", None).await?;
            roll_back(plane, 1).await?;
            plane.faults().rest();
            let told: Vec<_> = versions(plane).await?.iter().map(|version| (version.number, version.source)).collect();
            assert_eq!(told, [(4, Some(1)), (3, None), (2, None), (1, None)], "seed {seed}");
            let current = plane.ask(async |p| p.workflow(plane.principal(), &id()).await).await?;
            assert_eq!(current.steps().len(), 3, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn of_those_who_store_at_once_each_makes_a_version() {
    let faults = FaultPlan::new(3).slow(900, 20).arm();
    tell(held().faults(&faults), async |plane| {
        let control = plane.plane()?;
        let stores = (0..6).map(|n| {
            let workflow = Workflow::parse("w", &text(&format!("  a: {{topic: job.n{n}}}"))).unwrap();
            control.store_workflow(plane.principal(), workflow, None)
        });
        plane.drive(futures::future::try_join_all(stores)).await?;
        let numbers: Vec<u64> = versions(plane).await?.iter().map(|version| version.number).collect();
        assert_eq!(numbers, [7, 6, 5, 4, 3, 2, 1]);
        Ok(())
    });
}

#[test]
fn versions_belong_to_their_tenant() {
    tell(held(), async |plane| {
        let other = Principal::service("other").for_tenant(TenantId::parse("other")?);
        let control = plane.plane()?;
        let answers = [
            plane.drive(control.workflow_versions(&other, &id(), None, 0)).await.err(),
            plane.drive(control.workflow_version(&other, &id(), &1.into())).await.err(),
            plane.drive(control.roll_back_workflow(&other, &id(), &1.into(), None)).await.err(),
            plane.drive(control.current_version(&other, &id())).await.err(),
        ];
        let codes: Vec<_> = answers.into_iter().map(|error| error.unwrap().code()).collect();
        assert_eq!(codes, ["workflow_not_found", "version_not_found", "version_not_found", "workflow_not_found"]);
        // A name that was deleted is not free for others: its history is not theirs.
        plane.ask(async |p| p.delete_workflow(plane.principal(), &id()).await).await?;
        let foreign = Workflow::parse("w", "id: w\norg_id: other\nsteps:\n  a: {topic: job.a}").unwrap();
        let taken = plane.drive(control.store_workflow(&other, foreign, None)).await;
        assert_eq!(taken.unwrap_err().code(), "tenant_mismatch");
        Ok(())
    });
}

#[test]
fn a_comparison_tells_what_live_runs_would_meet() {
    tell(held(), async |plane| {
        let waiting = plane.start("w", json!({})).await?;
        let ended = plane.start("w", json!({})).await?;
        plane.advance(Duration::from_secs(1)).await;
        plane.answer(&ended, "hold", "ann", true).await?;
        plane.run_to_end(&ended).await?;
        let changed = "  a: {topic: job.other}\n  hold: {type: approval, depends_on: [a], name: Sure?}\n  last: {topic: job.z, depends_on: [hold], timeout_sec: 5}";
        store(plane, changed, None).await?;
        let newer = plane.start("w", json!({})).await?;
        plane.crash_and_restart().await?;
        let change = plane.ask(async |p| p.diff_versions(plane.principal(), &id(), &1.into(), &2.into()).await).await?;
        assert_eq!(
            (&change.diff.added[..], &change.diff.removed[..]),
            (&["last".to_owned()][..], &["z".to_owned()][..])
        );
        let affected = plane.ask(async |p| p.affected_runs(&change, None, 0).await).await?.items;
        assert_eq!(affected.len(), 1, "neither the one that ended nor the one of the new version {newer}");
        assert_eq!((affected[0].run_id.as_str(), affected[0].status), (waiting.as_str(), RunStatus::Waiting));
        let impact = &affected[0].impact;
        let lists = [&impact.done, &impact.under_way, &impact.ahead].map(|list| list.join(","));
        assert_eq!(lists, ["a", "hold", "z,last"]);
        Ok(())
    });
}

#[test]
fn a_workflow_in_use_is_not_deleted_unless_forced() {
    tell(held(), async |plane| {
        let mut runs = Vec::new();
        for n in 0..12 {
            let request = StartRequest::new(id(), json!({})).run_id(RunId::parse(&format!("run-{n:02}"))?);
            runs.push(plane.start_with(request).await?);
        }
        plane.crash_and_restart().await?;
        let delete = async || plane.ask(async |p| p.delete_workflow(plane.principal(), &id()).await).await;
        let refused = delete().await.unwrap_err();
        assert_eq!(refused.code(), "workflow_in_use");
        assert!(refused.to_string().ends_with("`run-09` and more"), "{refused}");
        for run in &runs[1..] {
            plane.ask(async |p| p.cancel_run(plane.principal(), run, "").await).await?;
        }
        assert!(delete().await.unwrap_err().to_string().ends_with("not ended: `run-00`"));

        plane.ask(async |p| p.force_delete_workflow(plane.principal(), &id()).await).await?;
        plane.crash_and_restart().await?;
        plane.advance(Duration::from_secs(1)).await;
        plane.answer(&runs[0], "hold", "ann", true).await?;
        assert_eq!(plane.run_to_end(&runs[0]).await?.status(), RunStatus::Succeeded, "it keeps its definition");
        assert_eq!(keys(plane, "live-of/").await, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_run_is_restarted_on_another_version_with_its_input_and_labels() {
    tell(held(), async |plane| {
        let request = StartRequest::new(id(), json!({"x": 7})).label("kind", "trial").team("red");
        let old = plane.start_with(request).await?;
        store(plane, "  only: {topic: job.b, input: '${input.x}'}", None).await?;
        let new = restart(plane, &old, None).await?;
        let end = plane.run_to_end(&new).await?;
        assert_eq!((end.status(), end.input().as_ref(), end.team()), (RunStatus::Succeeded, &json!({"x": 7}), "red"));
        let labels: Vec<_> = end.labels().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("kind", "trial"), (RESTART_OF, old.as_str())]);
        assert!(end.step("only").is_some());
        assert_eq!(plane.run_state(&old).await?.status(), RunStatus::Cancelled);
        assert_eq!(restart(plane, &old, None).await?, new, "asked twice, it is done once");
        let back = restart(plane, &new, Some(1)).await?;
        assert!(plane.run_state(&back).await?.step("hold").is_some());
        assert_eq!(keys(plane, "restarts/").await, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn what_cannot_be_restarted_is_left_alone() {
    tell(held(), async |plane| {
        let old = plane.start("w", json!({})).await?;
        let strict = "id: w\ninput_schema: {type: object, required: [name]}\nsteps:\n  a: {topic: job.a}";
        let strict = || Workflow::parse("w", strict).unwrap();
        plane.ask(async |p| p.store_workflow(plane.principal(), strict(), None).await).await?;
        assert_eq!(restart(plane, &old, None).await.unwrap_err().code(), "run_input_invalid");
        assert_eq!(restart(plane, &old, Some(9)).await.unwrap_err().code(), "version_not_found");
        assert!(!plane.run_state(&old).await?.status().is_terminal());

        let new = restart(plane, &old, Some(1)).await?;
        plane.ask(async |p| p.cancel_run(plane.principal(), &new, "").await).await?;
        plane.ask(async |p| p.delete_run(plane.principal(), &new).await).await?;
        assert_eq!(restart(plane, &old, Some(1)).await.unwrap_err().code(), "run_deleted");
        Ok(())
    });
}

#[test]
fn a_crash_at_any_point_of_a_restart_leaves_one_of_the_two() {
    let mut outcomes = [0; 2];
    for after in 1..8 {
        for seed in 0..2 {
            let faults = FaultPlan::new(seed).crash_after(after).arm();
            tell(held().faults(&faults), async |plane| {
                faults.rest();
                let old = plane.start("w", json!({})).await?;
                plane.advance(Duration::from_secs(1)).await;
                store(plane, "  hold: {type: approval}", None).await?;
                faults.resume();
                // Asked once: whoever asked dies with the process.
                let control = plane.plane()?;
                let _lost = plane.drive(control.restart_run_onto(plane.principal(), &old, None)).await;
                faults.rest();
                plane.crash_and_restart().await?;
                plane.advance(Duration::from_secs(1)).await;
                let live = keys(plane, "live-of/").await;
                assert_eq!(live.len(), 1, "crash after {after}, seed {seed}: {live:?}");
                outcomes[usize::from(live[0].contains("-on-"))] += 1;
                assert_eq!(keys(plane, "restarts/").await, Vec::<String>::new());
                restart(plane, &old, None).await?;
                let live = keys(plane, "live-of/").await;
                assert!(live.len() == 1 && live[0].contains("-on-"), "{live:?}");
                Ok(())
            });
        }
    }
    assert!(outcomes[1] > 0, "{outcomes:?}");
}
