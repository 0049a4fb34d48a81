//! Concurrency keys: who begins, who waits, who gives way; and that no place outlives its run, whatever goes wrong.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

use std::{collections::BTreeMap, time::Duration};

use coretex_core::{
    job::{Priority, RunId, WorkflowId},
    ports::Scan,
    runtime::{PlaneError, QueuedQuery, RunQuery, StartRequest},
    testing::{FaultPlan, Reply, Rng, TestPlane, TestPlaneBuilder},
    workflow::{Claim, RunStatus},
};
use jiff::Timestamp;
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// Every run takes ten seconds.
fn limited(concurrency: &str) -> TestPlaneBuilder {
    let workflow = format!("id: w\nconcurrency: {concurrency}\nsteps: {{a: {{topic: job.a}}}}");
    TestPlane::builder().workflow(workflow).worker("job.a", Reply::succeed(json!({})).after(10 * SECOND))
}

async fn start(plane: &TestPlane, input: Value) -> Result<RunId, PlaneError> {
    plane.start("w", input).await
}

async fn values(plane: &TestPlane, prefix: &str) -> BTreeMap<String, Value> {
    let page = plane.store().scan(Scan::prefix(prefix)).await.unwrap();
    let entries = page.entries.into_iter();
    entries.map(|entry| (entry.key.to_string(), serde_json::from_slice(&entry.value).unwrap())).collect()
}

async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    values(plane, prefix).await.into_keys().collect()
}

async fn status(plane: &TestPlane, run: &RunId) -> RunStatus {
    plane.run_state(run).await.unwrap().status()
}

/// What holds in the store at every moment: places are counted, and each is held by a run that is under way.
async fn places_have_holders(plane: &TestPlane, limit: i64, at: &str) {
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for (key, holder) in values(plane, "slots/").await {
        let (gate, run) = key.strip_prefix("slots/").unwrap().rsplit_once('/').unwrap();
        *held.entry(gate.to_owned()).or_default() += 1;
        assert_eq!(holder["run_id"], run, "{at}");
        let run = plane.run_state(&RunId::parse(run).unwrap()).await.unwrap();
        assert_eq!(run.claim(), Claim::Holds, "{at}: a place without a run that is under way");
    }
    for (gate, count) in values(plane, "slots-taken/").await {
        let count = count.as_i64().unwrap();
        let gate = gate.strip_prefix("slots-taken/").unwrap();
        assert_eq!(held.remove(gate).unwrap_or(0), count, "{at}: places and their count");
        assert!(count <= limit, "{at}: {count} places");
    }
    assert!(held.is_empty(), "{at}: places that nobody counted: {held:?}");
    let marks = keys(plane, "queues/").await;
    for (key, waiting) in values(plane, "queued/").await {
        let run = plane.run_state(&RunId::parse(waiting["run_id"].as_str().unwrap()).unwrap()).await.unwrap();
        assert_eq!(run.claim(), Claim::Waits, "{at}: in line without waiting");
        assert!(
            marks.iter().any(|mark| key.starts_with(&mark.replace("queues/", "queued/"))),
            "{at}: an unmarked line"
        );
    }
}

/// Nothing is left of places and lines when all runs have ended.
async fn nothing_is_left(plane: &TestPlane, at: &str) {
    plane.advance(5 * SECOND).await;
    for prefix in ["slots/", "slots-taken/", "queued/", "queues/"] {
        assert_eq!(keys(plane, prefix).await, Vec::<String>::new(), "{at}");
    }
}

/// When each run was under way, from its events.
async fn spans(plane: &TestPlane, runs: &[RunId]) -> Vec<(Timestamp, Timestamp)> {
    let mut spans = Vec::new();
    for run in runs {
        let timeline = plane.timeline(run).await.unwrap();
        let began = timeline.iter().find(|line| line.status.as_deref() == Some("running"));
        let ended = plane.run_state(run).await.unwrap().completed_at().unwrap();
        spans.extend(began.map(|began| (began.time, ended)));
    }
    spans.sort_unstable();
    spans
}

#[test]
fn starts_wait_in_line_and_begin_in_their_order() {
    tell(limited("{limit: 1}"), async |plane| {
        let mut runs = Vec::new();
        for n in 0..4 {
            runs.push(start(plane, json!({"n": n})).await?);
        }
        assert_eq!(status(plane, &runs[0]).await, RunStatus::Running);
        assert_eq!(status(plane, &runs[3]).await, RunStatus::Pending);
        let page = plane.plane()?.queued_starts(plane.principal(), QueuedQuery::default()).await?;
        let waiting: Vec<&str> = page.items.iter().map(|item| item.run_id.as_str()).collect();
        assert_eq!(waiting, runs[1..].iter().map(RunId::as_str).collect::<Vec<_>>());
        assert!(page.items.iter().all(|item| &*item.key == "w"));
        let by_key = QueuedQuery { key: Some("w".into()), ..QueuedQuery::default() };
        let holders = plane.plane()?.slot_holders(plane.principal(), by_key).await?.items;
        assert_eq!(holders.iter().map(|holder| &*holder.run_id).collect::<Vec<_>>(), [runs[0].as_str()]);
        let pending = RunQuery { statuses: vec![RunStatus::Pending], ..RunQuery::default() };
        assert_eq!(plane.plane()?.runs(plane.principal(), pending).await?.items.len(), 3);
        for run in &runs {
            assert_eq!(plane.run_to_end(run).await?.status(), RunStatus::Succeeded);
            places_have_holders(plane, 1, "between").await;
        }
        let spans = spans(plane, &runs).await;
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
        let order: Vec<String> = plane.dispatched().iter().map(|job| job.job_id.clone()).collect();
        assert_eq!(order, runs.iter().map(|run| format!("{run}:a@1")).collect::<Vec<_>>());
        assert!(plane.elapsed() < 41 * SECOND);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn nobody_overtakes_while_a_place_changes_hands() {
    for seed in 0..20 {
        tell(limited("{}").seed(seed), async |plane| {
            let (me, inner) = (plane.principal(), plane.plane()?);
            let runs = [start(plane, json!({})).await?, start(plane, json!({})).await?];
            let late = StartRequest::new(WorkflowId::parse("w")?, json!({"late": true}));
            let both = futures::future::join(inner.cancel_run(me, &runs[0], "make room"), inner.start(me, late));
            let (cancelled, late) = plane.drive(both).await;
            cancelled?;
            // The place is free when the worker has stopped, or has had the time to.
            assert_eq!(plane.run_to_end(&runs[0]).await?.status(), RunStatus::Cancelled, "seed {seed}");
            plane.settle().await;
            assert_eq!(status(plane, &runs[1]).await, RunStatus::Running, "seed {seed}");
            assert_eq!(status(plane, &late?).await, RunStatus::Pending, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn the_more_urgent_go_first() {
    tell(limited("{}"), async |plane| {
        let mut runs = Vec::new();
        for priority in ["batch", "batch", "interactive", "critical", "batch", "interactive"] {
            let request = StartRequest::new(WorkflowId::parse("w")?, json!({"priority": "critical"}));
            let request = request.priority(Priority::from_name(priority).unwrap());
            runs.push(plane.start_with(request).await?);
        }
        for run in &runs {
            plane.run_to_end(run).await?;
        }
        let order: Vec<usize> = plane
            .dispatched()
            .iter()
            .map(|job| runs.iter().position(|run| job.job_id.starts_with(run.as_str())).unwrap())
            .collect();
        assert_eq!(order, [0, 3, 2, 5, 1, 4]);
        assert_eq!(plane.dispatched()[1].priority, Priority::Critical.wire(), "its jobs carry it");
        assert_eq!(plane.dispatched()[0].priority, Priority::Batch.wire(), "what the request says wins");
        Ok(())
    });
}

#[test]
fn keys_and_tenants_do_not_stand_in_each_others_way() {
    tell(limited("{key: '${input.host}', limit: 2}"), async |plane| {
        let mut runs = Vec::new();
        for host in ["a", "a", "a", "a/b", "b"] {
            runs.push(start(plane, json!({"host": host})).await?);
        }
        plane.settle().await;
        let mut states = Vec::new();
        for run in &runs {
            states.push(status(plane, run).await);
        }
        use RunStatus::{Pending, Running};
        assert_eq!(states, [Running, Running, Pending, Running, Running]);
        let error = start(plane, json!({})).await.unwrap_err();
        assert_eq!(error.code(), "concurrency_key_invalid");
        Ok(())
    });
}

#[test]
fn a_start_is_refused_where_the_rule_says_so() {
    tell(limited("{policy: reject, limit: 2}"), async |plane| {
        let runs = [start(plane, json!({})).await?, start(plane, json!({})).await?];
        let error = start(plane, json!({})).await.unwrap_err();
        assert_eq!(error.code(), "concurrency_limit");
        // A repeat of a start that was taken is answered, not refused.
        let again = StartRequest::new(WorkflowId::parse("w")?, json!({})).run_id(runs[0].clone());
        assert_eq!(plane.start_with(again).await?, runs[0]);
        plane.run_to_end(&runs[0]).await?;
        start(plane, json!({})).await?;
        Ok(())
    });
}

#[test]
fn an_idempotent_repeat_finds_its_run_while_that_holds_the_last_place() {
    for policy in ["queue", "reject", "cancel_oldest", "singleton"] {
        tell(limited(&format!("{{policy: {policy}}}")), async |plane| {
            let request = || StartRequest::new(WorkflowId::parse("w").unwrap(), json!({})).idempotency_key("k");
            let run = plane.start_with(request()).await?;
            assert_eq!(plane.start_with(request()).await?, run, "{policy}");
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "{policy}");
            Ok(())
        });
    }
    // And one that waits.
    tell(limited("{}"), async |plane| {
        let first = start(plane, json!({})).await?;
        let request = || StartRequest::new(WorkflowId::parse("w").unwrap(), json!({})).idempotency_key("k");
        let run = plane.start_with(request()).await?;
        assert_eq!(plane.start_with(request()).await?, run);
        plane.run_to_end(&first).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn a_singleton_is_answered_with_whoever_is_there() {
    tell(limited("{policy: singleton}"), async |plane| {
        let first = start(plane, json!({"n": 1})).await?;
        assert_eq!(start(plane, json!({"n": 2})).await?, first);
        plane.run_to_end(&first).await?;
        let next = start(plane, json!({"n": 3})).await?;
        assert_ne!(next, first);
        assert_eq!(plane.plane()?.runs(plane.principal(), RunQuery::default()).await?.items.len(), 2);
        Ok(())
    });
}

#[test]
fn the_oldest_gives_way() {
    tell(limited("{policy: cancel_oldest, limit: 2}"), async |plane| {
        let mut runs = Vec::new();
        for n in 0..4 {
            runs.push(start(plane, json!({"n": n})).await?);
            plane.advance(SECOND).await;
        }
        let mut ends = Vec::new();
        for run in &runs {
            ends.push(plane.run_to_end(run).await?.status());
        }
        use RunStatus::{Cancelled, Succeeded};
        assert_eq!(ends, [Cancelled, Cancelled, Succeeded, Succeeded]);
        let failure = plane.run_state(&runs[0]).await?;
        assert!(failure.failure().unwrap().message.contains(runs[2].as_str()), "{failure:?}");
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn the_newest_gives_way() {
    tell(limited("{policy: cancel_newest, limit: 2}"), async |plane| {
        let mut runs = Vec::new();
        for n in 0..4 {
            runs.push(start(plane, json!({"n": n})).await?);
            plane.advance(SECOND).await;
        }
        let mut ends = Vec::new();
        for run in &runs {
            ends.push(plane.run_to_end(run).await?.status());
        }
        use RunStatus::{Cancelled, Succeeded};
        assert_eq!(ends, [Succeeded, Cancelled, Cancelled, Succeeded]);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
    // Where somebody waits, it is the one who has waited for the shortest time.
    let line = "id: line\nconcurrency: {key: w}\nsteps: {a: {topic: job.a}}";
    tell(limited("{policy: cancel_newest, key: w}").workflow(line), async |plane| {
        let holds = plane.start("line", json!({})).await?;
        let waits = [plane.start("line", json!({})).await?, plane.start("line", json!({})).await?];
        let comes = start(plane, json!({})).await?;
        assert_eq!(status(plane, &waits[1]).await, RunStatus::Cancelled);
        assert_eq!(plane.run_to_end(&holds).await?.status(), RunStatus::Succeeded);
        // Its turn comes, it finds the place taken, and whoever took it goes.
        assert_eq!(plane.run_to_end(&waits[0]).await?.status(), RunStatus::Cancelled);
        assert_eq!(plane.run_to_end(&comes).await?.status(), RunStatus::Succeeded);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn whoever_waits_can_be_cancelled_and_the_others_move_up() {
    tell(limited("{}"), async |plane| {
        let mut runs = Vec::new();
        for n in 0..3 {
            runs.push(start(plane, json!({"n": n})).await?);
        }
        plane.ask(async |inner| inner.cancel_run(plane.principal(), &runs[1], "not needed").await).await?;
        assert_eq!(plane.run_to_end(&runs[1]).await?.status(), RunStatus::Cancelled);
        assert!(plane.elapsed() < SECOND);
        assert_eq!(keys(plane, "queued/").await.len(), 1);
        for run in [&runs[0], &runs[2]] {
            assert_eq!(plane.run_to_end(run).await?.status(), RunStatus::Succeeded);
        }
        assert!(plane.elapsed() < 21 * SECOND);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn the_time_of_a_run_is_counted_from_its_admission() {
    let workflow = "id: w\ntimeout_sec: 15\nconcurrency: {}\nsteps: {a: {topic: job.a}}";
    let builder = TestPlane::builder().workflow(workflow);
    tell(builder.worker("job.a", Reply::succeed(json!({})).after(10 * SECOND)), async |plane| {
        let runs = [start(plane, json!({})).await?, start(plane, json!({})).await?, start(plane, json!({})).await?];
        for run in &runs {
            assert_eq!(plane.run_to_end(run).await?.status(), RunStatus::Succeeded);
        }
        Ok(())
    });
}

#[test]
fn a_crash_after_any_batch_loses_no_turn_and_no_place() {
    for policy in ["queue", "cancel_oldest", "cancel_newest"] {
        for n in 1..45 {
            let at = format!("{policy}, crash after {n}");
            let faults = FaultPlan::new(n).crash_after(n).crash_after(3).arm();
            let builder = limited(&format!("{{policy: {policy}, limit: 1}}")).faults(&faults).seed(n);
            tell(builder, async |plane| {
                let mut runs = Vec::new();
                for n in 0..4 {
                    runs.push(start(plane, json!({"n": n})).await?);
                    places_have_holders(plane, 1, &at).await;
                }
                plane.crash_and_restart().await?;
                let mut ends = Vec::new();
                for run in &runs {
                    ends.push(plane.run_to_end(run).await?.status());
                    places_have_holders(plane, 1, &at).await;
                }
                assert_eq!(ends.last(), Some(&RunStatus::Succeeded), "{at}");
                if policy == "queue" {
                    assert!(ends.iter().all(|end| *end == RunStatus::Succeeded), "{at}: {ends:?}");
                }
                let spans = spans(plane, &runs).await;
                assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{at}: {spans:?}");
                nothing_is_left(plane, &at).await;
                Ok(())
            });
        }
    }
}

#[test]
fn places_never_leak_whatever_happens() {
    for seed in 0..80 {
        let mut rng = Rng::new(seed);
        let limit = 1 + i64::try_from(rng.below(3)).unwrap();
        let policy =
            ["queue", "cancel_oldest", "cancel_newest", "reject", "singleton"][usize::try_from(seed % 5).unwrap()];
        let mut plan = FaultPlan::new(seed).unavailable_before(60).unavailable_after(60).conflict(40).unreadable(30);
        for _ in 0..rng.below(4) {
            plan = plan.crash_after(1 + rng.below(25));
        }
        let faults = plan.arm();
        let at = format!("seed {seed}: {policy}, limit {limit}");
        let concurrency = format!("{{policy: {policy}, limit: {limit}, key: 'k${{input.key}}'}}");
        tell(limited(&concurrency).faults(&faults).seed(seed), async |plane| {
            let mut runs: Vec<RunId> = Vec::new();
            for _ in 0..14 {
                match rng.below(10) {
                    0..6 => match start(plane, json!({"key": rng.below(2)})).await {
                        Ok(run) => runs.push(run),
                        Err(error) => {
                            assert_eq!((error.code(), policy), ("concurrency_limit", "reject"), "{at}: {error}")
                        }
                    },
                    6..8 => {
                        if let Some(run) = rng.pick(&runs).cloned() {
                            plane.ask(async |inner| inner.cancel_run(plane.principal(), &run, "").await).await?;
                        }
                    }
                    8 => plane.advance(rng.below(15) as u32 * SECOND).await,
                    _ => plane.crash_and_restart().await?,
                }
                faults.rest();
                places_have_holders(plane, limit, &at).await;
                faults.resume();
            }
            for run in &runs {
                let end = plane.run_to_end(run).await.unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(end.status().is_terminal());
            }
            faults.rest();
            plane.crash_and_restart().await?;
            nothing_is_left(plane, &at).await;
            Ok(())
        });
    }
}

/// One start makes one run give way, also where the first try was cut off after that run had gone and before the starter
/// was answered.
#[test]
fn a_start_that_is_repeated_after_a_crash_lets_no_second_one_give_way() {
    let line = "id: line\nconcurrency: {key: w}\nsteps: {a: {topic: job.a}}";
    let mut between = 0;
    for n in 1..12 {
        for keyed in [false, true] {
            let at = format!("crash after {n}, {}", if keyed { "under a key" } else { "under its id" });
            let faults = FaultPlan::new(n).crash_after(n).arm();
            faults.rest();
            let builder = limited("{policy: cancel_newest, key: w}").workflow(line).faults(&faults).seed(n);
            tell(builder, async |plane| {
                let holds = plane.start("line", json!({})).await?;
                let waits = [plane.start("line", json!({})).await?, plane.start("line", json!({})).await?];
                faults.resume();
                let request = StartRequest::new(WorkflowId::parse("w")?, json!({}));
                let request = match keyed {
                    true => request.idempotency_key("once"),
                    false => request.run_id(RunId::parse("comes")?),
                };
                let first = plane.plane()?.start(plane.principal(), request.clone()).await;
                if first.is_err() {
                    plane.restart().await?;
                    between += u32::from(status(plane, &waits[1]).await == RunStatus::Cancelled);
                }
                faults.rest();
                let comes = plane.start_with(request).await?;
                assert_eq!(status(plane, &waits[1]).await, RunStatus::Cancelled, "{at}");
                assert_eq!(status(plane, &waits[0]).await, RunStatus::Pending, "{at}: one gave way, and no other");
                assert_eq!(status(plane, &comes).await, RunStatus::Pending, "{at}");
                places_have_holders(plane, 1, &at).await;
                assert_eq!(plane.run_to_end(&holds).await?.status(), RunStatus::Succeeded, "{at}");
                assert_eq!(plane.run_to_end(&comes).await?.status(), RunStatus::Succeeded, "{at}");
                nothing_is_left(plane, &at).await;
                Ok(())
            });
        }
    }
    assert!(between > 1, "some crash lay between the two");
}

#[test]
fn a_singleton_is_not_answered_with_a_run_of_another_workflow() {
    let text =
        |id: &str| format!("id: {id}\nconcurrency: {{key: shared, policy: singleton}}\nsteps: {{a: {{topic: job.a}}}}");
    let builder = TestPlane::builder().workflow(text("one")).workflow(text("two"));
    tell(builder.worker("job.a", Reply::succeed(json!({})).after(10 * SECOND)), async |plane| {
        let first = plane.start("one", json!({})).await?;
        assert_eq!(plane.start("one", json!({})).await?, first);
        let refused = plane.start("two", json!({})).await.unwrap_err();
        assert_eq!(refused.code(), "concurrency_limit");
        assert!(refused.to_string().contains(first.as_str()) && refused.to_string().contains("`one`"), "{refused}");
        plane.run_to_end(&first).await?;
        assert_ne!(plane.start("two", json!({})).await?, first);
        Ok(())
    });
}

#[test]
fn a_key_is_not_answered_with_what_was_asked_for_otherwise() {
    let one = "id: one\ninput_schema: {properties: {n: {default: 1}}}\nsteps: {a: {topic: job.a}}";
    let builder = TestPlane::builder().workflow(one).workflow("id: two\nsteps: {a: {topic: job.a}}");
    tell(builder.worker("job.a", Reply::succeed(json!({}))), async |plane| {
        let of = |id: &str, input| {
            StartRequest::new(WorkflowId::parse(id).unwrap(), input).idempotency_key("k").label("env", "test")
        };
        let first = plane.start_with(of("one", json!({}))).await?;
        assert_eq!(plane.start_with(of("one", json!({}))).await?, first);
        assert_eq!(plane.start_with(of("one", json!({"n": 1}))).await?, first, "the default says the same");
        let others = [
            of("two", json!({})),
            of("one", json!({"n": 2})),
            of("one", json!({})).label("env", "live"),
            of("one", json!({})).dry_run(),
        ];
        for other in others {
            let refused = plane.start_with(other).await.unwrap_err();
            assert_eq!(refused.code(), "idempotency_key_reused");
            assert!(refused.to_string().contains(first.as_str()), "{refused}");
        }
        plane.run_to_end(&first).await?;
        plane.ask(async |inner| inner.delete_run(plane.principal(), &first).await).await?;
        assert_eq!(plane.start_with(of("one", json!({}))).await?, first, "the answer stays");
        Ok(())
    });
}
