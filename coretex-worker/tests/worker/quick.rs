//! Jobs of quick handlers, which run in the task of whoever publishes them.

use std::sync::Arc;

use coretex_core::{
    ports::{Bus, Message, Payload},
    protocol::JobStatus,
};
use coretex_worker::{Cancel, Input, JobError, Output, RunningWorker};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::rig::{Rig, TOPIC, job, ms};

/// More jobs in a row than it takes to be quick.
const MANY: u64 = 100;

/// Whatever the input says: panics, waits until it is cancelled, or ends at once.
async fn obey(Input(wish): Input<String>, cancel: Cancel) -> Result<Output<String>, JobError> {
    match wish.as_str() {
        "panic" => panic!("as you wish"),
        "wait" => {
            cancel.cancelled().await;
            Err(JobError::cancelled())
        }
        _ => Ok(Output(wish)),
    }
}

/// A worker that has done many jobs at once.
async fn practised(rig: &mut Rig) -> RunningWorker {
    let worker = rig.worker().handle(TOPIC, obey).build().unwrap().start().await.unwrap();
    for n in 0..MANY {
        rig.send(job(&format!("r:s[{n}]@1")), json!("go")).await;
        assert_eq!(rig.result().await.output, Some(json!("go")));
    }
    worker
}

/// Publishes a job and lets nobody else run.
fn publish(rig: &Rig, id: &str, input: Value) {
    let message = Message::new(TOPIC, rig.packet(job(id))).with_payload(Some(Payload(Arc::new(input))));
    rig.bus.publish(message).now_or_never().expect("the publisher waits").unwrap();
}

#[tokio::test]
async fn a_quick_handler_has_answered_when_the_job_is_published() {
    let mut rig = Rig::new().await;
    let worker = practised(&mut rig).await;
    publish(&rig, "r:next@1", json!("go"));
    assert_eq!((worker.stats().started, worker.stats().succeeded, worker.stats().active), (MANY + 1, MANY + 1, 0));
    assert_eq!(rig.result().await.output, Some(json!("go")));
    // A repeat gets the same answer and does not run again.
    rig.send(job("r:next@1"), json!("go")).await;
    assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
    assert_eq!((worker.stats().started, worker.stats().repeated), (MANY + 1, 1));
}

#[tokio::test]
async fn a_handler_that_was_quick_and_waits_goes_on_by_itself_and_can_be_cancelled() {
    let mut rig = Rig::new().await;
    let worker = practised(&mut rig).await;
    publish(&rig, "r:wait@1", json!("wait"));
    assert_eq!(worker.stats().active, 1);
    rig.no_result().await;
    // The next one has a task from the start.
    publish(&rig, "r:after@1", json!("go"));
    assert_eq!(worker.stats().started, MANY + 1);
    assert_eq!(rig.result().await.result.job_id, "r:after@1");
    rig.cancel("r:wait@1").await;
    assert_eq!(rig.result().await.status(), JobStatus::Cancelled);
    assert_eq!(worker.stats().active, 0);
}

#[tokio::test]
async fn a_panic_of_a_quick_handler_does_not_reach_the_publisher() {
    let mut rig = Rig::new().await;
    let worker = practised(&mut rig).await;
    publish(&rig, "r:panic@1", json!("panic"));
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "worker_panicked"));
    assert_eq!((worker.stats().panicked, worker.stats().active), (1, 0));
    rig.send(job("r:after@1"), json!("go")).await;
    assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
}

#[tokio::test]
async fn a_handler_that_computes_for_long_holds_up_its_publisher_once() {
    let mut rig = Rig::new().await;
    let clock = rig.clock.clone();
    let compute = move |Input(takes): Input<u64>| {
        clock.jump(ms(takes));
        std::future::ready(Output(takes))
    };
    let worker = rig.worker().handle(TOPIC, compute).build().unwrap().start().await.unwrap();
    for n in 0..MANY {
        rig.send(job(&format!("r:s[{n}]@1")), json!(0)).await;
        assert_eq!(rig.result().await.output, Some(json!(0)));
    }
    for (id, started) in [("r:first@1", MANY + 1), ("r:second@1", MANY + 1)] {
        publish(&rig, id, json!(20));
        assert_eq!(worker.stats().started, started, "{id}");
    }
    for _ in 0..2 {
        assert_eq!(rig.result().await.output, Some(json!(20)));
    }
}
