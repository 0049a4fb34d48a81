//! One machine, one directory: the adapters joined into a control plane.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use coretex_core::{
    governance::Principal,
    ports::{BlobError, Bus, Clock, PolicyEngine, StoreError, SystemClock, memory::MemoryBus},
    runtime::{ControlPlane, PlaneError},
    scheduler::{ConfigError, Routes, Timeouts},
    workflow::{DefinitionError, Workflow},
};
use coretex_store::{blobs::FileBlobs, embedded::EmbeddedStore};

/// What a control plane of one machine is made of. State lives in `<data>/store`, payloads in `<data>/blobs`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use coretex_core::policy::{Outcome, fixed};
/// use coretex_server::Platform;
///
/// let plane = Platform::new(".coretex", fixed(Outcome::Allow)).open().await?;
/// plane.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Platform {
    data: PathBuf,
    policy: Arc<dyn PolicyEngine>,
    bus: Option<Arc<dyn Bus>>,
    routes: Routes,
    timeouts: Option<Timeouts>,
    definitions: Vec<Workflow>,
}

/// Why a platform cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store cannot be used; the text names the file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs cannot be used; the text names the directory.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The control plane does not start.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// A pools document cannot be used.
    #[error(transparent)]
    Pools(#[from] ConfigError),
    /// A workflow cannot be used.
    #[error(transparent)]
    Workflow(#[from] DefinitionError),
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}; check the path and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl OpenError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Blobs(error) => error.code(),
            Self::Plane(error) => error.code(),
            Self::Pools(error) => error.code(),
            Self::Workflow(error) => error.code(),
            Self::File { .. } => "file_unreadable",
        }
    }
}

impl Platform {
    /// A platform on the directory `data`, which is made if it is missing, whose jobs `policy` judges.
    pub fn new(data: impl Into<PathBuf>, policy: impl PolicyEngine) -> Self {
        Self {
            data: data.into(),
            policy: Arc::new(policy),
            bus: None,
            routes: Routes::open(),
            timeouts: None,
            definitions: Vec::new(),
        }
    }

    /// Talks to workers over `bus`; over one of its own in this process unless told.
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Maps topics to pools; every topic goes to the pool `default` unless told.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// As [`Platform::routes`], from a `pools.yaml`.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub fn pools_file(self, path: &Path) -> Result<Self, OpenError> {
        let routes = Routes::parse(&path.display().to_string(), &read(path)?)?;
        Ok(self.routes(routes))
    }

    /// Takes timeouts and retries from a `timeouts.yaml`, for what does not say its own.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub fn timeouts_file(mut self, path: &Path) -> Result<Self, OpenError> {
        self.timeouts = Some(Timeouts::parse(&path.display().to_string(), &read(path)?)?);
        Ok(self)
    }

    /// Stores a definition at the start, in place of an older one under its id.
    pub fn workflow(mut self, workflow: Workflow) -> Self {
        self.definitions.push(workflow);
        self
    }

    /// As [`Platform::workflow`] for every `.yaml`, `.yml` and `.json` file directly in `directory`, by name.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, or a file is no workflow.
    pub fn workflows_in(mut self, directory: &Path) -> Result<Self, OpenError> {
        let unreadable = |source| OpenError::File { path: directory.to_owned(), source };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            self = self.workflow(Workflow::parse(&path.display().to_string(), &read(&path)?)?);
        }
        Ok(self)
    }

    /// Opens the directory, takes up what was under way, stores the definitions.
    ///
    /// # Errors
    /// When the directory is in use or damaged, or the control plane does not start.
    pub async fn open(self) -> Result<ControlPlane, OpenError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        tracing::debug!(directory = %self.data.display(), "opening the store");
        let store = EmbeddedStore::open(self.data.join("store")).await?;
        tracing::debug!("opened the store");
        let blobs = FileBlobs::open(self.data.join("blobs"), clock.clone()).await?;
        let bus = self.bus.unwrap_or_else(|| Arc::new(MemoryBus::new(clock.clone())));
        tracing::debug!("opened the blobs");
        let builder = ControlPlane::builder_shared(self.policy).store(Arc::new(store)).blobs(Arc::new(blobs)).bus(bus);
        let routes = match self.timeouts {
            Some(timeouts) => self.routes.with_timeouts(timeouts),
            None => self.routes,
        };
        let plane = builder.clock(clock).routes(routes).start().await?;
        tracing::debug!(resumed = plane.recovery().resumed, "started the control plane");
        for workflow in self.definitions {
            let owner = Principal::service("coretex").for_tenant(workflow.tenant().clone());
            plane.put_workflow(&owner, workflow).await?;
        }
        tracing::debug!("stored the definitions");
        Ok(plane)
    }
}

fn read(path: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(path).map_err(|source| OpenError::File { path: path.to_owned(), source })
}
