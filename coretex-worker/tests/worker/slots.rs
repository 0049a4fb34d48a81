//! Taking no more than fits.

use std::sync::{Arc, Mutex};

use coretex_core::protocol::{JobRequest, JobStatus};
use coretex_worker::{Input, JobContext, Output, State};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::rig::{Rig, TOPIC, job};

async fn gated(State(gate): State<Arc<Semaphore>>, job: JobContext) -> Output<String> {
    gate.acquire().await.unwrap().forget();
    Output(job.worker_id().to_owned())
}

#[tokio::test]
async fn a_busy_worker_leaves_work_to_an_idle_one() {
    let mut rig = Rig::new().await;
    let (busy, idle) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(10)));
    let first = rig.worker().id("busy").max_parallel(1).handle(TOPIC, gated).with_state(busy.clone()).build().unwrap();
    let _first = first.start().await.unwrap();
    rig.send(job("r:a@1"), json!(null)).await;
    let second = rig.worker().id("idle").max_parallel(1).handle(TOPIC, gated).with_state(idle).build().unwrap();
    let _second = second.start().await.unwrap();
    for id in ["r:b@1", "r:c@1", "r:d@1"] {
        rig.send(job(id), json!(null)).await;
        assert_eq!(rig.result().await.output, Some(json!("idle")));
    }
    busy.add_permits(1);
    assert_eq!(rig.result().await.output, Some(json!("busy")));
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_slots() {
    let mut rig = Rig::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = rig.worker().max_parallel(3).handle(TOPIC, gated).with_state(gate.clone()).build().unwrap();
    let worker = worker.start().await.unwrap();
    for n in 0..10 {
        rig.send(job(&format!("r:s{n}@1")), json!(null)).await;
    }
    for left in (0..10_u64).rev() {
        assert_eq!(worker.stats().active, 3.min(left + 1));
        gate.add_permits(1);
        assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
    }
}

#[tokio::test]
async fn a_busy_topic_does_not_starve_another() {
    let mut rig = Rig::new().await;
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = |job: JobContext, Input(()): Input<()>, State(order): State<Arc<Mutex<Vec<String>>>>| async move {
        order.lock().unwrap().push(job.topic().to_owned());
        Output(())
    };
    // All of it waits before the worker comes.
    for n in 0..20 {
        let topic = if n < 17 { "job.busy" } else { "job.calm" };
        rig.send(JobRequest { topic: topic.into(), ..job(&format!("r:s{n}@1")) }, json!(null)).await;
    }
    let builder = rig.worker().max_parallel(1).handle("job.busy", note).handle("job.calm", note);
    let _worker = builder.with_state(order.clone()).build().unwrap().start().await.unwrap();
    rig.clock.settle().await;
    let order = order.lock().unwrap().clone();
    let last_calm = order.iter().rposition(|topic| topic == "job.calm").unwrap();
    assert!(last_calm < 10, "{order:?}");
    assert!(rig.try_result().await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_run_in_parallel() {
    let rig = Rig::new().await;
    let meeting = Arc::new(std::sync::Barrier::new(2));
    let (done, mut all) = tokio::sync::mpsc::unbounded_channel();
    type Meeting = (Arc<std::sync::Barrier>, tokio::sync::mpsc::UnboundedSender<()>);
    let meet = |State((meeting, done)): State<Meeting>| async move {
        meeting.wait();
        done.send(()).unwrap();
    };
    let builder = rig.worker().max_parallel(2).handle(TOPIC, meet).with_state((meeting, done));
    let _worker = builder.build().unwrap().start().await.unwrap();
    for id in ["r:a@1", "r:b@1"] {
        rig.publish(TOPIC, rig.packet(job(id)), None).await;
    }
    // Each waits for the other: with one at a time this would never end.
    assert_eq!((all.recv().await, all.recv().await), (Some(()), Some(())));
}
