//! Scripts: what goes in, what comes out, and that nothing stays.

use std::path::Path;

use coretex_core::protocol::JobStatus;
use serde_json::json;

use crate::rig::{Rig, Scratch, TOPIC, constrained, due_in, host, is_alive, job, requiring};

/// An endpoint that runs `body` with the shell: the test's choice, no shell of the runner.
fn shell(body: &str, more: &str, script: &str) -> String {
    shell_with(body, "", more, script)
}

/// As [`shell`], with arguments that the body sees as `$0` and `$1`.
fn shell_with(body: &str, arguments: &str, more: &str, script: &str) -> String {
    let body = serde_json::to_string(body).unwrap();
    format!(
        "endpoints:\n  e:\n    topics: [{TOPIC}]\n{more}\n    script:\n      argv: [/bin/sh, -c, {body}{arguments}]\n{script}\n"
    )
}

#[tokio::test]
async fn json_goes_in_and_comes_out() {
    let mut rig = Rig::start(&shell("cat", "", "")).await;
    let input = json!({"a": [1, "two", null]});
    assert_eq!(rig.run(input.clone()).await.output(), input);

    let mut rig = Rig::start(&shell("wc -w", "", "      stdin: ${input.text}\n      stdout: text")).await;
    assert_eq!(rig.run(json!({"text": "three small words"})).await.output(), json!("3\n"));

    let more = "    output: { n: '${answer.stdout.n + 1}', code: '${answer.exit_code}', for: '${job.tenant}/${job.labels.region}' }";
    let mut rig = Rig::start(&shell("echo '{\"n\": 41}'", more, "")).await;
    assert_eq!(rig.run(json!(null)).await.output(), json!({"n": 42, "code": 0, "for": "acme/eu"}));
}

#[tokio::test]
async fn what_a_job_carries_is_an_argument_and_never_a_command() {
    let document = format!(
        "endpoints: {{e: {{topics: [{TOPIC}], script: {{argv: [/usr/bin/printf, '%s|%s', '${{input.a}}', '${{input.b}}'], stdout: text}}}}}}"
    );
    let mut rig = Rig::start(&document).await;
    let nasty = "; touch /tmp/owned $(id) `id` && \n\"'";
    assert_eq!(rig.run(json!({"a": nasty, "b": {"c": 1}})).await.output(), json!(format!("{nasty}|{{\"c\":1}}")));
    let missing = rig.run(json!({"a": "x"})).await;
    missing.failed(JobStatus::FailedFatal, "endpoint_request_invalid");
    assert!(missing.text().starts_with("argument 3 has no value"), "{}", missing.text());
    rig.run(json!({"a": "nul \0", "b": ""})).await.failed(JobStatus::Failed, "script_not_started");
}

#[tokio::test]
async fn nothing_is_inherited_that_is_not_named() {
    let script = "      env: { GREETING: 'hello ${input.name}' }\n      inherit_env: [PATH]\n      stdout: text";
    let mut rig = Rig::start(&shell("/usr/bin/env; ls -a; echo leftover > file", "", script)).await;
    let printed = rig.run(json!({"name": "you"})).await.output();
    let printed = printed.as_str().unwrap();
    let mut names: Vec<&str> = printed.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    // The shell adds PWD itself.
    assert_eq!(names, ["GREETING", "HOME", "PATH", "PWD", "TMPDIR"], "{printed}");
    assert!(printed.contains("GREETING=hello you\n"));
    let listed: Vec<&str> = printed.lines().filter(|line| !line.contains('=')).collect();
    assert_eq!(listed, [".", ".."], "the directory is fresh");
    let directory = printed.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap();
    assert!(!Path::new(directory).exists(), "{directory} is gone with the job");
}

#[tokio::test]
async fn exit_codes_mean_what_the_document_says() {
    let script = "      exit_codes: { '75': { as: retry, code: feed_busy }, '64': { as: fatal } }";
    let mut rig = Rig::start(&shell_with("echo why >&2; exit $0", ", '${input}'", "", script)).await;
    for (exit, status, code) in [
        (75, JobStatus::FailedRetryable, "feed_busy"),
        (64, JobStatus::FailedFatal, "script_failed"),
        (1, JobStatus::Failed, "script_failed"),
    ] {
        let ended = rig.run(json!(exit)).await;
        ended.failed(status, code);
        assert_eq!(ended.text(), format!("the program ended with {exit}: why"));
    }
}

#[tokio::test]
async fn what_is_printed_must_be_what_was_promised() {
    let mut rig = Rig::start(&shell_with("printf '%b' \"$0\"", ", '${input}'", "", "")).await;
    rig.run(json!("{\"a\":")).await.failed(JobStatus::FailedFatal, "endpoint_output_malformed");
    rig.run(json!("\\0377")).await.failed(JobStatus::FailedFatal, "endpoint_output_malformed");
    assert_eq!(rig.run(json!("")).await.output(), json!(null));
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so() {
    let document = format!("endpoints: {{e: {{topics: [{TOPIC}], script: {{argv: [/does/not/exist]}}}}}}");
    let ended = Rig::start(&document).await.run(json!(null)).await;
    ended.failed(JobStatus::FailedFatal, "script_not_started");
    assert!(ended.text().contains("/does/not/exist"), "{}", ended.text());
}

#[tokio::test]
async fn a_cancel_ends_the_whole_group() {
    let scratch = Scratch::new();
    let mut pipe = scratch.pipe();
    let body = "sleep 1000 & echo \"$$ $! $HOME\" > \"$PIPE\"; wait";
    let script = format!("      env: {{ PIPE: '{}' }}\n      inherit_env: [PATH]", pipe.path.display());
    let mut rig = Rig::start(&shell(body, "", &script)).await;
    rig.send(job("r1:a@1"), json!(null)).await;
    let line = pipe.line().await;
    let [leader, child, home] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert!(is_alive(leader) && is_alive(child));
    rig.cancel("r1:a@1").await;
    rig.result().await.failed(JobStatus::Cancelled, "cancelled");
    assert!(!is_alive(leader) && !is_alive(child), "{line}");
    assert!(!Path::new(home).exists());
}

#[tokio::test]
async fn who_does_not_listen_is_killed_when_the_grace_is_over() {
    let scratch = Scratch::new();
    let mut pipe = scratch.pipe();
    let body = "trap '' TERM; sleep 1000 & echo \"$$ $!\" > \"$PIPE\"; while :; do wait; done";
    let script = format!("      env: {{ PIPE: '{}' }}\n      inherit_env: [PATH]", pipe.path.display());
    let mut rig = Rig::start(&shell(body, "    grace_sec: 0", &script)).await;
    rig.send(due_in(400, job("r1:a@1")), json!(null)).await;
    let line = pipe.line().await;
    rig.result().await.failed(JobStatus::Failed, "deadline_exceeded");
    assert!(line.split(' ').all(|pid| !is_alive(pid)), "{line}");
}

#[tokio::test]
async fn an_endpoint_has_a_timeout_of_its_own() {
    let mut rig = Rig::start(&shell("exec sleep 1000", "    timeout_sec: 1", "      inherit_env: [PATH]")).await;
    let ended = rig.run(json!(null)).await;
    ended.failed(JobStatus::Failed, "endpoint_timeout");
    let shorter = constrained(&json!({"budgets": {"max_runtime_ms": 50}}));
    let ended = rig.ask(shorter, json!(null)).await;
    ended.failed(JobStatus::Failed, "endpoint_timeout");
    assert!(ended.text().contains("within 50 ms"), "{}", ended.text());
}

#[tokio::test]
async fn what_a_script_leaves_behind_ends_with_it() {
    let scratch = Scratch::new();
    let mut pipe = scratch.pipe();
    let body = "sleep 1000 & echo $! > \"$PIPE\"; echo 7";
    let script = format!("      env: {{ PIPE: '{}' }}\n      inherit_env: [PATH]", pipe.path.display());
    let mut rig = Rig::start(&shell(body, "", &script)).await;
    rig.send(job("r1:a@1"), json!(null)).await;
    let child = pipe.line().await;
    // The child holds the output open: the job ends with the program, not with it.
    assert_eq!(rig.result().await.output(), json!(7));
    assert!(!is_alive(&child));
}

#[tokio::test]
async fn a_process_that_left_the_group_does_not_hold_the_job() {
    let scratch = Scratch::new();
    let mut pipe = scratch.pipe();
    let body = "setsid sleep 1000 & echo $! > \"$PIPE\"; read line < \"$GO\"; echo 7";
    let go = scratch.path().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().unwrap().success());
    let script =
        format!("      env: {{ PIPE: '{}', GO: '{}' }}\n      inherit_env: [PATH]", pipe.path.display(), go.display());
    let mut rig = Rig::start(&shell(body, "", &script)).await;
    rig.send(job("r1:a@1"), json!(null)).await;
    let escaped = pipe.line().await;
    // Once the command line is that of `sleep`, it has left the group.
    let proc = format!("/proc/{escaped}/cmdline");
    while !std::fs::read_to_string(&proc).is_ok_and(|line| line.starts_with("sleep")) {
        tokio::task::yield_now().await;
    }
    std::fs::write(&go, "now\n").unwrap();
    let ended = rig.result().await;
    ended.failed(JobStatus::Failed, "script_failed");
    assert!(ended.text().contains("left the script's group"), "{}", ended.text());
    assert!(std::process::Command::new("kill").arg(&escaped).status().unwrap().success());
}

#[tokio::test]
async fn output_beyond_the_bound_ends_the_program() {
    let mut rig = Rig::start(&shell("yes; echo", "    max_output_bytes: 1000", "      inherit_env: [PATH]")).await;
    rig.run(json!(null)).await.failed(JobStatus::FailedFatal, "endpoint_output_too_large");
    let mut rig = Rig::start(&shell("printf 1234567890", "    max_output_bytes: 10", "")).await;
    assert_eq!(rig.run(json!(null)).await.output(), json!(1234567890));
    let smaller = constrained(&json!({"budgets": {"max_artifact_bytes": 9}}));
    rig.ask(smaller, json!(null)).await.failed(JobStatus::FailedFatal, "endpoint_output_too_large");
}

#[tokio::test]
async fn secrets_reach_the_program_and_nobody_else() {
    let scratch = Scratch::new();
    scratch.file("token", "t0p-s3cr3t\n");
    let more = "    secrets: { token: secret://file/token, place: secret://env/PATH }";
    let script = "      env: { TOKEN: '${secrets.token}', PLACE: '${secrets.place}' }\n      stdin: ''";
    let body = "[ \"$TOKEN\" = \"t0p-$0\" ] || exit 9; echo \"err $TOKEN\" >&2; echo \"{\\\"a $TOKEN\\\": [\\\"x $TOKEN y $PLACE\\\"]}\"; exit $1";
    let document = shell_with(body, ", s3cr3t, '${input}'", more, script);
    let mut rig = Rig::on(&document, &host(scratch.path())).await;
    let ended = rig.run(json!(0)).await;
    assert!(!ended.told().contains("s3cr3t"), "{}", ended.told());
    assert_eq!(ended.output(), json!({"a <redacted>": ["x <redacted> y <redacted>"]}));
    let ended = rig.run(json!(3)).await;
    ended.failed(JobStatus::Failed, "script_failed");
    assert_eq!(ended.text(), "the program ended with 3: err <redacted>");
    // The next job sees the rotated value.
    scratch.file("token", "rotated-value");
    rig.run(json!(0)).await.failed(JobStatus::Failed, "script_failed");
    std::fs::remove_file(scratch.path().join("token")).unwrap();
    rig.run(json!(0)).await.failed(JobStatus::FailedFatal, "secret_missing");
}

#[tokio::test]
async fn a_secret_in_a_job_is_not_resolved_and_unlisted_ones_are_not_found() {
    let script = "      stdin: { a: '${input}', b: \"${secrets['to' + 'ken']}\" }";
    let mut rig = Rig::start(&shell("cat", "", script)).await;
    rig.run(json!("x")).await.failed(JobStatus::FailedFatal, "secret_missing");
    let mut rig = Rig::start(&shell("cat", "", "      stdout: text")).await;
    assert_eq!(rig.run(json!("secret://env/PATH")).await.output(), json!("secret://env/PATH"));
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    let ran = scratch.path().join("ran");
    let body = format!("echo x >> {}", ran.display());
    let mut rig = Rig::start(&shell(&body, "    tools: [sh]", "")).await;
    for requires in
        ["sandbox=isolated", "network=none", "network=egress-allowlist", "fs=ro", "tool=git", "profile=sealed"]
    {
        rig.ask(requiring(&[requires]), json!(null)).await.failed(JobStatus::FailedFatal, "profile_unsupported");
    }
    for constraints in [
        json!({"sandbox": {"isolated": true}}),
        json!({"sandbox": {"network_allowlist": ["example.org"]}}),
        json!({"sandbox": {"fs_read_only": ["/etc"]}}),
        json!({"sandbox": {"fs_read_write": ["/tmp"]}}),
        json!({"toolchain": {"allowed_tools": ["git"]}}),
        json!({"toolchain": {"allowed_tools": ["sh"], "allowed_commands": ["git"]}}),
        json!({"diff": {"max_files": 3}}),
        json!({"redaction_level": "strict"}),
        json!({"from_the_future": true}),
    ] {
        let ended = rig.ask(constrained(&constraints), json!(null)).await;
        ended.failed(JobStatus::FailedFatal, "constraint_unsupported");
    }
    assert!(!ran.exists());
    rig.ask(requiring(&["sandbox=process", "tool=SH", "python"]), json!(null)).await.output();
    let allowed = json!({"toolchain": {"allowed_tools": ["sh", "git"]}, "budgets": {"max_retries": 1}});
    rig.ask(constrained(&allowed), json!(null)).await.output();
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\n");
}
