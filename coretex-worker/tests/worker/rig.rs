//! A bus, a virtual clock and the ears of a control plane.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coretex_core::{
    ports::{
        Blobs, Bus, BusCapabilities, BusError, BusErrorKind, Message, Payload, SeededIds, Subscribe, Subscription,
        memory::{MemoryBlobs, MemoryBus},
    },
    protocol::{
        Budget, BusPacket, Handshake, Heartbeat, JobCancel, JobProgress, JobRequest, JobResult, JobStatus, subjects,
    },
    testing::VirtualClock,
};
use coretex_worker::{Worker, WorkerBuilder};
use futures::FutureExt;
use serde_json::Value;

pub(crate) const TOPIC: &str = "job.test";

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A bus that can be told to leave the process, and to refuse results.
#[derive(Debug)]
pub(crate) struct TestBus {
    inner: MemoryBus,
    in_process: bool,
    pub(crate) refuse_results: AtomicU32,
    pub(crate) refuse_with: BusErrorKind,
}

#[async_trait]
impl Bus for TestBus {
    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::new("test", self.in_process)
    }

    async fn publish(&self, mut message: Message) -> Result<(), BusError> {
        if &*message.subject == subjects::JOB_RESULT
            && self.refuse_results.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            return Err(BusError::new(self.refuse_with, "told to refuse"));
        }
        if !self.in_process {
            message.payload = None;
        }
        self.inner.publish(message).await
    }

    fn try_publish(&self, message: Message) -> Result<(), Message> {
        if self.refuse_results.load(Ordering::SeqCst) > 0 || !self.in_process {
            return Err(message);
        }
        self.inner.try_publish(message)
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BusError> {
        self.inner.subscribe(subscribe).await
    }

    async fn close(&self) -> Result<(), BusError> {
        self.inner.close().await
    }
}

pub(crate) struct Ended {
    pub(crate) result: JobResult,
    pub(crate) trace_id: String,
    pub(crate) sender_id: String,
    pub(crate) output: Option<Value>,
}

impl Ended {
    pub(crate) fn status(&self) -> JobStatus {
        JobStatus::try_from(self.result.status).unwrap()
    }

    pub(crate) fn code(&self) -> &str {
        &self.result.error_code
    }
}

pub(crate) struct Rig {
    pub(crate) clock: VirtualClock,
    pub(crate) bus: Arc<TestBus>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    results: Box<dyn Subscription>,
    progress: Box<dyn Subscription>,
    presence: Box<dyn Subscription>,
    handshakes: Box<dyn Subscription>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(true, BusErrorKind::Unavailable).await
    }

    /// A bus that leaves the process.
    pub(crate) async fn wire() -> Self {
        Self::with(false, BusErrorKind::Unavailable).await
    }

    pub(crate) async fn with(in_process: bool, refuse_with: BusErrorKind) -> Self {
        let clock = VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap());
        let inner = MemoryBus::new(Arc::new(clock.clone()));
        let bus = Arc::new(TestBus { inner, in_process, refuse_results: AtomicU32::new(0), refuse_with });
        let blobs = Arc::new(MemoryBlobs::new(Arc::new(clock.clone())));
        Self {
            results: bus.subscribe(Subscribe::group(subjects::JOB_RESULT, "plane")).await.unwrap(),
            progress: bus.subscribe(Subscribe::all(subjects::JOB_PROGRESS)).await.unwrap(),
            presence: bus.subscribe(Subscribe::all(subjects::HEARTBEAT)).await.unwrap(),
            handshakes: bus.subscribe(Subscribe::all(subjects::HANDSHAKE)).await.unwrap(),
            clock,
            bus,
            blobs,
        }
    }

    /// A builder of worker `w1` on this rig, with blobs.
    pub(crate) fn worker<S>(&self) -> WorkerBuilder<S> {
        Worker::builder(self.bus.clone())
            .id("w1")
            .with_clock(Arc::new(self.clock.clone()))
            .with_ids(Arc::new(SeededIds::new(7, Arc::new(self.clock.clone()))))
            .with_blobs(self.blobs.clone() as Arc<dyn Blobs>)
    }

    pub(crate) async fn publish(&self, subject: &str, packet: BusPacket, input: Option<Value>) {
        let payload = input.map(|input| Payload(Arc::new(input)));
        self.bus.publish(Message::new(subject, packet).with_payload(payload)).await.unwrap();
    }

    pub(crate) fn packet(&self, payload: impl Into<coretex_core::protocol::Payload>) -> BusPacket {
        use coretex_core::ports::Clock;
        BusPacket {
            trace_id: "trace-1".into(),
            sender_id: "plane".into(),
            created_at: Some(self.clock.now().into()),
            protocol_version: 1,
            payload: Some(payload.into()),
            ..BusPacket::default()
        }
    }

    /// Sends a request to its topic and lets everybody run.
    pub(crate) async fn send(&self, request: JobRequest, input: Value) {
        let topic = request.topic.clone();
        self.publish(&topic, self.packet(request), Some(input)).await;
        self.clock.settle().await;
    }

    pub(crate) async fn cancel(&self, job_id: &str) {
        let cancel = JobCancel {
            job_id: job_id.into(),
            reason: "too late".into(),
            requested_by: "ann".into(),
            ..JobCancel::default()
        };
        self.publish(subjects::JOB_CANCEL, self.packet(cancel), None).await;
        self.clock.settle().await;
    }

    /// The result that must be there now.
    pub(crate) async fn result(&mut self) -> Ended {
        self.try_result().await.expect("there is no result")
    }

    /// Fails when there is a result.
    pub(crate) async fn no_result(&mut self) {
        if let Some(ended) = self.try_result().await {
            panic!("unexpected result: {:?}", ended.result);
        }
    }

    pub(crate) async fn try_result(&mut self) -> Option<Ended> {
        self.clock.settle().await;
        let delivery = self.results.next().now_or_never()?.expect("the bus is closed");
        delivery.ack().await.unwrap();
        let packet = &delivery.message.packet;
        Some(Ended {
            result: packet.job_result().expect("a result").clone(),
            trace_id: packet.trace_id.clone(),
            sender_id: packet.sender_id.clone(),
            output: delivery.message.payload.as_ref().map(|payload| (*payload.0).clone()),
        })
    }

    /// All progress since the last call.
    pub(crate) async fn progress(&mut self) -> Vec<JobProgress> {
        self.clock.settle().await;
        let mut found = Vec::new();
        while let Some(Some(delivery)) = self.progress.next().now_or_never() {
            found.extend(delivery.message.packet.job_progress().cloned());
        }
        found
    }

    /// All heartbeats since the last call.
    pub(crate) async fn heartbeats(&mut self) -> Vec<Heartbeat> {
        self.clock.settle().await;
        let mut found = Vec::new();
        while let Some(Some(delivery)) = self.presence.next().now_or_never() {
            let packet = &delivery.message.packet;
            assert_eq!(packet.sender_id, packet.heartbeat().unwrap().worker_id);
            found.extend(packet.heartbeat().cloned());
        }
        found
    }

    pub(crate) async fn handshake(&mut self) -> Handshake {
        self.clock.settle().await;
        let delivery = self.handshakes.next().now_or_never().flatten().expect("no handshake");
        delivery.message.packet.handshake().unwrap().clone()
    }
}

/// A job of run `r`.
pub(crate) fn job(job_id: &str) -> JobRequest {
    JobRequest {
        job_id: job_id.into(),
        topic: TOPIC.into(),
        tenant_id: "acme".into(),
        labels: BTreeMap::from([("region".into(), "eu".into())]),
        ..JobRequest::default()
    }
}

pub(crate) fn due_in(millis: i64, request: JobRequest) -> JobRequest {
    JobRequest { budget: Some(Budget { deadline_ms: millis, ..Budget::default() }), ..request }
}
