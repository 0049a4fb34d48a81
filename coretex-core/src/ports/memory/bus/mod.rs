//! The bus port in memory.
//!
//! Sending, receiving and settling take one short lock each, on the group concerned; the message itself is never
//! copied and nothing is encoded. The pieces: [`registry`] knows who listens and holds work for which nobody does,
//! [`group`] queues and redelivers, [`sinks`] hands over without queueing, [`watcher`] shows, [`timers`] wakes. Redelivery goes through the injected clock.
//!
//! **Virtual time.** A message that a group has to handle (queued or in somebody's hands) holds a
//! [`Busy`](crate::ports::Busy), so time stands still until it is settled. A message given back with a delay, one
//! that is held because no group listens, and whatever watchers have not read hold none: time may pass over them.

mod delivery;
mod flights;
mod group;
mod members;
mod registry;
mod sinks;
mod timers;
mod watcher;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod sink_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

use self::{
    delivery::GroupSubscription,
    group::{Group, GroupKey, Room, wake},
    registry::{Holding, Refusal, Registry, Route},
    watcher::WatcherSubscription,
};
use crate::{
    ports::{Bus, BusCapabilities, BusError, BusErrorKind, Clock, Message, Subscribe, Subscription},
    protocol::subjects::{SubjectError, SubjectFilter},
};

/// How much a [`MemoryBus`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryBusOptions {
    /// Messages that wait in one group, delayed ones included, before the next one is refused. What members have
    /// in their hands does not count. 65,536 unless told; about 100 bytes each beside the message.
    pub group_capacity: usize,
    /// Messages on work subjects held while no group listens, all subjects together. 65,536 unless told.
    pub held_capacity: usize,
    /// Messages that a subscription without a group may be behind before it loses the oldest. 4,096 unless told.
    pub watch_capacity: usize,
    /// Subjects whose routes are remembered. 16,384 unless told.
    pub route_capacity: usize,
}

impl Default for MemoryBusOptions {
    fn default() -> Self {
        Self { group_capacity: 65_536, held_capacity: 65_536, watch_capacity: 4_096, route_capacity: 16_384 }
    }
}

impl MemoryBusOptions {
    /// Sets [`group_capacity`](Self::group_capacity).
    #[must_use]
    pub const fn with_group_capacity(mut self, messages: usize) -> Self {
        self.group_capacity = messages;
        self
    }

    /// Sets [`held_capacity`](Self::held_capacity).
    #[must_use]
    pub const fn with_held_capacity(mut self, messages: usize) -> Self {
        self.held_capacity = messages;
        self
    }

    /// Sets [`watch_capacity`](Self::watch_capacity), at least 1.
    #[must_use]
    pub const fn with_watch_capacity(mut self, messages: usize) -> Self {
        self.watch_capacity = messages;
        self
    }

    /// Sets [`route_capacity`](Self::route_capacity).
    #[must_use]
    pub const fn with_route_capacity(mut self, subjects: usize) -> Self {
        self.route_capacity = subjects;
        self
    }
}

/// A [`Bus`] inside one process. Share it with `Arc`; dropping it closes it.
///
/// [`Bus::publish`] never waits and [`Bus::try_publish`] never declines for want of time: both do the same, and
/// what they refuse (a full group, an illegal subject, a closed bus) they refuse at once. Deliveries are repeated
/// in time by a task on the tokio runtime in which the first subscription was made.
///
/// When the last member of a group leaves, what the group has queued on work subjects is held for the next group
/// that listens, and the rest is forgotten; deliveries that its members still have in their hands can be settled
/// as before.
#[derive(Debug)]
pub struct MemoryBus {
    registry: Arc<Registry>,
}

impl MemoryBus {
    /// A bus with the default [`MemoryBusOptions`].
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_options(clock, MemoryBusOptions::default())
    }

    /// A bus that keeps as much as `options` say.
    #[must_use]
    pub fn with_options(clock: Arc<dyn Clock>, options: MemoryBusOptions) -> Self {
        Self { registry: Registry::new(clock, options) }
    }

    fn send(&self, mut message: Message) -> Result<(), (Message, Refusal)> {
        let mut route = match self.registry.route(&message.subject) {
            Ok(route) => route,
            Err(refusal) => return Err((message, refusal)),
        };
        loop {
            if route.hold {
                let copy = (!route.watchers.is_empty()).then(|| message.clone());
                match self.registry.hold(message) {
                    Holding::Held(route) => {
                        if let Some(copy) = copy {
                            show(&route, copy);
                        }
                        return Ok(());
                    }
                    Holding::Listened(back) => message = back,
                    Holding::Refused(back, refusal) => return Err((back, refusal)),
                }
            } else {
                match self.offer(&route, message) {
                    Ok(()) => return Ok(()),
                    Err((back, Room::Full)) => return Err((back, Refusal::Full)),
                    Err((back, _)) => message = back,
                }
            }
            // Who listens has changed since the route was looked up.
            route = match self.registry.fresh_route(&message.subject) {
                Ok(route) => route,
                Err(refusal) => return Err((message, refusal)),
            };
        }
    }

    /// Gives the message to everyone on the route, or to nobody.
    fn offer(&self, route: &Route, message: Message) -> Result<(), (Message, Room)> {
        if route.watchers.is_empty() {
            return self.enqueue(&route.groups, message);
        }
        let copy = message.clone();
        self.enqueue(&route.groups, message)?;
        show(route, copy);
        Ok(())
    }

    fn enqueue(&self, groups: &[Arc<Group>], message: Message) -> Result<(), (Message, Room)> {
        if let [group] = groups {
            return group.take(message);
        }
        let mut states: Vec<_> = groups.iter().map(|group| (group.capacity, group.lock())).collect();
        let rooms = states.iter().map(|(capacity, state)| state.room(*capacity));
        if let Some(room) =
            rooms.clone().find(|room| *room == Room::Gone).or_else(|| { rooms }.find(|room| *room != Room::Yes))
        {
            drop(states);
            return Err((message, room));
        }
        let wakers: Vec<_> = states
            .iter_mut()
            .filter_map(|(_, state)| state.push(message.clone(), self.registry.clock.busy()))
            .collect();
        drop(states);
        wake(wakers);
        Ok(())
    }
}

fn show(route: &Route, message: Message) {
    if let Some((last, others)) = route.watchers.split_last() {
        for watcher in others {
            watcher.offer(message.clone());
        }
        last.offer(message);
    }
}

#[async_trait]
impl Bus for MemoryBus {
    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::new("memory", true)
    }

    async fn publish(&self, message: Message) -> Result<(), BusError> {
        self.send(message).map_err(|(message, refusal)| match refusal {
            Refusal::Full => BusError::new(
                BusErrorKind::Full,
                format!(
                    "the queue of `{}` is full; publish again when its subscribers have caught up",
                    message.subject
                ),
            ),
            Refusal::Closed => closed(),
            Refusal::Illegal(problem) => illegal(&problem),
        })
    }

    fn try_publish(&self, message: Message) -> Result<(), Message> {
        self.send(message).map_err(|(message, _)| message)
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BusError> {
        let filter = SubjectFilter::new(&subscribe.filter).map_err(|problem| illegal(&problem))?;
        self.registry.timers.meet_runtime();
        let registry = self.registry.clone();
        let Some(name) = subscribe.group else {
            let watcher = registry.join_watcher(filter).map_err(|_| closed())?;
            return Ok(Box::new(WatcherSubscription { watcher, registry }));
        };
        if name.is_empty() || subscribe.ack_wait.is_zero() {
            return Err(BusError::new(
                BusErrorKind::Invalid,
                format!("group `{}` on `{filter}` needs a name and an ack_wait above zero", name.escape_debug()),
            ));
        }
        let key = GroupKey { filter, name: name.into() };
        let (group, member) = registry.join_group(key, subscribe.sink).map_err(|_| closed())?;
        Ok(Box::new(GroupSubscription { group, member, ack_wait: subscribe.ack_wait, registry }))
    }

    async fn close(&self) -> Result<(), BusError> {
        self.registry.close();
        Ok(())
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        self.registry.close();
    }
}

fn closed() -> BusError {
    BusError::new(BusErrorKind::Closed, "the bus is closed; nothing can be published or subscribed to any more")
}

fn illegal(problem: &SubjectError) -> BusError {
    BusError::new(BusErrorKind::Invalid, problem.to_string())
}
