//! The limits of the system hold for scripts.

use coretex_core::protocol::JobStatus;
use serde_json::json;

use crate::rig::{Rig, TOPIC};

async fn limited(limits: &str, body: &str, more: &str) -> crate::rig::Ended {
    let body = serde_json::to_string(body).unwrap();
    let document = format!(
        "endpoints: {{e: {{topics: [{TOPIC}], script: {{argv: [/bin/bash, -c, {body}], inherit_env: [PATH], stdout: text, limits: {{ {limits} }}{more}}}}}}}"
    );
    Rig::start(&document).await.run(json!(null)).await
}

#[tokio::test]
async fn cpu_time() {
    let ended = limited("cpu_sec: 1", "while :; do :; done", "").await;
    ended.failed(JobStatus::Failed, "script_killed");
    assert!(ended.text().contains("limits.cpu_sec"), "{}", ended.text());
}

#[tokio::test]
async fn memory() {
    let ended =
        limited("memory_bytes: 100000000", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $${#x}", "").await;
    assert_ne!(ended.status(), JobStatus::Succeeded);
    let ended =
        limited("memory_bytes: 1000000000", "x=$(head -c 2000000 /dev/zero | tr '\\0' x); echo $${#x}", "").await;
    assert_eq!(ended.output(), json!("2000000\n"));
}

#[tokio::test]
async fn the_size_of_a_file() {
    let ended = limited("file_bytes: 1000", "exec head -c 1001 /dev/zero > file", "").await;
    ended.failed(JobStatus::Failed, "script_killed");
    assert!(ended.text().contains("limits.file_bytes"), "{}", ended.text());
    limited("file_bytes: 1000", "exec head -c 1000 /dev/zero > file", "").await.output();
}

#[tokio::test]
async fn open_files_and_no_core_dumps() {
    let ended = limited("open_files: 20", "ulimit -n; ulimit -c; ulimit -f", "").await;
    // 256 MiB in blocks of a kilobyte.
    assert_eq!(ended.output(), json!("20\n0\n262144\n"));
}

#[tokio::test]
async fn processes_of_a_user_of_its_own() {
    // Root is not held to a count of processes, and only root can start somebody else's.
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !root {
        return;
    }
    let user = ", user: { uid: 64999, gid: 64998 }";
    let ended = limited("processes: 1", "id -u; id -g; id -G; touch mine; stat -c %u .", user).await;
    ended.failed(JobStatus::Failed, "script_failed");
    assert!(ended.text().contains("fork"), "{}", ended.text());
    let ended = limited("processes: 10", "id -u; id -g; id -G; touch mine; stat -c %u .", user).await;
    assert_eq!(ended.output(), json!("64999\n64998\n64998\n64999\n"));
}
