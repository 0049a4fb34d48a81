//! A run that needs people at every turn, led to its end with `coretexctl` alone, over crashes of the server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::Server;
use coretex_core::value::Value;

/// The worker behind `fix` cannot read what it gets, and no retry mends that.
const WORKFLOW: &str = "
id: by-hand
steps:
  scan: { topic: job.demo.scan, for_each: input.hosts, input: { host: '${item}' } }
  go: { type: signal, depends_on: [scan] }
  ask: { type: input, depends_on: [go], output_schema: { type: object, required: [size] } }
  fix:
    topic: job.incident.fetch
    depends_on: [ask]
    input: { size: '${steps.ask.output.size}' }
    output_schema: { type: object, required: [fixed] }
    retry: { on_exhausted: park }
  tell: { topic: job.demo.tell, depends_on: [fix], input: '${steps.fix.output}' }
";

/// Repeats `coretexctl` until what it prints has `wanted` in it; each call waits for the server's answer.
#[track_caller]
fn until(server: &Server, args: &[&str], wanted: &str) -> String {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = server.ctl(args).ok();
        if shown.contains(wanted) {
            return shown;
        }
        assert!(Instant::now() < patience, "{args:?} does not come to `{wanted}`:\n{shown}");
    }
}

fn crash(server: Server, data: &std::path::Path) -> Server {
    server.kill();
    Server::start(data)
}

#[test]
fn a_run_is_led_by_hand_to_its_end_over_crashes_and_rerun() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("by-hand.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    let file = file.to_str().unwrap();
    let plan = server.ctl(&["workflows", "plan", file]).ok();
    assert!(plan.contains("scan") && plan.contains("job.demo.scan") && plan.contains("for_each"), "{plan}");
    server.ctl(&["workflow", "create", file]).ok();
    assert_eq!(server.ctl(&["workflows", "plan", "by-hand", "--input", r#"{"hosts": []}"#]).ok(), plan);

    let hosts: Vec<String> = (0..30).map(|n| format!("h{n}")).collect();
    let input = serde_json::json!({ "hosts": hosts }).to_string();
    let run = server.ctl(&["runs", "start", "by-hand", "--input", &input]).ok();
    // Its items are under way, or some of them.
    let server = crash(server, data.path());
    let why = ["runs", "why", run.as_str()];
    let waiting = until(&server, &why, "the signal `go`");
    assert!(waiting.contains(&format!("coretexctl runs signal {run} 'go'")), "{waiting}");
    assert!(waiting.contains("ask waits for go"), "{waiting}");
    let shown = server.ctl(&["runs", "show", &run]).ok();
    assert!(shown.contains("30/30") && shown.lines().count() < 15, "30 items are one line:\n{shown}");

    let server = crash(server, data.path());
    server.ctl(&["runs", "signal", &run, "go", "--id", "s-1", "--payload", "true"]).ok();
    server.ctl(&["runs", "signal", &run, "go", "--id", "s-1", "--payload", "true"]).ok();
    let waiting = until(&server, &why, "ask waits for data");
    assert!(waiting.contains(&format!("coretexctl steps input {run} 'ask' --data JSON")), "{waiting}");
    assert!(server.ctl(&["steps", "input", &run, "go", "--data", "{}"]).fails(1).contains("run why"));
    assert!(server.ctl(&["steps", "input", &run, "ask", "--data", "{}"]).fails(1).contains("size"));

    let server = crash(server, data.path());
    server.ctl(&["steps", "input", &run, "ask", "--data", r#"{"size": 3}"#]).ok();
    let waiting = until(&server, &why, "an operator");
    assert!(waiting.contains("the last try failed with `input_") && waiting.contains("steps resolve"), "{waiting}");

    let server = crash(server, data.path());
    server.ctl(&["steps", "resolve", &run, "fix", "retry"]).ok();
    until(&server, &["runs", "timeline", &run], "action=retry");
    until(&server, &why, "an operator");
    assert!(server.ctl(&["steps", "resolve", &run, "fix", "complete", "--output", "{}"]).fails(1).contains("fixed"));
    assert_eq!(server.ctl(&["steps", "resolve", &run, "fix", "hope"]).code, 2);
    let complete = ["steps", "resolve", run.as_str(), "fix", "complete", "--output", r#"{"fixed": true}"#];
    server.ctl(&["--principal", "ada"].iter().chain(&complete).copied().collect::<Vec<_>>()).ok();
    let watched = server.ctl(&["runs", "watch", &run]).ok();
    assert!(watched.contains("30 of 30 ended") && !watched.contains("scan[17]"), "{watched}");
    assert!(watched.lines().count() < 40, "30 items are a few lines:\n{watched}");
    assert!(watched.contains("by=ada") && watched.lines().last().unwrap().contains("succeeded"), "{watched}");
    assert_eq!(server.ctl(&why).ok(), "it waits for nothing: succeeded");

    let timeline = server.ctl(&["runs", "timeline", &run]).ok();
    assert_eq!(timeline.matches("step_signal_taken").count(), 1);
    assert!(timeline.contains("scan[17]"), "the timeline leaves nothing out");
    let state = server.ctl(&["runs", "state", &run, "--at", "1"]).ok();
    assert!(state.contains("after      event 1,") && state.contains("status     running"), "{state}");
    assert!(server.ctl(&["runs", "state", &run, "--at", "100000"]).fails(1).contains("run timeline"));
    let replayed = server.ctl(&["runs", "replay", &run]).ok();
    assert!(!replayed.contains("NOT"), "{replayed}");

    // From `ask` on: what was scanned stays scanned, and the new run waits again.
    let again = server.ctl(&["runs", "rerun", &run, "--from-step", "ask"]).ok();
    let server = crash(server, data.path());
    until(&server, &["runs", "why", &again], "ask waits for data");
    let shown = server.ctl(&["runs", "get", &again]).ok();
    assert!(shown.contains(&format!("rerun of   {run} from ask")) && shown.contains("30/30"), "{shown}");
    let json: Value = serde_json::from_str(&server.ctl(&["runs", "why", &again, "--json"]).ok()).unwrap();
    assert_eq!(json["waits"][0], serde_json::json!({"cause": "steps", "steps": ["ask"]}));
    assert_eq!(json["waits"][1]["cause"], "data");
    server.ctl(&["steps", "resolve", &again, "ask", "fail", "--reason", "enough"]).ok();
    assert_eq!(server.ctl(&["runs", "watch", &again]).code, 3);
    assert!(server.ctl(&["runs", "get", &again]).ok().contains("enough"));
    assert!(server.ctl(&["runs", "rerun", &again, "--from-step", "tell"]).fails(1).contains("fix"));

    let dry = server.ctl(&["runs", "start", "by-hand", "--input", &input, "--dry-run"]).ok();
    server.ctl(&["runs", "watch", &dry]).ok();
    assert!(server.ctl(&["runs", "get", &dry]).ok().contains("(dry run)"));
    let fresh = server.ctl(&["runs", "rerun", &run, "--fresh", "--input", r#"{"hosts": []}"#]).ok();
    until(&server, &["runs", "why", &fresh], "the signal `go`");
    assert_eq!(server.ctl(&["runs", "rerun", &run, "--fresh", "--at-event", "3"]).code, 2);
}
