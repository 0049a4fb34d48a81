//! `coretexctl worker new` writes a crate that builds, passes its test, and works.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::{
    path::Path,
    process::{Child, Command},
};

use common::{KEY, Server, ctl_command};
use coretex_core::value::Value;

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_new_worker_builds_and_works() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let new = |args: &[&str]| {
        let mut command = ctl_command("http://127.0.0.1:1", None, &["worker", "new"]);
        common::Ran::from(command.args(args).current_dir(scratch.path()).output().unwrap())
    };
    assert!(new(&["Hello World"]).fails(1).contains("is no name of a crate"));
    new(&["greeter"]).ok();
    assert!(new(&["greeter"]).fails(1).contains("is there already"));
    let published = std::fs::read_to_string(scratch.path().join("greeter/Cargo.toml")).unwrap();
    assert!(published.contains(&format!("version = \"{}\", features", env!("CARGO_PKG_VERSION"))), "{published}");

    new(&["local-greeter", "--path", root.to_str().unwrap()]).ok();
    let made = scratch.path().join("local-greeter");
    // The same versions as here, which are here already.
    std::fs::copy(root.join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("worker-new");
    let cargo = |verb: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([verb, "--offline", "--quiet"]).current_dir(&made).env("CARGO_TARGET_DIR", &target).status().unwrap()
    };
    assert!(cargo("test").success());
    assert!(cargo("build").success());

    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let worker = Command::new(target.join("debug/local-greeter"))
        .env("CORETEX_WORKER_SERVER", server.address.replace("http://", "ws://"))
        .env("CORETEX_API_KEY", KEY)
        .spawn();
    let _worker = Killed(worker.unwrap());
    server.ctl(&["workflow", "create", made.join("workflow.yaml").to_str().unwrap()]).ok();
    let run = server.ctl(&["runs", "start", "local-greeter", "--input", r#"{"name": "Ada"}"#]).ok();
    server.ctl(&["runs", "watch", &run]).ok();
    let shown: Value = serde_json::from_str(&server.ctl(&["runs", "get", &run, "--json"]).ok()).unwrap();
    assert_eq!(shown["output"]["text"], "Hello, Ada", "{shown}");
}
