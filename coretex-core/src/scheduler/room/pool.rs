//! One pool: its queue, its state, what it remembers.

use std::{collections::BTreeSet, sync::Arc};

use crate::scheduler::{
    Routes,
    autoscale::Meter,
    queue::{FairQueue, GateId, Gates, QueueRules},
};

/// Whether a pool works. Set by an operator while it runs, never by a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolState {
    /// As configured.
    #[default]
    Active,
    /// It takes jobs into its queue and starts none.
    Paused,
    /// It finishes what it has and takes no more; a topic's other pools take its jobs.
    Draining,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) name: Arc<str>,
    pub(super) state: PoolState,
    pub(super) queue: FairQueue,
    pub(super) meter: Meter,
    pub(super) running: u32,
    /// Whether a worker may have room: said by every event of a worker, taken back when none was found.
    has_room: bool,
    /// Gates that are open and have flows of this pool, while it cannot serve.
    stalled: BTreeSet<GateId>,
}

impl Pool {
    pub(super) fn new(index: u32, name: &Arc<str>, routes: &Routes) -> Self {
        Self {
            name: name.clone(),
            state: PoolState::Active,
            queue: FairQueue::new(index, QueueRules::of(routes.pool(name))),
            meter: Meter::default(),
            running: 0,
            has_room: true,
            stalled: BTreeSet::new(),
        }
    }

    /// Whether a waiting job could go, as far as is known.
    pub(super) fn serves(&self) -> bool {
        self.has_room && self.state != PoolState::Paused
    }

    /// A worker may have room, or an operator let the pool go on.
    pub(super) fn look_again(&mut self, index: u32, gates: &mut Gates) {
        self.has_room = true;
        if self.state != PoolState::Paused {
            std::mem::take(&mut self.stalled).into_iter().for_each(|gate| gates.check_later(gate, index));
        }
    }

    /// No worker has room.
    pub(super) const fn is_full(&mut self) {
        self.has_room = false;
    }

    /// A gate is open, but this pool cannot use it.
    pub(super) fn stalled_at(&mut self, gate: GateId) {
        self.stalled.insert(gate);
    }
}

/// Pools that have something to look at.
#[derive(Debug, Default)]
pub(super) struct Dirty(BTreeSet<u32>);

impl Dirty {
    pub(super) fn add(&mut self, pool: u32) {
        self.0.insert(pool);
    }

    /// The next pool after `last`, round and round: pools that compete for a gate take turns.
    pub(super) fn take_after(&mut self, last: u32) -> Option<u32> {
        let next = self.0.range(last.saturating_add(1)..).next().or_else(|| self.0.first()).copied()?;
        self.0.remove(&next);
        Some(next)
    }
}
