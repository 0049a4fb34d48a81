use serde_json::json;

use crate::rig::{Rig, has_keys, keys};

#[tokio::test]
async fn a_job_is_submitted_and_shown_with_its_result() {
    let rig = Rig::start().await;
    let body = r#"{"prompt":"hi","topic":"job.test.echo","org_id":"default","context":{"a":1},"labels":{"l":"v"},"risk_tags":["read"],"tags":null}"#;
    let made = rig.post("/api/v1/jobs", body).await.is(200).json();
    assert_eq!(keys(&made), ["job_id", "trace_id"]);
    let id = made["job_id"].as_str().unwrap();
    let job = rig.job_in(id, "SUCCEEDED").await;
    let established = [
        "id",
        "state",
        "trace_id",
        "context_ptr",
        "context",
        "result_ptr",
        "result",
        "topic",
        "tenant",
        "actor_id",
        "actor_type",
        "idempotency_key",
        "capability",
        "pack_id",
        "risk_tags",
        "requires",
        "attempts",
        "safety_decision",
        "safety_reason",
        "safety_rule_id",
        "safety_snapshot",
        "safety_constraints",
        "safety_remediations",
        "safety_job_hash",
        "approval_required",
        "approval_ref",
        "labels",
        "workflow_id",
        "run_id",
        "step_id",
    ];
    has_keys(&job, &established);
    assert_eq!(job["result"]["prompt"], "hi");
    assert_eq!(job["result"]["context"], json!({"a": 1}));
    assert_eq!(job["context"], job["result"]);
    assert_eq!(job["labels"]["l"], "v");
    assert_eq!(job["safety_decision"], "ALLOW");
    assert_eq!(job["actor_id"], "api");
    assert_eq!(job["result_ptr"], format!("redis://res:{id}"));
}

#[tokio::test]
async fn a_prompt_is_not_required_and_a_topic_has_a_default() {
    let rig = Rig::start().await;
    let id = rig.post("/api/v1/jobs", r#"{"context":[1]}"#).await.is(200).text_of("job_id");
    let job = rig.get(&format!("/api/v1/jobs/{id}")).await.is(200).json();
    assert_eq!(job["topic"], "job.default");
}

#[tokio::test]
async fn the_same_key_submits_one_job() {
    let rig = Rig::start().await;
    let body = r#"{"topic":"job.test.echo","idempotency_key":"k"}"#;
    let first = rig.post("/api/v1/jobs", body).await.is(200).json();
    assert_eq!(rig.post("/api/v1/jobs", body).await.is(200).json(), first);
    let other = rig.post("/api/v1/jobs", r#"{"topic":"job.test.echo","idempotency_key":"k2"}"#).await.is(200).json();
    assert_ne!(other["job_id"], first["job_id"]);
    for other in [
        r#"{"topic":"job.test.fail","idempotency_key":"k"}"#,
        r#"{"topic":"job.test.echo","idempotency_key":"k","prompt":"else"}"#,
        r#"{"topic":"job.test.echo","idempotency_key":"k","labels":{"a":"b"}}"#,
    ] {
        let refused = rig.post("/api/v1/jobs", other).await.is(409);
        assert!(refused.text.contains(first["job_id"].as_str().unwrap()), "{}", refused.text);
        assert_eq!(refused.code(), "idempotency_key_reused");
    }
}

#[tokio::test]
async fn a_secret_reference_marks_the_job_for_policy() {
    let rig = Rig::start().await;
    let body = r#"{"topic":"job.test.echo","context":{"token":" secret://vault/x"}}"#;
    let id = rig.post("/api/v1/jobs", body).await.is(200).text_of("job_id");
    let job = rig.get(&format!("/api/v1/jobs/{id}")).await.json();
    assert_eq!(job["risk_tags"], json!(["secrets"]));
    assert_eq!(job["labels"]["secrets_present"], "true");
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let rig = Rig::start().await;
    for (body, status, code) in [
        (json!({"topic": "foo"}), 400, "id_invalid"),
        (json!({"org_id": "acme"}), 403, "tenant_mismatch"),
        (json!({"actor_type": "robot"}), 400, "field_invalid"),
        (json!({"max_input_tokens": -1}), 400, "field_invalid"),
        (json!({"prompt": 7}), 400, "field_invalid"),
        (json!({"prompt": "x".repeat(100_001)}), 400, "field_invalid"),
        (json!({"tags": vec!["t"; 51]}), 400, "field_invalid"),
        (json!({"idempotency_key": "a\u{1}"}), 400, "idempotency_key_invalid"),
        (json!([]), 400, "body_not_object"),
    ] {
        assert_eq!(rig.post("/api/v1/jobs", body.to_string()).await.is(status).code(), code, "{body}");
    }
    assert_eq!(rig.get("/api/v1/jobs/none").await.is(404).code(), "job_not_found");
    assert_eq!(rig.get("/api/v1/jobs/a%20b").await.is(404).code(), "job_not_found");
}

#[tokio::test]
async fn a_job_is_cancelled_once() {
    let rig = Rig::start().await;
    let id = rig.post("/api/v1/jobs", r#"{"topic":"job.nobody.home"}"#).await.is(200).text_of("job_id");
    let cancelled = rig.post(&format!("/api/v1/jobs/{id}/cancel"), "").await.is(200).json();
    assert_eq!(cancelled, json!({"id": id, "state": "CANCELLED"}));
    let again = rig.post(&format!("/api/v1/jobs/{id}/cancel"), "").await.is(200).json();
    assert_eq!(keys(&again), ["id", "reason", "state"]);
}
