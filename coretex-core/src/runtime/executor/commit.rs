//! From a decision to its batch.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Command, Executor,
    entry::{Entry, Pending, Phase},
};
use crate::{
    job::JobInput,
    plane::{Input, State, Transition},
    runtime::{
        batch,
        keys::AggregateId,
        outbound,
        shared::{Shared, Work},
        timers::Arm,
    },
    workflow::{RunEffect, RunInput, Wake},
};

/// Whether an effect stays inside of the process, which is all that a dry run may have.
fn stays_inside(effect: &RunEffect) -> bool {
    let inside = matches!(effect, RunEffect::Child(_));
    if !inside {
        tracing::error!(?effect, "an effect of a dry run is not carried out");
    }
    inside
}

fn rearm(timers: &mut BTreeSet<(Timestamp, AggregateId)>, shared: &Shared, aggregate: &AggregateId, entry: &mut Entry) {
    let due = match &entry.state {
        // It goes on in the next round, so that others have their turn.
        Some(State::Run(run)) if run.goes_on(&shared.options.run_bounds()) => Some(run.updated_at()),
        Some(state) if state.wake() == Wake::Hot => state.next_due(),
        _ => None,
    };
    // A timer that fires early finds nothing due and is set anew; moving it for every step would cost more.
    if due == entry.timer || due.is_some_and(|due| entry.timer.is_some_and(|armed| armed <= due)) {
        return;
    }
    if let Some(old) = entry.timer.take() {
        timers.remove(&(old, aggregate.clone()));
    }
    if let Some(due) = due {
        timers.insert((due, aggregate.clone()));
    }
    entry.timer = due;
}

impl Executor {
    /// Folds a transition in and sends its batch. `begun` when the state already holds the first event.
    pub(super) fn commit(&mut self, mut command: Command, mut transition: Transition, begun: bool) {
        // Decided anew, it is loaded anew.
        command.fetched = None;
        let aggregate = command.aggregate.clone();
        if transition.is_empty() {
            // A timer that fired early, by a clock that was set back since, is set anew.
            self.rearm(&aggregate);
            let wake = self.entries.get(&aggregate).and_then(|entry| entry.state.as_ref()).map(State::wake);
            if let (Some(Wake::At(due)), Work::Input(Input::Run(RunInput::Tick) | Input::Job(JobInput::Tick))) =
                (wake, &command.work)
            {
                let _gone = self.shared.timers.send(Arm::run(due, aggregate.clone()));
            }
            return self.answer_in_order(command, Ok(()));
        }
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        let Some(state) = &mut entry.state else { return };
        let head = if begun { 0 } else { state.head() };
        state.adopt(&mut transition, begun);
        if let State::Run(run) = state
            && run.is_dry_run()
        {
            transition.effects.retain(stays_inside);
        }
        if self.shared.options.bus_clients.is_some() {
            transition.effects.extend(transition.records.dead_letters.iter().map(outbound::report_dead_letter));
        }
        let start = match &command.work {
            Work::Start { start, .. } => Some(&**start),
            _ => None,
        };
        match batch::prepare(&aggregate, head, &transition, state, &mut entry.kept, start, &mut self.scratch) {
            Ok(prepared) => {
                self.members.push(aggregate.clone());
                self.batches.push(prepared.batch);
                self.under_way += 1;
                entry.pending.push_back(Pending {
                    command,
                    sent: true,
                    effects: transition.effects,
                    outbox: prepared.outbox,
                    arm: prepared.arm,
                    gate: prepared.gate,
                    schedule: prepared.schedule,
                    answer: Ok(()),
                });
                rearm(&mut self.timers, &self.shared, &aggregate, entry);
            }
            Err(error) => {
                // The state was changed in memory only: forget it, so that the next input finds what is stored.
                // The work that waits for its predecessors keeps its place in front.
                entry.state = None;
                entry.refused = Some(error);
                if entry.pending.iter().all(|pending| !pending.sent) {
                    entry.redo.extend(entry.pending.drain(..).map(|pending| pending.command));
                    entry.blamed = entry.redo.len();
                    entry.redo.push(command);
                    entry.phase = Phase::Draining;
                    self.drained(&aggregate);
                } else {
                    // Batches before it are on their way: decided again when they are done, and refused then.
                    entry.refused = None;
                    entry.phase = Phase::Draining;
                    entry.pending.push_back(Pending::without_batch(command, Ok(())));
                }
            }
        }
    }

    /// Arms the timer of a run that a worker has a job of; the others have a durable one.
    pub(super) fn rearm(&mut self, aggregate: &AggregateId) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        rearm(&mut self.timers, &self.shared, aggregate, entry);
    }
}
