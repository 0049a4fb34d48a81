//! What the parts of a running worker have in common: its ports, its options, its jobs.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coretex_core::{
    ports::{Blobs, Bus, Clock, IdSource, Message},
    protocol::{BusPacket, PROTOCOL_VERSION, Payload as Body, subjects},
};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    registry::{Registry, Remember},
    signal::Signal,
    ticker::Ticker,
};
use crate::handler::Bound;

/// What a worker was built with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pool: String,
    pub(crate) region: String,
    pub(crate) kind: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) max_parallel: u32,
    pub(crate) ack_wait: Duration,
    pub(crate) heartbeat_interval: Option<Duration>,
    pub(crate) announce_after: Duration,
    pub(crate) progress_interval: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) inline_bytes: usize,
    pub(crate) remember: Remember,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool: String::new(),
            region: String::new(),
            kind: String::new(),
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            max_parallel: 16,
            ack_wait: Duration::from_secs(30),
            heartbeat_interval: Some(Duration::from_secs(10)),
            announce_after: Duration::from_millis(100),
            progress_interval: Duration::from_millis(250),
            cancel_grace: Duration::from_secs(5),
            drain_grace: Duration::from_secs(30),
            inline_bytes: 256 * 1024,
            remember: Remember { results: 1024, result_bytes: 16 * 1024 * 1024, cancels: 4096 },
        }
    }
}

/// Handlers by topic filter.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    pub(crate) exact: foldhash::HashMap<String, Bound>,
    /// Filters with wildcards; none of them overlap.
    pub(crate) wild: Vec<(String, Bound)>,
}

impl Handlers {
    pub(crate) fn of(&self, topic: &str) -> Option<&Bound> {
        self.exact.get(topic).or_else(|| {
            self.wild.iter().find(|(filter, _)| subjects::matches(filter, topic)).map(|(_, handler)| handler)
        })
    }

    /// The filters, sorted.
    pub(crate) fn filters(&self) -> Vec<String> {
        let wild = self.wild.iter().map(|(filter, _)| filter);
        let mut filters: Vec<String> = self.exact.keys().chain(wild).cloned().collect();
        filters.sort_unstable();
        filters
    }
}

/// The subjects a worker publishes on, shared by all its messages.
#[derive(Debug)]
pub(crate) struct Subjects {
    pub(crate) result: Arc<str>,
    pub(crate) progress: Arc<str>,
    pub(crate) heartbeat: Arc<str>,
    pub(crate) handshake: Arc<str>,
    /// Where jobs for this worker alone arrive.
    pub(crate) direct: Arc<str>,
}

impl Subjects {
    fn new(worker_id: &str) -> Self {
        Self {
            direct: format!("worker.{worker_id}.jobs").into(),
            result: subjects::JOB_RESULT.into(),
            progress: subjects::JOB_PROGRESS.into(),
            heartbeat: subjects::HEARTBEAT.into(),
            handshake: subjects::HANDSHAKE.into(),
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)+ }

        /// What a worker has done since it started. Figures are read one by one and need not add up at an instant.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct WorkerStats {
            /// Jobs that run now.
            pub active: u64,
            /// Jobs that can run at once.
            pub max_parallel: u64,
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            pub(crate) fn read(&self, active: u64, max_parallel: u64) -> WorkerStats {
                WorkerStats { active, max_parallel, $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Jobs whose handler was started, or would have been had its input been readable.
    started,
    /// Results sent with `SUCCEEDED`.
    succeeded,
    /// Results sent with one of the failures.
    failed,
    /// Results sent with `CANCELLED`.
    cancelled,
    /// Handlers that panicked; counted in `failed` too.
    panicked,
    /// Jobs given back unfinished, to be done elsewhere.
    given_back,
    /// Deliveries that repeated a job which runs or has ended here.
    repeated,
    /// Deliveries that no handler could take: answered with a failure.
    refused,
    /// Deliveries that were no job requests, or requests without an id.
    discarded,
    /// Attempts to publish a result that were repeated.
    publish_retries,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) struct Shared {
    pub(crate) id: Arc<str>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) in_process: bool,
    /// How large a payload may be to travel beside its packet.
    pub(crate) payload_bytes: usize,
    pub(crate) blobs: Option<Arc<dyn Blobs>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) options: Options,
    pub(crate) handlers: Handlers,
    pub(crate) subjects: Subjects,
    pub(crate) ticker: Ticker,
    pub(crate) counters: Counters,
    /// One permit for each job that may run.
    pub(crate) slots: Arc<Semaphore>,
    /// Ends the intake.
    pub(crate) full_stop: Signal,
    registry: Mutex<Registry>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .field("options", &self.options)
            .field("handlers", &self.handlers.filters())
            .finish_non_exhaustive()
    }
}

/// The ports a worker uses.
#[derive(Debug)]
pub(crate) struct WorkerPorts {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) blobs: Option<Arc<dyn Blobs>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
}

impl Shared {
    pub(crate) fn new(id: String, ports: WorkerPorts, options: Options, handlers: Handlers) -> Self {
        let WorkerPorts { bus, blobs, clock, ids } = ports;
        let subjects = Subjects::new(&id);
        Self {
            id: id.into(),
            in_process: bus.capabilities().in_process,
            payload_bytes: bus.capabilities().payload_bytes,
            bus,
            blobs,
            clock,
            ids,
            slots: Arc::new(Semaphore::new(options.max_parallel as usize)),
            registry: Mutex::new(Registry::new(options.remember)),
            options,
            handlers,
            subjects,
            ticker: Ticker::new(),
            counters: Counters::default(),
            full_stop: Signal::default(),
        }
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many jobs run here.
    pub(crate) fn running(&self) -> usize {
        self.registry().jobs().count()
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        self.counters.read(u64::try_from(self.running()).unwrap_or(u64::MAX), u64::from(self.options.max_parallel))
    }

    /// A message of this worker.
    pub(crate) fn message(&self, subject: &Arc<str>, trace_id: &str, body: Body, now: Timestamp) -> Message {
        let packet = BusPacket {
            trace_id: trace_id.to_owned(),
            sender_id: self.id.to_string(),
            created_at: Some(now.into()),
            protocol_version: PROTOCOL_VERSION,
            payload: Some(body),
            ..BusPacket::default()
        };
        Message::new(Arc::clone(subject), packet)
    }

    /// Publishes what may be lost: a later message says the same or better.
    pub(crate) async fn publish_lossy(&self, message: Message) {
        let Err(message) = self.bus.try_publish(message) else { return };
        let subject = Arc::clone(&message.subject);
        if let Err(error) = self.bus.publish(message).await {
            tracing::warn!(%error, worker_id = &*self.id, subject = &*subject, "a message of the worker was not sent");
        }
    }

    /// Sleeps `wait` by the worker's clock.
    pub(crate) async fn sleep(&self, wait: Duration) {
        if let Ok(at) = self.clock.now().checked_add(wait) {
            self.clock.sleep_until(at).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// How long to wait before attempt `n` (from 1) at something that failed: 50 ms doubling up to 5 s, of which the
    /// upper half is random so that many workers do not come back together.
    pub(crate) fn backoff(&self, n: u32) -> Duration {
        const FIRST_MS: u64 = 50;
        const LAST_MS: u64 = 5_000;
        let full = FIRST_MS.saturating_mul(1 << (n.saturating_sub(1)).min(16)).min(LAST_MS);
        let half = full / 2;
        Duration::from_millis(half + self.ids.random() % (half + 1))
    }
}
