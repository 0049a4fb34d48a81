//! What may go wrong, and the dice.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    ports::{Batch, Op},
    testing::Rng,
};

/// What may go wrong and how often. Chances are per mille; nothing goes wrong unless told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct FaultPlan {
    seed: u64,
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) conflict: u32,
    pub(super) unreadable: u32,
    pub(super) slow: (u32, u32),
    pub(super) drop: u32,
    pub(super) duplicate: u32,
    pub(super) delay: (u32, Duration),
    pub(super) reorder: u32,
    pub(super) full: u32,
    refused: BTreeSet<u64>,
    crashes: VecDeque<u64>,
    only: Option<String>,
    at_most: Option<u64>,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong; `seed` throws the dice.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Batches that are not applied and answered `Unavailable`.
    pub const fn unavailable_before(mut self, per_mille: u32) -> Self {
        self.before = per_mille;
        self
    }

    /// Batches that are applied and answered `Unavailable` all the same.
    pub const fn unavailable_after(mut self, per_mille: u32) -> Self {
        self.after = per_mille;
        self
    }

    /// Batches that are not applied and answered `Conflict`.
    pub const fn conflict(mut self, per_mille: u32) -> Self {
        self.conflict = per_mille;
        self
    }

    /// Reads that are answered `Unavailable`.
    pub const fn unreadable(mut self, per_mille: u32) -> Self {
        self.unreadable = per_mille;
        self
    }

    /// Calls of the store that take up to `turns` turns of the runtime longer. Below 32, virtual time does not notice.
    pub const fn slow(mut self, per_mille: u32, turns: u32) -> Self {
        self.slow = (per_mille, turns);
        self
    }

    /// Refuses the batch number `n`, counted from 0 over all stores of the plan, with `Conflict`. May be repeated.
    pub fn refuse_batch(mut self, n: u64) -> Self {
        self.refused.insert(n);
        self
    }

    /// Lets the store crash when it has applied `n` more batches (at least 1): every later call on it is answered
    /// `Closed`. Half of the times, by seed, the answer to the last batch is lost. Named several times, the stores that
    /// come after the crash crash in turn.
    pub fn crash_after(mut self, n: u64) -> Self {
        self.crashes.push_back(n.max(1));
        self
    }

    /// Messages that are accepted and lost.
    pub const fn drop_messages(mut self, per_mille: u32) -> Self {
        self.drop = per_mille;
        self
    }

    /// Messages that are delivered twice.
    pub const fn duplicate_messages(mut self, per_mille: u32) -> Self {
        self.duplicate = per_mille;
        self
    }

    /// Messages that are delivered up to `longest` later.
    pub const fn delay_messages(mut self, per_mille: u32, longest: Duration) -> Self {
        self.delay = (per_mille, longest);
        self
    }

    /// Messages that are overtaken by those published after them until all rests.
    pub const fn reorder_messages(mut self, per_mille: u32) -> Self {
        self.reorder = per_mille;
        self
    }

    /// Messages that are refused as `Full`.
    pub const fn full(mut self, per_mille: u32) -> Self {
        self.full = per_mille;
        self
    }

    /// Counts and hits only batches that touch a key or stream which starts with `prefix`. Crashes are not concerned.
    pub fn only(mut self, prefix: impl Into<String>) -> Self {
        self.only = Some(prefix.into());
        self
    }

    /// Throws the dice at most until so many faults have happened, refusals and crashes not counted.
    pub const fn at_most(mut self, faults: u64) -> Self {
        self.at_most = Some(faults);
        self
    }

    /// The plan at work; clones share the dice and the counts.
    #[must_use]
    pub fn arm(self) -> Faults {
        let mut crashes = self.crashes.clone();
        let state = State {
            rng: Rng::new(self.seed),
            resting: false,
            left: self.at_most,
            batches: 0,
            crash_in: crashes.pop_front(),
            crashes,
            counts: FaultCounts::default(),
        };
        Faults { plan: Arc::new(self), state: Arc::new(Mutex::new(state)) }
    }
}

/// What went wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Batches and reads that were refused, or whose answer was lost.
    pub store: u64,
    /// Messages that were lost, doubled, late, overtaken or refused.
    pub bus: u64,
    /// Crashes.
    pub crashes: u64,
}

/// A [`FaultPlan`] at work. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Faults {
    pub(super) plan: Arc<FaultPlan>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    resting: bool,
    left: Option<u64>,
    batches: u64,
    crash_in: Option<u64>,
    crashes: VecDeque<u64>,
    counts: FaultCounts,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    /// Applied, and the answer is lost.
    Unanswered,
    Unavailable,
    Refused,
    /// Applied, and the store crashes after it.
    Last,
    /// As `Last`, and the answer is lost.
    LastUnanswered,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Straight,
    Lost,
    Twice,
    Late(Duration),
    Full,
}

impl Faults {
    /// What went wrong so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.lock().counts
    }

    /// Batches counted so far.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.lock().batches
    }

    /// Lets nothing go wrong, and counts nothing, until [`Faults::resume`].
    pub fn rest(&self) {
        self.lock().resting = true;
    }

    /// Goes on.
    pub fn resume(&self) {
        self.lock().resting = false;
    }

    pub(super) fn fate(&self, batch: &Batch) -> Fate {
        let mut state = self.lock();
        if state.resting {
            return Fate::Applied;
        }
        let hit = self.plan.only.as_ref().is_none_or(|prefix| touches(batch, prefix));
        if hit {
            let number = state.batches;
            state.batches += 1;
            if self.plan.refused.contains(&number) {
                state.counts.store += 1;
                return Fate::Refused;
            }
            if state.throw(self.plan.before) {
                state.counts.store += 1;
                return Fate::Unavailable;
            }
            if state.throw(self.plan.conflict) {
                state.counts.store += 1;
                return Fate::Refused;
            }
        }
        if let Some(left) = &mut state.crash_in {
            *left -= 1;
            if *left == 0 {
                state.crash_in = state.crashes.pop_front();
                state.counts.crashes += 1;
                return if state.rng.chance(500) { Fate::LastUnanswered } else { Fate::Last };
            }
        }
        if hit && state.throw(self.plan.after) {
            state.counts.store += 1;
            return Fate::Unanswered;
        }
        Fate::Applied
    }

    pub(super) fn is_unreadable(&self) -> bool {
        let mut state = self.lock();
        let hit = !state.resting && state.throw(self.plan.unreadable);
        state.counts.store += u64::from(hit);
        hit
    }

    /// Turns to wait.
    pub(super) fn slowness(&self) -> u32 {
        let (per_mille, turns) = self.plan.slow;
        let mut state = self.lock();
        // Slowness is no fault: it is not bounded, and not counted.
        if state.resting || !state.rng.chance(per_mille) {
            return 0;
        }
        u32::try_from(1 + state.rng.below(u64::from(turns))).unwrap_or(0)
    }

    pub(super) fn way(&self) -> Way {
        let plan = &self.plan;
        let mut state = self.lock();
        if state.resting {
            return Way::Straight;
        }
        let way = if state.throw(plan.full) {
            Way::Full
        } else if state.throw(plan.drop) {
            Way::Lost
        } else if state.throw(plan.duplicate) {
            Way::Twice
        } else if state.throw(plan.delay.0) {
            let longest = u64::try_from(plan.delay.1.as_micros()).unwrap_or(u64::MAX);
            Way::Late(Duration::from_micros(1 + state.rng.below(longest)))
        } else if state.throw(plan.reorder) {
            // The least of times: it passes when everybody rests, so whoever acts meanwhile is ahead.
            Way::Late(Duration::from_micros(1))
        } else {
            return Way::Straight;
        };
        state.counts.bus += 1;
        way
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn throw(&mut self, per_mille: u32) -> bool {
        if per_mille == 0 || self.left == Some(0) || !self.rng.chance(per_mille) {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

fn touches(batch: &Batch, prefix: &str) -> bool {
    batch.ops().iter().any(|op| {
        let key = match op {
            Op::Append { stream: key, .. } | Op::Trim { stream: key, .. } => key,
            Op::Require { key, .. }
            | Op::Put { key, .. }
            | Op::Delete { key, .. }
            | Op::Add { key, .. }
            | Op::Expire { key, .. } => key,
        };
        key.as_str().starts_with(prefix)
    })
}
