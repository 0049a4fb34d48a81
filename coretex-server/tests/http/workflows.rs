use axum::body::Body;
use serde_json::json;

use crate::rig::{Rig, has_keys};

#[tokio::test]
async fn a_definition_is_stored_listed_shown_and_removed() {
    let rig = Rig::start().await;
    let body = r#"{"name":"w","org_id":"default","steps":{"a":{"type":"approval"}}}"#;
    let made = rig.post("/api/v1/workflows", body).await.is(201).json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(made, json!({"id": id}), "nothing but the id");

    let shown = rig.get(&format!("/api/v1/workflows/{id}")).await.is(200).json();
    let established = [
        "id",
        "org_id",
        "team_id",
        "name",
        "description",
        "version",
        "timeout_sec",
        "steps",
        "created_by",
        "created_at",
        "updated_at",
    ];
    has_keys(&shown, &established);
    assert_eq!(shown["steps"]["a"]["id"], "a");
    assert_eq!(shown["steps"]["a"]["type"], "approval");
    assert_eq!(rig.get("/api/v1/workflows").await.is(200).json(), json!([shown]));

    rig.delete(&format!("/api/v1/workflows/{id}")).await.is(204);
    let gone = rig.get(&format!("/api/v1/workflows/{id}")).await.is(404);
    assert_eq!(gone.code(), "workflow_not_found");
    assert_eq!(rig.get("/api/v1/workflows").await.is(200).text, "[]");
}

#[tokio::test]
async fn nulls_count_as_absent_as_established_clients_send_them() {
    let rig = Rig::start().await;
    let body = json!({
        "id": "w", "org_id": null, "config": null, "parameters": null, "input_schema": null,
        "steps": {"a": {"type": "worker", "topic": "job.test.echo", "depends_on": null, "retry": null, "meta": {"risk_tags": null}}},
    });
    rig.post("/api/v1/workflows", body.to_string()).await.is(201);
}

#[tokio::test]
async fn every_mistake_in_a_definition_is_named_with_its_place() {
    let rig = Rig::start().await;
    let body = r#"{"id":"w","steps":{"a":{"topic":"nowhere","depends_on":["b"]}}}"#;
    let refused = rig.post("/api/v1/workflows", body).await.is(400);
    let problems = refused.json()["problems"].as_array().unwrap().clone();
    assert!(problems.len() >= 2, "{problems:?}");
    for problem in &problems {
        has_keys(problem, &["code", "path", "message", "help"]);
    }
    assert_eq!(refused.code(), problems[0]["code"].as_str().unwrap());
}

#[tokio::test]
async fn yaml_is_taken_when_it_says_that_it_is() {
    let rig = Rig::start().await;
    let yaml = "id: y\nsteps:\n  a: { type: approval }\n";
    let request = Rig::request("POST", "/api/v1/workflows").header("content-type", "application/yaml");
    rig.send(request.body(Body::from(yaml)).unwrap()).await.is(201);
    assert_eq!(rig.post("/api/v1/workflows", yaml).await.is(400).code(), "json_malformed");
}

#[tokio::test]
async fn another_tenant_is_refused() {
    let rig = Rig::start().await;
    let body = r#"{"id":"w","org_id":"acme","steps":{"a":{"type":"approval"}}}"#;
    assert_eq!(rig.post("/api/v1/workflows", body).await.is(403).code(), "tenant_mismatch");
    assert_eq!(rig.get("/api/v1/workflows?org_id=acme").await.is(403).code(), "tenant_mismatch");
}
