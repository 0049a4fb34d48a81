//! Triggers on a whole control plane: every event is part of one run, whatever goes wrong.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coretex_core::{
    job::{RunId, WorkflowId},
    ports::Scan,
    runtime::{PlaneError, RunQuery, TriggerReceipt, TriggerRequest},
    testing::{FaultPlan, Reply, Rng, TestPlane, TestPlaneBuilder},
    workflow::{RunStatus, Workflow},
};
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);

const FLOW: &str = "
id: w
triggers:
  quiet: {type: debounce, window_sec: 10, max_wait_sec: 60, key: '${input.key}'}
  first: {type: debounce, window_sec: 10, keep: first}
  many: {type: batch, window_sec: 30, max_items: 3, key: '${input.key}'}
steps: {a: {topic: job.a}}";

fn flow() -> TestPlaneBuilder {
    TestPlane::builder().workflow(FLOW).worker("job.a", Reply::succeed(json!({})))
}

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

fn w() -> WorkflowId {
    WorkflowId::parse("w").unwrap()
}

async fn send(plane: &TestPlane, trigger: &str, input: Value) -> Result<TriggerReceipt, PlaneError> {
    let request = TriggerRequest::new(w(), trigger, input);
    plane.ask(async |inner| inner.trigger(plane.principal(), request.clone()).await).await
}

async fn send_once(plane: &TestPlane, trigger: &str, input: Value, id: String) -> Result<TriggerReceipt, PlaneError> {
    let request = TriggerRequest::new(w(), trigger, input).event_id(id);
    plane.ask(async |inner| inner.trigger(plane.principal(), request.clone()).await).await
}

async fn runs(plane: &TestPlane) -> BTreeMap<String, Value> {
    let query = RunQuery { limit: 1_000, ..RunQuery::default() };
    let page = plane.ask(async |inner| inner.runs(plane.principal(), query.clone()).await).await.unwrap();
    let mut runs = BTreeMap::new();
    for summary in page.items {
        let run = plane.run_state(&RunId::parse(&summary.id).unwrap()).await.unwrap();
        runs.insert(summary.id, Value::clone(&run.input()));
    }
    runs
}

async fn nothing_is_left(plane: &TestPlane, at: &str) {
    for prefix in ["buckets/", "bucket-events/", "timers/"] {
        let page = plane.store().scan(Scan::prefix(prefix)).await.unwrap();
        assert!(page.entries.is_empty(), "{at}: {:?}", page.entries);
    }
}

#[test]
fn events_of_one_key_collapse_into_one_run() {
    tell(flow(), async |plane| {
        let first = send(plane, "quiet", json!({"key": "x", "n": 1})).await?;
        plane.advance(8 * SECOND).await;
        assert_eq!(send(plane, "quiet", json!({"key": "x", "n": 2})).await?.run_id, first.run_id);
        let other = send(plane, "quiet", json!({"key": "y", "n": 3})).await?;
        plane.advance(8 * SECOND).await;
        assert!(runs(plane).await.is_empty());
        let buckets = plane.plane()?.trigger_buckets(plane.principal(), &w(), None, 0).await?.items;
        assert_eq!(buckets.iter().map(|bucket| bucket.events).sum::<u32>(), 3);
        plane.crash_and_restart().await?;
        plane.advance(3 * SECOND).await;
        let runs = runs(plane).await;
        assert_eq!(runs[first.run_id.as_str()], json!({"key": "x", "n": 2}), "the last input");
        assert_eq!(runs[other.run_id.as_str()], json!({"key": "y", "n": 3}));
        assert_eq!(runs.len(), 2);
        let run = plane.run_to_end(&first.run_id).await?;
        assert_eq!((run.status(), &*run.labels()["trigger_key"]), (RunStatus::Succeeded, "x"));
        nothing_is_left(plane, "end").await;
        // The next one is another run.
        assert_ne!(send(plane, "quiet", json!({"key": "x"})).await?.run_id, first.run_id);
        Ok(())
    });
}

#[test]
fn events_that_never_rest_start_a_run_all_the_same_and_the_first_is_kept_where_asked() {
    tell(flow(), async |plane| {
        let mut sent = BTreeSet::new();
        for n in 0..25 {
            sent.insert(send(plane, "quiet", json!({"key": "x", "n": n})).await?.run_id);
            send(plane, "first", json!({"n": n})).await?;
            plane.advance(5 * SECOND).await;
        }
        plane.advance(20 * SECOND).await;
        assert_eq!(sent.len(), 3, "a minute each");
        let runs = runs(plane).await;
        assert!(runs.values().any(|input| *input == json!({"n": 0})), "{runs:?}");
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn events_are_collected_until_there_are_enough_or_it_is_time() {
    tell(flow(), async |plane| {
        let mut ids = Vec::new();
        for n in 0..7 {
            ids.push(send(plane, "many", json!({"key": 1, "n": n})).await?.run_id);
        }
        plane.settle().await;
        assert_eq!(runs(plane).await.len(), 2, "full ones go at once");
        plane.advance(31 * SECOND).await;
        let runs = runs(plane).await;
        let numbers = |id: &RunId| {
            let items = runs[id.as_str()]["items"].as_array().unwrap().iter();
            items.map(|item| item["n"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!([numbers(&ids[0]), numbers(&ids[3]), numbers(&ids[6])], [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn slips_are_refused_and_repeats_are_known() {
    tell(flow(), async |plane| {
        let code = async |trigger: &str, input: Value| send(plane, trigger, input).await.unwrap_err().code();
        assert_eq!(code("none", json!({})).await, "trigger_not_found");
        assert_eq!(code("quiet", json!({})).await, "trigger_key_invalid");
        assert_eq!(code("first", json!([1])).await, "run_input_invalid");
        let first = send_once(plane, "many", json!({"key": 1}), "e-1".into()).await?;
        let again = send_once(plane, "many", json!({"key": 1}), "e-1".into()).await?;
        assert_eq!((&again.run_id, first.repeated, again.repeated), (&first.run_id, false, true));
        let inner = plane.plane()?;
        plane.drive(inner.flush_trigger(plane.principal(), &w(), "many", "1")).await?;
        plane.settle().await;
        assert_eq!(runs(plane).await[first.run_id.as_str()]["items"].as_array().unwrap().len(), 1);
        send(plane, "many", json!({"key": 1})).await?;
        plane.drive(inner.discard_trigger(plane.principal(), &w(), "many", "1")).await?;
        plane.advance(60 * SECOND).await;
        assert_eq!(runs(plane).await.len(), 1);
        nothing_is_left(plane, "end").await;
        let gone = plane.drive(inner.flush_trigger(plane.principal(), &w(), "many", "1")).await;
        assert_eq!(gone.unwrap_err().code(), "trigger_empty");
        Ok(())
    });
}

#[test]
fn events_wait_for_a_workflow_that_can_be_started() {
    tell(flow(), async |plane| {
        let inner = plane.plane()?;
        let strict = FLOW.replace("steps:", "input_schema: {type: object, required: [other]}\nsteps:");
        plane.drive(inner.put_workflow(plane.principal(), Workflow::parse("strict", &strict)?)).await?;
        let receipt = send(plane, "first", json!({"n": 1})).await?;
        plane.advance(30 * SECOND).await;
        let starting =
            plane.plane()?.trigger_buckets(plane.principal(), &w(), None, 0).await?.items[0].starting.clone();
        assert_eq!(starting[0].code.as_deref(), Some("run_input_invalid"));
        assert!(starting[0].tries > 3);
        plane.drive(inner.put_workflow(plane.principal(), Workflow::parse("flow", FLOW)?)).await?;
        plane.advance(60 * SECOND).await;
        assert_eq!(plane.run_to_end(&receipt.run_id).await?.status(), RunStatus::Succeeded);
        nothing_is_left(plane, "end").await;
        Ok(())
    });
}

#[test]
fn a_definition_with_slips_is_refused() {
    let problems = |triggers: Value| {
        let document = json!({"id": "w", "triggers": triggers, "steps": {"a": {"topic": "job.a"}}});
        let error = Workflow::from_value("test", document).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.code, problem.path)).collect::<Vec<_>>()
    };
    assert_eq!(
        problems(
            json!({"a b": {"type": "batch", "window_sec": 0, "max_items": 0, "keep": "last"}, "t": {"type": "x", "window_sec": 1}})
        ),
        [
            ("id_invalid", "triggers.a b".to_owned()),
            ("out_of_range", "triggers.a b.window_sec".to_owned()),
            ("out_of_range", "triggers.a b.max_items".to_owned()),
            ("trigger_invalid", "triggers.a b.keep".to_owned()),
            ("trigger_invalid", "triggers.t.type".to_owned()),
        ]
    );
    assert_eq!(
        problems(json!({"t": {"type": "debounce", "window_sec": 1, "keep": "all", "key": "${ctx.x}"}})).len(),
        2
    );
}

#[test]
fn every_event_is_part_of_one_run_whatever_goes_wrong() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut plan = FaultPlan::new(seed).unavailable_before(70).unavailable_after(70).conflict(50).unreadable(30);
        for _ in 0..1 + rng.below(6) {
            plan = plan.crash_after(1 + rng.below(12));
        }
        let faults = plan.arm();
        let trigger = if seed % 2 == 0 { "many" } else { "quiet" };
        let at = format!("seed {seed}: {trigger}");
        tell(flow().faults(&faults).seed(seed), async |plane| {
            let mut sent: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for n in 0..24 {
                let input = json!({"key": rng.below(2), "n": n});
                let receipt = send_once(plane, trigger, input, format!("e-{n}")).await?;
                sent.entry(receipt.run_id.to_string()).or_default().push(n);
                match rng.below(6) {
                    0..3 => {}
                    3 | 4 => plane.advance(rng.below(15) as u32 * SECOND).await,
                    _ => plane.crash_and_restart().await?,
                }
            }
            faults.rest();
            plane.crash_and_restart().await?;
            plane.advance(120 * SECOND).await;
            let runs = runs(plane).await;
            assert_eq!(
                runs.keys().collect::<Vec<_>>(),
                sent.keys().collect::<Vec<_>>(),
                "{at}: a run for each receipt"
            );
            for (run, numbers) in sent {
                match trigger {
                    "many" => {
                        let items = runs[&run]["items"].as_array().unwrap();
                        let got: Vec<u64> = items.iter().map(|item| item["n"].as_u64().unwrap()).collect();
                        assert_eq!(got, numbers, "{at}");
                    }
                    _ => assert_eq!(runs[&run]["n"].as_u64(), numbers.last().copied(), "{at}"),
                }
                let end = plane.run_to_end(&RunId::parse(&run)?).await.unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(end.status(), RunStatus::Succeeded, "{at}");
            }
            nothing_is_left(plane, &at).await;
            Ok(())
        });
    }
}
