use axum::{body::Body, http::Request};
use serde_json::json;

use crate::rig::{KEY, Rig, has_keys};

#[tokio::test]
async fn health_needs_no_key_and_everything_else_does() {
    let rig = Rig::start().await;
    let health = rig.send(Request::get("/health").body(Body::empty()).unwrap()).await.is(200);
    assert_eq!(health.text, "ok");
    for path in ["/api/v1/status", "/api/v1/workflows", "/api/v1/nowhere", "/"] {
        let refused = rig.send(Request::get(path).body(Body::empty()).unwrap()).await.is(401);
        assert_eq!(refused.code(), "api_key_missing", "{path}");
    }
    let wrong = Request::get("/api/v1/status").header("x-api-key", "k-2");
    assert_eq!(rig.send(wrong.body(Body::empty()).unwrap()).await.is(401).code(), "api_key_wrong");
    let quoted = Request::get("/api/v1/status").header("x-api-key", format!(" \"{KEY}\" "));
    rig.send(quoted.body(Body::empty()).unwrap()).await.is(200);
}

#[tokio::test]
async fn status_and_workers_have_the_established_keys() {
    let rig = Rig::start().await;
    let status = rig.get("/api/v1/status").await.is(200).json();
    has_keys(&status, &["time", "uptime_seconds", "build", "nats", "redis", "workers"]);
    has_keys(&status["build"], &["version", "commit", "date"]);
    has_keys(&status["nats"], &["connected", "status", "url"]);
    assert_eq!(status["redis"], json!({"ok": true, "error": ""}));
    let mut workers = json!([]);
    for _ in 0..100_000 {
        workers = rig.get("/api/v1/workers").await.is(200).json();
        if workers[0]["topics"].as_array().is_some_and(|topics| !topics.is_empty())
            && workers[0]["max_parallel_jobs"] != 0
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    has_keys(&workers[0], &["worker_id", "cpu_load", "active_jobs", "max_parallel_jobs", "capabilities", "labels"]);
}

#[tokio::test]
async fn unknown_routes_methods_and_types_are_told_apart() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/api/v1/nowhere").await.is(404).code(), "route_not_found");
    assert_eq!(rig.get("/nowhere").await.is(404).code(), "route_not_found");
    let wrong = rig.send(Rig::request("PATCH", "/api/v1/workflows").body(Body::empty()).unwrap()).await.is(405);
    assert_eq!(wrong.code(), "method_not_allowed");
    assert_eq!(wrong.headers["allow"], "GET,HEAD,POST");
    let xml = Rig::request("POST", "/api/v1/jobs").header("content-type", "application/xml");
    assert_eq!(rig.send(xml.body(Body::from("<a/>")).unwrap()).await.is(415).code(), "media_type_unsupported");
    // What curl sends when nobody tells it.
    let form = Rig::request("POST", "/api/v1/jobs").header("content-type", "application/x-www-form-urlencoded");
    rig.send(form.body(Body::from(r#"{"topic":"job.test.echo"}"#)).unwrap()).await.is(200);
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_depth() {
    let rig = Rig::start().await;
    let large = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(rig.post("/api/v1/jobs", large).await.is(413).code(), "body_too_large");
    let deep = format!(r#"{{"context":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(rig.post("/api/v1/jobs", deep).await.is(400).code(), "payload_too_deep");
    let deep = format!(r#"{{"context":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert_eq!(rig.post("/api/v1/jobs", deep).await.is(400).code(), "payload_too_deep");
    let broken = rig.post("/api/v1/jobs", "{\"topic\":\n  nope}").await.is(400);
    assert_eq!(broken.code(), "json_malformed");
    assert_eq!(broken.json()["line"], 2);
    assert_eq!(rig.post("/api/v1/jobs", "").await.is(400).code(), "body_missing");
    assert_eq!(rig.post("/api/v1/jobs", r#"{"a":1,"a":2}"#).await.is(400).code(), "json_malformed");
}

#[tokio::test]
async fn a_client_that_wants_text_gets_one_line() {
    let rig = Rig::start().await;
    let request = Rig::request("GET", "/api/v1/workflow-runs/none").header("accept", "text/plain");
    let refused = rig.send(request.body(Body::empty()).unwrap()).await.is(404);
    assert_eq!(refused.text, "there is no run `none`\n");
    assert_eq!(refused.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(refused.headers["x-error-code"], "run_not_found");
}

#[tokio::test]
async fn ids_cursors_and_counts_are_judged() {
    let rig = Rig::start().await;
    for path in
        ["/api/v1/workflows/a%20b", "/api/v1/workflow-runs/a%2Fb", "/api/v1/workflow-runs/x/timeline?limit=many"]
    {
        let code = rig.get(path).await.is(400).code();
        assert!(code == "id_invalid" || code == "query_invalid", "{path}: {code}");
    }
    assert_eq!(rig.get("/api/v1/workflow-runs/%FF").await.is(400).code(), "path_invalid");
    assert_eq!(rig.get("/api/v1/workflow-runs/none/timeline").await.is(404).code(), "run_not_found");
    assert_eq!(rig.get("/api/v1/workflow-runs/none/events").await.is(404).code(), "run_not_found");
}

#[tokio::test]
async fn a_plane_that_was_shut_down_says_so() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"type": "approval"}})).await;
    rig.plane.shutdown().await.unwrap();
    let refused = rig.post("/api/v1/jobs", "{}").await.is(503);
    assert_eq!(refused.headers["retry-after"], "1");
    refused.code();
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_refused_rather_than_left_out() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}})).await;
    let odd = || axum::http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let job = json!({"prompt": "hi", "topic": "job.test.echo"}).to_string();
    for (path, header, body) in [
        ("/api/v1/jobs", "idempotency-key", job.as_str()),
        ("/api/v1/workflows/w/runs", "idempotency-key", "{}"),
        ("/api/v1/workflows/w/runs", "x-idempotency-key", "{}"),
        ("/api/v1/workflows/w/triggers/t", "idempotency-key", "{}"),
    ] {
        let request = Rig::request("POST", path).header(header, odd()).body(Body::from(body.to_owned())).unwrap();
        assert_eq!(rig.send(request).await.is(400).code(), "idempotency_key_invalid", "{path} {header}");
    }
    let typed = Rig::request("POST", "/api/v1/jobs").header("content-type", odd());
    assert_eq!(rig.send(typed.body(Body::from(job)).unwrap()).await.is(415).code(), "media_type_unsupported");
}
