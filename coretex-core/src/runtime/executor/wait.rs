//! Waiting: for commands, for what became of batches, for records that were read, and for time.

use std::{pin::Pin, task::Poll};

use futures::StreamExt;

use super::{Command, Executor};
use crate::{
    job::JobInput,
    plane::Input,
    runtime::{
        keys::AggregateId,
        load::Loaded,
        shared::{Reply, Work},
    },
    workflow::RunInput,
};

/// Commands that an executor takes in one round; what it commits in one call, and bounds how long it computes at a time.
const MAX_ROUND: usize = 256;
/// Batches that an executor lets be under way before it takes more work: back-pressure reaches callers through the
/// bounded inbox. Large enough to fill a flush, small enough to bound what a refusal throws away.
const MAX_UNDER_WAY: usize = 4_096;
/// Aggregates that are read at once before an executor takes more work: a flood of ids, or a recovery of many runs, must
/// not hold all of them in memory.
const MAX_LOADS: usize = 256;

/// Decisions that wait to be acted on before an executor takes more work: many starts of wide runs must not be decided
/// faster than their jobs leave.
const MAX_OUTGOING: usize = 256;

#[derive(Default)]
pub(super) struct Arrived {
    pub(super) commands: Vec<Command>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) closed: bool,
}

impl Executor {
    /// Waits until there is something to do, and takes all of it that is there.
    pub(super) async fn wait(&mut self, arrived: &mut Arrived) {
        if !self.local.is_empty() {
            return;
        }
        let saturated =
            self.under_way >= MAX_UNDER_WAY || self.loads.len() >= MAX_LOADS || self.outgoing.len() >= MAX_OUTGOING;
        std::future::poll_fn(|cx| {
            let mut ready = self.calls.poll(cx).is_ready() || !self.outgoing.is_empty();
            while let Poll::Ready(Some(loaded)) = self.loads.poll_next_unpin(cx) {
                arrived.loaded.push(loaded);
                ready = true;
            }
            if !saturated && let Poll::Ready(count) = self.inbox.poll_recv_many(cx, &mut arrived.commands, MAX_ROUND) {
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
    }

    /// Takes what has come into the inbox meanwhile.
    pub(super) fn take_more(&mut self, arrived: &mut Arrived) {
        while arrived.commands.len() < MAX_ROUND
            && let Ok(command) = self.inbox.try_recv()
        {
            arrived.commands.push(command);
        }
    }

    /// Sleeps until the first timer, or earlier: waking for nothing is cheaper than making a new sleep whenever the
    /// first timer goes.
    pub(super) fn arm_sleep(&mut self) {
        let Some((due, _)) = self.timers.first() else {
            self.sleep = None;
            return;
        };
        if self.sleep.as_ref().is_none_or(|(at, _)| at > due) {
            self.sleep = Some((*due, self.shared.clock.sleep_until(*due)));
        }
    }

    pub(super) fn fire(&mut self) {
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
            let command =
                Command { aggregate, work: Work::Input(input), reply: Reply::Nobody, busy, tries: 0, fetched: None };
            self.local.push_back(command);
        }
        if !self.local.is_empty() {
            let policy = self.shared.policy.snapshot();
            while let Some(command) = self.local.pop_front() {
                self.take(command, &*policy);
            }
        }
    }
}
