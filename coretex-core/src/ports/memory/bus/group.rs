//! A queue group: its queue, its members and what they have not settled.
//!
//! One mutex per group, held for a few instructions and never across a wake-up or the drop of a message. A message
//! is in exactly one place: queued, parked until its delay has passed, in flight, or gone.
//!
//! Lock order: registry, then group, then timers. Two groups are locked together only by a publisher, in the order
//! of their ids.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    delivery::MemoryAck,
    flights::{Flight, Flights, Ticket},
    members::Members,
    registry::Registry,
    sinks::{Direct, Sinks},
    timers::Timers,
};
use crate::{
    ports::{Busy, Clock, Delivery, Message, Sink},
    protocol::subjects::SubjectFilter,
};

/// What makes a group: members that joined under another filter belong to another group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) filter: SubjectFilter,
    pub(super) name: Arc<str>,
}

pub(super) struct Group {
    pub(super) id: u64,
    pub(super) key: GroupKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) capacity: usize,
    pub(super) timers: Arc<Timers>,
    /// Takes what comes back after the last member has left.
    pub(super) registry: Weak<Registry>,
    pub(super) state: Mutex<State>,
}

/// A message and how often it will have been delivered once it is.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Message,
    pub(super) attempt: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Live,
    /// The last member has left: takes nothing new, and what comes back goes to the registry.
    Retired,
    /// The bus is closed.
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct State {
    phase: Phase,
    ready: VecDeque<(Queued, Busy)>,
    /// Given back with a delay; holds no [`Busy`], so that virtual time can reach the end of it.
    parked: BTreeMap<(Timestamp, u64), Queued>,
    parkings: u64,
    flights: Flights,
    members: Members,
    sinks: Sinks,
    /// When the timers will call.
    armed: Option<Timestamp>,
}

/// Whether a group takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Yes,
    Full,
    /// The group has retired: look the route up again.
    Gone,
}

impl State {
    pub(super) fn room(&self, capacity: usize) -> Room {
        match self.phase {
            Phase::Live if self.ready.len() + self.parked.len() < capacity => Room::Yes,
            Phase::Live => Room::Full,
            Phase::Retired | Phase::Closed => Room::Gone,
        }
    }

    /// Queues a new message; the waker is to be used once the lock is released.
    #[must_use]
    pub(super) fn push(&mut self, message: Message, busy: Busy) -> Option<Waker> {
        self.ready.push_back((Queued { message, attempt: 1 }, busy));
        self.members.call()
    }

    /// Queues a message again, before those that were never delivered.
    #[must_use]
    fn push_again(&mut self, queued: Queued, busy: Busy) -> Option<Waker> {
        self.ready.push_front((queued, busy));
        self.members.call()
    }

    fn park(&mut self, until: Timestamp, queued: Queued) {
        self.parkings += 1;
        self.parked.insert((until, self.parkings), queued);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let parked = self.parked.first_key_value().map(|((until, _), _)| *until);
        [parked, self.flights.next_deadline()].into_iter().flatten().min()
    }
}

impl Group {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, sink: Option<Arc<dyn Sink>>) -> usize {
        let mut state = self.lock();
        let member = state.members.join();
        if let Some(sink) = sink {
            state.sinks.add(member, sink);
        }
        member
    }

    /// Gives a new message to the first sink that takes it, or queues it.
    pub(super) fn take(self: &Arc<Self>, mut message: Message) -> Result<(), (Message, Room)> {
        let mut busy = self.clock.busy();
        let mut state = self.lock();
        let mut asked = 0;
        loop {
            let room = state.room(self.capacity);
            if room != Room::Yes {
                drop(state);
                return Err((message, room));
            }
            // What waits goes first.
            if asked == state.sinks.len() || !state.ready.is_empty() {
                break;
            }
            let Some(sink) = state.sinks.next() else { break };
            drop(state);
            asked += 1;
            match Direct::offer(&*sink, self, message, busy) {
                Ok(()) => return Ok(()),
                Err(back) => (message, busy) = back,
            }
            state = self.lock();
        }
        let waker = state.push(message, busy);
        drop(state);
        wake(waker);
        Ok(())
    }

    /// The next message for `member`, or its place in the line.
    pub(super) fn poll_next(
        self: &Arc<Self>,
        member: usize,
        ack_wait: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Option<Delivery>> {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            return Poll::Ready(None);
        }
        let Some((Queued { message, attempt }, busy)) = state.ready.pop_front() else {
            state.members.wait(member, context.waker());
            return Poll::Pending;
        };
        state.members.busy(member);
        let flight = Flight { message: message.clone(), attempt, busy };
        let ticket = state.flights.insert(flight, ack_wait, self.clock.now());
        self.arm(&mut state);
        drop(state);
        let handle = MemoryAck::new(self.clone(), ticket);
        Poll::Ready(Some(Delivery { message, attempt, handle: Some(Box::new(handle)) }))
    }

    /// `member` no longer waits. If it had been called for a message, the next one is called.
    pub(super) fn turn_away(&self, member: usize) {
        let mut state = self.lock();
        let next = if state.members.turn_away(member) && !state.ready.is_empty() { state.members.call() } else { None };
        drop(state);
        wake(next);
    }

    /// Settles a delivery for good.
    pub(super) fn settle(self: &Arc<Self>, ticket: Ticket) {
        let mut state = self.lock();
        let flight = state.flights.remove(ticket);
        if self.timers.exact {
            self.arm(&mut state);
        }
        drop(state);
        drop(flight);
    }

    /// Takes a delivery back, to be made again after `delay`.
    pub(super) fn give_back(self: &Arc<Self>, ticket: Ticket, delay: Duration) {
        let flight = self.lock().flights.remove(ticket);
        if let Some(flight) = flight {
            self.requeue(flight, delay);
        }
    }

    /// Makes a delivery that is in nobody's hands any more again after `delay`.
    pub(super) fn requeue(self: &Arc<Self>, Flight { message, attempt, busy }: Flight, delay: Duration) {
        let now = if delay.is_zero() { None } else { Some(self.clock.now()) };
        let queued = Queued { message, attempt: attempt.saturating_add(1) };
        let mut state = self.lock();
        let waker = match now {
            Some(now) => {
                state.park(now.checked_add(delay).unwrap_or(Timestamp::MAX), queued);
                self.arm(&mut state);
                // From here on only the clock can bring it back.
                drop(state);
                drop(busy);
                return;
            }
            None if state.phase == Phase::Live => state.push_again(queued, busy),
            None => {
                drop(state);
                self.pass_on(vec![queued]);
                drop(busy);
                return;
            }
        };
        if self.timers.exact {
            self.arm(&mut state);
        }
        drop(state);
        wake(waker);
    }

    /// Starts the time to settle anew.
    pub(super) fn extend(self: &Arc<Self>, ticket: Ticket) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.flights.extend(ticket, now);
        if self.timers.exact {
            self.arm(&mut state);
        }
    }

    /// Called by the timers: `at`, for which this group had asked, has come.
    pub(super) fn on_time(self: &Arc<Self>, at: Timestamp, now: Timestamp) {
        let mut state = self.lock();
        if state.armed == Some(at) {
            state.armed = None;
        }
        let mut due = Vec::new();
        while let Some(flight) = state.flights.pop_expired(now) {
            let queued = Queued { message: flight.message, attempt: flight.attempt.saturating_add(1) };
            due.push((queued, flight.busy));
        }
        while let Some(parked) = state.parked.first_entry()
            && parked.key().0 <= now
        {
            due.push((parked.remove(), self.clock.busy()));
        }
        self.arm(&mut state);
        if state.phase == Phase::Live {
            // The last one pushed is the first one out.
            let wakers: Vec<_> =
                due.into_iter().rev().filter_map(|(queued, busy)| state.push_again(queued, busy)).collect();
            drop(state);
            wake(wakers);
        } else {
            drop(state);
            let (queued, busy): (Vec<_>, Vec<_>) = due.into_iter().unzip();
            self.pass_on(queued);
            drop(busy);
        }
    }

    /// A message that came back to an earlier group of the same name. False when this one has retired as well.
    pub(super) fn push_back_again(&self, queued: Queued) -> Result<(), Queued> {
        let busy = self.clock.busy();
        let mut state = self.lock();
        if state.phase != Phase::Live {
            return Err(queued);
        }
        let waker = state.push_again(queued, busy);
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Fills the queue of a group that nobody else knows yet.
    pub(super) fn fill(&self, messages: impl IntoIterator<Item = Queued>) {
        let mut state = self.lock();
        for queued in messages {
            state.ready.push_back((queued, self.clock.busy()));
        }
    }

    /// Takes a member out. If it was the last one, the group retires and gives its queue, oldest first.
    pub(super) fn leave(&self, member: usize) -> Option<Vec<Queued>> {
        let mut state = self.lock();
        let called = state.members.turn_away(member);
        state.members.leave(member);
        // Dropped after the lock.
        let _sink = state.sinks.remove(member);
        if state.members.is_empty() && state.phase == Phase::Live {
            state.phase = Phase::Retired;
            let ready = std::mem::take(&mut state.ready);
            drop(state);
            return Some(ready.into_iter().map(|(queued, _)| queued).collect());
        }
        let next = if called && !state.ready.is_empty() { state.members.call() } else { None };
        drop(state);
        wake(next);
        None
    }

    /// Forgets everything and sends all members home.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        let ready = std::mem::take(&mut state.ready);
        let parked = std::mem::take(&mut state.parked);
        let flights = state.flights.take_all();
        let wakers = state.members.call_all();
        let sinks = std::mem::take(&mut state.sinks);
        drop(state);
        drop((ready, parked, flights, sinks));
        wake(wakers);
    }

    /// Makes the timers call when the next deadline comes. On a clock that cannot be held this is lazy: a call for
    /// a delivery that was settled meanwhile comes anyway and finds the next deadline, so that a group costs one
    /// call per `ack_wait` and not two changes per message. Virtual time must not stop where nothing happens, so
    /// there the timers follow every change.
    fn arm(self: &Arc<Self>, state: &mut State) {
        let next = state.next_deadline();
        let change = match (state.armed, next) {
            (None, Some(_)) => true,
            (Some(armed), Some(next)) => next < armed || (self.timers.exact && next != armed),
            (Some(_), None) => self.timers.exact,
            (None, None) => false,
        };
        if change {
            self.timers.set(self, state.armed, next);
            state.armed = next;
        }
    }

    fn pass_on(&self, queued: Vec<Queued>) {
        if let Some(registry) = self.registry.upgrade() {
            registry.take_back(&self.key, queued);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Group")
            .field("filter", &self.key.filter.as_str())
            .field("name", &self.key.name)
            .field("queued", &state.ready.len())
            .field("parked", &state.parked.len())
            .field("unsettled", &state.flights.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
