//! Handlers that say: not now.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use coretex_core::{
    protocol::JobStatus,
    runtime::PlaneError,
    testing::TestPlane,
    workflow::{RunStatus, StepStatus},
};
use coretex_worker::{JobContext, JobError, JobErrorKind, Output, Worker};
use serde_json::json;

use crate::rig::{Rig, TOPIC, job};

#[tokio::test]
async fn a_handler_that_puts_a_job_off_says_for_how_long() {
    let mut rig = Rig::new().await;
    let handler = || async { Err::<Output<u32>, _>(JobError::snooze("the feed is empty", Duration::from_secs(90))) };
    let _worker = rig.worker().handle(TOPIC, handler).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedRetryable, "snoozed"));
    assert_eq!(ended.output, Some(json!({ "retry_after_ms": 90_000 })));
    assert_eq!(ended.result.error_message, "the feed is empty");
    let error = JobError::snooze("x", Duration::ZERO).with_code("other");
    assert_eq!((error.kind(), error.code()), (JobErrorKind::Snoozed, "snoozed"), "the code is what says it");
}

#[test]
fn a_step_whose_handler_puts_it_off_is_asked_again_then_and_keeps_its_tries() {
    let told = TestPlane::builder().workflow("id: w\nsteps:\n  a: {topic: job.a}").run(async |plane| {
        let calls = Arc::new(AtomicU32::new(0));
        let count = calls.clone();
        let handler = move |job: JobContext| {
            let call = count.fetch_add(1, Ordering::Relaxed);
            async move {
                match call {
                    0 => Err(JobError::snooze("not yet", Duration::from_secs(7 * 24 * 3_600))),
                    1 => Err(JobError::snooze("not yet", Duration::from_millis(1))),
                    _ => Ok(Output(job.attempt())),
                }
            }
        };
        let clock = Arc::new(plane.clock().clone());
        let worker = Worker::builder::<()>(plane.plane()?.bus()).with_clock(clock).handle("job.a", handler);
        let worker = plane.drive(worker.build().unwrap().start()).await.unwrap();
        let run = plane.start("w", json!({})).await?;
        plane.advance(Duration::from_secs(3_600)).await;
        assert_eq!(plane.run_state(&run).await?.step("a").unwrap().status, StepStatus::Pending);
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        assert_eq!(end.step("a").unwrap().output.as_ref().unwrap().value.as_deref(), Some(&json!(3)));
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        // A week, and a second where less was asked for.
        assert_eq!(plane.elapsed(), Duration::from_secs(7 * 24 * 3_600 + 1));
        plane.drive(worker.drain()).await;
        Ok::<(), PlaneError>(())
    });
    told.unwrap().unwrap();
}
