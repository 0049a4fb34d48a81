//! A control plane for tests: in process, in virtual time, with scripted workers and people, by seed.
//!
//! ```
//! use std::time::Duration;
//!
//! use coretex_core::testing::{Reply, TestPlane};
//! use serde_json::json;
//!
//! let workflow = "
//!     id: trial
//!     steps:
//!       enrol: {topic: job.mail}
//!       wait: {type: delay, delay_sec: 2592000, depends_on: [enrol]}
//!       remind: {topic: job.mail, depends_on: [wait]}";
//! TestPlane::builder()
//!     .workflow(workflow)
//!     .worker("job.mail", Reply::succeed(json!({"sent": true})))
//!     .run(async |plane| {
//!         let run = plane.start("trial", json!({})).await?;
//!         let end = plane.run_to_end(&run).await?; // thirty days, in no time
//!         assert_eq!(end.status().as_str(), "succeeded");
//!         assert!(plane.elapsed() >= Duration::from_secs(2_592_000));
//!         Ok::<(), coretex_core::runtime::PlaneError>(())
//!     })??;
//! # Ok::<(), coretex_core::runtime::PlaneError>(())
//! ```
//!
//! # Time
//!
//! Time stands still while test code runs. It moves only inside the methods of [`TestPlane`], and there only when nobody
//! has anything left to do: to the next deadline, however far that is. [`TestPlane::drive`] lends that to any other
//! future. Everything runs on one thread, ids and jitter follow from the seed: the same seed gives the same events.
//!
//! # Crashes
//!
//! [`TestPlane::crash_and_restart`] ends the control plane as `kill -9` would: its tasks stop where they are, the bus and
//! everything on it is gone, and so are the scripted workers and people with what they had in hand. The store keeps what
//! was committed. Methods that find the store crashed by a [`FaultPlan`](super::faults::FaultPlan) do the same by themselves and ask again.

mod builder;
mod people;
mod policy;
mod presence;
mod script;
mod workers;

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{Either, select};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

pub use builder::TestPlaneBuilder;
pub use policy::{FnPolicy, policy_fn};
pub use presence::Presence;
pub use script::{ApproverScript, Reply, Say, ScriptedJob, WorkerScript};

use self::{
    people::Approver,
    policy::Replaceable,
    presence::{Pulse, Shown},
    workers::Worker,
};
use super::{
    VirtualClock,
    faults::{Faults, FaultyBus, FaultyStore},
};
use crate::{
    governance::Principal,
    job::{Answer, RunId, StepRunId, WorkflowId},
    ports::{Bus, Clock, IdSource, Message, PolicyEngine, SeededIds, Store, memory::MemoryBlobs, memory::MemoryBus},
    protocol::JobRequest,
    runtime::{ControlPlane, Options, PlaneError, PlaneErrorKind, StartRequest},
    scheduler::Routes,
    workflow::{Run, TimelineEvent},
};

/// Tries of a call that finds the store unavailable or crashed: a plan that leaves nothing usable must not hang a test.
const TRIES: u32 = 1_000;

/// A control plane for tests. See the [module page](self).
///
/// Unless told otherwise: memory ports, two executors, everything allowed, every topic routed, no faults, seed 1, the
/// year 2030.
#[derive(Debug)]
pub struct TestPlane {
    clock: VirtualClock,
    ids: Arc<SeededIds>,
    store: Arc<dyn Store>,
    blobs: Arc<MemoryBlobs>,
    workers: Vec<Worker>,
    approvers: Vec<Approver>,
    policy: Arc<Replaceable>,
    routes: Mutex<Routes>,
    faults: Faults,
    options: Options,
    principal: Principal,
    published: Arc<Mutex<Vec<Message>>>,
    /// Whether workers say that they are there.
    beats: Arc<Shown<bool>>,
    current: Mutex<Option<Life>>,
}

/// What a crash ends.
#[derive(Debug)]
struct Life {
    plane: ControlPlane,
    store: FaultyStore,
    bus: Arc<dyn Bus>,
    /// The bus, as workers and people see it.
    faulty: Arc<dyn Bus>,
    /// Scripted workers and people.
    others: JoinSet<()>,
}

impl TestPlane {
    /// Begins to set one up.
    pub fn builder() -> TestPlaneBuilder {
        TestPlaneBuilder::new()
    }

    /// The control plane; another one after every crash.
    ///
    /// # Errors
    /// When the last restart failed.
    pub fn plane(&self) -> Result<ControlPlane, PlaneError> {
        Ok(self.life()?.0)
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// On whose authority the test acts.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The store beneath the faults: what it shows is what is durable.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// What goes wrong.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Virtual time since the year 2030 began; meaningless with a clock of your own.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let start = Timestamp::from_second(1_893_456_000).unwrap_or(Timestamp::UNIX_EPOCH);
        self.clock.now().duration_since(start).unsigned_abs()
    }

    /// Replaces the policy.
    pub fn set_policy(&self, policy: impl PolicyEngine) {
        self.policy.replace(Arc::new(policy));
    }

    /// Replaces the routes, for later lives too.
    ///
    /// # Errors
    /// When the last restart failed.
    pub fn set_routes(&self, routes: Routes) -> Result<(), PlaneError> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&routes);
        self.beats.set(!routes.is_open());
        self.plane()?.set_routes(routes);
        Ok(())
    }

    /// Stops the process of a worker where it is, as `SIGSTOP` does: it says nothing until
    /// [`thaw_worker`](Self::thaw_worker).
    pub fn freeze_worker(&self, id: &str) {
        self.set_pulse(id, Pulse::Frozen);
    }

    /// Lets a frozen worker go on where it was.
    pub fn thaw_worker(&self, id: &str) {
        self.set_pulse(id, Pulse::Awake);
    }

    /// Ends a worker, with what it has in hand.
    pub fn kill_worker(&self, id: &str) {
        self.set_pulse(id, Pulse::Dead);
    }

    fn set_pulse(&self, id: &str, pulse: Pulse) {
        self.workers.iter().filter(|worker| worker.presence.id == id).for_each(|worker| worker.heart.set(pulse));
    }

    /// Starts a worker that was killed anew. After a crash all of them are there again.
    ///
    /// # Errors
    /// When the last restart failed, or the bus is closed.
    pub async fn start_worker(&self, id: &str) -> Result<(), PlaneError> {
        let bus = self.current.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|life| life.faulty.clone());
        let Some(bus) = bus else { return Err(PlaneError::new(PlaneErrorKind::Closed, "plane_closed", "no plane")) };
        for worker in self.workers.iter().filter(|worker| worker.presence.id == id) {
            let works = worker.connect(bus.clone(), Arc::new(self.clock.clone()), self.beats.clone()).await?;
            if let Some(life) = self.current.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                life.others.spawn(works);
            }
        }
        Ok(())
    }

    /// Starts a run and answers when that is acknowledged. Repeats itself, under the same run id, over faults and
    /// crashes.
    ///
    /// # Errors
    /// What [`ControlPlane::start`] answers but `Unavailable`.
    pub async fn start(&self, workflow: &str, input: Value) -> Result<RunId, PlaneError> {
        let id = RunId::parse(&self.ids.uuid().to_string())?;
        self.start_with(StartRequest::new(WorkflowId::parse(workflow)?, input).run_id(id)).await
    }

    /// As [`TestPlane::start`], for any request. One without a run id or idempotency key may start more than one run
    /// when its answer is lost.
    ///
    /// # Errors
    /// What [`ControlPlane::start`] answers but `Unavailable`.
    pub async fn start_with(&self, request: StartRequest) -> Result<RunId, PlaneError> {
        self.ask(async |plane| plane.start(&self.principal, request.clone()).await).await
    }

    /// Lets time pass until the run has ended, restarting after every planned crash.
    ///
    /// # Errors
    /// When there is no such run, or nothing is left that could end it: then the message tells its story so far.
    pub async fn run_to_end(&self, run: &RunId) -> Result<Run, PlaneError> {
        for _ in 0..TRIES {
            let (plane, store) = self.life()?;
            let end = {
                let (ended, crashed) = (pin!(plane.wait(&self.principal, run)), pin!(store.crashed()));
                match select(select(ended, crashed), pin!(self.clock.auto_until(far()))).await {
                    Either::Left((Either::Left((end, _)), _)) => Some(end),
                    Either::Left((Either::Right(_), _)) => None,
                    Either::Right(_) => return Err(self.stuck(run).await),
                }
            };
            match end {
                Some(Ok(end)) => return Ok(Run::clone(&end)),
                None => self.crash_and_restart().await?,
                Some(Err(_)) if store.is_crashed() => self.crash_and_restart().await?,
                Some(Err(error)) if error.is_retryable() => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Err(self.stuck(run).await)
    }

    async fn stuck(&self, run: &RunId) -> PlaneError {
        let story = match self.timeline(run).await {
            Ok(events) => tell(&events),
            Err(error) => format!("its timeline cannot be read: {error}"),
        };
        let message = format!("run `{run}` has not ended, and nothing is left that could end it:\n{story}");
        PlaneError::new(PlaneErrorKind::Internal, "run_stuck", message)
    }

    /// The durable state of a run, now.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn run_state(&self, run: &RunId) -> Result<Run, PlaneError> {
        self.ask(async |plane| plane.run(&self.principal, run).await).await
    }

    /// The whole timeline of a run.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn timeline(&self, run: &RunId) -> Result<Vec<TimelineEvent>, PlaneError> {
        self.ask(async |plane| plane.timeline(&self.principal, run, 1, usize::MAX).await).await
    }

    /// Answers a step's question on behalf of `by`.
    ///
    /// # Errors
    /// What [`ControlPlane::answer_step`] answers.
    pub async fn answer(&self, run: &RunId, step: &str, by: &str, approved: bool) -> Result<(), PlaneError> {
        let step = StepRunId::parse(step)?;
        let answer = Answer { approved, by: by.into(), role: "".into(), reason: "".into(), note: "".into() };
        self.ask(async |plane| plane.answer_step(&self.principal, run, &step, answer.clone()).await).await
    }

    /// Lets `by` pass, with everything that happens meanwhile, and then lets everybody come to rest.
    pub async fn advance(&self, by: Duration) {
        self.drive(self.clock.sleep_until(crate::job::job_after(self.clock.now(), by))).await;
        self.settle().await;
    }

    /// As [`TestPlane::advance`], and restarts in the same moment after every crash that was planned.
    ///
    /// # Errors
    /// When a restart fails.
    pub async fn live_through(&self, by: Duration) -> Result<(), PlaneError> {
        let until = crate::job::job_after(self.clock.now(), by);
        loop {
            let (_, store) = self.life()?;
            let passed = {
                let (time, crashed) = (pin!(self.clock.sleep_until(until)), pin!(store.crashed()));
                matches!(self.drive(select(crashed, time)).await, Either::Right(_))
            };
            if passed {
                self.settle().await;
            }
            if store.is_crashed() {
                self.crash_and_restart().await?;
            } else if passed {
                return Ok(());
            }
        }
    }

    /// Lets everybody come to rest without moving time.
    pub async fn settle(&self) {
        self.clock.settle().await;
    }

    /// Waits for `work`, and moves time on while it waits.
    pub async fn drive<F: Future>(&self, work: F) -> F::Output {
        self.clock.run(work).await
    }

    /// Calls the control plane, again if the store is unavailable, and after a restart if it has crashed.
    ///
    /// # Errors
    /// Any other error of `call`; the last one when it does not get better.
    pub async fn ask<T>(&self, call: impl AsyncFn(&ControlPlane) -> Result<T, PlaneError>) -> Result<T, PlaneError> {
        let mut tries = 0;
        loop {
            let (plane, store) = self.life()?;
            let answer = {
                let crashed = pin!(store.crashed());
                match self.drive(select(pin!(call(&plane)), crashed)).await {
                    Either::Left((answer, _)) => answer,
                    // What was answered in the same moment counts.
                    Either::Right(((), call)) => match futures::future::FutureExt::now_or_never(call) {
                        Some(answer) => answer,
                        None => Err(PlaneError::new(PlaneErrorKind::Closed, "plane_closed", "the store has crashed")),
                    },
                }
            };
            tries += 1;
            match answer {
                Err(_) if store.is_crashed() && tries < TRIES => {
                    self.crash_and_restart().await?;
                }
                Err(error) if error.is_retryable() && tries < TRIES => self.advance(Duration::from_millis(50)).await,
                answer => return answer,
            }
        }
    }

    /// Ends the control plane as `kill -9` would and starts it again over the same store. A clone of it that the test
    /// still holds finds everything closed.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub async fn crash_and_restart(&self) -> Result<(), PlaneError> {
        self.crash().await;
        self.open().await
    }

    /// Ends the control plane as `kill -9` would. Only [`TestPlane::restart`] helps then.
    pub async fn crash(&self) {
        let life = self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(life) = life {
            life.store.crash();
            life.plane.kill();
            // The bus of this process dies with it.
            let _dead = life.bus.close().await;
            drop(life);
            self.settle().await;
        }
    }

    /// Shuts the control plane down in order, if it runs, and starts it again over the same store.
    ///
    /// # Errors
    /// When it cannot be shut down or started.
    pub async fn restart(&self) -> Result<(), PlaneError> {
        if let Ok((plane, _)) = self.life() {
            self.drive(plane.shutdown()).await?;
            self.crash().await;
        }
        self.open().await
    }

    /// Everything published so far on subjects that match `filter`, in order, over all lives.
    #[must_use]
    pub fn published(&self, filter: &str) -> Vec<Message> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published
            .iter()
            .filter(|message| crate::protocol::subjects::matches(filter, &message.subject))
            .cloned()
            .collect()
    }

    /// Every job handed to the bus so far, repeats included, in order.
    #[must_use]
    pub fn dispatched(&self) -> Vec<JobRequest> {
        let to_workers =
            |message: &&Message| ["job.", "worker."].iter().any(|start| message.subject.starts_with(start));
        let messages = self.published(">");
        messages.iter().filter(to_workers).filter_map(|message| message.packet.job_request().cloned()).collect()
    }

    fn life(&self) -> Result<(ControlPlane, FaultyStore), PlaneError> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|life| (life.plane.clone(), life.store.clone())).ok_or_else(|| {
            PlaneError::new(PlaneErrorKind::Closed, "plane_closed", "the control plane is down; restart it")
        })
    }

    /// Starts a life, again while faults prevent it.
    async fn open(&self) -> Result<(), PlaneError> {
        let mut tries = 0;
        loop {
            let store = FaultyStore::new(self.store.clone(), &self.faults).keep_open();
            let bus = Arc::new(MemoryBus::new(Arc::new(self.clock.clone())));
            tries += 1;
            match self.drive(self.try_open(store.clone(), bus.clone())).await {
                Ok(life) => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(life);
                    return Ok(());
                }
                Err(error) if (error.is_retryable() || store.is_crashed()) && tries < TRIES => {
                    store.crash();
                    let _dead = bus.close().await;
                    self.settle().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_open(&self, store: FaultyStore, bus: Arc<dyn Bus>) -> Result<Life, PlaneError> {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let faulty = FaultyBus::new(bus.clone(), clock.clone(), &self.faults).recording(self.published.clone());
        let faulty: Arc<dyn Bus> = Arc::new(faulty);
        let mut others = JoinSet::new();
        for worker in &self.workers {
            others.spawn(worker.connect(faulty.clone(), clock.clone(), self.beats.clone()).await?);
        }
        self.beats.set(false);
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = ControlPlane::builder_shared(self.policy.clone())
            .store(Arc::new(store.clone()))
            .bus(faulty.clone())
            .blobs(self.blobs.clone())
            .clock(clock.clone())
            .ids(self.ids.clone())
            .routes(routes.clone())
            .options(self.options.clone())
            .start();
        let plane = match select(pin!(start), pin!(store.crashed())).await {
            Either::Left((plane, _)) => plane?,
            Either::Right(_) => {
                return Err(PlaneError::new(PlaneErrorKind::Closed, "plane_closed", "the store has crashed"));
            }
        };
        self.beats.set(!routes.is_open());
        for approver in &self.approvers {
            others.spawn(approver.connect(plane.clone(), self.store.clone(), clock.clone()).await?);
        }
        Ok(Life { plane, store, bus, faulty, others })
    }
}

/// A time that nothing is due after, and not the end of time, at which the clock would wait for more.
fn far() -> Timestamp {
    Timestamp::MAX.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
}

/// The events of a run, a line each.
fn tell(events: &[TimelineEvent]) -> String {
    let mut story = String::new();
    for event in events {
        use std::fmt::Write;
        let step = event.step_id.as_deref().unwrap_or("-");
        let message = event.message.as_deref().unwrap_or_default();
        // Writing to a string cannot fail.
        let _infallible = writeln!(story, "{:>4} {} {} {step} {message}", event.seq, event.time, event.kind);
    }
    story
}
