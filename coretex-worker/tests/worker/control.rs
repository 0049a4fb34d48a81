//! Cancel, heartbeat and handshake.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use coretex_core::protocol::{DispatchIdentity, JobCancel, JobRequest, JobStatus, subjects};
use coretex_worker::{Cancel, CancelReason, JobError, Output, Progress, State};
use serde_json::json;

use crate::rig::{Rig, TOPIC, job, ms};

async fn until_cancelled(cancel: Cancel) -> Result<(), JobError> {
    assert_eq!(cancel.cancelled().await, CancelReason::Requested);
    cancel.check()
}

#[tokio::test]
async fn a_running_job_is_cancelled() {
    let mut rig = Rig::new().await;
    let worker = rig.worker().handle(TOPIC, until_cancelled).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.cancel("r:other@1").await;
    rig.no_result().await;
    rig.cancel("r:s@1").await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::Cancelled, "cancelled"));
    assert_eq!(ended.result.error_message, "cancelled by `ann`: too late");
    // A repeat finds nothing to stop.
    rig.cancel("r:s@1").await;
    rig.no_result().await;
    assert_eq!((worker.stats().cancelled, worker.stats().active), (1, 0));
}

#[tokio::test]
async fn a_handler_that_does_not_listen_is_dropped_after_the_grace() {
    let mut rig = Rig::new().await;
    let deaf = std::future::pending::<Output<()>>;
    let _worker = rig.worker().cancel_grace(ms(400)).handle(TOPIC, deaf).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.cancel("r:s@1").await;
    rig.clock.advance(ms(399)).await;
    rig.no_result().await;
    rig.clock.advance(ms(6)).await;
    assert_eq!(rig.result().await.status(), JobStatus::Cancelled);
}

#[tokio::test]
async fn work_done_in_spite_of_a_cancel_counts() {
    let mut rig = Rig::new().await;
    let finish = |cancel: Cancel| async move {
        cancel.cancelled().await;
        Output("done")
    };
    let _worker = rig.worker().handle(TOPIC, finish).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.cancel("r:s@1").await;
    assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
}

#[tokio::test]
async fn a_job_cancelled_before_it_comes_does_not_start() {
    let mut rig = Rig::new().await;
    let worker = rig.worker().max_parallel(1).handle(TOPIC, until_cancelled).build().unwrap().start().await.unwrap();
    rig.send(job("r:first@1"), json!(null)).await;
    rig.send(job("r:queued@1"), json!(null)).await;
    rig.cancel("r:queued@1").await;
    rig.no_result().await;
    rig.cancel("r:first@1").await;
    let (first, queued) = (rig.result().await, rig.result().await);
    assert_eq!(first.result.job_id, "r:first@1");
    assert_eq!((queued.result.job_id.as_str(), queued.status()), ("r:queued@1", JobStatus::Cancelled));
    assert_eq!(queued.result.error_message, "cancelled by `ann`: too late");
    assert_eq!(worker.stats().started, 1);
}

#[tokio::test]
async fn the_memory_of_cancels_is_bounded() {
    let mut rig = Rig::new().await;
    let builder = rig.worker().remember_cancels(2).handle(TOPIC, || async { Output(1) });
    let _worker = builder.build().unwrap().start().await.unwrap();
    for id in ["r:a@1", "r:b@1", "r:c@1"] {
        rig.cancel(id).await;
    }
    for (id, status) in
        [("r:a@1", JobStatus::Succeeded), ("r:b@1", JobStatus::Cancelled), ("r:c@1", JobStatus::Cancelled)]
    {
        rig.send(job(id), json!(null)).await;
        assert_eq!(rig.result().await.status(), status, "{id}");
    }
}

#[tokio::test]
async fn a_cancel_stops_the_dispatch_it_names_and_without_a_name_all_of_them() {
    let mut rig = Rig::new().await;
    let _worker = rig.worker().handle(TOPIC, until_cancelled).build().unwrap().start().await.unwrap();
    let dispatch =
        |id: &str| Some(DispatchIdentity { dispatch_id: id.into(), attempt: 1, ..DispatchIdentity::default() });
    for id in ["d1", "d2", "d3"] {
        rig.send(JobRequest { dispatch: dispatch(id), ..job("plain") }, json!(null)).await;
    }
    let cancel = JobCancel { job_id: "plain".into(), dispatch: dispatch("d2"), ..JobCancel::default() };
    rig.publish(subjects::JOB_CANCEL, rig.packet(cancel), None).await;
    let ended = rig.result().await;
    assert_eq!(ended.result.dispatch, dispatch("d2"));
    rig.no_result().await;
    rig.cancel("plain").await;
    let mut stopped = [rig.result().await, rig.result().await].map(|ended| ended.result.dispatch);
    stopped.sort_by_key(|dispatch| dispatch.as_ref().map(|dispatch| dispatch.dispatch_id.clone()));
    assert_eq!(stopped, [dispatch("d1"), dispatch("d3")]);
}

#[tokio::test]
async fn a_report_is_a_place_to_stop_at() {
    let mut rig = Rig::new().await;
    let steps = Arc::new(AtomicU32::new(0));
    let handler = |progress: Progress, cancel: Cancel, State(steps): State<Arc<AtomicU32>>| async move {
        loop {
            progress.report(1, "step").await?;
            steps.fetch_add(1, Ordering::SeqCst);
            cancel.cancelled().await;
        }
        #[allow(unreachable_code)]
        Ok::<(), JobError>(())
    };
    let _worker = rig.worker().handle(TOPIC, handler).with_state(steps.clone()).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.cancel("r:s@1").await;
    assert_eq!(rig.result().await.status(), JobStatus::Cancelled);
    assert_eq!(steps.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_worker_introduces_itself_and_keeps_saying_how_it_is() {
    let mut rig = Rig::new().await;
    let builder = rig.worker().handle("job.b", until_cancelled).handle("job.a.>", until_cancelled);
    let builder =
        builder.pool("incident").capability("git").label("zone", "a").region("eu").kind("cpu").max_parallel(3);
    let worker = builder.build().unwrap().start().await.unwrap();
    let handshake = rig.handshake().await;
    assert_eq!(
        (handshake.component_id.as_str(), handshake.ready_topics),
        ("w1", vec!["job.a.>".into(), "job.b".into()])
    );
    assert_eq!(handshake.supported_versions, [1]);
    let first = rig.heartbeats().await;
    assert_eq!(first.len(), 1);
    let beat = &first[0];
    assert_eq!((beat.pool.as_str(), beat.region.as_str(), beat.r#type.as_str()), ("incident", "eu", "cpu"));
    assert_eq!(
        (beat.capabilities.as_slice(), beat.max_parallel_jobs, beat.active_jobs),
        (&["git".to_owned()][..], 3, 0)
    );
    assert_eq!(beat.labels.get("zone").map(String::as_str), Some("a"));
    rig.send(JobRequest { topic: "job.b".into(), ..job("r:s@1") }, json!(null)).await;
    rig.clock.advance(Duration::from_secs(30)).await;
    assert_eq!(rig.heartbeats().await.iter().map(|beat| beat.active_jobs).collect::<Vec<_>>(), [1, 1, 1]);
    rig.cancel("r:s@1").await;
    worker.drain().await;
    let last = rig.heartbeats().await;
    assert_eq!(last.last().and_then(|beat| beat.labels.get("coretex.draining")).map(String::as_str), Some("true"));
    rig.clock.advance(Duration::from_secs(60)).await;
    assert!(rig.heartbeats().await.is_empty());
}

#[tokio::test]
async fn an_idle_worker_without_heartbeats_lets_time_leap() {
    let rig = Rig::new().await;
    let builder = rig.worker().heartbeat_interval(None).handle(TOPIC, || async { Output(1) });
    let _worker = builder.build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    rig.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(rig.clock.next_deadline(), None);
}
