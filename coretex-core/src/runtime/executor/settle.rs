//! What is durable is acted on, answered and acknowledged, in the order of decision.

use std::sync::Arc;

use super::{
    Command, Executor, answer,
    entry::{Pending, Phase},
};
use crate::{
    plane::State,
    runtime::{PlaneError, concurrency, keepers, keys::AggregateId, outbound::Actions, shared::Work, timers::Arm},
    workflow::{Run, RunEffect, Wake},
};

/// Effects that an executor runs in one round: a quick worker's answers to them fit into the inbox with room to spare, and
/// whoever else waits for the executor waits no longer than for these.
const MAX_ACTS: usize = 256;

impl Executor {
    /// Answers when everything decided before is durable.
    pub(super) fn answer_in_order(&mut self, command: Command, result: Result<(), PlaneError>) {
        let aggregate = command.aggregate.clone();
        if let Some(entry) = self.entries.get_mut(&aggregate)
            && !entry.pending.is_empty()
        {
            entry.pending.push_back(Pending::without_batch(command, result));
            return;
        }
        answer(command.reply, result, &aggregate);
        self.settled(&aggregate);
    }

    pub(super) fn enqueue_effects(&mut self, command: Command, effects: Vec<RunEffect>) {
        let aggregate = command.aggregate.clone();
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        entry.pending.push_back(Pending { effects, ..Pending::without_batch(command, Ok(())) });
        self.settle(&aggregate);
    }

    pub(super) fn wait_for_end(&mut self, command: Command) {
        let aggregate = command.aggregate;
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        if let Work::Wait(waiter) = command.work {
            // Those who have gone make room.
            entry.waiters.retain(|waiter| !waiter.is_closed());
            entry.waiters.push(waiter);
        }
        self.settled(&aggregate);
    }

    /// Goes on with what was left over, in a new round.
    pub(super) fn act(&mut self) {
        self.acted = 0;
        while let Some((actions, _)) = self.outgoing.front_mut()
            && self.acted < MAX_ACTS
        {
            self.acted += actions.act(&self.shared, MAX_ACTS - self.acted, &mut self.local);
            if actions.is_empty() {
                self.outgoing.pop_front();
            }
        }
    }

    /// Acts on everything at the front whose batch is durable, in order of decision and a bounded number of times in one
    /// round. Nothing that acts comes back here, so that the entry is looked up once.
    pub(super) fn settle(&mut self, aggregate: &AggregateId) {
        let Self { shared, entries, outgoing, acted, local, .. } = self;
        let Some(entry) = entries.get_mut(aggregate) else { return };
        while let Some(pending) = entry.pending.pop_front_if(|front| !front.sent) {
            if let Some(due) = pending.arm {
                // The service reads what it missed from the store.
                let _gone = shared.timers.send(Arm::run(due, aggregate.clone()));
            }
            if let Some(schedule) = pending.schedule {
                keepers::nudge(shared, schedule);
            }
            if let Some(gate) = pending.gate {
                concurrency::nudge(shared, gate);
            }
            if !pending.effects.is_empty() {
                let mut actions = Actions::new(aggregate.clone(), pending.effects, pending.outbox);
                if outgoing.is_empty() {
                    *acted += actions.act(shared, MAX_ACTS.saturating_sub(*acted), local);
                }
                if !actions.is_empty() {
                    outgoing.push_back((actions, shared.clock.busy()));
                }
            }
            answer(pending.command.reply, pending.answer, aggregate);
            match entry.phase {
                // Its successors were decided on state that is gone.
                Phase::Draining => return self.drained(aggregate),
                Phase::Beginning => {
                    entry.phase = Phase::Ready;
                    local.append(&mut entry.queue);
                }
                _ => {}
            }
        }
        self.settled(aggregate);
    }

    /// Nothing of the aggregate is on its way: tell who waits for its end, and let it be forgotten.
    pub(super) fn settled(&mut self, aggregate: &AggregateId) {
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
}
