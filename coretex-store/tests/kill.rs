//! Death of the process at any moment, with a real process on a real disk.
//!
//! The test starts itself as a child, which commits and says what was acknowledged; the parent kills it, opens the
//! directory, and compares.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use coretex_core::ports::{Batch, Condition, Key, Store};
use coretex_store::embedded::{EmbeddedStore, Options, check_integrity};

const LANES: usize = 8;
const CHILD: &str = "CORETEX_KILL_CHILD";

fn options(path: impl Into<PathBuf>) -> Options {
    // Small, so that kills hit rotation and folding, too.
    Options { segment_bytes: 256 << 10, memory_bytes: 128 << 10, ..Options::new(path) }
}

fn names(lane: usize) -> (Key, Key) {
    (Key::from(format!("streams/{lane}")), Key::from(format!("heads/{lane}")))
}

fn event(lane: usize, number: u64) -> Bytes {
    Bytes::from(format!("{lane}/{number}/{}", "e".repeat(380)))
}

async fn heads(store: &EmbeddedStore) -> Vec<u64> {
    let mut heads = vec![];
    for lane in 0..LANES {
        let (stream, value) = names(lane);
        let (mut from, mut head) = (1, 0);
        loop {
            let page = store.read(&stream, from, 500).await.unwrap();
            for (i, stored) in page.events.iter().enumerate() {
                assert_eq!(*stored, event(lane, from + i as u64), "lane {lane}");
            }
            from += page.events.len() as u64;
            if page.events.is_empty() {
                assert_eq!(page.head + 1, from);
                break;
            }
            head = page.head;
        }
        let value = store.get(&value).await.unwrap();
        assert_eq!(value.map_or(0, |entry| String::from_utf8_lossy(&entry.value).parse().unwrap()), head);
        heads.push(head);
    }
    heads
}

/// Does nothing unless started by the test below; then it commits until it is killed.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open_with(options(path)).await.unwrap();
        let tasks: Vec<_> = heads(&store)
            .await
            .into_iter()
            .enumerate()
            .map(|(lane, head)| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in head + 1.. {
                        let (stream, value) = names(lane);
                        let batch = Batch::new().append(stream, number - 1, vec![event(lane, number)]).put(
                            value,
                            number.to_string(),
                            Condition::Always,
                        );
                        store.commit(vec![batch]).await.remove(0).unwrap();
                        // One write call, so that a kill does not tear the line's number.
                        std::io::stdout().write_all(format!("\nack {lane} {number}.\n").as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn acknowledged_commits_survive_a_killed_process() {
    let rounds = std::env::var("CORETEX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10u64);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut acknowledged = [0u64; LANES];
    let mut total = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some(numbers) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('.')) else { continue };
                let mut numbers = numbers.split(' ').map(|number| number.parse::<u64>().unwrap());
                sender.send((numbers.next().unwrap() as usize, numbers.next().unwrap())).unwrap();
            }
        });
        // Waits for a number of acknowledgements that differs from round to round, then kills without warning.
        let wanted = 1 + (round * 7919) % 1500;
        let mut seen = 0;
        while seen < wanted {
            let (lane, number) = lines.recv_timeout(Duration::from_secs(60)).expect("the child goes on");
            acknowledged[lane] = acknowledged[lane].max(number);
            seen += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        for (lane, number) in lines.try_iter() {
            acknowledged[lane] = acknowledged[lane].max(number);
            seen += 1;
        }
        total += seen;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = EmbeddedStore::open_with(options(&path)).await.unwrap();
            for (lane, head) in heads(&store).await.into_iter().enumerate() {
                let known = acknowledged[lane];
                assert!(head >= known, "round {round}: lane {lane} lost {}..={known}", head + 1);
            }
            if round % 3 == 0 {
                store.close().await.unwrap();
            }
        });
        let report = check_integrity(&path).unwrap();
        assert!(report.is_sound(), "round {round}: {report:?}");
    }
    println!("{rounds} kills, {total} acknowledged commits, none lost");
}
