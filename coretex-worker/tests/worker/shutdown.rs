//! Draining and stopping.

use std::{sync::Arc, time::Duration};

use coretex_core::{ports::Bus, protocol::JobStatus};
use coretex_worker::{Cancel, CancelReason, JobContext, JobError, Output, State};
use futures::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::rig::{Rig, TOPIC, job, ms};

async fn gated(State(gate): State<Arc<Semaphore>>) -> Output<u32> {
    gate.acquire().await.unwrap().forget();
    Output(1)
}

async fn tell(job: JobContext) -> Output<String> {
    Output(format!("{} delivery {}", job.worker_id(), job.delivery()))
}

#[tokio::test]
async fn a_drain_lets_jobs_finish_and_takes_no_more() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = rig.worker().handle(TOPIC, gated).with_state(gate.clone()).build().unwrap().start().await.unwrap();
    rig.send(job("r:a@1"), json!(null)).await;
    let (first, second) = (worker.drain(), worker.drain());
    let mut both = Box::pin(futures::future::join(first, second));
    assert!(both.as_mut().now_or_never().is_none());
    rig.send(job("r:b@1"), json!(null)).await;
    rig.no_result().await;
    gate.add_permits(2);
    both.await;
    assert_eq!(rig.result().await.result.job_id, "r:a@1");
    rig.no_result().await;
    assert_eq!((worker.stats().started, worker.stats().given_back), (1, 0));
    worker.drain().await;
    worker.stop().await;
    // What it did not take is done by the next one.
    let _next = rig.worker().id("next").handle(TOPIC, tell).build().unwrap().start().await.unwrap();
    assert_eq!(rig.result().await.output, Some(json!("next delivery 1")));
}

#[tokio::test]
async fn jobs_that_outlive_the_grace_are_asked_dropped_and_given_back() {
    let mut rig = Rig::new().await;
    let builder = rig.worker().drain_grace(ms(1_000)).cancel_grace(ms(200));
    let builder = builder.handle("job.deaf", std::future::pending::<Output<()>>);
    let builder = builder.handle(TOPIC, |cancel: Cancel| async move {
        assert_eq!(cancel.cancelled().await, CancelReason::Shutdown);
        Err::<(), _>(JobError::fatal("interrupted", "stopped half-way"))
    });
    let worker = builder.build().unwrap().start().await.unwrap();
    rig.send(job("r:polite@1"), json!(null)).await;
    rig.send(coretex_core::protocol::JobRequest { topic: "job.deaf".into(), ..job("r:deaf@1") }, json!(null)).await;
    let builder = rig.worker().id("next").handle(TOPIC, tell).handle("job.deaf", tell);
    let _next = builder.build().unwrap().start().await.unwrap();
    let mut drained = Box::pin(worker.drain());
    assert!(drained.as_mut().now_or_never().is_none());
    rig.clock.advance(ms(999)).await;
    rig.no_result().await;
    rig.clock.advance(ms(1)).await;
    // Interrupted is not failed: the job begins again elsewhere.
    let ended = rig.result().await;
    assert_eq!((ended.result.job_id.as_str(), ended.output), ("r:polite@1", Some(json!("next delivery 2"))));
    rig.clock.advance(ms(205)).await;
    drained.await;
    let ended = rig.result().await;
    assert_eq!((ended.result.job_id.as_str(), ended.output), ("r:deaf@1", Some(json!("next delivery 2"))));
    assert_eq!((worker.stats().given_back, worker.stats().active), (2, 0));
}

#[tokio::test]
async fn a_stop_cuts_a_drain_short() {
    let mut rig = Rig::new().await;
    let stoppable = |cancel: Cancel| async move {
        cancel.cancelled().await;
        Err::<(), _>(JobError::cancelled())
    };
    let worker = rig.worker().handle(TOPIC, stoppable).build().unwrap().start().await.unwrap();
    rig.send(job("r:a@1"), json!(null)).await;
    let mut drained = Box::pin(worker.drain());
    assert!(drained.as_mut().now_or_never().is_none());
    worker.stop().await;
    drained.await;
    rig.no_result().await;
    assert_eq!(worker.stats().given_back, 1);
}

#[tokio::test]
async fn a_job_whose_result_nobody_takes_is_given_back_when_the_worker_stops() {
    use std::sync::atomic::Ordering;
    let mut rig = Rig::new().await;
    let worker = rig.worker().cancel_grace(ms(100)).handle(TOPIC, tell).build().unwrap().start().await.unwrap();
    rig.bus.refuse_results.store(u32::MAX, Ordering::SeqCst);
    rig.send(job("r:a@1"), json!(null)).await;
    rig.clock.advance(Duration::from_secs(60)).await;
    let mut stopped = Box::pin(worker.stop());
    assert!(stopped.as_mut().now_or_never().is_none());
    rig.clock.advance(ms(100)).await;
    stopped.await;
    assert_eq!((worker.stats().given_back, worker.stats().active), (1, 0));
    rig.bus.refuse_results.store(0, Ordering::SeqCst);
    let _next = rig.worker().id("next").handle(TOPIC, tell).build().unwrap().start().await.unwrap();
    assert_eq!(rig.result().await.output, Some(json!("next delivery 2")));
}

#[tokio::test]
async fn a_job_for_this_worker_alone_is_answered_when_it_stops() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let builder = rig.worker().max_parallel(1).cancel_grace(ms(50)).handle(TOPIC, gated).with_state(gate);
    let worker = builder.build().unwrap().start().await.unwrap();
    for id in ["r:running@1", "r:queued@1"] {
        rig.publish("worker.w1.jobs", rig.packet(job(id)), None).await;
    }
    rig.clock.settle().await;
    let mut stopped = Box::pin(worker.stop());
    assert!(stopped.as_mut().now_or_never().is_none());
    rig.clock.advance(ms(60)).await;
    stopped.await;
    for id in ["r:queued@1", "r:running@1"] {
        let ended = rig.result().await;
        assert_eq!((ended.result.job_id.as_str(), ended.code()), (id, "worker_stopped"));
        assert_eq!(ended.status(), JobStatus::FailedRetryable);
    }
}

#[tokio::test]
async fn a_dropped_handle_takes_no_more_and_lets_jobs_finish() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = rig.worker().handle(TOPIC, gated).with_state(gate.clone()).build().unwrap().start().await.unwrap();
    rig.send(job("r:a@1"), json!(null)).await;
    drop(worker);
    rig.clock.settle().await;
    rig.send(job("r:b@1"), json!(null)).await;
    gate.add_permits(2);
    assert_eq!(rig.result().await.result.job_id, "r:a@1");
    rig.no_result().await;
    rig.heartbeats().await;
    rig.clock.advance(Duration::from_secs(60)).await;
    assert!(rig.heartbeats().await.is_empty());
}

#[tokio::test]
async fn a_worker_runs_until_the_shutdown_and_drains() {
    let mut rig = Rig::new().await;
    let (shutdown, asked) = tokio::sync::oneshot::channel::<()>();
    let worker = rig.worker().handle(TOPIC, tell).build().unwrap();
    let run = tokio::spawn(worker.run(async { asked.await.unwrap() }));
    rig.send(job("r:a@1"), json!(null)).await;
    rig.result().await;
    shutdown.send(()).unwrap();
    assert_eq!(run.await.unwrap().unwrap().succeeded, 1);
}

#[tokio::test]
async fn a_closed_bus_ends_the_worker() {
    let rig = Rig::new().await;
    let worker = rig.worker().handle(TOPIC, tell).build().unwrap();
    let run = tokio::spawn(worker.run(std::future::pending()));
    rig.clock.settle().await;
    rig.bus.close().await.unwrap();
    assert!(run.await.unwrap().is_ok());
    let error = rig.worker().handle(TOPIC, tell).build().unwrap().start().await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("bus_closed", false));
}

#[tokio::test]
async fn a_worker_that_dies_loses_nothing() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let build =
        |rig: &Rig, id: &str| rig.worker().id(id).handle(TOPIC, gated).with_state(gate.clone()).build().unwrap();
    let (first, second) = (build(&rig, "first"), build(&rig, "second"));
    // A runtime of its own dies with all its tasks.
    let dying = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let worker = runtime.block_on(first.start()).unwrap();
        (runtime, worker)
    });
    let (runtime, worker) = dying.join().unwrap();
    rig.send(job("r:a@1"), json!(null)).await;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while worker.stats().started == 0 {
                tokio::task::yield_now().await
            }
        });
        drop(runtime);
    })
    .join()
    .unwrap();
    let _second = second.start().await.unwrap();
    gate.add_permits(1);
    let ended = rig.result().await;
    assert_eq!((ended.sender_id.as_str(), ended.status()), ("second", JobStatus::Succeeded));
}
