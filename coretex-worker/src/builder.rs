//! Building a worker: what is required first, options after, judged once in `build`.

use std::{fmt, sync::Arc, time::Duration};

use coretex_core::{
    ports::{Blobs, Bus, Clock, IdSource, SystemClock, SystemIds},
    protocol::subjects::{self, SubjectError},
};

use crate::{
    handler::{Bound, Handler, Unbound, unbound},
    layer::JobLayer,
    runtime::{
        Worker,
        shared::{Handlers, Options, Shared, WorkerPorts},
    },
};

/// No state was given: the handlers have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoState;

/// The state that `with_state` gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given<S>(S);

/// Says where the handlers' state `S` comes from; nothing else implements it.
#[diagnostic::on_unimplemented(
    message = "the handlers need the state `{S}`, and none was given",
    label = "call `.with_state(..)` before `.build()`"
)]
pub trait StateSource<S>: sealed::Sealed {
    #[doc(hidden)]
    fn state(self) -> S;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NoState {}
    impl<S> Sealed for super::Given<S> {}
}

impl StateSource<()> for NoState {
    fn state(self) {}
}

impl<S> StateSource<S> for Given<S> {
    fn state(self) -> S {
        self.0
    }
}

/// Where the jobs come from.
enum Place {
    Bus(Arc<dyn Bus>),
    #[cfg(feature = "ws")]
    Server(crate::connect::Server),
}

/// Builds a [`Worker`]. `S` is the handlers' state, `G` says whether it was given.
#[must_use = "a builder does nothing until `build`"]
pub struct WorkerBuilder<S, G = NoState> {
    place: Place,
    blobs: Option<Arc<dyn Blobs>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    id: Option<String>,
    options: Options,
    handlers: Vec<(String, Unbound<S>)>,
    layers: Vec<Wrap>,
    given: G,
}

/// A layer whose types are forgotten.
type Wrap = Box<dyn Fn(Bound) -> Bound + Send>;

/// Most jobs one worker runs at once.
pub const MAX_PARALLEL: u32 = 65_536;

impl<S> WorkerBuilder<S> {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self::at(Place::Bus(bus))
    }

    #[cfg(feature = "ws")]
    pub(crate) fn connecting(url: String) -> Self {
        Self::at(Place::Server(crate::connect::Server::new(url)))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            blobs: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            id: None,
            options: Options::default(),
            handlers: Vec::new(),
            layers: Vec::new(),
            given: NoState,
        }
    }

    /// The state that handlers take with [`State`](crate::State). May be called before or after
    /// [`WorkerBuilder::handle`].
    pub fn with_state(self, state: S) -> WorkerBuilder<S, Given<S>> {
        let Self { place, blobs, clock, ids, id, options, handlers, layers, given: NoState } = self;
        WorkerBuilder { place, blobs, clock, ids, id, options, handlers, layers, given: Given(state) }
    }
}

impl<S, G> WorkerBuilder<S, G> {
    /// Has `handler` do the jobs of `topic`, which may be a filter such as `job.sre.*` or `job.sre.>`. No job may
    /// match two of them. The workers of a topic share its jobs when they name it alike: the bus gives a copy to each
    /// different filter.
    pub fn handle<H, Args>(mut self, topic: impl Into<String>, handler: H) -> Self
    where
        H: Handler<Args, S>,
        S: Send + Sync + 'static,
    {
        self.handlers.push((topic.into(), unbound(handler)));
        self
    }

    /// Like [`WorkerBuilder::handle`], with `layer` around the handler.
    pub fn handle_layered<H, Args, L>(mut self, topic: impl Into<String>, handler: H, layer: L) -> Self
    where
        H: Handler<Args, S>,
        S: Send + Sync + 'static,
        L: JobLayer,
    {
        let bind = unbound(handler);
        self.handlers.push((topic.into(), Box::new(move |state| layer.wrap(bind(state)))));
        self
    }

    /// Puts `layer` around every handler, those that are added later included; the last one is the outermost, and all of
    /// them are outside of those of [`WorkerBuilder::handle_layered`]. Each handler gets a service of its own: what all of
    /// them shall share, such as one limit, the layer has to share itself.
    ///
    /// An error of a layer that is no [`JobError`](crate::JobError) ends the job as retryable, with the code
    /// `layer_failed`. A service that is not ready keeps its job waiting, in its slot, until the job is stopped. Handlers
    /// with layers always get a task of their own.
    pub fn layer<L: JobLayer>(mut self, layer: L) -> Self {
        self.layers.push(Box::new(move |handler| layer.wrap(handler)));
        self
    }

    /// The pool the worker belongs to; none unless told.
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.options.pool = pool.into();
        self
    }

    /// The worker's id, one token without a dot; unique among the workers of a bus. `worker-<uuid>` unless told.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Something the worker can do, for routing by `requires`; call it once for each.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.options.capabilities.push(capability.into());
        self
    }

    /// A label for placement.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.labels.insert(name.into(), value.into());
        self
    }

    /// The region the worker runs in; none unless told.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.options.region = region.into();
        self
    }

    /// The kind of worker; none unless told.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.options.kind = kind.into();
        self
    }

    /// Jobs that run at once, 1 to [`MAX_PARALLEL`]; 16 unless told. No delivery is taken beyond it.
    pub fn max_parallel(mut self, jobs: u32) -> Self {
        self.options.max_parallel = jobs;
        self
    }

    /// The API key of the server that [`Worker::connect`] names. Of no use to a worker on a bus.
    #[cfg(feature = "ws")]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        if let Place::Server(server) = &mut self.place {
            server.key(key.into());
        }
        self
    }

    /// Trusts the certificates of this PEM file, beside the system's, for a server at `wss://`.
    #[cfg(feature = "ws")]
    pub fn ca_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        if let Place::Server(server) = &mut self.place {
            server.ca_file(path.into());
        }
        self
    }

    /// Where inputs behind pointers are read and large outputs are written. Required beyond one process, but for a worker
    /// that is connected to a server, which has them at the server's unless told.
    pub fn with_blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// The clock; the system's unless told.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where ids and jitter come from; the system unless told.
    pub fn with_ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// After how long an unsettled delivery is delivered again; 30 s unless told. While a job runs it is extended at
    /// a third of it, so this is how soon the job of a worker that died is noticed.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.options.ack_wait = wait;
        self
    }

    /// Time between heartbeats; 10 s unless told. `None` sends none: a control plane on another machine then holds
    /// the worker for lost.
    pub fn heartbeat_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.options.heartbeat_interval = interval.into();
        self
    }

    /// How long a job runs before it is announced as running; 100 ms unless told. Jobs that end sooner cost no
    /// message.
    pub fn announce_after(mut self, wait: Duration) -> Self {
        self.options.announce_after = wait;
        self
    }

    /// Shortest time between two progress messages of one job; 250 ms unless told. Of the reports in between the last
    /// one is sent.
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.options.progress_interval = interval;
        self
    }

    /// How long a handler may go on after it was asked to stop before it is dropped at its next await; 5 s unless
    /// told.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.options.cancel_grace = grace;
        self
    }

    /// How long a drain lets running jobs finish; 30 s unless told.
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.options.drain_grace = grace;
        self
    }

    /// Outputs up to about this many bytes of JSON travel beside their result within one process; larger ones go to
    /// the blob store, if there is one. 256 KiB unless told. Between processes every output goes to the blob store.
    pub fn inline_output_bytes(mut self, bytes: usize) -> Self {
        self.options.inline_bytes = bytes;
        self
    }

    /// How many results are kept to answer repeated deliveries, and about how many bytes of outputs with them. 1,024
    /// and 16 MiB unless told.
    pub fn remember_results(mut self, results: usize, bytes: usize) -> Self {
        self.options.remember.results = results;
        self.options.remember.result_bytes = bytes;
        self
    }

    /// How many cancels of jobs that have not come yet are kept; 4,096 unless told.
    pub fn remember_cancels(mut self, cancels: usize) -> Self {
        self.options.remember.cancels = cancels;
        self
    }

    /// Judges all of it.
    ///
    /// # Errors
    /// [`BuildError`] names the first thing that is wrong.
    pub fn build(self) -> Result<Worker, BuildError>
    where
        G: StateSource<S>,
    {
        let Self { place, blobs, clock, ids, id, options, handlers, layers, given } = self;
        let id = id.unwrap_or_else(|| format!("worker-{}", ids.uuid()));
        subjects::worker_jobs(&id).map_err(|source| BuildError::Id { id: id.clone(), source: Some(source) })?;
        if id.contains('.') {
            return Err(BuildError::Id { id, source: None });
        }
        if options.max_parallel == 0 || options.max_parallel > MAX_PARALLEL {
            return Err(BuildError::MaxParallel { found: options.max_parallel });
        }
        let intervals = [("ack_wait", Some(options.ack_wait)), ("heartbeat_interval", options.heartbeat_interval)];
        for (option, interval) in intervals {
            if interval.is_some_and(|interval| interval < SHORTEST) {
                return Err(BuildError::TooShort { option });
            }
        }
        let (bus, blobs) = match place {
            Place::Bus(bus) => (bus, blobs),
            #[cfg(feature = "ws")]
            Place::Server(server) => {
                let bus = server.connect(&id, options.max_parallel)?;
                let blobs = blobs.or_else(|| Some(Arc::new(bus.blobs())));
                (Arc::new(bus) as Arc<dyn Bus>, blobs)
            }
        };
        if !bus.capabilities().in_process && blobs.is_none() {
            return Err(BuildError::BlobsMissing { bus: bus.capabilities().name });
        }
        let state = Arc::new(given.state());
        let mut found = Handlers::default();
        for (topic, handler) in handlers {
            judge_topic(&topic)?;
            if let Some(other) = found.filters().into_iter().find(|other| overlap(other, &topic)) {
                return Err(BuildError::TopicTwice { topic, other });
            }
            let handler = layers.iter().fold(handler(Arc::clone(&state)), |inner, wrap| wrap(inner));
            if is_filter(&topic) {
                found.wild.push((topic, handler));
            } else {
                found.exact.insert(topic, handler);
            }
        }
        if found.exact.is_empty() && found.wild.is_empty() {
            return Err(BuildError::NoHandler);
        }
        let ports = WorkerPorts { bus, blobs, clock, ids };
        Ok(Worker::new(Shared::new(id, ports, options, found)))
    }
}

const SHORTEST: Duration = Duration::from_millis(10);

fn is_filter(topic: &str) -> bool {
    topic.contains(['*', '>'])
}

/// Whether some subject matches both.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

pub(crate) fn judge_topic(topic: &str) -> Result<(), BuildError> {
    let refused = |source| BuildError::Topic { topic: topic.to_owned(), source };
    subjects::check_filter(topic).map_err(refused)?;
    if !is_filter(topic) {
        return subjects::check_topic(topic).map_err(refused);
    }
    // A filter that covers the system's own subjects would take what is not for workers.
    if topic.starts_with(subjects::TOPIC_PREFIX) {
        return Ok(());
    }
    Err(refused(SubjectError::Reserved { subject: topic.to_owned() }))
}

impl<S, G> fmt::Debug for WorkerBuilder<S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("id", &self.id)
            .field("options", &self.options)
            .field("topics", &self.handlers.iter().map(|(topic, _)| topic).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What is wrong with how a worker was built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nothing to do.
    #[error("the worker has no handler; add one with `handle(topic, function)`")]
    NoHandler,
    /// Two handlers for one topic.
    #[error("topics `{other}` and `{topic}` match the same jobs, which would be done twice; keep one of them")]
    TopicTwice {
        /// The topic.
        topic: String,
        /// The one it overlaps with.
        other: String,
    },
    /// A topic or filter that workers cannot listen to.
    #[error("topic `{}` is not legal; use `job.<name>`, or a filter such as `job.<name>.*`", .topic.escape_debug())]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        #[source]
        source: SubjectError,
    },
    /// An id that makes no address.
    #[error("worker id `{}` is not legal; use letters, digits, `-` and `_`, and no dot", .id.escape_debug())]
    Id {
        /// The id.
        id: String,
        /// What is wrong with it.
        #[source]
        source: Option<SubjectError>,
    },
    /// No slot, or too many.
    #[error("max_parallel is {found}; use 1 to {MAX_PARALLEL}")]
    MaxParallel {
        /// The number given.
        found: u32,
    },
    /// An interval below 10 ms.
    #[error("{option} is shorter than 10 ms; use a longer one")]
    TooShort {
        /// The option.
        option: &'static str,
    },
    /// The server's address is none, or the certificates for it cannot be read.
    #[cfg(feature = "ws")]
    #[error(transparent)]
    Address(#[from] coretex_bus::socket::AddressError),
    /// A bus that leaves the process, and nowhere to read inputs from or write outputs to.
    #[error("bus `{bus}` leaves the process, so inputs and outputs travel by pointer; give a store with `with_blobs`")]
    BlobsMissing {
        /// The bus adapter.
        bus: &'static str,
    },
}

impl BuildError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHandler => "worker_no_handler",
            Self::TopicTwice { .. } => "worker_topic_twice",
            Self::Topic { .. } => "worker_topic_invalid",
            Self::Id { .. } => "worker_id_invalid",
            Self::MaxParallel { .. } => "worker_max_parallel_invalid",
            Self::TooShort { .. } => "worker_interval_too_short",
            #[cfg(feature = "ws")]
            Self::Address(error) => error.code(),
            Self::BlobsMissing { .. } => "worker_blobs_missing",
        }
    }
}
