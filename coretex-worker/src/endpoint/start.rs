//! Endpoints at work: one worker for each.

use std::{fmt, sync::Arc, time::Duration};

use coretex_core::ports::{Blobs, Bus, IdSource, SystemIds};
use futures::future::join_all;

#[cfg(feature = "http")]
use super::net::resolve::{Resolver, SystemResolver};
use super::{document, problem::EndpointsError, runner::Endpoint, secret::Secrets};
use crate::{
    builder::{BuildError, WorkerBuilder},
    extract::JobContext,
    job_error::JobError,
    runtime::{RunningWorker, Worker, WorkerError},
};

/// Beyond an endpoint's own grace: until then its runner has stopped what it started.
const SLACK: Duration = Duration::from_secs(5);

/// What the host gives to endpoints: where secrets are and how names are resolved.
#[derive(Clone, Debug)]
#[must_use]
pub struct Host {
    pub(crate) secrets: Secrets,
    #[cfg(feature = "http")]
    pub(crate) resolver: Arc<dyn Resolver>,
}

impl Default for Host {
    /// Secrets from the environment, names from the system.
    fn default() -> Self {
        Self {
            secrets: Secrets::default(),
            #[cfg(feature = "http")]
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl Host {
    /// Where secrets are.
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Who resolves names to addresses; each address is judged after it.
    #[cfg(feature = "http")]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }
}

/// One endpoint and where it stands.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: String,
    pub(crate) topics: Vec<String>,
    pub(crate) pool: String,
    pub(crate) max_parallel: u32,
    pub(crate) endpoint: Arc<Endpoint>,
}

/// The endpoints of a document, ready to start.
#[derive(Debug)]
#[must_use = "endpoints do nothing until they are started"]
pub struct Endpoints(Vec<Station>);

/// Why endpoints did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The endpoint's worker cannot be built.
    #[error("endpoint `{endpoint}`: {source}")]
    Build {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: BuildError,
    },
    /// The bus refused the endpoint's worker.
    #[error("endpoint `{endpoint}`: {source}")]
    Worker {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: WorkerError,
    },
    /// What the endpoint needs is not there.
    #[error("endpoint `{endpoint}`: {source}")]
    Prepare {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: JobError,
    },
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Build { source, .. } => source.code(),
            Self::Worker { source, .. } => source.code(),
            Self::Prepare { source, .. } => source.code(),
        }
    }
}

impl Endpoints {
    /// Reads `endpoints.yaml` (or JSON); `name` is the file's name in errors. Starts and resolves nothing.
    ///
    /// # Errors
    /// Everything that is wrong with the document, each with its place.
    pub fn parse(name: &str, text: &str, host: &Host) -> Result<Self, EndpointsError> {
        document::parse(name, text, host)
    }

    pub(crate) const fn new(stations: Vec<Station>) -> Self {
        Self(stations)
    }

    /// The names of the endpoints, in the document's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|station| station.name.as_str())
    }

    /// What the worker of endpoint `name` advertises: what its runner enforces, the tools it uses, its profile.
    #[must_use]
    pub fn capabilities(&self, name: &str) -> Vec<&str> {
        let station = self.0.iter().find(|station| station.name == name);
        station.map_or_else(Vec::new, |s| s.endpoint.offer.capabilities.iter().map(String::as_str).collect())
    }

    /// Starts one worker for each endpoint on `bus`. Large outputs go to `blobs`, which a bus that leaves the process
    /// requires. What crashed workers left is removed first.
    ///
    /// # Errors
    /// The first endpoint that does not start; those that did are drained again.
    pub async fn start(self, bus: Arc<dyn Bus>, blobs: Option<Arc<dyn Blobs>>) -> Result<RunningEndpoints, StartError> {
        let mut running = RunningEndpoints(Vec::new());
        for station in self.0 {
            match station.start(Arc::clone(&bus), blobs.clone()).await {
                Ok(worker) => running.0.push(worker),
                Err(error) => {
                    running.drain().await;
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

impl Station {
    async fn start(self, bus: Arc<dyn Bus>, blobs: Option<Arc<dyn Blobs>>) -> Result<RunningWorker, StartError> {
        let Self { name, topics, pool, max_parallel, endpoint } = self;
        let prepared = endpoint.runner.prepare().await;
        prepared.map_err(|source| StartError::Prepare { endpoint: name.clone(), source })?;
        let mut builder: WorkerBuilder<()> = Worker::builder(bus)
            .id(format!("endpoint-{name}-{}", SystemIds.uuid()))
            .pool(pool)
            .kind("endpoint")
            .label("endpoint", &name)
            .max_parallel(max_parallel)
            .cancel_grace(endpoint.grace.saturating_add(SLACK));
        if let Some(blobs) = blobs {
            builder = builder.with_blobs(blobs);
        }
        for capability in &endpoint.offer.capabilities {
            builder = builder.capability(capability);
        }
        for topic in topics {
            let endpoint = Arc::clone(&endpoint);
            let handler = move |job: JobContext| {
                let endpoint = Arc::clone(&endpoint);
                async move { endpoint.handle(job).await.map(MaybeOutput) }
            };
            builder = builder.handle(topic, handler);
        }
        let worker = builder.build().map_err(|source| StartError::Build { endpoint: name.clone(), source })?;
        worker.start().await.map_err(|source| StartError::Worker { endpoint: name, source })
    }
}

/// An output, or none.
struct MaybeOutput(Option<Arc<coretex_core::value::Value>>);

impl crate::handler::IntoOutput for MaybeOutput {
    fn into_output(self) -> crate::handler::HandlerResult {
        Ok(self.0)
    }
}

/// Endpoints that take jobs. Dropping it drains them in the background.
#[must_use = "dropping it stops the endpoints"]
pub struct RunningEndpoints(Vec<RunningWorker>);

impl RunningEndpoints {
    /// The ids of the workers.
    pub fn worker_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(RunningWorker::id)
    }

    /// Takes nothing new, lets running jobs finish within the drain grace, then stops what still runs.
    pub async fn drain(&self) {
        join_all(self.0.iter().map(RunningWorker::drain)).await;
    }
}

impl fmt::Debug for RunningEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunningEndpoints").field(&self.worker_ids().collect::<Vec<_>>()).finish()
    }
}
