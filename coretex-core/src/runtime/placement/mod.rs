//! Slots for jobs: the scheduler at work in the runtime.
//!
//! ```text
//! decision -> Place -> submit ---- a slot ----> Placed, in the same batch -> dispatch
//!                        |  none: waits                                        |
//!                        +----- another job ends, a worker comes, time --------+--> result, or the lease is lost
//! ```
//!
//! There is one [`Scheduler`], behind one mutex that is held for microseconds and never across an await. Each job that
//! waits or has a lease has one record, `placements/<job>`, which comes, changes and goes with the events that say so;
//! the scheduler is rebuilt from them. Where no pools are configured and no worker is in another process, nothing here
//! is touched.
//!
//! Invariants: a slot that was taken for a decision is given back when its batch is refused; a lease ends when the end of
//! its attempt is durable; what the machine absorbs frees nothing.

mod answer;
mod bindings;
mod loss;
mod reasons;
mod record;
mod signs;
mod watch;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::reasons::{PlacementCounts, PlacementWait};
pub(super) use self::{
    answer::{Touched, answer, durable, is_stale, refused, resume, settle_absent, settle_doubts},
    record::restore,
    signs::{handshake, heartbeat, progress},
    watch::run,
};
use self::{bindings::Bindings, watch::Watch};
use super::{
    executor::Command,
    inbound::aggregate_of,
    outbound::job_input,
    shared::{Reply, Shared, Work},
};
use crate::{
    job::{Failure, JobId, JobInput, Lease, Topic},
    protocol::subjects,
    scheduler::{FleetRules, Outcome, Placed, Refusal, Routes, Scheduler},
};

/// The scheduler, who has what, and when to look next.
pub(super) struct Placement {
    desk: Mutex<Desk>,
    /// Whether jobs ask for slots here, or workers are in other processes.
    on: AtomicBool,
    changed: Notify,
}

/// What the mutex guards.
pub(super) struct Desk {
    pub(super) scheduler: Scheduler,
    /// Who said that it works on what, of jobs that take no slot.
    bindings: Bindings,
    watch: Watch,
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Placement {
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        let on = AtomicBool::new(!routes.is_open());
        let scheduler = Scheduler::new(routes, FleetRules::default());
        let desk = Desk { scheduler, bindings: Bindings::default(), watch: Watch::default() };
        Self { desk: Mutex::new(desk), on, changed: Notify::new() }
    }

    /// Whether there is anything to do here. One load of a flag.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn turn_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Takes a step, and has the watch look earlier if the step asks for it.
    pub(super) fn step<T>(&self, now: Timestamp, step: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = self.lock();
        let outcome = step(&mut desk);
        if desk.is_due_earlier(now) {
            self.changed.notify_one();
        }
        outcome
    }

    /// Looks without changing anything.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Desk) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a job under a lease is sent: the worker's own address if it listens there, or the topic.
    pub(super) fn subject(&self, lease: &Lease, topic: &Topic) -> Arc<str> {
        let listens = || self.lock().scheduler.fleet().worker(&lease.worker).is_some_and(|worker| worker.direct);
        match subjects::worker_jobs(&lease.worker) {
            Ok(subject) if lease.addressed || listens() => subject.into(),
            _ => topic.shared(),
        }
    }
}

impl Shared {
    /// Puts other routes in force.
    pub(super) fn put_routes(self: &Arc<Self>, routes: Routes) {
        let routes = Arc::new(routes);
        self.routes.store(routes.clone());
        if !routes.is_open() {
            self.placement.turn_on();
        }
        let (now, seed) = (self.now(), self.ids.random());
        let outcome = self.placement.step(now, |desk| desk.scheduler.set_routes(routes, now, seed));
        self.act_on(outcome);
    }

    /// Tells the owners of jobs what a step of the scheduler led to.
    fn act_on(self: &Arc<Self>, outcome: Outcome) {
        for placed in outcome.placed {
            let input = self.placed(&placed);
            self.post(&placed.ask.job.id, input);
        }
        for (ask, refusal) in outcome.refused {
            self.post(&ask.job.id, JobInput::Refused(failure(&refusal)));
        }
    }

    fn placed(&self, placed: &Placed) -> JobInput {
        let (announces, addressed) = self.placement.look(|desk| {
            let worker = desk.scheduler.fleet().worker(&placed.worker);
            (worker.is_some_and(|worker| worker.announces), placed.direct && desk.bindings.is_remote(&placed.worker))
        });
        let lease = Lease { pool: placed.pool.clone(), worker: placed.worker.clone(), addressed };
        JobInput::Placed { lease, announces }
    }

    /// Hands an input to whoever owns `job`, without waiting for room.
    fn post(self: &Arc<Self>, job: &JobId, input: JobInput) {
        let (aggregate, _) = aggregate_of(job);
        let work = Work::Input(job_input(&aggregate, job, input));
        let busy = self.clock.busy();
        let command = Command { aggregate, work, reply: Reply::Nobody, busy, tries: 0, fetched: None };
        if let Some(command) = self.try_route(command) {
            let shared = self.clone();
            self.spawn(async move { shared.route(command).await });
        }
    }
}

/// Why a job is given up, as its machine takes it.
fn failure(refusal: &Refusal) -> Failure {
    let (code, message) = (refusal.code(), refusal.to_string());
    if refusal.is_retryable() { Failure::retryable(code, message) } else { Failure::fatal(code, message) }
}
