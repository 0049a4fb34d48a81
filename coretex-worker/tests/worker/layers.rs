//! Layers of `tower` around handlers.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use coretex_core::{
    ports::{Bus, Message, Payload},
    protocol::JobStatus,
};
use coretex_worker::{Cancel, Input, JobContext, JobError, JobService, Output};
use futures::FutureExt;
use serde_json::json;
use tower::{Layer, Service, ServiceBuilder, timeout::TimeoutLayer};

use crate::rig::{Rig, TOPIC, job};

type Log = Arc<Mutex<Vec<String>>>;

/// Notes what passes it.
#[derive(Clone)]
struct Note(&'static str, Log);

#[derive(Clone)]
struct Noting<S>(Note, S);

impl<S> Layer<S> for Note {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting(self.clone(), inner)
    }
}

impl<S> Service<JobContext> for Noting<S>
where
    S: Service<JobContext, Error = JobError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = JobError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, JobError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, job: JobContext) -> Self::Future {
        let Note(name, log) = self.0.clone();
        log.lock().unwrap().push(format!("{name} > {}", job.job_id()));
        let inner = self.1.call(job);
        Box::pin(async move {
            let result = inner.await;
            log.lock().unwrap().push(format!("{name} < {}", if result.is_ok() { "ok" } else { "error" }));
            result
        })
    }
}

async fn obey(Input(wish): Input<String>, cancel: Cancel) -> Result<Output<String>, JobError> {
    match wish.as_str() {
        "fail" => Err(JobError::fatal("broken", "as you wish")),
        "panic" => panic!("as you wish"),
        "wait" => {
            cancel.cancelled().await;
            Err(JobError::cancelled())
        }
        _ => Ok(Output(wish)),
    }
}

#[tokio::test]
async fn layers_stand_around_the_handler_in_order_and_let_its_answers_through() {
    let mut rig = Rig::new().await;
    let log = Log::default();
    let note = |name| Note(name, log.clone());
    let worker = rig
        .worker()
        .layer(note("inner"))
        .handle_layered(TOPIC, obey, note("topic"))
        .layer(note("outer"))
        .build()
        .unwrap()
        .start()
        .await
        .unwrap();
    rig.send(job("r:s@1"), json!("go")).await;
    assert_eq!(rig.result().await.output, Some(json!("go")));
    let heard = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(heard, ["outer > r:s@1", "inner > r:s@1", "topic > r:s@1", "topic < ok", "inner < ok", "outer < ok"]);
    rig.send(job("r:s@2"), json!("fail")).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "broken"));
    rig.send(job("r:s@3"), json!("panic")).await;
    assert_eq!(rig.result().await.code(), "worker_panicked");
    // A shape that the handler does not take is refused inside of the layers.
    rig.send(job("r:s@4"), json!(4)).await;
    assert_eq!(rig.result().await.code(), "input_invalid");
    rig.send(job("r:s@5"), json!("wait")).await;
    rig.cancel("r:s@5").await;
    assert_eq!(rig.result().await.status(), JobStatus::Cancelled);
    assert_eq!(worker.stats().active, 0);
}

#[tokio::test]
async fn a_timeout_of_tower_ends_a_handler_that_goes_on() {
    let mut rig = Rig::new().await;
    let layers = ServiceBuilder::new().layer(TimeoutLayer::new(Duration::from_millis(1)));
    let _worker = rig.worker().handle_layered(TOPIC, obey, layers).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!("wait")).await;
    let ended = loop {
        // The timeout is by the clock of the runtime.
        match rig.try_result().await {
            Some(ended) => break ended,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedRetryable, "layer_failed"));
    assert!(ended.result.error_message.contains("timed out"), "{}", ended.result.error_message);
    rig.send(job("r:s@2"), json!("fail")).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "broken"), "through a boxed error");
}

/// Lets one job at a time through, whatever the worker's slots.
#[derive(Clone)]
struct OneAtATime(Arc<tokio::sync::Semaphore>);

struct Waiting<S>(Arc<tokio::sync::Semaphore>, S);

impl<S: Clone> Clone for Waiting<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

impl Layer<JobService> for OneAtATime {
    type Service = Waiting<JobService>;

    fn layer(&self, inner: JobService) -> Self::Service {
        Waiting(self.0.clone(), inner)
    }
}

impl Service<JobContext> for Waiting<JobService> {
    type Response = <JobService as Service<JobContext>>::Response;
    type Error = JobError;
    type Future = <JobService as Service<JobContext>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, job: JobContext) -> Self::Future {
        let (gate, mut inner) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let _permit = gate.acquire_owned().await.map_err(JobError::retry)?;
            inner.call(job).await
        })
    }
}

#[tokio::test]
async fn a_limit_that_a_layer_shares_holds_over_all_topics() {
    let mut rig = Rig::new().await;
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let handler = {
        let (now, most) = (now.clone(), most.clone());
        move || {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    let gate = OneAtATime(Arc::new(tokio::sync::Semaphore::new(1)));
    let worker = rig.worker().handle(TOPIC, handler.clone()).handle("job.other", handler).layer(gate);
    let worker = worker.build().unwrap().start().await.unwrap();
    for n in 0..20 {
        let mut request = job(&format!("r:s[{n}]@1"));
        if n % 2 == 0 {
            request.topic = "job.other".into();
        }
        rig.send(request, json!(null)).await;
    }
    for _ in 0..20 {
        assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
    }
    assert_eq!((most.load(Ordering::SeqCst), worker.stats().succeeded), (1, 20));
}

#[tokio::test]
async fn only_handlers_without_layers_run_in_the_task_of_the_publisher() {
    let mut rig = Rig::new().await;
    let plain = async || ();
    let worker = rig
        .worker()
        .handle("job.plain", plain)
        .handle_layered("job.layered", plain, Note("n", Log::default()))
        .build()
        .unwrap()
        .start()
        .await
        .unwrap();
    for topic in ["job.plain", "job.layered"] {
        for n in 0..100 {
            let request =
                coretex_core::protocol::JobRequest { topic: topic.into(), ..job(&format!("r:{n}-{topic}@1")) };
            rig.send(request, json!(null)).await;
            rig.result().await;
        }
    }
    for (topic, at_once) in [("job.plain", 201), ("job.layered", 201)] {
        let request = coretex_core::protocol::JobRequest { topic: topic.into(), ..job(&format!("r:last-{topic}@1")) };
        let message = Message::new(topic, rig.packet(request)).with_payload(Some(Payload(Arc::new(json!(null)))));
        rig.bus.publish(message).now_or_never().expect("the publisher waits").unwrap();
        assert_eq!(worker.stats().succeeded, at_once, "{topic}");
    }
    assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
    assert_eq!(rig.result().await.status(), JobStatus::Succeeded);
    assert_eq!(worker.stats().succeeded, 202);
}
