//! A server whose workers are scripts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::Server;
use coretex_core::value::Value;

const WORKFLOW: &str = "
id: count
steps:
  words: { topic: job.text.count, input: { text: '${input.text}' } }
  twice: { topic: job.text.twice, depends_on: [words], input: '${steps.words.output}' }
output: '${steps.twice.output}'
";

const ENDPOINTS: &str = "
endpoints:
  words:
    topics: [job.text.count]
    script: { argv: [/usr/bin/wc, -w], stdin: '${input.text}' }
  twice:
    topics: [job.text.twice]
    secrets: { key: secret://file/key }
    output: '${answer.stdout}'
    script:
      argv: [/bin/sh, -c, 'read n; [ \"$KEY\" = key-value ] && echo $((n * 2))']
      env: { KEY: '${secrets.key}' }
";

#[test]
fn scripts_do_the_steps_of_a_workflow() {
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (workflow, endpoints) = (file("count.yaml", WORKFLOW), file("endpoints.yaml", ENDPOINTS));
    file("key", "key-value\n");
    let secrets = data.path().to_str().unwrap();
    let state = data.path().join("state");
    let server = Server::spawn_with(&state, &["--endpoints", &endpoints, "--secrets", secrets]).ready();
    server.ctl(&["workflow", "create", &workflow]).ok();
    let run = server.ctl(&["runs", "start", "count", "--input", r#"{"text": "three small words"}"#]).ok();
    server.ctl(&["runs", "watch", &run]).ok();
    let shown: Value = serde_json::from_str(&server.ctl(&["runs", "get", &run, "--json"]).ok()).unwrap();
    assert_eq!(shown["output"], 6, "{shown}");
}

#[test]
fn what_policy_demands_of_a_sandbox_refuses_a_script() {
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ran = data.path().join("ran");
    let endpoints = file(
        "endpoints.yaml",
        &format!(
            "endpoints: {{ e: {{ topics: [job.x.y], script: {{ argv: [/usr/bin/touch, {}] }} }} }}",
            ran.display()
        ),
    );
    let policy = "
rules:
  - id: boxed
    match: { topics: ['job.x.*'] }
    decision: allow_with_constraints
    constraints: { sandbox: { isolated: true } }
";
    let policy = file("policy.yaml", policy);
    let workflow = file("x.yaml", "id: x\nsteps: { only: { topic: job.x.y } }\n");
    let state = data.path().join("state");
    let server = Server::spawn_with(&state, &["--endpoints", &endpoints, "--policy", &policy]).ready();
    server.ctl(&["workflow", "create", &workflow]).ok();
    let run = server.ctl(&["runs", "start", "x"]).ok();
    let shown = server.ctl(&["runs", "watch", &run]).fails(3);
    let why = server.ctl(&["runs", "get", &run, "--json"]).ok();
    assert!(why.contains("constraint_unsupported") && why.contains("sandbox=isolated"), "{shown}\n{why}");
    assert!(!ran.exists());
}

#[test]
fn a_document_that_cannot_be_used_stops_the_server_with_all_its_problems() {
    let data = tempfile::tempdir().unwrap();
    let endpoints = data.path().join("endpoints.yaml");
    std::fs::write(&endpoints, "endpoints: { a: { topics: [], script: { argv: [wc] } }, b: {} }").unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_coretex-server"))
        .args(["dev", "--http-addr", "127.0.0.1:0", "--data-dir"])
        .arg(data.path().join("state"))
        .arg("--endpoints")
        .arg(&endpoints)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    for place in ["endpoints.a.topics", "endpoints.a.script.argv[0]", "endpoints.b"] {
        assert!(told.contains(place), "{place} in {told}");
    }
}
