//! Scripted workers: they speak CAP on the bus, as any worker does.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{join3, select};
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    presence::{BEAT, Heart, Presence, Pulse, Shown},
    script::{Hidden, Reply, ScriptedJob, WorkerScript},
};
use crate::{
    ports::{Bus, BusError, Busy, Clock, Message, Payload, Subscribe, Subscription},
    protocol::{self, BusPacket, JobProgress, JobResult, JobStatus, subjects},
};

/// The queue group of all scripted workers.
const GROUP: &str = "scripted-workers";

pub(super) type SharedScript = Arc<Mutex<Hidden<dyn WorkerScript>>>;

/// A worker for one topic, or a filter of topics.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) presence: Presence,
    pub(super) heart: Heart,
    pub(super) topic: String,
    pub(super) script: SharedScript,
}

/// What the tasks of one worker share.
#[derive(Clone)]
struct Desk {
    id: Arc<str>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    heart: Heart,
    /// Jobs that are worked on until they are cancelled.
    stoppable: Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>,
}

impl Worker {
    /// Subscribes; the future works until the bus is closed or the worker dies. It says that it is there while `beats` is
    /// true.
    pub(super) async fn connect(
        &self,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        beats: Arc<Shown<bool>>,
    ) -> Result<impl Future<Output = ()> + Send + 'static, BusError> {
        self.heart.set(Pulse::Awake);
        let jobs = bus.subscribe(Subscribe::group(self.topic.as_str(), GROUP)).await?;
        let own = format!("worker.{}.jobs", self.presence.id);
        let direct = bus.subscribe(Subscribe::group(own.as_str(), own.as_str())).await?;
        let cancels = bus.subscribe(Subscribe::all(subjects::JOB_CANCEL)).await?;
        let (id, heart) = (self.presence.id.as_str().into(), self.heart.clone());
        let desk = Desk { id, bus, clock, heart: heart.clone(), stoppable: Arc::default() };
        let says = beat(desk.clone(), self.presence.clone(), self.topic.clone(), beats);
        let script = self.script.clone();
        Ok(async move {
            let works =
                join3(work(desk.clone(), script.clone(), jobs, Some(cancels)), work(desk, script, direct, None), says);
            select(pin!(works), pin!(heart.is(Pulse::Dead))).await;
        })
    }
}

/// Says that the worker is there, while that is asked for.
async fn beat(desk: Desk, presence: Presence, topic: String, beats: Arc<Shown<bool>>) {
    loop {
        beats.is(true).await;
        // A handshake may be lost, so it is repeated.
        for payload in [protocol::Payload::from(presence.handshake(&topic)), presence.heartbeat().into()] {
            let subject = match payload {
                protocol::Payload::Handshake(_) => subjects::HANDSHAKE,
                _ => subjects::HEARTBEAT,
            };
            let packet = BusPacket::new(&*desk.id, &*desk.id, desk.clock.now(), payload);
            desk.send(Message::new(subject, packet)).await;
        }
        desk.sleep(BEAT).await;
    }
}

async fn work(
    desk: Desk,
    script: SharedScript,
    mut jobs: Box<dyn Subscription>,
    cancels: Option<Box<dyn Subscription>>,
) {
    let mut tasks = JoinSet::new();
    if let Some(cancels) = cancels {
        tasks.spawn(hear_cancels(desk.clone(), cancels));
    }
    while let Some(delivery) = jobs.next().await {
        while tasks.try_join_next().is_some() {}
        let Some(request) = delivery.message.packet.job_request() else {
            delivery.ack_now();
            continue;
        };
        let job = ScriptedJob {
            input: delivery.message.payload.as_ref().map(|payload| payload.0.clone()).unwrap_or_default(),
            trace_id: delivery.message.packet.trace_id.clone(),
            attempt: request.job_id.parse::<protocol::JobId>().map_or(1, |id| id.attempt()),
            delivery: delivery.attempt,
            request: request.clone(),
        };
        // Jobs in the queue and in hand hold virtual time, and any answer may have to wait: for its time, for room, or until
        // the worker goes on.
        delivery.ack_now();
        let desk = desk.clone();
        if desk.heart.get() == Pulse::Awake {
            let reply = script.lock().unwrap_or_else(PoisonError::into_inner).0.reply(&job);
            let busy = desk.clock.busy();
            tasks.spawn(async move { desk.act(&job, reply, busy).await });
        } else {
            let script = script.clone();
            tasks.spawn(async move {
                desk.heart.is(Pulse::Awake).await;
                let busy = desk.clock.busy();
                let reply = script.lock().unwrap_or_else(PoisonError::into_inner).0.reply(&job);
                desk.act(&job, reply, busy).await;
            });
        }
    }
}

async fn hear_cancels(desk: Desk, mut cancels: Box<dyn Subscription>) {
    while let Some(delivery) = cancels.next().await {
        let Some(cancel) = delivery.message.packet.job_cancel().cloned() else { continue };
        // What a frozen worker has not read must not hold the time.
        drop(delivery);
        desk.heart.is(Pulse::Awake).await;
        let stop = desk.stoppable.lock().unwrap_or_else(PoisonError::into_inner).remove(&cancel.job_id);
        if let Some(stop) = stop {
            // A job that has ended meanwhile does not mind.
            let _ended = stop.send(());
        }
    }
}

impl Desk {
    /// `busy` holds time but for the waits.
    async fn act(&self, job: &ScriptedJob, reply: Reply, busy: Busy) {
        let mut reply = reply;
        let mut busy = Some(busy);
        let mut times = 1;
        loop {
            reply = match reply {
                Reply::Twice(reply) => {
                    times += 1;
                    *reply
                }
                Reply::Progress(reply) => {
                    let progress = JobProgress {
                        job_id: job.request.job_id.clone(),
                        percent: 50,
                        status: JobStatus::Running as i32,
                        ..JobProgress::default()
                    };
                    drop(busy.take());
                    self.publish(job, subjects::JOB_PROGRESS, progress, None).await;
                    *reply
                }
                Reply::After(wait, reply) => {
                    drop(busy.take());
                    self.sleep(wait).await;
                    *reply
                }
                Reply::Late(by, reply) => {
                    drop(busy.take());
                    let left = job.request.budget.as_ref().map_or(0, |budget| budget.deadline_ms);
                    self.sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)) + by).await;
                    *reply
                }
                Reply::UntilCancelled => {
                    let (stop, stopped) = oneshot::channel();
                    let id = job.request.job_id.clone();
                    self.stoppable.lock().unwrap_or_else(PoisonError::into_inner).insert(id, stop);
                    drop(busy.take());
                    if stopped.await.is_err() {
                        return;
                    }
                    Reply::Cancelled
                }
                Reply::Never => return,
                Reply::Garbage => {
                    drop(busy.take());
                    return self.babble(job).await;
                }
                Reply::Succeed(_) | Reply::Fail { .. } | Reply::Cancelled => break,
            };
        }
        let (result, output) = self.result(job, reply);
        drop(busy);
        for _ in 0..times {
            self.publish(job, subjects::JOB_RESULT, result.clone(), output.clone()).await;
        }
    }

    fn result(&self, job: &ScriptedJob, reply: Reply) -> (JobResult, Option<Payload>) {
        let mut result = JobResult {
            job_id: job.request.job_id.clone(),
            worker_id: self.id.to_string(),
            execution_ms: 1,
            ..JobResult::default()
        };
        let mut output = None;
        let status = match reply {
            Reply::Succeed(value) => {
                output = Some(Payload(Arc::new(value)));
                JobStatus::Succeeded
            }
            Reply::Fail { code, retryable } => {
                result.error_message = format!("the script says `{code}`");
                result.error_code = code;
                if retryable { JobStatus::FailedRetryable } else { JobStatus::FailedFatal }
            }
            _ => JobStatus::Cancelled,
        };
        result.status = status as i32;
        (result, output)
    }

    async fn babble(&self, job: &ScriptedJob) {
        let result = |id: &str, status: JobStatus| JobResult {
            job_id: id.to_owned(),
            worker_id: self.id.to_string(),
            status: status as i32,
            ..JobResult::default()
        };
        let succeeded = JobStatus::Succeeded;
        for id in ["", "no such job", "unknown:step@1", "unknown-job", "::@@[[", "a:b@0"] {
            self.publish(job, subjects::JOB_RESULT, result(id, succeeded), None).await;
        }
        // Right job, wrong words.
        let own = &job.request.job_id;
        self.publish(job, subjects::JOB_RESULT, result(own, JobStatus::Running), None).await;
        self.publish(job, subjects::JOB_RESULT, job.request.clone(), None).await;
        let progress = JobProgress { job_id: "unknown:step@1".into(), ..JobProgress::default() };
        self.publish(job, subjects::JOB_PROGRESS, progress, None).await;
        self.publish(job, subjects::HEARTBEAT, protocol::Heartbeat::default(), None).await;
        let empty = Message::new(subjects::JOB_RESULT, BusPacket::default());
        self.send(empty).await;
    }

    async fn publish(
        &self,
        job: &ScriptedJob,
        subject: &str,
        payload: impl Into<protocol::Payload>,
        output: Option<Payload>,
    ) {
        let packet = BusPacket::new(&*job.trace_id, &*self.id, self.clock.now(), payload);
        self.send(Message::new(subject, packet).with_payload(output)).await;
    }

    /// Publishes, again and again while the bus is full.
    async fn send(&self, message: Message) {
        self.heart.is(Pulse::Awake).await;
        while let Err(error) = self.bus.publish(message.clone()).await {
            if !error.is_retryable() {
                return;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
    }

    async fn sleep(&self, wait: Duration) {
        self.clock.sleep_until(crate::job::job_after(self.clock.now(), wait)).await;
    }
}
