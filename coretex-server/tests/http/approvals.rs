use serde_json::json;

use crate::rig::{Rig, has_keys};

#[tokio::test]
async fn policys_question_is_listed_and_answered_under_the_job() {
    let rig = Rig::start().await;
    let id =
        rig.post("/api/v1/jobs", r#"{"topic":"job.gated.echo","risk_tags":["write"]}"#).await.is(200).text_of("job_id");
    let page = rig.get("/api/v1/approvals").await.is(200).json();
    assert_eq!(page["next_cursor"], json!(null));
    let item = &page["items"][0];
    let established = [
        "job",
        "decision",
        "policy_snapshot",
        "policy_rule_id",
        "policy_reason",
        "constraints",
        "job_hash",
        "approval_required",
        "approval_ref",
    ];
    has_keys(item, &established);
    assert_eq!(item["job"]["id"], id);
    assert_eq!(item["job"]["state"], "APPROVAL_REQUIRED");
    assert_eq!(item["job"]["risk_tags"], json!(["write"]));
    assert_eq!(item["decision"], "REQUIRE_APPROVAL");
    assert_eq!(item["policy_rule_id"], "gate");
    assert_eq!(item["constraints"]["budgets"]["max_runtime_ms"], 60000);
    assert_eq!(item["approval_ref"], id);

    let approved =
        rig.post(&format!("/api/v1/approvals/{id}/approve"), r#"{"reason":"fine","note":null}"#).await.is(200).json();
    assert_eq!(approved["job_id"], id);
    assert!(!approved["trace_id"].as_str().unwrap().is_empty());
    let job = rig.job_in(&id, "SUCCEEDED").await;
    assert_eq!(job["approval_by"], "api");
    assert_eq!(job["approval_reason"], "fine");
    assert_eq!(rig.post(&format!("/api/v1/approvals/{id}/approve"), "").await.is(409).code(), "approval_not_waiting");
    assert_eq!(rig.post("/api/v1/approvals/none/approve", "").await.is(404).code(), "approval_not_found");
}

#[tokio::test]
async fn a_refused_job_is_denied_and_given_up() {
    let rig = Rig::start().await;
    let id = rig.post("/api/v1/jobs", r#"{"topic":"job.gated.echo"}"#).await.is(200).text_of("job_id");
    let refused = rig.post(&format!("/api/v1/approvals/{id}/reject"), "").await.is(200).json();
    assert_eq!(refused, json!({"job_id": id}));
    let job = rig.job_in(&id, "DENIED").await;
    assert_eq!(job["error_code"], "approval_rejected");
}

#[tokio::test]
async fn an_approval_step_is_answered_under_run_and_step() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval", "name": "Go on?", "input": {"x": "${input.x}"}}})).await;
    let run = rig.start_run("w", json!({"x": 7})).await;
    let page = rig.get("/api/v1/approvals").await.is(200).json();
    let item = &page["items"][0];
    assert_eq!(item["approval_ref"], format!("{run}:a"));
    assert_eq!(item["kind"], "step");
    assert_eq!(item["title"], "Go on?");
    assert_eq!(item["input"], json!({"x": 7}));
    assert_eq!(item["step_id"], "a");
    rig.post(&format!("/api/v1/approvals/{run}:a/approve"), "").await.is(200);
    rig.ended(&run).await;
    assert_eq!(rig.get(&format!("/api/v1/workflow-runs/{run}")).await.json()["status"], "succeeded");
    assert_eq!(rig.get("/api/v1/approvals").await.json()["items"], json!([]));
}
