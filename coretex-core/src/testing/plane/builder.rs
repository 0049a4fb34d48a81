//! Setting a test up.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    TestPlane,
    people::Approver,
    policy::Replaceable,
    presence::{Presence, Pulse, Shown},
    script::{ApproverScript, Hidden, WorkerScript},
    workers::Worker,
};
use crate::{
    governance::Principal,
    policy::{Outcome, fixed},
    ports::{
        PolicyEngine, SeededIds, Store,
        memory::{MemoryBlobs, MemoryStore},
    },
    runtime::{Options, PlaneError, PlaneErrorKind},
    scheduler::Routes,
    testing::{
        VirtualClock,
        faults::{FaultPlan, Faults},
    },
    workflow::Workflow,
};

/// When tests begin, unless told: the first second of 2030.
const START: i64 = 1_893_456_000;

/// Sets up a [`TestPlane`]. See its page for the defaults.
#[derive(Debug)]
#[must_use]
pub struct TestPlaneBuilder {
    seed: u64,
    workflows: Vec<String>,
    workers: Vec<Worker>,
    approvers: Vec<Approver>,
    policy: Arc<dyn PolicyEngine>,
    routes: Routes,
    faults: Faults,
    options: Options,
    principal: Principal,
    store: Option<Arc<dyn Store>>,
    clock: VirtualClock,
}

impl TestPlaneBuilder {
    pub(super) fn new() -> Self {
        let start = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        // Not by the number of processors, so that a seed means the same everywhere.
        let options = Options { executors: 2, ..Options::default() };
        Self {
            seed: 1,
            workflows: Vec::new(),
            workers: Vec::new(),
            approvers: Vec::new(),
            policy: Arc::new(fixed(Outcome::Allow)),
            routes: Routes::open(),
            faults: FaultPlan::default().arm(),
            options,
            principal: Principal::service("test"),
            store: None,
            clock: VirtualClock::new(start),
        }
    }

    /// Ids and jitter follow from `seed`; 1 unless told.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Stores a workflow, given as YAML or JSON.
    pub fn workflow(mut self, text: impl Into<String>) -> Self {
        self.workflows.push(text.into());
        self
    }

    /// Lets a worker serve `topic` (or a filter such as `job.>`) by `script`: a [`Reply`](super::Reply), a list of
    /// them by attempt, or a function of the job. Workers of the same topic share its jobs.
    pub fn worker(self, topic: impl Into<String>, script: impl WorkerScript) -> Self {
        let presence = Presence::new(format!("worker-{}", self.workers.len() + 1));
        self.worker_as(presence, topic, script)
    }

    /// As [`worker`](Self::worker), for one that says this of itself.
    pub fn worker_as(mut self, presence: Presence, topic: impl Into<String>, script: impl WorkerScript) -> Self {
        let script = Arc::new(Mutex::new(Hidden(Box::new(script) as Box<dyn WorkerScript>)));
        self.workers.push(Worker { presence, heart: Shown::new(Pulse::Awake), topic: topic.into(), script });
        self
    }

    /// Lets somebody answer questions by `script`: a [`Say`](super::Say), or a function of the question.
    pub fn approver(mut self, id: impl Into<String>, script: impl ApproverScript) -> Self {
        let script = Arc::new(Mutex::new(Hidden(Box::new(script) as Box<dyn ApproverScript>)));
        self.approvers.push(Approver { id: id.into(), script });
        self
    }

    /// Judges jobs by `policy`; everything is allowed unless told.
    pub fn policy(mut self, policy: impl PolicyEngine) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Maps topics to pools; everything goes to the pool `default` unless told.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Lets things go wrong, from the end of the set-up on.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = faults.clone();
        self
    }

    /// Replaces the settings of the control plane. `executors: 0` depends on the machine; name a number.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets how long a job may take that says nothing about it.
    pub const fn job_timeout(mut self, timeout: Duration) -> Self {
        self.options.default_job_timeout = timeout;
        self
    }

    /// Acts on the authority of `principal`; a service of the tenant `default` unless told.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }

    /// Keeps state in `store` instead of memory. The test never closes it.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Takes the time from `clock`, to share it with a store given by [`store`](Self::store).
    pub fn clock(mut self, clock: VirtualClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets it up on the current tokio runtime, which must be of the current-thread flavour for runs to repeat exactly.
    ///
    /// # Errors
    /// When a workflow is not legal, a setting is out of range, or the store cannot be used.
    pub async fn build(self) -> Result<TestPlane, PlaneError> {
        let workflows =
            self.workflows.iter().map(|text| Workflow::parse("workflow", text)).collect::<Result<Vec<_>, _>>()?;
        let clock = Arc::new(self.clock.clone());
        self.faults.rest();
        let plane = TestPlane {
            ids: Arc::new(SeededIds::new(self.seed, clock.clone())),
            store: self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(clock.clone()))),
            blobs: Arc::new(MemoryBlobs::new(clock)),
            clock: self.clock,
            workers: self.workers,
            approvers: self.approvers,
            policy: Arc::new(Replaceable::new(self.policy)),
            routes: Mutex::new(self.routes),
            faults: self.faults,
            options: self.options,
            principal: self.principal,
            published: Arc::default(),
            beats: Shown::new(false),
            current: Mutex::new(None),
        };
        plane.open().await?;
        for workflow in workflows {
            plane.drive(plane.plane()?.put_workflow(&plane.principal, workflow)).await?;
        }
        plane.settle().await;
        plane.faults.resume();
        Ok(plane)
    }

    /// Sets it up on a runtime of its own, runs `test` on it and gives what that gives.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the runtime cannot be made.
    pub fn run<T>(self, test: impl AsyncFnOnce(&TestPlane) -> T) -> Result<T, PlaneError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
            PlaneError::new(PlaneErrorKind::Internal, "runtime_missing", format!("no tokio runtime: {error}"))
        })?;
        runtime.block_on(async {
            let plane = self.build().await?;
            Ok(test(&plane).await)
        })
    }
}
