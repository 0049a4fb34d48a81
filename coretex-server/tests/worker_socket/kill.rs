//! Workers that are killed or frozen, as real processes.

use std::{collections::BTreeSet, time::Duration};

use coretex_core::{ports::Subscribe, protocol::subjects};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::{
    process::{Process, TOPIC},
    rig::{KEY, Rig, principal},
};

/// Three jobs, one after the other, and one beside them.
async fn chain(rig: &Rig) {
    rig.workflow(json!({"id": "chain", "output": "${steps}", "steps": {
        "a": {"topic": TOPIC, "input": "${input}"},
        "b": {"topic": TOPIC, "input": "${steps.a.output}", "depends_on": ["a"]},
        "c": {"topic": TOPIC, "input": "${steps.b.output}", "depends_on": ["b"]},
        "d": {"topic": TOPIC, "input": "${input}"},
    }}))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_killed_workers_end_elsewhere() {
    const RUNS: u64 = 60;
    const KILLS: usize = 8;
    let rig = Rig::start().await;
    chain(&rig).await;
    let (started, mut starts) = unbounded_channel();
    let spawn = |n: usize| Process::start(&rig.url(), KEY, &format!("w{n}"), 30, started.clone());
    let mut workers: Vec<_> = (0..3).map(spawn).collect();
    let mut runs = Vec::new();
    for n in 0..RUNS {
        runs.push(rig.start_run("chain", json!({"n": n})).await);
    }
    let (mut killed, mut cut_off) = (0, BTreeSet::new());
    let mut seen = 0;
    while killed < KILLS {
        let (worker, job) = tokio::time::timeout(Duration::from_secs(60), starts.recv()).await.unwrap().unwrap();
        seen += 1;
        // The one that has just begun a job: it dies with it in its hands.
        if seen % 9 == 0
            && let Some(place) = workers.iter().position(|process| process.id == worker)
        {
            drop(workers.swap_remove(place));
            cut_off.insert(job);
            killed += 1;
            workers.push(spawn(2 + killed));
        }
    }
    let mut again = 0;
    for (n, run) in runs.iter().enumerate() {
        let run = rig.ended(run).await;
        let output = run.output().unwrap_or_else(|| panic!("{:?}", run.status()));
        for step in ["a", "b", "c", "d"] {
            assert_eq!(output[step]["output"]["n"], json!(n), "{step}: {output}");
            let done = &output[step]["output"];
            again += u32::from(done["attempt"].as_u64().unwrap() > 1 || done["delivery"].as_u64().unwrap() > 1);
        }
    }
    eprintln!("{killed} workers killed, {} jobs, {again} of them done by another worker", RUNS * 4);
    assert!(again as usize >= cut_off.len(), "each kill cut off a job: {cut_off:?}, {again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_result_of_a_frozen_worker_changes_nothing() {
    let rig = Rig::start().await;
    rig.workflow(json!({"id": "one", "output": "${steps.s.output}", "steps": {
        "s": {"topic": TOPIC, "input": "${input}"},
    }}))
    .await;
    let mut results = rig.plane.bus().subscribe(Subscribe::all(subjects::JOB_RESULT)).await.unwrap();
    let (started, mut starts) = unbounded_channel();
    let frozen = Process::start(&rig.url(), KEY, "frozen", 1_000, started.clone());
    let run = rig.start_run("one", json!({"n": 1})).await;
    assert_eq!(starts.recv().await.unwrap().0, "frozen");
    frozen.freeze();
    let _other = Process::start(&rig.url(), KEY, "other", 1, started);
    let ended = rig.ended(&run).await;
    assert_eq!(ended.output().unwrap()["worker"], "other", "it was given to the other one");
    frozen.thaw();
    // It goes on, connects again and tells its result, which is heard and not taken.
    let late = async {
        loop {
            let result = results.next().await.unwrap();
            if result.message.packet.sender_id == "frozen" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), late).await.expect("the frozen worker tells its result");
    let timeline = rig.plane.timeline(&principal(), &run, 1, 1_000).await.unwrap();
    let done = timeline.iter().filter(|event| event.kind == "step_completed").count();
    assert_eq!(done, 1, "{timeline:?}");
    let after = rig.plane.run(&principal(), &run).await.unwrap();
    assert_eq!(after.output(), ended.output());
}
