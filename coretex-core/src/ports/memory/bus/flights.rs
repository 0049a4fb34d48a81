//! Deliveries that were handed out and are not settled yet.
//!
//! A slab whose entries are linked into one list per `ack_wait`, oldest deadline first, so that handing out,
//! settling, extending and expiring cost O(1) each. Slots are reused: the steady state allocates nothing.
//!
//! Invariant: every occupied slot is in exactly one list; an id is never used twice, so a handle kept beyond the
//! end of its delivery finds nothing.

use std::time::Duration;

use jiff::Timestamp;

use crate::ports::{Busy, Message};

const NONE: u32 = u32::MAX;
/// An empty slab with more slots than this gives its memory back.
const KEEP_SLOTS: usize = 4_096;

/// Names one delivery for as long as it is unsettled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    index: u32,
    id: u64,
}

/// One unsettled delivery.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) message: Message,
    pub(super) attempt: u32,
    /// Keeps virtual time where it is.
    pub(super) busy: Busy,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    list: u32,
    previous: u32,
    next: u32,
    /// `None` when the time to settle ends beyond the end of time.
    deadline: Option<Timestamp>,
    flight: Flight,
}

/// The deliveries that share an `ack_wait`, by the order of their deadlines.
#[derive(Debug)]
struct List {
    wait: Duration,
    first: u32,
    last: u32,
}

#[derive(Debug, Default)]
pub(super) struct Flights {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    lists: Vec<List>,
    ids: u64,
}

impl Flights {
    /// Notes a delivery made at `now` that must be settled within `wait`.
    pub(super) fn insert(&mut self, flight: Flight, wait: Duration, now: Timestamp) -> Ticket {
        let list = self.list(wait);
        self.ids += 1;
        let id = self.ids;
        let slot = Slot { id, list, previous: NONE, next: NONE, deadline: now.checked_add(wait).ok(), flight };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(place) = self.slots.get_mut(index as usize) {
            *place = Some(slot);
        }
        self.link(index);
        Ticket { index, id }
    }

    /// Takes a delivery out; `None` when it was settled or has expired.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Flight> {
        self.slot(ticket.index).filter(|slot| slot.id == ticket.id)?;
        self.take(ticket.index)
    }

    /// Starts the time to settle anew.
    pub(super) fn extend(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(list) = self.slot(ticket.index).filter(|slot| slot.id == ticket.id).map(|slot| slot.list) else {
            return;
        };
        let Some(wait) = self.lists.get(list as usize).map(|list| list.wait) else { return };
        self.unlink(ticket.index);
        if let Some(slot) = self.slot_mut(ticket.index) {
            slot.deadline = now.checked_add(wait).ok();
        }
        self.link(ticket.index);
    }

    /// The earliest deadline. O(number of different `ack_wait`s).
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.lists.iter().filter_map(|list| self.slot(list.first)?.deadline).min()
    }

    /// Takes out one delivery whose deadline has come.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Flight> {
        let index = self.lists.iter().find_map(|list| {
            let deadline = self.slot(list.first)?.deadline?;
            (deadline <= now).then_some(list.first)
        })?;
        self.take(index)
    }

    /// Takes everything out; all tickets are void.
    pub(super) fn take_all(&mut self) -> Vec<Flight> {
        self.free = Vec::new();
        self.lists = Vec::new();
        std::mem::take(&mut self.slots).into_iter().flatten().map(|slot| slot.flight).collect()
    }

    /// How many deliveries are unsettled.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn take(&mut self, index: u32) -> Option<Flight> {
        self.unlink(index);
        let slot = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        if self.slots.len() > KEEP_SLOTS && self.free.len() == self.slots.len() {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        Some(slot.flight)
    }

    /// The list of `wait`; an empty one of another length is reused, so there are never more lists than
    /// different waits in use.
    fn list(&mut self, wait: Duration) -> u32 {
        let found = self.lists.iter().position(|list| list.wait == wait);
        let index = found.or_else(|| {
            let empty = self.lists.iter().position(|list| list.first == NONE)?;
            self.lists.get_mut(empty)?.wait = wait;
            Some(empty)
        });
        let index = index.unwrap_or_else(|| {
            self.lists.push(List { wait, first: NONE, last: NONE });
            self.lists.len() - 1
        });
        u32::try_from(index).unwrap_or(NONE)
    }

    /// Puts the slot behind the last of its list.
    fn link(&mut self, index: u32) {
        let Some(list) = self.slot(index).map(|slot| slot.list) else { return };
        let Some(list) = self.lists.get_mut(list as usize) else { return };
        let last = std::mem::replace(&mut list.last, index);
        if last == NONE {
            list.first = index;
        }
        if let Some(slot) = self.slot_mut(last) {
            slot.next = index;
        }
        if let Some(slot) = self.slot_mut(index) {
            slot.previous = last;
            slot.next = NONE;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some((list, previous, next)) = self.slot(index).map(|slot| (slot.list, slot.previous, slot.next)) else {
            return;
        };
        if let Some(slot) = self.slot_mut(previous) {
            slot.next = next;
        }
        if let Some(slot) = self.slot_mut(next) {
            slot.previous = previous;
        }
        if let Some(list) = self.lists.get_mut(list as usize) {
            if list.first == index {
                list.first = next;
            }
            if list.last == index {
                list.last = previous;
            }
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }
}
