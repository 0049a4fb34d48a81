//! What all parts of a control plane hold in common.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
};

use super::{
    Options, PlaneError,
    definitions::Definitions,
    executor::Command,
    keys::{AggregateId, Gate},
    placement::Placement,
    refusals::Refusals,
    timers::Arm,
    turns::Turns,
    workers::Workers,
};
use crate::{
    job::{Facts, JobSpec, WorkflowId},
    plane::Input,
    ports::{Blobs, Bus, Busy, Clock, Delivery, IdSource, Key, PolicyEngine, PolicySnapshot, Store},
    scheduler::Routes,
    workflow::{Run, StartRun, Workflow},
};

/// The longest wait before a message that was given back comes again.
const LONGEST_BACK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) policy: Arc<dyn PolicyEngine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) options: Options,
    /// As in `options`.
    pub(super) sender_id: Arc<str>,
    pub(super) routes: ArcSwap<Routes>,
    pub(super) definitions: Definitions,
    pub(super) workers: Workers,
    pub(super) placement: Placement,
    pub(super) refused: Refusals,
    pub(super) executors: OnceLock<Vec<mpsc::Sender<Command>>>,
    /// Lines under concurrency keys.
    pub(super) gates: Turns<Gate>,
    /// Records that act by themselves.
    pub(super) keepers: Turns<Key>,
    pub(super) timers: mpsc::UnboundedSender<Arm>,
    pub(super) closed: AtomicBool,
    pub(super) tasks: Mutex<JoinSet<()>>,
    /// Writing a pinned output shares it, removing one takes it whole: between the look at a blob and its removal nobody
    /// may come to need it.
    pub(super) pinning: tokio::sync::RwLock<()>,
    /// Places for commands whose outputs are loaded.
    pub(super) fetching: Arc<tokio::sync::Semaphore>,
}

/// Something for an executor to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Start a run.
    Start { workflow: Arc<Workflow>, start: Box<StartRun> },
    /// Submit a job.
    Submit(Arc<JobSpec>),
    /// Take an input.
    Input(Input),
    /// Run again the effects that may not have happened.
    Recover,
    /// Answer when the run has ended.
    Wait(oneshot::Sender<Result<Arc<Run>, PlaneError>>),
    /// Finish what is under way and end.
    Stop,
}

/// Who is told when the work is durable.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nobody.
    Nobody,
    /// A caller: with the aggregate that the work ended up in.
    Caller(oneshot::Sender<Result<AggregateId, PlaneError>>),
    /// The bus.
    Delivery(Box<Delivery>),
}

impl Shared {
    /// The time of a decision: microseconds, so that it reads the same from any store.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// The world as decisions see it now.
    pub(super) fn facts<'a>(&self, seed: u64, policy: &'a dyn PolicySnapshot, routes: &'a Routes) -> Facts<'a> {
        Facts {
            now: self.now(),
            seed,
            policy,
            routes,
            default_job_timeout: self.options.default_job_timeout,
            stop_grace: self.options.stop_grace,
            payload_limits: self.options.payload_limits(),
            gate: self.options.gate_limits(),
            bounds: self.options.run_bounds(),
            outputs: None,
        }
    }

    /// The definition stored under `id`, from memory when it is the one compiled last.
    pub(super) async fn current_workflow(&self, id: &WorkflowId) -> Result<Arc<Workflow>, PlaneError> {
        let entry = self.store.get(&super::keys::workflow(id.as_str())).await?;
        let entry = entry.ok_or_else(|| PlaneError::not_found("workflow", id.as_str()))?;
        self.definitions.current(id, entry.version, &entry.value)
    }

    /// Hands work to the executor that owns `aggregate`, waiting for room.
    pub(super) async fn send(&self, aggregate: AggregateId, work: Work, reply: Reply) -> Result<(), PlaneError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(PlaneError::closed());
        }
        let executor = self.executor(&aggregate).ok_or_else(PlaneError::closed)?;
        let command = Command { aggregate, work, reply, busy: self.clock.busy(), tries: 0, fetched: None };
        executor.send(command).await.map_err(|_| PlaneError::closed())
    }

    /// Hands the work that a delivery brought to the executor that owns `aggregate`, or gives the delivery back when
    /// there is no room.
    pub(super) fn try_deliver(
        &self,
        aggregate: AggregateId,
        work: Work,
        delivery: Box<Delivery>,
    ) -> Result<(), Box<Delivery>> {
        let Some(executor) = self.executor(&aggregate) else { return Err(delivery) };
        let reply = Reply::Delivery(delivery);
        let command = Command { aggregate, work, reply, busy: self.clock.busy(), tries: 0, fetched: None };
        let (TrySendError::Full(command) | TrySendError::Closed(command)) = match executor.try_send(command) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match command.reply {
            Reply::Delivery(delivery) => Err(delivery),
            _ => Ok(()),
        }
    }

    fn executor(&self, aggregate: &AggregateId) -> Option<&mpsc::Sender<Command>> {
        let executors = self.executors.get()?;
        let index = usize::from(aggregate.shard()).checked_rem(executors.len()).unwrap_or(0);
        executors.get(index)
    }

    /// Hands a command to the executor that owns its aggregate, or gives it back when there is no room. Dropped when the
    /// control plane is shutting down.
    pub(super) fn try_route(&self, command: Command) -> Option<Command> {
        match self.executor(&command.aggregate)?.try_send(command) {
            Err(TrySendError::Full(command)) => Some(command),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// Hands a command that was turned away back to the executor that owns its aggregate.
    pub(super) async fn route(&self, mut command: Command) {
        let executors = self.executors.get().map(Vec::as_slice).unwrap_or_default();
        let index = usize::from(command.aggregate.shard()).checked_rem(executors.len()).unwrap_or(0);
        if let Some(executor) = executors.get(index) {
            command.busy = self.clock.busy();
            // A control plane that is shutting down drops it, and its caller learns that it is closed.
            let _closed = executor.send(command).await;
        }
    }

    /// Sends work and waits until it is durable.
    pub(super) async fn call(&self, aggregate: AggregateId, work: Work) -> Result<AggregateId, PlaneError> {
        let (sender, receiver) = oneshot::channel();
        self.send(aggregate, work, Reply::Caller(sender)).await?;
        receiver.await.map_err(|_| PlaneError::closed())?
    }

    /// Gives a delivery back to the bus, to be delivered again after `wait`, or later the more often it came, up to
    /// [`LONGEST_BACK`]: what kept it from being taken may be over at any time.
    pub(super) fn give_back(&self, delivery: Box<Delivery>, wait: Duration) {
        let wait = wait.saturating_mul(1 << delivery.attempt.saturating_sub(1).min(8)).min(LONGEST_BACK);
        self.spawn(async move {
            if let Err(error) = delivery.nak(wait).await {
                tracing::debug!(%error, "a delivery is not given back; the bus repeats it by itself");
            }
        });
    }

    /// Counts and logs that what a client asked for over the bus is refused; a caller is answered instead.
    pub(super) fn note_refusal(&self, reply: &Reply, error: &PlaneError) {
        if let Reply::Delivery(_) = reply {
            tracing::warn!(code = error.code(), %error, "a message of a client is refused");
            self.refused.count(error.code());
        }
    }

    /// Lets virtual time pass over commands that have to wait it out.
    pub(super) fn let_time_pass(&self, queue: &mut VecDeque<Command>, wait: Duration) {
        for mut command in std::mem::take(queue) {
            command.busy = Busy::default();
            match command.reply {
                Reply::Delivery(delivery) => self.give_back(delivery, wait),
                _ => queue.push_back(command),
            }
        }
    }

    /// Runs a task that everything depends on. If it panics, the door closes behind it: nothing more is accepted, and
    /// whoever waits is told, rather than a share of all runs standing still in silence.
    pub(super) fn spawn_vital(self: &Arc<Self>, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shared = self.clone();
        self.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                shared.closed.store(true, Ordering::Release);
                tracing::error!(what, "a part of the control plane panicked; it is closed and must be started anew");
            }
        });
    }

    /// Runs `task` until it ends or the control plane is dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
