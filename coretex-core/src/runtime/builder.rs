//! Building a control plane: ports joined, what was under way taken up again.

use std::sync::{Arc, Mutex, OnceLock, atomic::AtomicBool};

use arc_swap::ArcSwap;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    ControlPlane, Options, PlaneError, clients, concurrency,
    definitions::Definitions,
    executor::Executor,
    inbound, keepers,
    keys::{self, HOT, OUTBOX},
    outbound::{self, Outgoing},
    placement::{self, Placement},
    refusals::Refusals,
    restart,
    shared::{Reply, Shared, Work},
    sweep, timers,
    turns::Turns,
    workers::Workers,
};
use crate::{
    ports::{
        Blobs, Bus, Clock, IdSource, PolicyEngine, Scan, Store, SystemClock, SystemIds,
        memory::{MemoryBlobs, MemoryBus, MemoryStore},
    },
    scheduler::Routes,
};

/// What was taken up again when a control plane was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Runs and jobs whose work was handed out again.
    pub resumed: usize,
    /// Announcements that were published again.
    pub announced: usize,
}

/// Joins ports into a [`ControlPlane`]. What is not given is kept in memory.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    policy: Arc<dyn PolicyEngine>,
    store: Option<Arc<dyn Store>>,
    bus: Option<Arc<dyn Bus>>,
    blobs: Option<Arc<dyn Blobs>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    routes: Routes,
    options: Options,
}

impl Builder {
    pub(super) fn new(policy: Arc<dyn PolicyEngine>) -> Self {
        Self {
            policy,
            store: None,
            bus: None,
            blobs: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            routes: Routes::open(),
            options: Options::default(),
        }
    }

    /// Keeps state in `store`; in memory, and not durable, unless told.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Talks to workers over `bus`; in process unless told.
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Keeps large payloads in `blobs`; in memory unless told.
    pub fn blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes identities and randomness from `ids`.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Maps topics to pools; every topic goes to the pool `default` unless told.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Replaces the settings.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Starts the control plane on the current tokio runtime and takes up what was under way: work that a worker may
    /// have had is handed out again, announcements that may not have been made are made, timers are armed.
    ///
    /// # Errors
    /// When a setting is out of range, or the store or the bus cannot be used.
    pub async fn start(self) -> Result<ControlPlane, PlaneError> {
        self.options.judge()?;
        let clock = self.clock;
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(clock.clone())));
        let bus = self.bus.unwrap_or_else(|| Arc::new(MemoryBus::new(clock.clone())));
        let blobs = self.blobs.unwrap_or_else(|| Arc::new(MemoryBlobs::new(clock.clone())));
        let (timers, armed) = mpsc::unbounded_channel();
        let routes = Arc::new(self.routes);
        let shared = Arc::new(Shared {
            store,
            bus,
            blobs,
            policy: self.policy,
            clock,
            ids: self.ids,
            sender_id: self.options.sender_id.as_str().into(),
            options: self.options,
            placement: Placement::new(routes.clone()),
            routes: ArcSwap::new(routes),
            definitions: Definitions::default(),
            workers: Workers::default(),
            refused: Refusals::default(),
            executors: OnceLock::new(),
            gates: Turns::default(),
            keepers: Turns::default(),
            timers,
            closed: AtomicBool::new(false),
            tasks: Mutex::new(JoinSet::new()),
            pinning: tokio::sync::RwLock::new(()),
            fetching: Arc::new(tokio::sync::Semaphore::new(super::outputs::MOST_FETCHES)),
        });
        let plane = ControlPlane::over(shared.clone());
        let mut inboxes = Vec::new();
        for _ in 0..shared.options.executor_count() {
            let (inbox, commands) = mpsc::channel(shared.options.inbox);
            shared.spawn_vital("an executor", Executor::new(shared.clone(), commands).run());
            inboxes.push(inbox);
        }
        // Set once, here.
        let _first = shared.executors.set(inboxes);
        placement::restore(&shared).await?;
        inbound::listen(&shared).await?;
        let report = recover(&shared).await?;
        concurrency::recover(&shared).await?;
        keepers::recover(&shared).await?;
        shared.spawn_vital("the timers", timers::run(shared.clone(), armed));
        shared.spawn_vital("the watch over slots", placement::run(shared.clone()));
        restart::recover(&shared).await?;
        // Last, so that what was there comes before what is new.
        clients::listen(&shared).await?;
        if let Some(every) = shared.options.sweep_every {
            shared.spawn(sweep::run(shared.clone(), every));
        }
        plane.set_recovery(report);
        Ok(plane)
    }
}

/// Takes up everything whose wake source is work in flight, and every announcement that may not have been made.
async fn recover(shared: &Arc<Shared>) -> Result<RecoveryReport, PlaneError> {
    let mut report = RecoveryReport::default();
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(HOT).after(after)).await?;
        for entry in &page.entries {
            if let Some(aggregate) = keys::parse_hot(&entry.key) {
                shared.send(aggregate, Work::Recover, Reply::Nobody).await?;
                report.resumed += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    loop {
        let page = shared.store.scan(Scan::prefix(OUTBOX).after(after)).await?;
        for entry in page.entries {
            match (serde_json::from_slice::<Outgoing>(&entry.value), keys::parse_outbox(&entry.key)) {
                (Ok(effect), Some(owner)) => {
                    // One may wait for another, so none may hold up the others.
                    shared.spawn(outbound::empty(shared.clone(), owner, effect, Some(entry.key)));
                    report.announced += 1;
                }
                (Ok(_), None) => tracing::error!(key = %entry.key, "an announcement of nobody stays"),
                (Err(error), _) => {
                    tracing::error!(key = %entry.key, %error, "an announcement cannot be read and stays")
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if report != RecoveryReport::default() {
        tracing::info!(resumed = report.resumed, announced = report.announced, "took up what was under way");
    }
    Ok(report)
}
