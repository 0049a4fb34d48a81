//! Deliveries that go past the queue: from the publisher's hands into those of a sink.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;

use super::{flights::Flight, group::Group};
use crate::ports::{Ack, BusError, Busy, Delivery, Message, Sink};

/// The sinks of a group's members, asked in turn.
#[derive(Debug, Default)]
pub(super) struct Sinks {
    sinks: Vec<(usize, Arc<dyn Sink>)>,
    turn: usize,
}

impl Sinks {
    pub(super) fn add(&mut self, member: usize, sink: Arc<dyn Sink>) {
        self.sinks.push((member, sink));
    }

    pub(super) fn remove(&mut self, member: usize) -> Option<Arc<dyn Sink>> {
        let index = self.sinks.iter().position(|(of, _)| *of == member)?;
        Some(self.sinks.swap_remove(index).1)
    }

    pub(super) fn len(&self) -> usize {
        self.sinks.len()
    }

    pub(super) fn next(&mut self) -> Option<Arc<dyn Sink>> {
        self.turn = self.turn.wrapping_add(1).checked_rem(self.sinks.len())?;
        self.sinks.get(self.turn).map(|(_, sink)| sink.clone())
    }
}

/// Settles one delivery that a sink took. It keeps the message itself, and given back or dropped unsettled it brings it
/// back into the queue; no deadline watches over it.
#[derive(Debug)]
pub(super) struct Direct {
    group: Arc<Group>,
    flight: Mutex<Option<Flight>>,
}

impl Direct {
    /// Offers a new message to `sink`; gives it back, with what holds the time for it, when it is not taken.
    pub(super) fn offer(
        sink: &dyn Sink,
        group: &Arc<Group>,
        message: Message,
        busy: Busy,
    ) -> Result<(), (Message, Busy)> {
        let flight = Flight { message: message.clone(), attempt: 1, busy };
        let handle = Self { group: group.clone(), flight: Mutex::new(Some(flight)) };
        let delivery = Delivery { message, attempt: 1, handle: Some(Box::new(handle)) };
        sink.offer(delivery).map_err(|refused| {
            let busy = group.clock.busy();
            // Nobody has seen it: it is queued as it was.
            refused.ack_now();
            (refused.message, busy)
        })
    }

    fn settle(&self) -> Option<Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn give_back(&self, delay: Duration) {
        if let Some(flight) = self.settle() {
            self.group.requeue(flight, delay);
        }
    }
}

impl Ack for Direct {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async {
            self.ack_now();
            Ok(())
        })
    }

    fn nak(&self, delay: Duration) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            self.give_back(delay);
            Ok(())
        })
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ack_now(&self) {
        drop(self.settle());
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.give_back(Duration::ZERO);
    }
}
