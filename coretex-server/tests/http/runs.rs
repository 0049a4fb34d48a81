use axum::body::Body;
use serde_json::json;

use crate::rig::{Rig, has_keys, keys};

#[tokio::test]
async fn a_run_waits_at_its_approval_before_the_start_is_answered() {
    let rig = Rig::start().await;
    rig.workflow("w1", json!({"a": {"type": "approval"}})).await;
    let started = rig.post("/api/v1/workflows/w1/runs", "{}").await.is(200).json();
    assert_eq!(keys(&started), ["run_id"]);
    let id = started["run_id"].as_str().unwrap();

    let run = rig.get(&format!("/api/v1/workflow-runs/{id}")).await.is(200).json();
    let established = [
        "id",
        "workflow_id",
        "org_id",
        "team_id",
        "input",
        "context",
        "status",
        "started_at",
        "completed_at",
        "output",
        "error",
        "steps",
        "total_cost",
        "triggered_by",
        "created_at",
        "updated_at",
    ];
    has_keys(&run, &established);
    assert_eq!(run["status"], "waiting");
    assert_eq!(run["org_id"], "default");
    assert_eq!(run["completed_at"], json!(null));
    assert_eq!(run["steps"]["a"]["step_id"], "a");
    assert_eq!(run["steps"]["a"]["status"], "waiting");

    rig.post(&format!("/api/v1/workflows/w1/runs/{id}/steps/a/approve"), r#"{"approved":true}"#).await.is(204);
    rig.ended(id).await;
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{id}/timeline")).await.is(200).json();
    let kinds: Vec<&str> = timeline.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"run_status"));
    assert_eq!(kinds.last(), Some(&"run_status"));
    assert!(kinds.contains(&"step_waiting") && kinds.contains(&"step_approved"), "{kinds:?}");
    let approved = timeline.as_array().unwrap().iter().find(|event| event["type"] == "step_approved").unwrap();
    has_keys(approved, &["seq", "time", "run_id", "workflow_id", "step_id", "status"]);
    assert_eq!(approved["data"]["by"], "api");
    let late = rig.get(&format!("/api/v1/workflow-runs/{id}/timeline?from=3&limit=1")).await.is(200).json();
    assert_eq!(late.as_array().unwrap().len(), 1);
    assert_eq!(late[0]["seq"], 3);
}

#[tokio::test]
async fn an_answer_names_its_approver_and_must_say_yes_or_no() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval"}})).await;
    let id = rig.start_run("w", json!({})).await;
    let path = format!("/api/v1/workflows/w/runs/{id}/steps/a/approve");
    assert_eq!(rig.post(&path, "{}").await.is(400).code(), "approved_missing");
    assert_eq!(rig.post(&path, "").await.is(400).code(), "body_missing");
    assert_eq!(rig.post(&path.replace("/a/", "/b/"), r#"{"approved":true}"#).await.is(404).code(), "step_not_found");
    assert_eq!(rig.post(&path.replace("/w/", "/v/"), r#"{"approved":true}"#).await.is(404).code(), "run_not_found");

    let request = Rig::request("POST", &path).header("x-principal-id", "ada").header("x-principal-role", "SecOps");
    rig.send(request.body(Body::from(r#"{"approved":false,"reason":"too early"}"#)).unwrap()).await.is(204);
    rig.ended(&id).await;
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{id}/timeline")).await.json();
    let rejected = timeline.as_array().unwrap().iter().find(|event| event["type"] == "step_rejected").unwrap().clone();
    assert_eq!(rejected["data"]["by"], "ada");
    assert_eq!(rejected["message"], "too early");
    assert_eq!(rig.post(&path, r#"{"approved":true}"#).await.is(409).code(), "step_not_waiting");
}

#[tokio::test]
async fn the_same_key_starts_one_run() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval"}})).await;
    let start = async |header: &str, path: &str| {
        let mut request = Rig::request("POST", path);
        if !header.is_empty() {
            request = request.header(header, "k1");
        }
        rig.send(request.body(Body::from("{}")).unwrap()).await.is(200).text_of("run_id")
    };
    let first = start("idempotency-key", "/api/v1/workflows/w/runs").await;
    assert_eq!(start("x-idempotency-key", "/api/v1/workflows/w/runs").await, first);
    assert_eq!(start("", "/api/v1/workflows/w/runs?idempotency_key=k1").await, first);
    assert_ne!(start("", "/api/v1/workflows/w/runs").await, first);
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval"}})).await;
    rig.workflow("v", json!({"a": {"topic": "job.test.echo"}})).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(rig.start_run("w", json!({})).await);
    }
    let other = rig.start_run("v", json!({"x": 1})).await;
    rig.ended(&other).await;
    ids.reverse();

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page =
            rig.get(&format!("/api/v1/workflow-runs?limit=2&workflow_id=w&cursor={cursor}")).await.is(200).json();
        assert_eq!(keys(&page), ["items", "next_cursor"]);
        seen.extend(page["items"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let bare = rig.get("/api/v1/workflows/w/runs").await.is(200).json();
    assert_eq!(bare.as_array().unwrap().len(), 5);
    has_keys(&bare[0], &["id", "steps", "status"]);
    let done = rig.get("/api/v1/workflow-runs?status=succeeded").await.is(200).json();
    assert_eq!(done["items"].as_array().unwrap().len(), 1);
    assert_eq!(done["items"][0]["steps"]["a"]["output"], json!({"x": 1}));
    assert_eq!(rig.get("/api/v1/workflow-runs?updated_before=1000").await.is(200).json()["items"], json!([]));
    assert_eq!(rig.get("/api/v1/workflow-runs?status=odd").await.is(400).code(), "query_invalid");
}

#[tokio::test]
async fn a_run_is_cancelled_then_removed() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval"}})).await;
    let id = rig.start_run("w", json!({})).await;
    assert_eq!(rig.delete(&format!("/api/v1/workflow-runs/{id}")).await.is(409).code(), "run_not_ended");
    rig.post(&format!("/api/v1/workflows/w/runs/{id}/cancel"), "").await.is(204);
    rig.post(&format!("/api/v1/workflows/w/runs/{id}/cancel"), "").await.is(204);
    assert_eq!(rig.get(&format!("/api/v1/workflow-runs/{id}")).await.json()["status"], "cancelled");
    rig.delete(&format!("/api/v1/workflow-runs/{id}")).await.is(204);
    assert_eq!(rig.get(&format!("/api/v1/workflow-runs/{id}")).await.is(404).code(), "run_not_found");
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_refused() {
    let rig = Rig::start().await;
    let body = json!({
        "id": "w", "input_schema": {"type": "object", "required": ["name"]},
        "steps": {"a": {"topic": "job.test.echo"}},
    });
    rig.post("/api/v1/workflows", body.to_string()).await.is(201);
    assert_eq!(rig.post("/api/v1/workflows/w/runs", "{}").await.is(400).code(), "run_input_invalid");
    assert_eq!(rig.post("/api/v1/workflows/w/runs", "null").await.is(400).code(), "run_input_invalid");
    rig.post("/api/v1/workflows/w/runs", r#"{"name":"n"}"#).await.is(200);
}

#[tokio::test]
async fn a_summary_of_a_run_is_what_lists_show_of_it() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}})).await;
    let id = rig.start_run("w", json!({"x": 1})).await;
    rig.ended(&id).await;
    let path = format!("/api/v1/workflow-runs/{id}?view=summary");
    let summary = rig.get(&path).await.is(200).json();
    let listed = rig.get("/api/v1/workflow-runs?view=summary").await.is(200).json();
    assert_eq!(summary, listed["items"][0]);
    assert_eq!((&summary["status"], summary.get("input")), (&json!("succeeded"), None));
    assert_eq!(rig.get("/api/v1/workflow-runs/nope?view=summary").await.is(404).code(), "run_not_found");
}
