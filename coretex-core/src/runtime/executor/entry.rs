//! What an executor holds of one aggregate.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Command;
use crate::{
    job::JobId,
    plane::State,
    ports::{Key, StoreError},
    runtime::{PlaneError, batch::Kept, keys::Gate, placement::Touched},
    workflow::{Run, RunEffect},
};

/// Something decided whose batch, or whose predecessor's, is on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) command: Command,
    /// Whether a batch was sent for it; otherwise it waits for those before it.
    pub(super) sent: bool,
    pub(super) effects: Vec<RunEffect>,
    pub(super) outbox: Vec<(usize, Key)>,
    pub(super) arm: Option<Timestamp>,
    /// A line to look at, because a place may have come free.
    pub(super) gate: Option<Gate>,
    /// A schedule to look at, because a run of it ended.
    pub(super) schedule: Option<Key>,
    /// What it did to slots.
    pub(super) slots: Option<Box<Touched>>,
    pub(super) answer: Result<(), PlaneError>,
}

impl Pending {
    /// Something without a batch of its own, that waits for those before it.
    pub(super) const fn without_batch(command: Command, answer: Result<(), PlaneError>) -> Self {
        Self {
            command,
            sent: false,
            effects: Vec::new(),
            outbox: Vec::new(),
            arm: None,
            gate: None,
            schedule: None,
            slots: None,
            answer,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
pub(super) struct Entry {
    pub(super) phase: Phase,
    pub(super) state: Option<State>,
    pub(super) kept: Kept,
    pub(super) pending: VecDeque<Pending>,
    pub(super) queue: VecDeque<Command>,
    pub(super) redo: Vec<Command>,
    pub(super) refused: Option<StoreError>,
    /// Whose batch was refused first, by its place among what is decided again.
    pub(super) blamed: usize,
    /// What the entry counts for among the idle ones; 0 when it is not idle.
    pub(super) counted: usize,
    /// A batch may have been applied whose effects did not run.
    pub(super) unsure: bool,
    /// Jobs that may have ended with it.
    pub(super) in_doubt: Vec<JobId>,
    pub(super) timer: Option<Timestamp>,
    pub(super) waiters: Vec<oneshot::Sender<Result<Arc<Run>, PlaneError>>>,
    pub(super) stamp: u64,
}

impl Entry {
    pub(super) fn new(phase: Phase) -> Self {
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
            in_doubt: Vec::new(),
            timer: None,
            waiters: Vec::new(),
            stamp: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.pending.is_empty() && self.queue.is_empty() && self.waiters.is_empty()
    }

    pub(super) fn weight(&self) -> usize {
        match &self.state {
            Some(State::Run(run)) => run.weight(),
            _ => 1_024,
        }
    }
}
