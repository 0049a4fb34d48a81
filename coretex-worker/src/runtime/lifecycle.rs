//! Starting, draining and stopping a worker.

use std::{fmt, sync::Arc, time::Duration};

use coretex_core::{
    ports::{Bus, BusError, Sink, Subscribe},
    protocol::subjects,
};
use tokio::{runtime::Handle, sync::watch};

use super::{
    intake::{Entrance, take_jobs},
    presence::{beat, handshake, hear_cancels, heartbeat},
    shared::{Shared, WorkerStats},
};
use crate::{builder::WorkerBuilder, extract::CancelReason};

/// The bus refused what the worker needs to start.
#[derive(Clone, Debug, thiserror::Error)]
#[error("worker `{worker_id}` cannot listen to `{subject}`")]
pub struct WorkerError {
    worker_id: String,
    subject: String,
    #[source]
    source: BusError,
}

impl WorkerError {
    /// The stable code of the bus error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.source.code()
    }

    /// Whether starting again later may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

/// A worker that was built and takes no jobs yet.
#[must_use = "a worker does nothing until it is started"]
pub struct Worker {
    shared: Shared,
}

impl Worker {
    /// Starts building a worker on `bus`.
    pub fn builder<S>(bus: Arc<dyn Bus>) -> WorkerBuilder<S> {
        WorkerBuilder::new(bus)
    }

    /// Starts building a worker that connects to the server at `url`: `ws://host:port`, or `wss://` for TLS.
    ///
    /// [`Worker::start`] waits for the server as long as it takes, unless it refuses the worker; connections that break
    /// are made again.
    #[cfg(feature = "ws")]
    pub fn connect<S>(url: impl Into<String>) -> WorkerBuilder<S> {
        WorkerBuilder::connecting(url.into())
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The topics and topic filters it serves, sorted.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.shared.handlers.filters()
    }

    /// Subscribes, introduces itself and takes jobs from now on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the bus refuses a subscription. A handshake or a heartbeat that is lost is no error.
    pub async fn start(self) -> Result<RunningWorker, WorkerError> {
        let shared = Arc::new(self.shared);
        // Cancels first: one that arrives before its job must not be missed.
        let cancels = listen(&shared, Subscribe::all(subjects::JOB_CANCEL)).await?;
        let direct_subject = &*shared.subjects.direct;
        let direct = listen(&shared, Subscribe::group(direct_subject, direct_subject)).await?;
        let entrance: Arc<dyn Sink> =
            Arc::new(Entrance { shared: Arc::downgrade(&shared), runtime: Handle::current() });
        let mut topics = Vec::new();
        for filter in shared.handlers.filters() {
            topics.push(listen(&shared, Subscribe::group(filter.clone(), filter).sink(Arc::clone(&entrance))).await?);
        }
        shared.publish_lossy(handshake(&shared)).await;
        if shared.options.heartbeat_interval.is_some() {
            shared.publish_lossy(heartbeat(&shared)).await;
        }
        let (phase, _) = watch::channel(Phase::Running);
        let phase = Arc::new(phase);
        let intake = tokio::spawn(take_jobs(Arc::clone(&shared), topics, direct));
        let attendants = {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                futures::future::join3(shared.ticker.run(&shared), beat(&shared), hear_cancels(&shared, cancels)).await
            })
        };
        let supervisor = Supervisor { shared: Arc::clone(&shared), phase: Arc::clone(&phase) };
        drop(tokio::spawn(async move {
            supervisor.bring_to_an_end(intake).await;
            attendants.abort();
            supervisor.phase.send_replace(Phase::Stopped);
        }));
        tracing::info!(worker_id = &*shared.id, topics = ?shared.handlers.filters(), "the worker takes jobs");
        Ok(RunningWorker { shared, phase })
    }

    /// Runs until `shutdown` completes or the bus is closed, then drains.
    ///
    /// # Errors
    /// See [`Worker::start`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<WorkerStats, WorkerError> {
        let running = self.start().await?;
        let shutdown = std::pin::pin!(shutdown);
        let stopped = std::pin::pin!(running.stopped());
        futures::future::select(shutdown, stopped).await;
        running.drain().await;
        Ok(running.stats())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

async fn listen(
    shared: &Shared,
    subscribe: Subscribe,
) -> Result<Box<dyn coretex_core::ports::Subscription>, WorkerError> {
    let subject = subscribe.filter.clone();
    let subscribe = subscribe.ack_wait(shared.options.ack_wait);
    let refused = |source| WorkerError { worker_id: shared.id.to_string(), subject, source };
    shared.bus.subscribe(subscribe).await.map_err(refused)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Takes nothing; what runs may finish within the grace.
    Draining,
    /// Takes nothing; what runs is asked to stop now.
    Stopping,
    Stopped,
}

/// A worker that takes jobs. Dropping it drains it in the background.
#[must_use = "dropping the handle stops the worker"]
pub struct RunningWorker {
    shared: Arc<Shared>,
    phase: Arc<watch::Sender<Phase>>,
}

impl RunningWorker {
    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// What it has done since it started.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.shared.stats()
    }

    /// Takes no more jobs and lets the running ones finish. Those that have not when `drain_grace` has passed are
    /// asked to stop, dropped `cancel_grace` later, and given back to be done elsewhere. Returns when all of that is
    /// over; calling it again, or dropping the future, changes nothing.
    pub async fn drain(&self) {
        self.advance(Phase::Draining);
        self.stopped().await;
    }

    /// As [`RunningWorker::drain`], without time to finish. Also cuts a drain short.
    pub async fn stop(&self) {
        self.advance(Phase::Stopping);
        self.stopped().await;
    }

    /// Completes when the worker has stopped, for whatever reason: the bus being closed is one.
    pub async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
        // At once: whoever publishes next must not find it open.
        self.shared.full_stop.raise();
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.advance(Phase::Draining);
    }
}

impl fmt::Debug for RunningWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningWorker")
            .field("id", &self.shared.id)
            .field("phase", &*self.phase.borrow())
            .field("stats", &self.stats())
            .finish()
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Supervisor {
    async fn bring_to_an_end(&self, mut intake: tokio::task::JoinHandle<()>) {
        let shared = &self.shared;
        {
            let asked = std::pin::pin!(self.reached(Phase::Draining));
            if let futures::future::Either::Left(_) = futures::future::select(asked, &mut intake).await {
                shared.full_stop.raise();
                // It ends at once: it only ever waits for a slot or a delivery. A panic in it has ended it too.
                let _ = intake.await;
            }
        }
        shared.full_stop.raise();
        if shared.options.heartbeat_interval.is_some() {
            shared.publish_lossy(heartbeat(shared)).await;
        }
        let stopping = self.reached(Phase::Stopping);
        if self.finished_within(shared.options.drain_grace, stopping).await {
            return;
        }
        let now = shared.clock.now();
        for job in self.jobs() {
            job.ask_to_stop(CancelReason::Shutdown, None, now);
        }
        let grace = shared.options.cancel_grace;
        if self.finished_within(grace, std::future::pending()).await {
            return;
        }
        for job in self.jobs() {
            job.abort.raise();
        }
        if !self.finished_within(grace, std::future::pending()).await {
            // Handlers that never await cannot be dropped. Their jobs go elsewhere all the same.
            for job in self.jobs() {
                tracing::error!(job_id = job.asked.job_id(), "a handler blocks its thread; its job is given back");
                for delivery in job.take_held() {
                    let _ = delivery.nak(Duration::ZERO).await;
                }
            }
        }
    }

    fn jobs(&self) -> Vec<Arc<super::job::Job>> {
        self.shared.registry().jobs().cloned().collect()
    }

    /// Whether all jobs have ended before `wait` has passed or `cut` completed.
    async fn finished_within(&self, wait: Duration, cut: impl Future<Output = ()>) -> bool {
        let all = self.shared.slots.acquire_many(self.shared.options.max_parallel);
        let all = std::pin::pin!(all);
        let limit = std::pin::pin!(async {
            let cut = std::pin::pin!(cut);
            let sleep = std::pin::pin!(self.shared.sleep(wait));
            futures::future::select(cut, sleep).await;
        });
        matches!(futures::future::select(all, limit).await, futures::future::Either::Left(_))
    }

    async fn reached(&self, at_least: Phase) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase >= at_least).await;
    }
}
