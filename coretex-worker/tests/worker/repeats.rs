//! At-least-once delivery.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    ports::Clock,
    protocol::{JobRequest, JobStatus},
};
use coretex_worker::{Input, JobContext, JobError, Output, State};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::rig::{Rig, TOPIC, job, ms};

/// Waits for the test, and says which start this was.
async fn gated(State(gate): State<Arc<Semaphore>>, Input(n): Input<u32>) -> Output<u32> {
    gate.acquire().await.unwrap().forget();
    Output(n)
}

#[tokio::test]
async fn a_long_job_is_extended_and_delivered_once() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let builder = rig.worker().ack_wait(ms(900)).handle(TOPIC, gated).with_state(gate.clone());
    let worker = builder.build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(1)).await;
    rig.clock.advance(Duration::from_secs(60)).await;
    assert_eq!((worker.stats().started, worker.stats().repeated), (1, 0));
    gate.add_permits(1);
    assert_eq!(rig.result().await.output, Some(json!(1)));
}

#[tokio::test]
async fn a_repeat_of_a_running_job_is_settled_with_it() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = rig.worker().max_parallel(2).handle(TOPIC, gated).with_state(gate.clone()).build().unwrap();
    let worker = worker.start().await.unwrap();
    for _ in 0..3 {
        rig.send(job("r:s@1"), json!(1)).await;
    }
    // Repeats take no slot.
    rig.send(job("r:t@1"), json!(2)).await;
    assert_eq!((worker.stats().started, worker.stats().repeated), (2, 2));
    gate.add_permits(2);
    let (first, second) = (rig.result().await, rig.result().await);
    assert_eq!((first.result.job_id.as_str(), second.result.job_id.as_str()), ("r:s@1", "r:t@1"));
    rig.clock.advance(Duration::from_secs(300)).await;
    rig.no_result().await;
}

#[tokio::test]
async fn a_repeat_of_an_ended_job_is_answered_with_the_same_result() {
    let mut rig = Rig::new().await;
    let fail = |job: JobContext| async move { Err::<(), _>(JobError::retry(format!("try {}", job.attempt()))) };
    let worker = rig.worker().handle(TOPIC, fail).build().unwrap().start().await.unwrap();
    for id in ["r:s@1", "r:s@1", "r:s@2"] {
        rig.send(job(id), json!(null)).await;
    }
    let texts = [rig.result().await, rig.result().await, rig.result().await].map(|ended| ended.result.error_message);
    assert_eq!(texts, ["try 1", "try 1", "try 2"]);
    assert_eq!((worker.stats().started, worker.stats().repeated), (2, 1));
}

#[tokio::test]
async fn a_job_without_attempts_in_its_id_runs_again_after_a_failure_only() {
    let mut rig = Rig::new().await;
    let tries = Arc::new(Mutex::new(0));
    let handler = |State(tries): State<Arc<Mutex<u32>>>| async move {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries == 1 { Err(JobError::retry("not yet")) } else { Ok(Output(*tries)) }
    };
    let _worker = rig.worker().handle(TOPIC, handler).with_state(tries).build().unwrap().start().await.unwrap();
    let mut outputs = Vec::new();
    for _ in 0..3 {
        rig.send(job("client-job"), json!(null)).await;
        outputs.push(rig.result().await.output);
    }
    assert_eq!(outputs, [None, Some(json!(2)), Some(json!(2))]);
}

#[tokio::test]
async fn an_answer_to_what_does_not_start_is_insisted_on_too() {
    let mut rig = Rig::new().await;
    let worker = rig.worker().ack_wait(ms(10_000)).handle(TOPIC, || async { Output(1) }).build().unwrap();
    let worker = worker.start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.result().await;
    rig.bus.refuse_results.store(3, std::sync::atomic::Ordering::SeqCst);
    rig.send(job("r:s@1"), json!(null)).await;
    rig.no_result().await;
    rig.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(rig.result().await.output, Some(json!(1)));
    rig.clock.advance(Duration::from_secs(60)).await;
    rig.no_result().await;
    assert_eq!((worker.stats().started, worker.stats().publish_retries), (1, 3));
}

#[tokio::test]
async fn the_memory_of_results_is_bounded() {
    let mut rig = Rig::new().await;
    let builder = rig.worker().remember_results(2, 1 << 20).handle(TOPIC, || async { Output("x".repeat(100)) });
    let worker = builder.build().unwrap().start().await.unwrap();
    for id in ["a:s@1", "b:s@1", "c:s@1", "c:s@1", "b:s@1", "a:s@1"] {
        rig.send(job(id), json!(null)).await;
        rig.result().await;
    }
    assert_eq!((worker.stats().started, worker.stats().repeated), (4, 2));
}

/// Jobs, repeats and cancels in random order: no attempt starts twice, and each one is answered.
#[tokio::test]
async fn whatever_comes_in_whatever_order_an_attempt_starts_once_and_is_answered() {
    for seed in 0..40_u64 {
        let mut rig = Rig::new().await;
        let starts: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
        let clock: Arc<dyn Clock> = Arc::new(rig.clock.clone());
        let state = (starts.clone(), clock);
        type Shared = (Arc<Mutex<HashMap<String, u32>>>, Arc<dyn Clock>);
        let handler = |job: JobContext, Input(millis): Input<u64>, State((starts, clock)): State<Shared>| async move {
            *starts.lock().unwrap().entry(job.job_id().to_owned()).or_default() += 1;
            let sleep = clock.sleep_until(clock.now() + ms(millis));
            let cancel = job.cancel();
            futures::future::select(sleep, Box::pin(cancel.cancelled())).await;
            cancel.check()
        };
        let builder = rig.worker().max_parallel(3).ack_wait(ms(60)).handle(TOPIC, handler).with_state(state);
        let worker = builder.build().unwrap().start().await.unwrap();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut answers: HashMap<String, Vec<i32>> = HashMap::new();
        let mut sent = std::collections::HashSet::new();
        for _ in 0..60 {
            let id = format!("r:s{}@{}", next(8), 1 + next(2));
            match next(5) {
                0 => rig.cancel(&id).await,
                1 => rig.clock.advance(ms(next(80))).await,
                _ => {
                    sent.insert(id.clone());
                    rig.send(JobRequest { ..job(&id) }, json!(next(150))).await;
                }
            }
        }
        rig.clock.advance(Duration::from_secs(10)).await;
        let stats = worker.stats();
        for _ in 0..stats.succeeded + stats.failed + stats.cancelled + stats.repeated {
            if let Some(ended) = rig.try_result().await {
                answers.entry(ended.result.job_id.clone()).or_default().push(ended.result.status);
            }
        }
        rig.no_result().await;
        for (id, starts) in starts.lock().unwrap().iter() {
            assert_eq!(*starts, 1, "seed {seed}: {id} started more than once");
        }
        for id in &sent {
            let statuses = answers.get(id).unwrap_or_else(|| panic!("seed {seed}: {id} was not answered"));
            assert!(
                statuses.iter().all(|status| status == &statuses[0]),
                "seed {seed}: {id} was answered {statuses:?}"
            );
            assert_ne!(statuses[0], i32::from(JobStatus::FailedFatal), "seed {seed}: {id}");
        }
        assert_eq!(worker.stats().active, 0, "seed {seed}");
    }
}
