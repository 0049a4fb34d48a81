//! What is durable is acted on, answered and acknowledged, in the order of decision.

use std::sync::Arc;

use super::{
    Command, Executor, answer,
    entry::{Pending, Phase},
};
use crate::{
    plane::State,
    runtime::{PlaneError, concurrency, keepers, keys::AggregateId, outbound, shared::Work, timers::Arm},
    workflow::{Run, RunEffect, Wake},
};

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

    /// Acts on everything at the front whose batch is durable.
    pub(super) fn settle(&mut self, aggregate: &AggregateId) {
        loop {
            let Some(entry) = self.entries.get_mut(aggregate) else { return };
            let Some(front) = entry.pending.front() else { break };
            if front.sent {
                break;
            }
            let Some(pending) = entry.pending.pop_front() else { break };
            if let Some(due) = pending.arm {
                // The service reads what it missed from the store.
                let _gone = self.shared.timers.send(Arm::run(due, aggregate.clone()));
            }
            if let Some(schedule) = pending.schedule {
                keepers::nudge(&self.shared, schedule);
            }
            if let Some(gate) = pending.gate {
                concurrency::nudge(&self.shared, gate);
            }
            outbound::act(&self.shared, aggregate, pending.effects, pending.outbox, &mut self.local);
            answer(pending.command.reply, pending.answer, aggregate);
            match entry.phase {
                // Its successors were decided on state that is gone.
                Phase::Draining => return self.drained(aggregate),
                Phase::Beginning => {
                    entry.phase = Phase::Ready;
                    self.local.append(&mut entry.queue);
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
