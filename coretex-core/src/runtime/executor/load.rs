//! An aggregate that was read, or cannot be.

use std::time::Duration;

use super::{Command, Executor, answer, entry::Phase};
use crate::{
    plane::State,
    runtime::{
        PlaneError, PlaneErrorKind,
        batch::Kept,
        concurrency, keepers,
        keys::AggregateId,
        load::Loaded,
        outbound, placement, repeat, schedules,
        shared::{Reply, Work},
        timers::Arm,
    },
    workflow::Wake,
};

impl Executor {
    pub(super) fn take_loaded(&mut self, loaded: Loaded) {
        let Loaded { aggregate, result, deleted, existing, idempotency, busy: _reading } = loaded;
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        match result {
            Ok(Some((state, snapshot_at))) => {
                entry.kept = Kept::of(&state, snapshot_at);
                entry.state = Some(state);
            }
            Ok(None) => {
                entry.kept = Kept::nothing();
                entry.state = None;
            }
            // A control plane that is shutting down does not wait for a store that is away.
            Err(error) if error.is_retryable() && !self.is_stopping => {
                tracing::warn!(id = aggregate.id(), %error, "a record cannot be read; trying again");
                return self.load(aggregate, idempotency, Some(Duration::from_secs(1)));
            }
            Err(error) => return self.unreadable(&aggregate, &error),
        }
        for command in &mut entry.queue {
            if !command.busy.holds_time() {
                command.busy = self.shared.clock.busy();
            }
        }
        entry.phase = Phase::Ready;
        if !entry.in_doubt.is_empty() {
            placement::settle_doubts(&self.shared, entry.state.as_ref(), std::mem::take(&mut entry.in_doubt));
        }
        let policy = self.shared.policy.snapshot();
        let unsure = std::mem::take(&mut entry.unsure);
        match entry.state.as_ref().map(State::wake) {
            // The batch may have been applied, and what follows from it was left undone.
            Some(wake) if unsure => {
                if let Some(State::Run(run)) = &entry.state {
                    if let Some(gate) = concurrency::gate_of(run) {
                        concurrency::nudge(&self.shared, gate);
                    }
                    if let Some(schedule) = schedules::origin(run) {
                        keepers::nudge(&self.shared, schedule);
                    }
                }
                if let Wake::At(due) = wake {
                    // The service reads what it missed from the store.
                    let _gone = self.shared.timers.send(Arm::run(due, aggregate.clone()));
                }
                self.shared.spawn(outbound::empty_outbox(self.shared.clone(), aggregate.clone()));
                if wake != Wake::Never {
                    let busy = self.shared.clock.busy();
                    let work = Work::Recover;
                    let recover = Command {
                        aggregate: aggregate.clone(),
                        work,
                        reply: Reply::Nobody,
                        busy,
                        tries: 0,
                        fetched: None,
                    };
                    self.decide(recover, &*policy);
                }
            }
            Some(_) => self.rearm(&aggregate),
            None => {}
        }
        // One at a time: a state that has ended stays at hand for as long as somebody asks for it.
        while let Some(command) = self
            .entries
            .get_mut(&aggregate)
            .and_then(|entry| if entry.phase == Phase::Ready { entry.queue.pop_front() } else { None })
        {
            match (&existing, &command.work) {
                (_, Work::Submit(_)) if deleted => {
                    let message = format!("job `{}` was removed; its id is not used again", aggregate.id());
                    let refused = PlaneError::new(PlaneErrorKind::Conflict, "job_deleted", message);
                    self.shared.note_refusal(&command.reply, &refused);
                    answer(command.reply, Err(refused), &aggregate);
                }
                (_, Work::Start { .. }) if deleted => {
                    let message = format!("run `{}` was deleted; its id is not used again", aggregate.id());
                    let refused = PlaneError::new(PlaneErrorKind::Conflict, "run_deleted", message);
                    answer(command.reply, Err(refused), &aggregate);
                }
                (Some(existing), Work::Start { workflow, start })
                    if command.tries > 0 && existing.aggregate.id() != aggregate.id() =>
                {
                    let same = repeat::of_start(existing, workflow.id(), start);
                    answer(command.reply, same, &existing.aggregate);
                }
                _ => self.decide(command, &*policy),
            }
        }
        self.settled(&aggregate);
        if let Some(entry) = self.entries.get_mut(&aggregate)
            && entry.phase == Phase::Ready
            && entry.state.is_none()
        {
            for waiter in entry.waiters.drain(..) {
                // A waiter that has gone does not mind.
                let _gone = waiter.send(Err(PlaneError::not_found("run", aggregate.id())));
            }
            if entry.is_idle() {
                self.entries.remove(&aggregate);
            }
        }
    }

    /// Nobody can work on an aggregate whose record cannot be read.
    pub(super) fn unreadable(&mut self, aggregate: &AggregateId, error: &PlaneError) {
        tracing::error!(id = aggregate.id(), %error, "a record cannot be read");
        let Some(entry) = self.entries.remove(aggregate) else { return };
        let failure = || PlaneError::new(error.kind(), error.code(), error.to_string());
        for waiter in entry.waiters {
            // A waiter that has gone does not mind.
            let _gone = waiter.send(Err(failure()));
        }
        for command in entry.queue {
            match (command.work, command.reply) {
                (Work::Wait(waiter), _) => {
                    // A waiter that has gone does not mind.
                    let _gone = waiter.send(Err(failure()));
                }
                // The record may be mended, or read by another version.
                (_, Reply::Delivery(delivery)) => self.shared.give_back(delivery, Duration::from_secs(1)),
                (_, reply) => answer(reply, Err(failure()), aggregate),
            }
        }
    }
}
