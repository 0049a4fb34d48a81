//! Jobs in order: tickets, and flows of tickets that can be parked together.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    gates::{GateId, Pass},
    slab::Slot,
};
use crate::{job::Priority, scheduler::placement::Ask};

/// When a job came, and its number; the order of one tenant and level.
pub(crate) type Order = (i64, u64);

/// A flow, from outside of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowRef {
    pub(crate) pool: u32,
    pub(crate) flow: Slot,
}

/// A job that waits.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) ask: Arc<Ask>,
    pub(crate) pass: Arc<Pass>,
    pub(crate) order: Order,
    /// When it is given up.
    pub(crate) expires_at: i64,
    /// When it rises a level.
    pub(super) rises_at: i64,
}

impl Ticket {
    pub(crate) const fn new(ask: Arc<Ask>, pass: Arc<Pass>, order: Order, expires_at: i64) -> Self {
        Self { ask, pass, order, expires_at, rises_at: i64::MAX }
    }

    /// Its number.
    pub(crate) const fn number(&self) -> u64 {
        self.order.1
    }
}

/// What a parked flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// That a gate opens.
    Gate(GateId),
    /// That a worker which fits has room.
    Room,
}

/// Jobs of one tenant and level that meet the same gates and fit the same workers.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) key: FlowKey,
    pub(super) jobs: BTreeMap<Order, Ticket>,
    /// What it is parked at; otherwise it stands in its lane.
    pub(super) parked: Option<Waits>,
    /// What let it back last, until one of its jobs goes.
    pub(super) woken: Option<Waits>,
    /// Jobs that it may still send in its turn at a gate.
    pub(super) turn: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) tenant: Slot,
    pub(super) level: usize,
    pub(super) pass: Arc<Pass>,
    pub(super) shape: u64,
}

impl Flow {
    /// The order of its next job.
    pub(super) fn head(&self) -> Option<Order> {
        self.jobs.first_key_value().map(|(order, _)| *order)
    }
}

/// The level of a priority.
pub(super) const fn level(priority: Priority) -> usize {
    match priority {
        Priority::Critical => 0,
        Priority::Interactive => 1,
        Priority::Batch => 2,
    }
}
