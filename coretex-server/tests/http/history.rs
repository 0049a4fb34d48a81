use coretex_core::{
    governance::Principal,
    job::{TenantId, WorkflowId},
    runtime::StartRequest,
    workflow::Workflow,
};
use serde_json::{Value, json};

use crate::rig::{Rig, has_keys};

/// `a` makes its input, `b` needs a yes, `c` comes behind it.
fn steps() -> Value {
    json!({
        "a": {"topic": "job.test.echo", "input": "${input}"},
        "b": {"type": "approval", "depends_on": ["a"]},
        "c": {"topic": "job.test.echo", "depends_on": ["b"], "input": "${steps.a.output}"},
    })
}

async fn show(rig: &Rig, run: &str) -> Value {
    rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(200).json()
}

/// The run when its step `b` waits.
async fn at_its_question(rig: &Rig, run: &str) {
    for _ in 0..100_000 {
        if show(rig, run).await["steps"]["b"]["status"] == "waiting" {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("run {run} does not come to its question");
}

async fn to_its_end(rig: &Rig, run: &str) {
    at_its_question(rig, run).await;
    rig.post(&format!("/api/v1/workflows/w/runs/{run}/steps/b/approve"), r#"{"approved":true}"#).await.is(204);
    rig.ended(run).await;
}

#[tokio::test]
async fn a_run_is_rerun_from_a_step_from_an_event_and_from_the_beginning() {
    let rig = Rig::start().await;
    rig.workflow("w", steps()).await;
    let old = rig.start_run("w", json!({"x": 1})).await;
    to_its_end(&rig, &old).await;
    let rerun = async |path: &str, body: Value| rig.post(path, body.to_string()).await.is(200).text_of("run_id");
    let (short, long) = (format!("/api/v1/workflow-runs/{old}/rerun"), format!("/api/v1/workflows/w/runs/{old}/rerun"));

    let from_c = rerun(&long, json!({"from_step": "c"})).await;
    rig.ended(&from_c).await;
    let shown = show(&rig, &from_c).await;
    assert_eq!(
        (&shown["status"], &shown["rerun_of"], &shown["rerun_step"]),
        (&json!("succeeded"), &json!(old), &json!("c"))
    );
    assert_eq!(shown["steps"]["c"]["output"], json!({"x": 1}));
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{from_c}/timeline")).await.json();
    assert!(
        !timeline.as_array().unwrap().iter().any(|event| event["job_id"].as_str().is_some_and(|id| id.contains(":a@")))
    );

    let fresh = rerun(&short, json!({"fresh": true, "input": {"x": 2}})).await;
    to_its_end(&rig, &fresh).await;
    assert_eq!(show(&rig, &fresh).await["steps"]["c"]["output"], json!({"x": 2}));

    // Before the answer was given: it is asked again.
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{old}/timeline")).await.json();
    let asked =
        timeline.as_array().unwrap().iter().find(|event| event["type"] == "step_waiting").unwrap()["seq"].clone();
    let again = rerun(&short, json!({"at_event": asked})).await;
    to_its_end(&rig, &again).await;

    let dry = rerun(&short, json!({"fresh": true, "dry_run": true})).await;
    rig.ended(&dry).await;
    assert_eq!(show(&rig, &dry).await["dry_run"], true);
    let keyed = async |key: &str, body: Value| {
        let request = Rig::request("POST", &short).header("idempotency-key", key).body(body.to_string().into());
        rig.send(request.unwrap()).await
    };
    let first = keyed("again", json!({"fresh": true, "dry_run": true})).await.is(200).text_of("run_id");
    assert_eq!(keyed("again", json!({"fresh": true, "dry_run": true})).await.is(200).text_of("run_id"), first);
    // A key stands for one request, as with starts.
    let reused = keyed("again", json!({"from_step": "c"})).await.is(409);
    assert!(reused.text.contains(&first), "{}", reused.text);
    assert_eq!(reused.code(), "idempotency_key_reused");
    assert_ne!(keyed("other", json!({"fresh": true, "dry_run": true})).await.is(200).text_of("run_id"), first);
    assert_eq!(keyed(&"k".repeat(201), json!({})).await.is(400).code(), "idempotency_key_invalid");
    assert_eq!(keyed("\u{e9}", json!({})).await.is(400).code(), "idempotency_key_invalid");
    // Established clients send no body, or a step without a name.
    rig.post(&short, "").await.is(200);
    rerun(&short, json!({"from_step": ""})).await;
    assert_eq!(show(&rig, &old).await["status"], "succeeded", "the old run stays as it is");
}

#[tokio::test]
async fn a_rerun_that_cannot_be_is_refused() {
    let rig = Rig::start().await;
    rig.workflow("w", steps()).await;
    let run = rig.start_run("w", json!({})).await;
    at_its_question(&rig, &run).await;
    let path = format!("/api/v1/workflow-runs/{run}/rerun");
    for (body, status, code) in [
        (json!({"from_step": "c"}), 409, "rerun_impossible"),
        (json!({"from_step": "z"}), 404, "step_not_found"),
        (json!({"from_step": "no step"}), 400, "id_invalid"),
        (json!({"at_event": 1000}), 404, "event_not_found"),
        (json!({"at_event": 0}), 404, "event_not_found"),
        (json!({"at_event": "soon"}), 400, "field_invalid"),
        (json!({"input": [1]}), 400, "field_invalid"),
        (json!({"fresh": true, "from_step": "a"}), 400, "field_invalid"),
        (json!([]), 400, "body_not_object"),
    ] {
        assert_eq!(rig.post(&path, body.to_string()).await.is(status).code(), code, "{body}");
    }
    assert_eq!(rig.post("/api/v1/workflow-runs/none/rerun", "").await.is(404).code(), "run_not_found");
    let other = format!("/api/v1/workflows/v/runs/{run}/rerun");
    assert_eq!(rig.post(&other, "").await.is(404).code(), "run_not_found");
}

#[tokio::test]
async fn a_run_is_shown_as_it_was_and_folds_to_what_it_is() {
    let rig = Rig::start().await;
    rig.workflow("w", steps()).await;
    let run = rig.start_run("w", json!({})).await;
    to_its_end(&rig, &run).await;
    let path = format!("/api/v1/workflow-runs/{run}");
    let first = rig.get(&format!("{path}/state?at=1")).await.is(200).json();
    has_keys(&first, &["id", "workflow_id", "steps", "input", "total_cost"]);
    assert_eq!(
        (&first["at_event"], &first["status"], &first["steps"]["c"]["status"]),
        (&json!(1), &json!("running"), &json!("pending"))
    );
    let report = rig.get(&format!("{path}/replay")).await.is(200).json();
    assert_eq!((&report["agrees"], &report["summary_agrees"]), (&json!(true), &json!(true)));
    let last = rig.get(&format!("{path}/state?at={}", report["events"])).await.is(200).json();
    let mut now = show(&rig, &run).await;
    now["at_event"] = report["events"].clone();
    assert_eq!(last, now);

    for (query, status, code) in [
        ("", 400, "query_invalid"),
        ("?at=0", 400, "query_invalid"),
        ("?at=late", 400, "query_invalid"),
        ("?at=1000", 404, "event_not_found"),
    ] {
        assert_eq!(rig.get(&format!("{path}/state{query}")).await.is(status).code(), code, "{query}");
    }
}

#[tokio::test]
async fn a_run_says_why_it_waits() {
    let rig = Rig::start().await;
    rig.workflow("w", steps()).await;
    let run = rig.start_run("w", json!({})).await;
    at_its_question(&rig, &run).await;
    let path = format!("/api/v1/workflow-runs/{run}/why");
    let why = rig.get(&path).await.is(200).json();
    let question = format!("{run}:b");
    let waits = json!([
        {"cause": "steps", "steps": ["b"]},
        {"step_id": "b", "cause": "approval", "approval_id": question},
        {"step_id": "c", "cause": "steps", "steps": ["b"]},
    ]);
    assert_eq!(why, json!({"run_id": run, "waits": waits, "total": 3}));
    let short = rig.get(&format!("{path}?limit=1")).await.is(200).json();
    assert_eq!((short["waits"].as_array().unwrap().len(), &short["total"]), (1, &json!(3)));
    to_its_end(&rig, &run).await;
    assert_eq!(rig.get(&path).await.is(200).json()["waits"], json!([]));
}

#[tokio::test]
async fn a_dry_run_ends_without_a_worker_or_a_human() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.nobody.serves"}, "b": {"type": "approval", "depends_on": ["a"]}}))
        .await;
    let run = rig.post("/api/v1/workflows/w/runs?dry_run=true", "{}").await.is(200).text_of("run_id");
    rig.ended(&run).await;
    let shown = show(&rig, &run).await;
    assert_eq!((&shown["status"], &shown["dry_run"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(rig.get("/api/v1/approvals").await.json()["items"], json!([]));
    assert_eq!(rig.post("/api/v1/workflows/w/runs?dry_run=perhaps", "{}").await.is(400).code(), "query_invalid");
}

#[tokio::test]
async fn a_plan_tells_order_pools_approvals_and_denials() {
    let rig = Rig::start().await;
    let steps = json!({
        "a": {"topic": "job.test.echo"},
        "b": {"topic": "job.gated.echo", "depends_on": ["a"]},
        "c": {"topic": "job.banned.x", "depends_on": ["b"]},
        "d": {"topic": "job.test.echo", "for_each": "input.list", "depends_on": ["a"]},
    });
    rig.workflow("w", steps.clone()).await;
    let plan = rig.post("/api/v1/workflows/w/plan", "").await.is(200).json();
    assert_eq!((&plan["workflow_id"], &plan["approvals"]), (&json!("w"), &json!(["b"])));
    assert!(plan["blocked"]["c"].as_str().unwrap().contains("not here"), "{plan}");
    let order: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().map(|step| step["step_id"].as_str().unwrap()).collect();
    assert!(order[0] == "a" && order[3] == "c" && order.len() == 4, "{order:?}");
    assert_eq!(rig.post("/api/v1/workflows/w/plan?version=1", r#"{"input": {"list": []}}"#).await.is(200).json(), plan);

    let body = json!({"id": "w", "steps": steps}).to_string();
    let unstored = rig.post("/api/v1/plan", body).await.is(200).json();
    assert_eq!(unstored["steps"], plan["steps"]);
    let yaml = Rig::request("POST", "/api/v1/plan").header("content-type", "application/yaml");
    rig.send(yaml.body("{id: v, steps: {a: {type: approval}}}".into()).unwrap()).await.is(200);
    let child = json!({"id": "v", "steps": {"s": {"type": "subworkflow", "workflow": "nope"}, "t": {"type": "subworkflow", "workflow": "w"}}});
    let planned = rig.post("/api/v1/plan", child.to_string()).await.is(200).json();
    assert_eq!(planned["warnings"].as_object().unwrap().keys().collect::<Vec<_>>(), ["s"], "{planned}");
    assert!(planned["warnings"]["s"].as_str().unwrap().contains("no workflow `nope`"), "{planned}");
    assert_eq!(rig.get("/api/v1/workflows/v").await.is(404).code(), "workflow_not_found", "nothing was stored");

    assert_eq!(rig.post("/api/v1/plan", "").await.is(400).code(), "body_missing");
    assert_eq!(rig.post("/api/v1/plan", r#"{"steps": {}}"#).await.is(400).code(), "workflow_empty");
    let foreign = json!({"id": "v", "org_id": "other", "steps": {"a": {"type": "approval"}}}).to_string();
    assert_eq!(rig.post("/api/v1/plan", foreign).await.is(403).code(), "tenant_mismatch");
    assert_eq!(rig.post("/api/v1/workflows/none/plan", "").await.is(404).code(), "workflow_not_found");
    assert_eq!(rig.post("/api/v1/workflows/w/plan", r#"{"input": 1}"#).await.is(400).code(), "field_invalid");
    assert_eq!(rig.post("/api/v1/workflows/w/plan?version=7", "").await.is(404).code(), "version_not_found");
}

#[tokio::test]
async fn runs_of_another_tenant_are_not_there() {
    let rig = Rig::start().await;
    let other = Principal::service("eve").for_tenant(TenantId::parse("other").unwrap());
    let workflow = "id: theirs\norg_id: other\nsteps: {a: {type: input}, s: {type: signal}}";
    rig.plane.put_workflow(&other, Workflow::parse("w", workflow).unwrap()).await.unwrap();
    let start = StartRequest::new(WorkflowId::parse("theirs").unwrap(), json!({}));
    let run = rig.plane.start(&other, start).await.unwrap();
    let before = rig.plane.run(&other, &run).await.unwrap();
    for within in [format!("/api/v1/workflow-runs/{run}"), format!("/api/v1/workflows/theirs/runs/{run}")] {
        for (path, body) in [("rerun", ""), ("steps/a/input", "{}"), ("steps/a/resolve", r#"{"action": "skip"}"#)] {
            assert_eq!(
                rig.post(&format!("{within}/{path}"), body).await.is(404).code(),
                "run_not_found",
                "{within}/{path}"
            );
        }
    }
    let path = format!("/api/v1/workflow-runs/{run}");
    for read in ["state?at=1", "why", "replay"] {
        assert_eq!(rig.get(&format!("{path}/{read}")).await.is(404).code(), "run_not_found", "{read}");
    }
    assert_eq!(rig.post(&format!("{path}/signals/s"), "{}").await.is(404).code(), "run_not_found");
    assert_eq!(rig.post("/api/v1/workflows/theirs/plan", "").await.is(404).code(), "workflow_not_found");
    assert_eq!(rig.plane.run(&other, &run).await.unwrap(), before, "nothing has changed");
}
