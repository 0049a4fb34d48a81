//! Memory of runs that wait: 10,000 of them, ten events of 400 bytes and a snapshot each.
//!
//! ```text
//! cargo bench -p coretex-store --bench parked -- [runs] [directory]
//! ```
#![allow(missing_docs, clippy::unwrap_used, reason = "a measuring program stops at the first surprise")]

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use coretex_core::ports::{Batch, Condition, Key, Store};
use coretex_store::embedded::EmbeddedStore;

/// Resident memory of this process in MiB, from the kernel.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let runs: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let root = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let path = root.join(format!("coretex-parked-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(&path).await.unwrap();
        let idle = resident();
        let mut most = idle;
        for run in 0..runs {
            let key = format!("runs/0192f3a1-7c2e-7000-8000-{run:012}");
            let batches = (0..10).map(|head| {
                let batch = Batch::new().append(key.as_str(), head, vec![Bytes::from(vec![b'e'; 400])]);
                if head == 9 { batch.put(key.as_str(), vec![b's'; 300], Condition::Always) } else { batch }
            });
            for answer in store.commit(batches.collect()).await {
                answer.unwrap();
            }
            if run % 100 == 0 {
                most = most.max(resident());
            }
        }
        println!("{runs} runs: {idle:.1} MiB idle, {:.1} MiB after, {most:.1} MiB at most", resident());
        let begin = Instant::now();
        store.close().await.unwrap();
        println!("closed in {:?}", begin.elapsed());
        let begin = Instant::now();
        let store = EmbeddedStore::open(&path).await.unwrap();
        println!("opened in {:?}, {:.1} MiB", begin.elapsed(), resident());
        let begin = Instant::now();
        for run in 0..runs {
            let key = Key::from(format!("runs/0192f3a1-7c2e-7000-8000-{run:012}"));
            assert_eq!(store.read(&key, 1, 100).await.unwrap().events.len(), 10);
        }
        println!("read every run in {:?}, {:.1} MiB", begin.elapsed(), resident());
        store.close().await.unwrap();
    });
    std::fs::remove_dir_all(&path).unwrap();
}
