//! `coretexctl` against a real server process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use common::{KEY, Server, ctl, ctl_command};
use coretex_core::value::Value;

const WORKFLOW: &str = "
id: two
name: Two steps
steps:
  work: { topic: job.demo.work }
  gate: { type: approval, name: Go on?, depends_on: [work] }
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_verb_does_what_it_says() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("two.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    assert_eq!(server.ctl(&["workflow", "create", file.to_str().unwrap()]).ok(), "two");
    let list = server.ctl(&["workflow", "list"]).ok();
    assert!(list.lines().next().unwrap().starts_with("WORKFLOW") && list.contains("two"), "{list}");
    assert_eq!(json(&server.ctl(&["workflow", "get", "two"]).ok())["name"], "Two steps");

    let run = server.ctl(&["run", "start", "two", "--input", r#"{"x": 1}"#, "--idempotency-key", "k"]).ok();
    assert_eq!(server.ctl(&["run", "start", "two", "--input", r#"{"x": 1}"#, "--idempotency-key", "k"]).ok(), run);
    assert!(server.ctl(&["run", "list", "--workflow", "two"]).ok().contains(&run));
    // It waits a moment after the start at most: the watcher below sees all of it.
    let watching = std::thread::spawn({
        let (address, run) = (server.address.clone(), run.clone());
        move || ctl(&address, Some(KEY), &["run", "watch", &run])
    });
    while !server.ctl(&["approval", "list"]).ok().contains(&format!("{run}:gate")) {}
    let approve = ["--principal", "ada", "step", "approve", &run, "gate", "--reason", "fine"];
    server.ctl(&approve).ok();
    let watched = watching.join().unwrap().ok();
    assert!(watched.contains("by=ada") && watched.lines().last().unwrap().contains("succeeded"), "{watched}");
    let timeline = server.ctl(&["run", "timeline", &run]).ok();
    assert_eq!(timeline, watched);
    let events = json(&server.ctl(&["--json", "run", "timeline", &run]).ok());
    assert_eq!(events.as_array().unwrap().len(), timeline.lines().count());
    let shown = server.ctl(&["run", "get", &run]).ok();
    assert!(shown.contains("status     succeeded"), "{shown}");
    server.ctl(&["run", "delete", &run]).ok();
    assert!(server.ctl(&["run", "get", &run]).fails(1).contains("coretexctl run list"));

    let schedule = data.path().join("nightly.yaml");
    std::fs::write(&schedule, "{id: nightly, workflow_id: two, cron: '0 2 * * *', time_zone: Europe/Berlin}").unwrap();
    assert_eq!(server.ctl(&["schedules", "put", schedule.to_str().unwrap()]).ok(), "nightly");
    let fired = server.ctl(&["schedules", "trigger", "nightly"]).ok();
    assert!(server.ctl(&["schedules", "get", "nightly"]).ok().contains(&fired));
    server.ctl(&["schedules", "pause", "nightly", "--note", "holidays"]).ok();
    assert!(server.ctl(&["schedules", "list"]).ok().contains("holidays"));
    server.ctl(&["schedules", "resume", "nightly"]).ok();
    assert_eq!(server.ctl(&["schedules", "preview", "nightly", "--count", "3"]).ok().lines().count(), 3);
    let range = ["--from", "2020-01-01T00:00:00Z", "--until", "2020-01-02T12:00:00Z"];
    server.ctl(&[&["schedules", "backfill", "nightly"], &range[..]].concat()).ok();
    server.ctl(&["schedules", "delete", "nightly"]).ok();
    assert!(server.ctl(&["schedules", "get", "nightly"]).fails(1).contains("no schedule"));
    server.ctl(&["run", "cancel", &fired]).ok();
    let triggered = data.path().join("calm.yaml");
    let calm = "{id: calm, triggers: {t: {type: batch, window_sec: 600}}, steps: {a: {type: approval}}}";
    std::fs::write(&triggered, calm).unwrap();
    server.ctl(&["workflow", "create", triggered.to_str().unwrap()]).ok();
    let send = ["triggers", "send", "calm", "t", "--input", r#"{"n": 1}"#, "--event-id", "e"];
    assert_eq!(server.ctl(&send).ok(), server.ctl(&send).ok());
    assert!(server.ctl(&["triggers", "list", "calm"]).ok().lines().nth(1).unwrap().starts_with("t "));
    server.ctl(&["triggers", "flush", "calm", "t"]).ok();
    server.ctl(&["triggers", "send", "calm", "t"]).ok();
    server.ctl(&["triggers", "discard", "calm", "t"]).ok();
    assert!(server.ctl(&["triggers", "discard", "calm", "t"]).fails(1).contains("gathered nothing"));
    assert_eq!(server.ctl(&["run", "queued"]).ok(), "");

    let job =
        server.ctl(&["job", "submit", "--topic", "job.demo.echo", "--input", "[1, 2]", "--risk-tags", "a,b"]).ok();
    let mut state = String::new();
    while state != "SUCCEEDED" {
        state = json(&server.ctl(&["--json", "job", "get", &job]).ok())["state"].as_str().unwrap().to_owned();
    }
    assert_eq!(server.ctl(&["job", "cancel", &job]).ok(), "SUCCEEDED");
    assert_eq!(server.ctl(&["dlq", "list"]).ok(), "");
    assert_eq!(json(&server.ctl(&["dlq", "list", "--json"]).ok()), Value::Array(Vec::new()));
    assert_eq!(server.ctl(&["dlq", "groups"]).ok(), "");
    assert_eq!(server.ctl(&["dlq", "retry-all", "--code", "x", "--dry-run"]).ok(), "0");
    assert_eq!(server.ctl(&["dlq", "delete-all", "--all"]).ok(), "");
    assert!(server.ctl(&["dlq", "retry-all"]).fails(1).contains("means every dead letter"));
    assert!(server.ctl(&["dlq", "get", "none"]).fails(1).contains("not among the dead letters"));
    assert!(server.ctl(&["dlq", "retry", "none"]).fails(1).contains("not among the dead letters"));
    assert!(server.ctl(&["worker", "list"]).ok().contains("echo-1"));
    assert!(server.ctl(&["status"]).ok().contains("embedded (ok)"));
    server.ctl(&["workflow", "delete", "two"]).ok();
}

#[test]
fn versions_searches_and_pruning_have_their_verbs() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("two.yaml");
    let store = |text: &str, note: &str| {
        std::fs::write(&file, text).unwrap();
        server.ctl(&["workflows", "create", file.to_str().unwrap(), "--note", note]).ok()
    };
    store(WORKFLOW, "as it began");
    let run = server.ctl(&["run", "start", "two", "--label", "env=test"]).ok();
    store(&WORKFLOW.replace("name: Go on?, ", ""), "");
    let list = server.ctl(&["workflows", "versions", "two"]).ok();
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[1].starts_with("2*") && lines[2].starts_with("1 ") && lines[2].ends_with("as it began"), "{list}");
    assert_eq!(json(&server.ctl(&["workflow", "versions", "two", "1"]).ok())["number"], 1);
    let diff = server.ctl(&["workflow", "diff", "two"]).ok();
    assert!(diff.contains("~ gate: name: \"Go on?\" -> nothing") && diff.contains(&run), "{diff}");
    assert!(server.ctl(&["workflow", "delete", "two"]).fails(1).contains("--force"));
    assert_eq!(server.ctl(&["workflow", "rollback", "two", "1", "--note", "no"]).ok(), "3");
    assert!(server.ctl(&["workflow", "rollback", "two", "7"]).fails(1).contains("workflow versions"));

    let again = server.ctl(&["run", "restart", &run, "--version", "2"]).ok();
    assert_eq!(server.ctl(&["run", "restart", &run, "--version", "2"]).ok(), again);
    let found = server.ctl(&["runs", "list", "--label", "env=test", "--status", "cancelled,failed"]).ok();
    assert!(found.lines().count() == 2 && found.lines().nth(1).unwrap().starts_with(&format!("{run} ")), "{found}");
    let first = server.ctl(&["--json", "runs", "list", "--limit", "1", "--label", "env=test"]).ok();
    let cursor = json(&first)["next_cursor"].as_str().unwrap().to_owned();
    let rest = server.ctl(&["runs", "list", "--label", "env=test", "--cursor", &cursor]).ok();
    assert!(rest.contains(&run) && !rest.lines().any(|line| line.starts_with(&again)), "{rest}");

    assert!(server.ctl(&["prune"]).fails(1).contains("--succeeded 30d"));
    assert!(server.ctl(&["prune", "--cancelled", "soon"]).fails(1).contains("no age"));
    let told = server.ctl(&["prune", "--cancelled", "0s", "--dry-run"]).ok();
    assert!(told.starts_with("WOULD REMOVE") && told.contains(&run), "{told}");
    assert!(server.ctl(&["prune", "--cancelled", "0s"]).ok().starts_with("REMOVED"));
    server.ctl(&["run", "get", &run]).fails(1);
    server.ctl(&["workflow", "delete", "two", "--force"]).ok();
}

#[test]
fn runs_are_moved_onto_another_version() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("two.yaml");
    let store = |text: &str| {
        std::fs::write(&file, text).unwrap();
        server.ctl(&["workflow", "create", file.to_str().unwrap()]).ok()
    };
    store(WORKFLOW);
    let runs = [(); 2].map(|()| server.ctl(&["run", "start", "two"]).ok());
    for run in &runs {
        while !server.ctl(&["approval", "list"]).ok().contains(&format!("{run}:gate")) {}
    }
    store(&WORKFLOW.replace("Go on?", "Sure?"));
    let told = server.ctl(&["workflow", "migrate", "two", "--dry-run"]).ok();
    assert!(told.starts_with("RUN") && told.contains("gate: ") && told.contains("(step_question_changed)"), "{told}");
    let refused = server.ctl(&["run", "migrate", &runs[0]]);
    assert!(refused.fails(1).contains("step_question_changed"));

    store(&format!("{WORKFLOW}  after: {{ topic: job.demo.work, depends_on: [gate] }}\n"));
    let seen = server.ctl(&["run", "migrate", &runs[0], "--dry-run"]).ok();
    assert_eq!(seen, "can move");
    let at = json(&server.ctl(&["--json", "run", "migrate", &runs[0], "--dry-run"]).ok())["at"].to_string();
    assert_eq!(server.ctl(&["run", "migrate", &runs[0], "--at", &at, "--reason", "more to do"]).ok(), "moved");
    assert_eq!(server.ctl(&["run", "migrate", &runs[0]]).ok(), "moved");
    let moved = server.ctl(&["workflow", "migrate", "two", "--from", "1", "--status", "waiting"]).ok();
    assert!(moved.lines().count() == 2 && moved.contains(&runs[1]) && moved.ends_with("moved"), "{moved}");
    assert_eq!(json(&server.ctl(&["workflow", "migrate", "two", "--json"]).ok()), Value::Array(Vec::new()));
    server.ctl(&["step", "approve", &runs[0], "gate"]).ok();
    let watched = server.ctl(&["run", "watch", &runs[0]]).ok();
    assert!(
        watched.contains("run_migrated") && watched.contains("more to do") && watched.contains("after"),
        "{watched}"
    );
}

#[test]
fn a_run_that_does_not_succeed_gives_its_watcher_another_exit_code() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("two.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    server.ctl(&["workflow", "create", file.to_str().unwrap()]).ok();
    let run = server.ctl(&["run", "start", "two"]).ok();
    while !server.ctl(&["approval", "list"]).ok().contains(&format!("{run}:gate")) {}
    server.ctl(&["approval", "reject", &format!("{run}:gate"), "--reason", "no"]).ok();
    assert_eq!(server.ctl(&["run", "watch", &run]).code, 3);
    let run = server.ctl(&["run", "start", "two"]).ok();
    server.ctl(&["run", "cancel", &run, "--force", "--reason", "not needed & done"]).ok();
    let watched = server.ctl(&["run", "watch", &run, "--json"]);
    assert_eq!((watched.code, watched.out.contains("not needed & done")), (3, true), "{watched:?}");
}

#[test]
fn a_watcher_outlives_a_crash_of_the_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("two.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    server.ctl(&["workflow", "create", file.to_str().unwrap()]).ok();
    let run = server.ctl(&["run", "start", "two"]).ok();
    while !server.ctl(&["approval", "list"]).ok().contains(&format!("{run}:gate")) {}
    let address = server.address.clone();
    let mut watcher = ctl_command(&address, Some(KEY), &["run", "watch", &run]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(watcher.stdout.take().unwrap());
    let mut watched = String::new();
    // It has begun when it shows something.
    out.read_line(&mut watched).unwrap();
    server.kill();
    let again = Command::new(env!("CARGO_BIN_EXE_coretex-server"))
        .args(["dev", "--demo-workers", "--http-addr", address.strip_prefix("http://").unwrap().trim(), "--data-dir"])
        .arg(data.path())
        .env("CORETEX_API_KEY", KEY)
        .env("CORETEX_LOG", "error")
        .stdout(Stdio::null())
        .spawn();
    let mut again = again.unwrap();
    while ctl(&address, Some(KEY), &["step", "approve", &run, "gate"]).code != 0 {}
    out.read_to_string(&mut watched).unwrap();
    let end = watcher.wait().unwrap();
    drop(again.kill());
    drop(again.wait());
    assert!(end.success(), "{end} after\n{watched}");
    let numbers: Vec<usize> =
        watched.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "every event once, in order");
}

#[test]
fn expressions_are_evaluated_without_a_server() {
    let offline = |args: &[&str]| ctl("http://127.0.0.1:9", None, &[&["expr", "eval"], args].concat());
    let input = r#"{"count": 4, "tags": ["urgent"]}"#;
    assert_eq!(offline(&["input.count + 1", "--input", input]).ok(), "5");
    assert_eq!(offline(&["input.other", "--input", input]).ok(), "missing");
    assert_eq!(offline(&["--item", "-3", "--", "-item"]).ok(), "3");
    assert_eq!(offline(&["-5 / 2"]).ok(), "-2");
    assert_eq!(offline(&["--item", "-3", "-item"]).ok(), "3");
    assert_eq!(offline(&["-item", "--item", "-3"]).ok(), "3");
    assert_eq!(
        offline(&["[item, ctx.x, run.id]", "--item", "-3", "--ctx", r#"{"x": true}"#, "--root", r#"run={"id": "r"}"#])
            .ok(),
        r#"[-3,true,"r"]"#
    );
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("steps.json");
    std::fs::write(&file, r#"{"fetch-data": {"output": {"n": 2}}}"#).unwrap();
    let steps = format!("@{}", file.display());
    assert_eq!(offline(&["steps.fetch-data.output.n - 1", "--steps", &steps]).ok(), "1");
    assert_eq!(
        offline(&["input.count > 9 || input.tags[0] == 'urgent'", "--input", input, "--trace"]).ok(),
        "input.count > 9 || input.tags[0] == 'urgent' = true\n\
         ├─ input.count > 9 = false\n\
         │  └─ input.count = 4\n\
         └─ input.tags[0] == 'urgent' = true\n   \
            └─ input.tags[0] = \"urgent\""
    );
    let shown = json(&offline(&["input.count", "--input", input, "--trace", "--json"]).ok());
    assert_eq!((&shown["value"], &shown["trace"]["root"]["outcome"]), (&Value::from(4), &Value::from("value")));
    assert_eq!(json(&offline(&["input.x", "--json"]).ok())["missing"], true);

    let error = offline(&["input.count >\n steps.fetch-dta.output", "--steps", &steps]).fails(1);
    assert_eq!(
        error,
        "coretexctl: 2:8: unknown step `fetch-dta`\n   steps.fetch-dta.output\n         ^\n  did you mean `fetch-data`?\n"
    );
    let schema = r#"{"properties": {"count": {"type": "integer"}}, "additionalProperties": false}"#;
    let error = offline(&["input.cuont", "--input-schema", schema]).fails(1);
    assert!(error.contains("1:7") && error.contains("did you mean `count`?"), "{error}");
    let failed = offline(&["1 + input.tags.size() / (input.count - 4)", "--input", input, "--trace"]);
    assert!(failed.out.contains("input.count = 4"), "{failed:?}");
    assert!(failed.fails(1).contains("`/` by zero"));
    let failed = offline(&["1 / 0", "--json"]);
    assert_eq!(json(&failed.out)["error"]["code"], "expression_failed");
    assert_eq!(json(&offline(&["1 +", "--json"]).out)["error"]["at"]["column"], 4);
    assert!(offline(&["1", "--input", "{"]).fails(1).contains("--input"));
    assert!(offline(&["1", "--input", "@/nowhere"]).fails(1).contains("`/nowhere` cannot be read"));
    assert!(offline(&["1", "--root", "x"]).fails(1).contains("NAME=JSON"));
}

#[test]
fn errors_say_what_to_do() {
    let nobody = ctl("http://127.0.0.1:9", Some(KEY), &["status"]).fails(1);
    assert!(
        nobody.contains("no server answers at http://127.0.0.1:9") && nobody.contains("coretex-server dev"),
        "{nobody}"
    );
    let odd = ctl("https://example", Some(KEY), &["status"]).fails(1);
    assert!(odd.contains("is not the address of a server"), "{odd}");
    assert_eq!(ctl("http://127.0.0.1:9", None, &["run", "fly"]).code, 2);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    assert!(ctl(&server.address, None, &["status"]).fails(1).contains("--api-key"));
    assert!(ctl(&server.address, Some("other"), &["status"]).fails(1).contains("another key"));
    assert!(server.ctl(&["run", "start", "none"]).fails(1).contains("workflow list"));
    let file = data.path().join("typed.yaml");
    std::fs::write(&file, "id: w\nsteps:\n  a: {retry: {max_retries: -1}}\n  b: {timeout_sec: soon}\n").unwrap();
    let file = file.to_str().unwrap();
    for verb in ["create", "plan"] {
        let told = server.ctl(&["workflow", verb, file]).fails(1);
        for place in ["steps.a.retry.max_retries", "steps.b.timeout_sec"] {
            assert!(told.contains(&format!("{file}: `{place}`")), "{told}");
        }
    }
}

#[test]
fn serve_starts_only_with_key_and_policy_and_ends_in_order() {
    let data = tempfile::tempdir().unwrap();
    let policy = data.path().join("safety.yaml");
    std::fs::write(&policy, "default_decision: allow\nrules: []\n").unwrap();
    let serve = |key: Option<&str>, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coretex-server"));
        command.args(["serve", "--http-addr", "127.0.0.1:0", "--data-dir"]).arg(data.path()).args(args);
        command.env_remove("CORETEX_API_KEY").stdout(std::process::Stdio::piped());
        if let Some(key) = key {
            command.env("CORETEX_API_KEY", key);
        }
        command
    };
    let refused: common::Ran = serve(None, &["--policy", policy.to_str().unwrap()]).output().unwrap().into();
    assert!(refused.fails(1).contains("CORETEX_API_KEY"));
    let refused: common::Ran = serve(Some("k"), &[]).output().unwrap().into();
    assert!(refused.fails(1).contains("--policy"));
    let open: common::Ran = Command::new(env!("CARGO_BIN_EXE_coretex-server"))
        .args(["dev", "--http-addr", "0.0.0.0:0", "--data-dir"])
        .arg(data.path())
        .env_remove("CORETEX_API_KEY")
        .output()
        .unwrap()
        .into();
    assert!(open.fails(1).contains("CORETEX_API_KEY"));

    let mut child = serve(Some("k"), &["--policy", policy.to_str().unwrap()]).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.contains("listens on"), "{line}");
    assert!(!line.contains('k') || !line.contains("CORETEX_API_KEY"), "a given key is not printed");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
