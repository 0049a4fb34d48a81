//! A shard executor: decides the inputs of its aggregates, one at a time and in order, without waiting for the disk.
//!
//! Decisions run ahead of durability: the next input of a run is decided on state that is still being flushed. What is
//! decided so is speculative, and nobody sees it: effects run, callers are answered and deliveries acknowledged only
//! when the batch is durable, in the order of decision. If a batch of an aggregate is refused, every later one of it is
//! refused by its expected head; none is answered, the state is read again, and their inputs are decided anew, in order.
//!
//! An aggregate that is idle may be forgotten at any time; it is read back when something happens to it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{
    PlaneError,
    batch::{self, Kept},
    commit::{Committed, Group},
    error::PlaneErrorKind,
    keys::AggregateId,
    load::{self, Loaded},
    outbound,
    shared::{Reply, Shared, Work},
    timers::Arm,
};
use crate::{
    job::{Facts, JobInput},
    plane::{self, Input, Rejected, State, Transition},
    ports::{Batch, Busy, Key, PolicySnapshot, StoreError, StoreErrorKind},
    workflow::{Run, RunEffect, RunInput, StartRun, Wake},
};

/// Work for one aggregate.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) aggregate: AggregateId,
    pub(super) work: Work,
    pub(super) reply: Reply,
    /// Virtual time stands still until the work is done, but for the time that it has to wait out.
    pub(super) busy: Busy,
    /// How often a commit of it was refused.
    pub(super) tries: u32,
}

/// Batches that an executor lets be under way before it takes more work: back-pressure reaches callers through the
/// bounded inbox. Large enough to fill a flush, small enough to bound what a refusal throws away.
const MAX_UNDER_WAY: usize = 4_096;
/// Aggregates that are read at once before an executor takes more work: a flood of ids, or a recovery of many runs, must
/// not hold all of them in memory.
const MAX_LOADS: usize = 256;
/// Tries of a caller's work before the caller is told; deliveries and timers are tried until they succeed.
const CALLER_TRIES: u32 = 8;
/// Refusals that are answered by another try at once.
const PROMPT_TRIES: u32 = 2;
/// The wait after those; it doubles from then on.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// Something decided whose batch, or whose predecessor's, is on its way.
#[derive(Debug)]
struct Pending {
    command: Command,
    /// Whether a batch was sent for it; otherwise it waits for those before it.
    sent: bool,
    effects: Vec<RunEffect>,
    outbox: Vec<(usize, Key)>,
    arm: Option<Timestamp>,
    answer: Result<(), PlaneError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The state is being read; inputs queue.
    Loading,
    /// As `Loading`, after a wait. Inputs queue without holding time; deliveries go back to the bus, which holds time
    /// for what it has handed out and keeps them as well as we can.
    BackingOff,
    /// It is begun without having looked whether it is there. Inputs queue: decided on top of a beginning that is then
    /// refused, they could fit the head of the stream that is really there.
    Beginning,
    /// Inputs are decided.
    Ready,
    /// A batch was refused; those after it come back refused, then the state is read again.
    Draining,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    state: Option<State>,
    kept: Kept,
    pending: VecDeque<Pending>,
    queue: VecDeque<Command>,
    redo: Vec<Command>,
    refused: Option<StoreError>,
    /// Whose batch was refused first, by its place among what is decided again.
    blamed: usize,
    /// What the entry counts for among the idle ones; 0 when it is not idle.
    counted: usize,
    /// A batch may have been applied whose effects did not run.
    unsure: bool,
    timer: Option<Timestamp>,
    waiters: Vec<oneshot::Sender<Result<Arc<Run>, PlaneError>>>,
    stamp: u64,
}

impl Entry {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            state: None,
            kept: Kept::nothing(),
            pending: VecDeque::new(),
            queue: VecDeque::new(),
            redo: Vec::new(),
            refused: None,
            blamed: 0,
            counted: 0,
            unsure: false,
            timer: None,
            waiters: Vec::new(),
            stamp: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.pending.is_empty() && self.queue.is_empty() && self.waiters.is_empty()
    }

    fn weight(&self) -> usize {
        match &self.state {
            Some(State::Run(run)) => run.weight(),
            _ => 1_024,
        }
    }
}

pub(super) struct Executor {
    shared: Arc<Shared>,
    index: usize,
    inbox: mpsc::Receiver<Command>,
    committed: mpsc::UnboundedReceiver<Committed>,
    groups: mpsc::UnboundedSender<Group>,
    entries: HashMap<AggregateId, Entry>,
    timers: BTreeSet<(Timestamp, AggregateId)>,
    sleep: Option<(Timestamp, BoxFuture<'static, ()>)>,
    loads: FuturesUnordered<BoxFuture<'static, Loaded>>,
    /// Idle aggregates, the longest idle first; an entry whose stamp has moved on is stale.
    idle: VecDeque<(u64, AggregateId)>,
    idle_weight: usize,
    members: Vec<AggregateId>,
    batches: Vec<Batch>,
    local: VecDeque<Command>,
    under_way: usize,
    stamp: u64,
    seed: u64,
    stopping: Vec<Reply>,
    is_stopping: bool,
}

#[derive(Default)]
struct Arrived {
    commands: Vec<Command>,
    committed: Vec<Committed>,
    loaded: Vec<Loaded>,
    closed: bool,
}

impl Executor {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: usize,
        inbox: mpsc::Receiver<Command>,
        committed: mpsc::UnboundedReceiver<Committed>,
        groups: mpsc::UnboundedSender<Group>,
    ) -> Self {
        let seed = shared.ids.random();
        Self {
            shared,
            index,
            inbox,
            committed,
            groups,
            entries: HashMap::new(),
            timers: BTreeSet::new(),
            sleep: None,
            loads: FuturesUnordered::new(),
            idle: VecDeque::new(),
            idle_weight: 0,
            members: Vec::new(),
            batches: Vec::new(),
            local: VecDeque::new(),
            under_way: 0,
            stamp: 0,
            seed,
            stopping: Vec::new(),
            is_stopping: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.arm_sleep();
            let arrived = self.wait().await;
            for committed in arrived.committed {
                self.take_committed(committed);
            }
            for loaded in arrived.loaded {
                self.take_loaded(loaded);
            }
            if !arrived.commands.is_empty() || !self.local.is_empty() {
                let policy = self.shared.policy.snapshot();
                for command in arrived.commands {
                    self.take(command, &*policy);
                }
                while let Some(command) = self.local.pop_front() {
                    self.take(command, &*policy);
                }
            }
            self.fire();
            self.flush();
            self.forget_idle();
            if arrived.closed || (self.is_stopping && self.under_way == 0 && self.loads.is_empty()) {
                for reply in self.stopping.drain(..) {
                    answer(reply, Ok(()), &AggregateId::Run("".into()));
                }
                return;
            }
        }
    }

    /// Waits until there is something to do, and takes all of it that is there.
    async fn wait(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        if !self.local.is_empty() {
            return arrived;
        }
        let saturated = self.under_way >= MAX_UNDER_WAY || self.loads.len() >= MAX_LOADS;
        std::future::poll_fn(|cx| {
            let mut ready = false;
            if let Poll::Ready(count) = self.committed.poll_recv_many(cx, &mut arrived.committed, 64) {
                arrived.closed |= count == 0;
                ready = true;
            }
            while let Poll::Ready(Some(loaded)) = self.loads.poll_next_unpin(cx) {
                arrived.loaded.push(loaded);
                ready = true;
            }
            if !saturated && let Poll::Ready(count) = self.inbox.poll_recv_many(cx, &mut arrived.commands, 256) {
                arrived.closed |= count == 0;
                ready = true;
            }
            if let Some((_, sleep)) = &mut self.sleep
                && Pin::new(sleep).poll(cx).is_ready()
            {
                self.sleep = None;
                ready = true;
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        arrived
    }

    /// Sleeps until the first timer, or earlier: waking for nothing is cheaper than making a new sleep whenever the
    /// first timer goes.
    fn arm_sleep(&mut self) {
        let Some((due, _)) = self.timers.first() else {
            self.sleep = None;
            return;
        };
        if self.sleep.as_ref().is_none_or(|(at, _)| at > due) {
            self.sleep = Some((*due, self.shared.clock.sleep_until(*due)));
        }
    }

    fn fire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        while self.timers.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, aggregate)) = self.timers.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&aggregate) {
                entry.timer = None;
            }
            let input = match &aggregate {
                AggregateId::Run(_) => Input::Run(RunInput::Tick),
                AggregateId::Job(_) => Input::Job(JobInput::Tick),
            };
            let busy = self.shared.clock.busy();
            let command = Command { aggregate, work: Work::Input(input), reply: Reply::Nobody, busy, tries: 0 };
            self.local.push_back(command);
        }
        if !self.local.is_empty() {
            let policy = self.shared.policy.snapshot();
            while let Some(command) = self.local.pop_front() {
                self.take(command, &*policy);
            }
        }
    }

    fn take(&mut self, command: Command, policy: &dyn PolicySnapshot) {
        if let Work::Stop = command.work {
            self.is_stopping = true;
            self.stopping.push(command.reply);
            return;
        }
        if self.is_stopping {
            match command.reply {
                // Not decided, so not settled either.
                Reply::Delivery(delivery) => self.shared.give_back(delivery, FIRST_WAIT),
                reply => answer(reply, Err(PlaneError::closed()), &command.aggregate),
            }
            return;
        }
        match self.entries.get_mut(&command.aggregate) {
            Some(entry) if entry.phase == Phase::Ready => self.decide(command, policy),
            Some(entry) if entry.phase == Phase::BackingOff => {
                let mut queue = VecDeque::from([command]);
                self.shared.let_time_pass(&mut queue, FIRST_WAIT);
                entry.queue.append(&mut queue);
            }
            Some(entry) => entry.queue.push_back(command),
            // A start expects nothing to be there, and its batch is refused if something is: no need to look first.
            None if matches!(command.work, Work::Start { .. } | Work::Submit(_)) => {
                self.entries.insert(command.aggregate.clone(), Entry::new(Phase::Ready));
                self.decide(command, policy);
            }
            None => {
                let aggregate = command.aggregate.clone();
                let mut entry = Entry::new(Phase::Loading);
                entry.queue.push_back(command);
                self.entries.insert(aggregate.clone(), entry);
                self.load(aggregate, None, None);
            }
        }
    }

    /// Reads an aggregate whose entry is there, after a wait if need be.
    fn load(&mut self, aggregate: AggregateId, idempotency: Option<Key>, after: Option<Duration>) {
        if let Some(entry) = self.entries.get_mut(&aggregate) {
            entry.phase = if after.is_some() { Phase::BackingOff } else { Phase::Loading };
            if let Some(wait) = after {
                self.shared.let_time_pass(&mut entry.queue, wait);
            }
        }
        self.loads.push(Box::pin(load::load(self.shared.clone(), aggregate, idempotency, after)));
    }

    /// Decides one input of an aggregate whose state is at hand.
    fn decide(&mut self, command: Command, policy: &dyn PolicySnapshot) {
        let aggregate = command.aggregate.clone();
        let shared = self.shared.clone();
        let seed = self.next_seed();
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        entry.stamp = 0;
        self.idle_weight = self.idle_weight.saturating_sub(std::mem::take(&mut entry.counted));
        let routes = shared.routes.load();
        let facts = Facts {
            now: shared.now(),
            seed,
            policy,
            routes: &routes,
            default_job_timeout: shared.options.default_job_timeout,
            payload_limits: shared.options.payload_limits(),
        };
        let decided = match (&entry.state, &command.work) {
            (None, Work::Start { workflow, start }) => plane::start(workflow, StartRun::clone(start), &facts)
                .map(|transition| (State::Run(Box::new(Run::new(workflow.clone()))), transition, false)),
            (None, Work::Submit(spec)) => {
                // The record begins with its own submission, so it starts one event further on.
                let (record, transition) = plane::submit(spec, &facts);
                Ok((State::Job(Box::new(record)), transition, true))
            }
            (None, _) => {
                return self.answer_absent(command);
            }
            (Some(State::Run(run)), Work::Start { workflow, start }) => {
                // The same start again, by a repeat or after a refusal whose outcome was unknown.
                let same = run.tenant() == workflow.tenant()
                    && run.workflow().id() == workflow.id()
                    && run.input() == &start.input
                    && run.idempotency_key() == start.idempotency_key.as_deref();
                let answer = if same {
                    Ok(())
                } else {
                    Err(PlaneError::new(
                        PlaneErrorKind::Conflict,
                        "run_exists",
                        format!("run `{}` exists already", start.id),
                    ))
                };
                return self.answer_in_order(command, answer);
            }
            (Some(State::Job(record)), Work::Submit(spec)) => {
                let there = &record.spec;
                let same = there.tenant == spec.tenant
                    && there.topic == spec.topic
                    && there.input == spec.input
                    && there.meta == spec.meta;
                let answer = if same {
                    Ok(())
                } else {
                    let message = format!("job `{}` exists already", spec.id);
                    Err(PlaneError::new(PlaneErrorKind::Conflict, "job_exists", message))
                };
                return self.answer_in_order(command, answer);
            }
            // Runs and jobs are kept apart, so their ids never meet.
            (Some(_), Work::Submit(_) | Work::Start { .. }) => {
                return self.answer_in_order(command, Err(Rejected::Mismatch.into()));
            }
            (Some(state), Work::Recover) => {
                let effects = state.outstanding(&facts);
                self.rearm(&aggregate);
                return self.enqueue_effects(command, effects);
            }
            (Some(_), Work::Wait(_)) => return self.wait_for_end(command),
            (Some(_), Work::Stop) => return,
            (Some(state), Work::Input(input)) => match plane::advance(state, input.clone(), &facts) {
                Ok(transition) => {
                    return self.commit(command, transition, false);
                }
                Err(rejected) => Err(rejected),
            },
        };
        match decided {
            Ok((state, transition, begun)) => {
                entry.state = Some(state);
                self.commit(command, transition, begun);
                if let Some(entry) = self.entries.get_mut(&aggregate)
                    && entry.phase == Phase::Ready
                {
                    entry.phase = Phase::Beginning;
                }
            }
            Err(rejected) => self.reject(command, rejected),
        }
    }

    fn reject(&mut self, command: Command, rejected: Rejected) {
        let aggregate = command.aggregate.clone();
        if matches!(command.reply, Reply::Delivery(_)) {
            tracing::warn!(id = aggregate.id(), code = rejected.code(), %rejected, "an input is not legal and is dropped");
            self.answer_in_order(command, Ok(()));
        } else {
            self.answer_in_order(command, Err(rejected.into()));
        }
        if self.entries.get(&aggregate).is_some_and(|entry| entry.state.is_none() && entry.is_idle()) {
            self.entries.remove(&aggregate);
        }
    }

    /// Folds a transition in and sends its batch. `begun` when the state already holds the first event.
    fn commit(&mut self, command: Command, transition: Transition, begun: bool) {
        let aggregate = command.aggregate.clone();
        if transition.is_empty() {
            // A timer that fired early, by a clock that was set back since, is set anew.
            self.rearm(&aggregate);
            let wake = self.entries.get(&aggregate).and_then(|entry| entry.state.as_ref()).map(State::wake);
            if let (Some(Wake::At(due)), Work::Input(Input::Run(RunInput::Tick) | Input::Job(JobInput::Tick))) =
                (wake, &command.work)
            {
                let _gone = self.shared.timers.send(Arm { due, aggregate: aggregate.clone() });
            }
            return self.answer_in_order(command, Ok(()));
        }
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        let Some(state) = &mut entry.state else { return };
        let head = if begun { 0 } else { state.head() };
        for event in transition.events.iter().skip(usize::from(begun)) {
            state.apply(event);
        }
        let start = match &command.work {
            Work::Start { start, .. } => Some(&**start),
            _ => None,
        };
        match batch::prepare(&aggregate, head, &transition, state, &mut entry.kept, start) {
            Ok(prepared) => {
                self.members.push(aggregate.clone());
                self.batches.push(prepared.batch);
                self.under_way += 1;
                entry.pending.push_back(Pending {
                    command,
                    sent: true,
                    effects: transition.effects,
                    outbox: prepared.outbox,
                    arm: prepared.arm,
                    answer: Ok(()),
                });
                self.rearm(&aggregate);
            }
            Err(error) => {
                // The state was changed in memory only: forget it, so that the next input finds what is stored.
                // The work that waits for its predecessors keeps its place in front.
                entry.state = None;
                entry.refused = Some(error);
                if entry.pending.iter().all(|pending| !pending.sent) {
                    entry.redo.extend(entry.pending.drain(..).map(|pending| pending.command));
                    entry.blamed = entry.redo.len();
                    entry.redo.push(command);
                    entry.phase = Phase::Draining;
                    self.drained(&aggregate);
                } else {
                    // Batches before it are on their way: decided again when they are done, and refused then.
                    entry.refused = None;
                    entry.phase = Phase::Draining;
                    entry.pending.push_back(Pending {
                        command,
                        sent: false,
                        effects: Vec::new(),
                        outbox: Vec::new(),
                        arm: None,
                        answer: Ok(()),
                    });
                }
            }
        }
    }

    /// Arms the timer of a run that a worker has a job of; the others have a durable one.
    fn rearm(&mut self, aggregate: &AggregateId) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        let due = match &entry.state {
            Some(state) if state.wake() == Wake::Hot => state.next_due(),
            _ => None,
        };
        // A timer that fires early finds nothing due and is set anew; moving it for every step would cost more.
        if due == entry.timer || due.is_some_and(|due| entry.timer.is_some_and(|armed| armed <= due)) {
            return;
        }
        if let Some(old) = entry.timer.take() {
            self.timers.remove(&(old, aggregate.clone()));
        }
        if let Some(due) = due {
            self.timers.insert((due, aggregate.clone()));
        }
        entry.timer = due;
    }

    /// Answers when everything decided before is durable.
    fn answer_in_order(&mut self, command: Command, result: Result<(), PlaneError>) {
        let aggregate = command.aggregate.clone();
        if let Some(entry) = self.entries.get_mut(&aggregate)
            && !entry.pending.is_empty()
        {
            entry.pending.push_back(Pending {
                command,
                sent: false,
                effects: Vec::new(),
                outbox: Vec::new(),
                arm: None,
                answer: result,
            });
            return;
        }
        answer(command.reply, result, &aggregate);
        self.settled(&aggregate);
    }

    fn enqueue_effects(&mut self, command: Command, effects: Vec<RunEffect>) {
        let aggregate = command.aggregate.clone();
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        entry.pending.push_back(Pending {
            command,
            sent: false,
            effects,
            outbox: Vec::new(),
            arm: None,
            answer: Ok(()),
        });
        self.settle(&aggregate);
    }

    fn answer_absent(&mut self, command: Command) {
        let aggregate = command.aggregate.clone();
        let what = match aggregate {
            AggregateId::Run(_) => "run",
            AggregateId::Job(_) => "job",
        };
        let error = PlaneError::not_found(what, aggregate.id());
        match (command.work, command.reply) {
            (Work::Wait(waiter), _) => {
                // A waiter that has gone does not mind.
                let _gone = waiter.send(Err(error));
            }
            (_, Reply::Delivery(delivery)) => {
                tracing::debug!(id = aggregate.id(), "a message about something unknown is dropped");
                delivery.ack_now();
            }
            (_, reply) => answer(reply, Err(error), &aggregate),
        }
        if self.entries.get(&aggregate).is_some_and(Entry::is_idle) {
            self.entries.remove(&aggregate);
        }
    }

    fn wait_for_end(&mut self, command: Command) {
        let aggregate = command.aggregate;
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        if let Work::Wait(waiter) = command.work {
            // Those who have gone make room.
            entry.waiters.retain(|waiter| !waiter.is_closed());
            entry.waiters.push(waiter);
        }
        self.settled(&aggregate);
    }

    fn flush(&mut self) {
        if self.batches.is_empty() {
            return;
        }
        let group = Group {
            executor: self.index,
            members: std::mem::take(&mut self.members),
            batches: std::mem::take(&mut self.batches),
        };
        if self.groups.send(group).is_err() {
            tracing::error!("the commit pipeline has gone; nothing more is accepted");
        }
    }

    fn take_committed(&mut self, committed: Committed) {
        for (aggregate, result) in committed.members.into_iter().zip(committed.results) {
            self.under_way = self.under_way.saturating_sub(1);
            let Some(entry) = self.entries.get_mut(&aggregate) else { continue };
            // What waits in front of the batch was decided before it and is settled by its predecessor.
            let Some(pending) = entry.pending.front_mut() else { continue };
            match result {
                Ok(_) => {
                    pending.sent = false;
                    self.settle(&aggregate);
                }
                Err(error) => self.refuse(&aggregate, error),
            }
        }
    }

    /// Acts on everything at the front whose batch is durable.
    fn settle(&mut self, aggregate: &AggregateId) {
        loop {
            let Some(entry) = self.entries.get_mut(aggregate) else { return };
            let Some(front) = entry.pending.front() else { break };
            if front.sent {
                break;
            }
            let Some(pending) = entry.pending.pop_front() else { break };
            if let Some(due) = pending.arm {
                // The service reads what it missed from the store.
                let _gone = self.shared.timers.send(Arm { due, aggregate: aggregate.clone() });
            }
            outbound::act(&self.shared, aggregate, pending.effects, pending.outbox, &mut self.local);
            answer(pending.command.reply, pending.answer, aggregate);
            match entry.phase {
                // Its successors were decided on state that is gone.
                Phase::Draining => return self.drained(aggregate),
                Phase::Beginning => {
                    entry.phase = Phase::Ready;
                    self.local.append(&mut entry.queue);
                }
                _ => {}
            }
        }
        self.settled(aggregate);
    }

    /// Nothing of the aggregate is on its way: tell who waits for its end, and let it be forgotten.
    fn settled(&mut self, aggregate: &AggregateId) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        if entry.phase != Phase::Ready || !entry.pending.is_empty() {
            return;
        }
        let ended = entry.state.as_ref().is_some_and(|state| state.wake() == Wake::Never);
        if ended && entry.queue.is_empty() {
            let Some(mut entry) = self.entries.remove(aggregate) else { return };
            self.idle_weight = self.idle_weight.saturating_sub(entry.counted);
            if let Some(due) = entry.timer.take() {
                self.timers.remove(&(due, aggregate.clone()));
            }
            if let (Some(State::Run(run)), false) = (entry.state.take(), entry.waiters.is_empty()) {
                let run: Arc<Run> = Arc::from(run);
                for waiter in entry.waiters {
                    // A waiter that has gone does not mind.
                    let _gone = waiter.send(Ok(run.clone()));
                }
            }
            return;
        }
        if entry.is_idle() && entry.stamp == 0 {
            self.stamp += 1;
            entry.stamp = self.stamp;
            entry.counted = entry.weight();
            self.idle_weight += entry.counted;
            self.idle.push_back((self.stamp, aggregate.clone()));
        }
    }

    fn refuse(&mut self, aggregate: &AggregateId, error: StoreError) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        tracing::debug!(id = aggregate.id(), %error, "a batch was refused; its aggregate is read again");
        entry.phase = Phase::Draining;
        entry.state = None;
        entry.unsure |= error.is_outcome_unknown();
        // The first refusal says why; the later ones only follow from it.
        entry.refused.get_or_insert(error);
        if let Some(pending) = entry.pending.pop_front() {
            entry.redo.push(pending.command);
        }
        self.drained(aggregate);
    }

    /// Reads the state again once no batch of the aggregate is on its way, and lines up what must be decided anew.
    fn drained(&mut self, aggregate: &AggregateId) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        // Work without a batch that followed a refused one was decided on speculative state too.
        while entry.pending.front().is_some_and(|pending| !pending.sent) {
            if let Some(pending) = entry.pending.pop_front() {
                entry.redo.push(pending.command);
            }
        }
        if !entry.pending.is_empty() {
            return;
        }
        let error = entry.refused.take().unwrap_or_else(|| StoreError::conflict("refused"));
        let mut tries = 0;
        let mut idempotency = None;
        let blamed = std::mem::take(&mut entry.blamed);
        let mut again = VecDeque::new();
        for (place, mut command) in entry.redo.drain(..).enumerate() {
            command.tries += 1;
            tries = tries.max(command.tries);
            let hopeless = match error.kind() {
                // What was decided after it is not to blame.
                StoreErrorKind::Invalid => blamed == place,
                kind => matches!(kind, StoreErrorKind::Closed | StoreErrorKind::Corrupt),
            };
            let impatient =
                self.is_stopping || (matches!(command.reply, Reply::Caller(_)) && command.tries >= CALLER_TRIES);
            if hopeless || impatient {
                match command.reply {
                    Reply::Delivery(delivery) if error.kind() != StoreErrorKind::Invalid => {
                        self.shared.give_back(delivery, FIRST_WAIT);
                    }
                    reply => answer(reply, Err(error.clone().into()), aggregate),
                }
                tracing::error!(id = aggregate.id(), %error, "work is given up because its commit was refused");
                continue;
            }
            if let Work::Start { workflow, start } = &command.work {
                idempotency = start
                    .idempotency_key
                    .as_deref()
                    .map(|key| super::keys::idempotency(workflow.tenant().as_str(), key));
            }
            again.push_back(command);
        }
        again.append(&mut entry.queue);
        entry.queue = again;
        // Conflicts are with a writer that has finished, and most stores that fail once do not fail twice.
        let wait = (tries > PROMPT_TRIES).then(|| FIRST_WAIT.saturating_mul(1 << (tries - PROMPT_TRIES - 1).min(8)));
        self.load(aggregate.clone(), idempotency, wait);
    }

    fn take_loaded(&mut self, loaded: Loaded) {
        let Loaded { aggregate, result, deleted, existing, idempotency, busy: _reading } = loaded;
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        match result {
            Ok(Some((state, snapshot_at))) => {
                entry.kept = Kept::of(&state, snapshot_at);
                entry.state = Some(state);
            }
            Ok(None) => {
                entry.kept = Kept::nothing();
                entry.state = None;
            }
            // A control plane that is shutting down does not wait for a store that is away.
            Err(error) if error.is_retryable() && !self.is_stopping => {
                tracing::warn!(id = aggregate.id(), %error, "a record cannot be read; trying again");
                return self.load(aggregate, idempotency, Some(Duration::from_secs(1)));
            }
            Err(error) => return self.unreadable(&aggregate, &error),
        }
        for command in &mut entry.queue {
            if !command.busy.holds_time() {
                command.busy = self.shared.clock.busy();
            }
        }
        entry.phase = Phase::Ready;
        let policy = self.shared.policy.snapshot();
        let unsure = std::mem::take(&mut entry.unsure);
        match entry.state.as_ref().map(State::wake) {
            // The batch may have been applied, and what follows from it was left undone.
            Some(wake) if unsure => {
                if let Wake::At(due) = wake {
                    // The service reads what it missed from the store.
                    let _gone = self.shared.timers.send(Arm { due, aggregate: aggregate.clone() });
                }
                self.shared.spawn(outbound::empty_outbox(self.shared.clone(), aggregate.clone()));
                if wake != Wake::Never {
                    let busy = self.shared.clock.busy();
                    let work = Work::Recover;
                    let recover = Command { aggregate: aggregate.clone(), work, reply: Reply::Nobody, busy, tries: 0 };
                    self.decide(recover, &*policy);
                }
            }
            Some(_) => self.rearm(&aggregate),
            None => {}
        }
        // One at a time: a state that has ended stays at hand for as long as somebody asks for it.
        while let Some(command) = self
            .entries
            .get_mut(&aggregate)
            .and_then(|entry| if entry.phase == Phase::Ready { entry.queue.pop_front() } else { None })
        {
            match (&existing, &command.work) {
                (Some(existing), Work::Start { .. }) if command.tries > 0 && existing.id() != aggregate.id() => {
                    answer(command.reply, Ok(()), existing);
                }
                (_, Work::Start { .. }) if deleted => {
                    let message = format!("run `{}` was deleted; its id is not used again", aggregate.id());
                    let refused = PlaneError::new(PlaneErrorKind::Conflict, "run_deleted", message);
                    answer(command.reply, Err(refused), &aggregate);
                }
                _ => self.decide(command, &*policy),
            }
        }
        self.settled(&aggregate);
        if let Some(entry) = self.entries.get_mut(&aggregate)
            && entry.phase == Phase::Ready
            && entry.state.is_none()
        {
            for waiter in entry.waiters.drain(..) {
                // A waiter that has gone does not mind.
                let _gone = waiter.send(Err(PlaneError::not_found("run", aggregate.id())));
            }
            if entry.is_idle() {
                self.entries.remove(&aggregate);
            }
        }
    }

    /// Nobody can work on an aggregate whose record cannot be read.
    fn unreadable(&mut self, aggregate: &AggregateId, error: &PlaneError) {
        tracing::error!(id = aggregate.id(), %error, "a record cannot be read");
        let Some(entry) = self.entries.remove(aggregate) else { return };
        let failure = || PlaneError::new(error.kind(), error.code(), error.to_string());
        for waiter in entry.waiters {
            // A waiter that has gone does not mind.
            let _gone = waiter.send(Err(failure()));
        }
        for command in entry.queue {
            match (command.work, command.reply) {
                (Work::Wait(waiter), _) => {
                    // A waiter that has gone does not mind.
                    let _gone = waiter.send(Err(failure()));
                }
                // The record may be mended, or read by another version.
                (_, Reply::Delivery(delivery)) => self.shared.give_back(delivery, Duration::from_secs(1)),
                (_, reply) => answer(reply, Err(failure()), aggregate),
            }
        }
    }

    /// Forgets the longest idle aggregates while those at hand weigh more than allowed.
    fn forget_idle(&mut self) {
        // The last one stays, however large: reading it back for every input would cost more than it takes.
        while self.idle_weight > self.shared.options.cache_bytes && self.idle.len() > 1 {
            let Some((stamp, aggregate)) = self.idle.pop_front() else { return };
            if self.entries.get(&aggregate).is_some_and(|entry| entry.stamp == stamp && entry.is_idle())
                && let Some(entry) = self.entries.remove(&aggregate)
            {
                self.idle_weight = self.idle_weight.saturating_sub(entry.counted);
            }
        }
        // Stale marks weigh nothing but take room.
        if self.idle.len() > 1_024 && self.idle.len() > 4 * self.entries.len() {
            let entries = &self.entries;
            self.idle.retain(|(stamp, aggregate)| entries.get(aggregate).is_some_and(|entry| entry.stamp == *stamp));
        }
    }

    /// The next number of splitmix64 (Steele, Lea and Flood, 2014).
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.seed;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

fn answer(reply: Reply, result: Result<(), PlaneError>, aggregate: &AggregateId) {
    match reply {
        Reply::Nobody => {}
        Reply::Caller(caller) => {
            // A caller that has gone does not mind.
            let _gone = caller.send(result.map(|()| aggregate.clone()));
        }
        Reply::Delivery(delivery) => delivery.ack_now(),
    }
}
