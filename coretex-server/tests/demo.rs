//! The demo as it is shipped: to its end, and through crashes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{Dice, Ran, Server};
use coretex_core::value::Value;

fn demo(data: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_coretex-server"))
        .args(["demo", "--http-addr", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .args(args)
        .env_remove("CORETEX_API_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// Under which keys the webhook took something.
fn taken(data: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(data.join("webhook.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_goes_through_every_step_in_order_and_ends_well() {
    let data = tempfile::tempdir().unwrap();
    let shown = ended(demo(data.path(), &["--approve", "--pace", "0"]));
    assert_eq!(shown.err, "");
    let text = shown.ok();
    let landmarks = [
        "new",
        ". run        started",
        ". fetch      allow by read-evidence",
        "> fetch      to incident-1 of pool incident",
        "+ fetch      3 files",
        ". summarise  allow",
        "> summarise  to incident-1",
        "+ summarise  PaymentTimeout",
        "? approve    waits for a human",
        "+ approve    yes, by demo",
        ". post       allow with constraints by post-within-limits",
        "> post       to outbound-1 of pool outbound",
        "+ post       the webhook took it",
        "+ run        succeeded",
        "The webhook received, once",
        "INC-2041",
        "Look further",
    ];
    let mut rest = text.as_str();
    for landmark in landmarks {
        let at = rest.find(landmark).unwrap_or_else(|| panic!("no `{landmark}` in order in\n{text}"));
        rest = &rest[at..];
    }
    assert!(!text.contains('\x1b'), "colours where nobody sees them");
    assert_eq!(taken(data.path()).len(), 1);

    let again = ended(demo(data.path(), &["--approve", "--pace", "0"])).ok();
    assert!(again.contains("new"), "a finished run is not gone on with:\n{again}");
    assert_eq!(taken(data.path()).len(), 2);
}

#[test]
fn it_asks_and_does_as_it_is_told() {
    for (said, posts) in [("what?\ny\n", 1), ("n\n", 0)] {
        let data = tempfile::tempdir().unwrap();
        let mut child = demo(data.path(), &["--pace", "0"]);
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let text = ended(child).ok();
        assert_eq!(taken(data.path()).len(), posts, "{text}");
        assert_eq!(text.contains("nothing was posted"), posts == 0, "{text}");
        assert!(text.contains("approval approve"), "a script is told how to answer:\n{text}");
    }
}

/// About as many lines as the demo shows up to its end.
const LINES: u64 = 20;

#[test]
fn killed_at_any_moment_it_goes_on_and_posts_once() {
    let mut dice = Dice::roll();
    let data = tempfile::tempdir().unwrap();
    let mut resumed = 0;
    for round in 0..8 {
        for _ in 0..=dice.below(3) {
            let mut child = demo(data.path(), &["--approve", "--pace", "60"]);
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut shown = String::new();
            for _ in 0..dice.below(LINES) {
                out.read_line(&mut shown).unwrap();
            }
            // SIGKILL, or too late for it.
            drop(child.kill());
            out.read_to_string(&mut shown).unwrap();
            let ran = ended(child);
            assert!(ran.err.is_empty(), "round {round}: {}", ran.err);
            resumed += usize::from(shown.contains("goes on"));
        }
        let last = ended(demo(data.path(), &["--approve", "--pace", "0"]));
        resumed += usize::from(last.out.contains("goes on"));
        let text = last.ok();
        assert!(text.contains("+ run        succeeded"), "round {round}: {text}");
    }
    eprintln!("{resumed} starts found a run to go on with");

    let keys = taken(data.path());
    let once: BTreeSet<&String> = keys.iter().collect();
    assert_eq!(once.len(), keys.len(), "something was taken twice: {keys:?}");
    let server = Server::start(data.path());
    let page: Value = serde_json::from_str(&server.ctl(&["--json", "run", "list", "--limit", "1000"]).ok()).unwrap();
    let runs = page["items"].as_array().unwrap();
    for run in runs {
        assert_eq!(run["status"], "succeeded", "{run}");
        assert!(once.contains(&format!("{}:post", run["id"].as_str().unwrap())), "{run} was not posted");
    }
    assert_eq!(runs.len(), keys.len());
}
