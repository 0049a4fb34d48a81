use serde_json::json;

use crate::rig::Rig;

fn spec() -> serde_json::Value {
    json!({"id": "nightly", "workflow_id": "w", "cron": "0 2 * * *", "time_zone": "Europe/Berlin", "input": {"n": 1}})
}

#[tokio::test]
async fn a_schedule_is_stored_shown_triggered_and_removed() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}})).await;
    let stored = rig.post("/api/v1/schedules", spec().to_string()).await.is(201).json();
    assert_eq!((&stored["id"], stored["next_times"].as_array().unwrap().len()), (&json!("nightly"), 5));
    assert_eq!(rig.get("/api/v1/schedules").await.is(200).json()["items"][0], stored);
    assert_eq!(rig.get("/api/v1/schedules/nightly").await.is(200).json(), stored);

    let fired = rig.post("/api/v1/schedules/nightly/trigger", "").await.is(200).json();
    assert_eq!((&fired["kind"], &fired["outcome"]), (&json!("trigger"), &json!("started")));
    let run = fired["run_id"].as_str().unwrap();
    rig.ended(run).await;
    let shown = rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(200).json();
    assert_eq!((&shown["input"], &shown["labels"]["schedule_id"]), (&json!({"n": 1}), &json!("nightly")));

    let note = json!({"note": "holidays"}).to_string();
    let paused = rig.post("/api/v1/schedules/nightly/pause", note).await.is(200).json();
    assert_eq!((&paused["paused"]["note"], &paused["next_times"]), (&json!("holidays"), &json!([])));
    let resumed = rig.post("/api/v1/schedules/nightly/resume", "").await.is(200).json();
    assert_eq!(resumed["paused"], json!(null));

    let range =
        json!({"from": "2020-01-01T00:00:00Z", "until": "2020-01-03T00:00:00Z", "pace_ms": 0, "overlap": "allow"});
    rig.post("/api/v1/schedules/nightly/backfill", range.to_string()).await.is(202);
    let times = rig.get("/api/v1/schedules/nightly/preview?count=2&after=2030-03-30T12:00:00Z").await.is(200).json();
    assert_eq!(times["times"], json!(["2030-03-31T01:00:00Z", "2030-04-01T00:00:00Z"]));
    rig.delete("/api/v1/schedules/nightly").await.is(204);
    assert_eq!(rig.get("/api/v1/schedules/nightly").await.is(404).code(), "schedule_not_found");
}

#[tokio::test]
async fn slips_are_refused_with_their_codes() {
    let rig = Rig::start().await;
    let post = async |body: serde_json::Value| rig.post("/api/v1/schedules", body.to_string()).await;
    assert_eq!(post(spec()).await.is(404).code(), "workflow_not_found");
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}})).await;
    let with = |name: &str, value| {
        let mut spec = spec();
        spec[name] = value;
        spec
    };
    assert_eq!(post(with("cron", json!("* * *"))).await.is(400).code(), "cron_invalid");
    assert_eq!(post(with("time_zone", json!("Mars"))).await.is(400).code(), "time_zone_unknown");
    assert_eq!(post(with("crom", json!("* * *"))).await.is(400).code(), "schedule_invalid");
    assert_eq!(post(with("end_at", json!("2001-01-01T00:00:00Z"))).await.is(201).json()["next_times"], json!([]));
    assert_eq!(post(with("cron", json!("0 0 31 2 *"))).await.is(400).code(), "schedule_never_fires");
    let preview = rig.post("/api/v1/schedule-previews?count=1&after=2030-01-01T00:00:00Z", spec().to_string()).await;
    assert_eq!(preview.is(200).json()["times"], json!(["2030-01-01T01:00:00Z"]));
    let odd = json!({"from": "yesterday", "until": "2020-01-03T00:00:00Z"}).to_string();
    assert_eq!(rig.post("/api/v1/schedules/nightly/backfill", odd).await.is(400).code(), "field_invalid");
    let empty = json!({"from": "2020-01-01T00:00:00Z", "until": "2020-01-01T00:00:01Z"}).to_string();
    assert_eq!(rig.post("/api/v1/schedules/nightly/backfill", empty).await.is(400).code(), "schedule_backfill_empty");
    assert_eq!(rig.post("/api/v1/schedules/none/trigger", "").await.is(404).code(), "schedule_not_found");
}
