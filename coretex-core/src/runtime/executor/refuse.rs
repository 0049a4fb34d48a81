//! What follows from a refused batch: everything after it is decided anew.

use std::collections::VecDeque;

use super::{Executor, FIRST_WAIT, answer, entry::Phase};
use crate::{
    job::{Failure, JobInput, JobStatusReport, codes},
    plane::Input,
    ports::{StoreError, StoreErrorKind},
    runtime::{
        concurrency,
        keys::{self, AggregateId},
        placement,
        shared::{Reply, Work},
    },
    workflow::RunInput,
};

/// Tries of a caller's work before the caller is told; deliveries and timers are tried until they succeed.
const CALLER_TRIES: u32 = 8;
/// Refusals that are answered by another try at once.
const PROMPT_TRIES: u32 = 2;

/// Makes a failure of a result that no record can hold: dropped, its job would wait for a time-out. False for other
/// work, and for a failure, which holds nothing that could be left out.
fn without_output(work: &mut Work, error: &StoreError) -> bool {
    let Work::Input(Input::Run(RunInput::Job { input, .. }) | Input::Job(input)) = work else { return false };
    let JobInput::Finished { result, .. } = input else { return false };
    let JobStatusReport::Succeeded(_) = result.status else { return false };
    let failure = Failure::fatal(codes::PAYLOAD_TOO_LARGE, format!("the result cannot be kept: {error}"));
    result.status = JobStatusReport::Failed(failure);
    true
}

impl Executor {
    pub(super) fn refuse(&mut self, aggregate: &AggregateId, error: StoreError) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        tracing::debug!(id = aggregate.id(), %error, "a batch was refused; its aggregate is read again");
        entry.phase = Phase::Draining;
        entry.state = None;
        entry.unsure |= error.is_outcome_unknown();
        // The first refusal says why; the later ones only follow from it.
        entry.refused.get_or_insert(error);
        if let Some(pending) = entry.pending.pop_front() {
            if let Some(slots) = &pending.slots {
                placement::refused(&self.shared, slots);
                if entry.unsure {
                    entry.in_doubt.extend(slots.ended());
                }
            }
            entry.redo.push(pending.command);
        }
        self.drained(aggregate);
    }

    /// Reads the state again once no batch of the aggregate is on its way, and lines up what must be decided anew.
    pub(super) fn drained(&mut self, aggregate: &AggregateId) {
        let Some(entry) = self.entries.get_mut(aggregate) else { return };
        // Work without a batch that followed a refused one was decided on speculative state too.
        while entry.pending.front().is_some_and(|pending| !pending.sent) {
            if let Some(pending) = entry.pending.pop_front() {
                entry.redo.push(pending.command);
            }
        }
        if !entry.pending.is_empty() {
            return;
        }
        let error = entry.refused.take().unwrap_or_else(|| StoreError::conflict("refused"));
        let mut tries = 0;
        let mut idempotency = None;
        let blamed = std::mem::take(&mut entry.blamed);
        let mut again = VecDeque::new();
        for (place, mut command) in entry.redo.drain(..).enumerate() {
            command.tries += 1;
            if blamed == place && error.kind() == StoreErrorKind::Ceiling && matches!(command.work, Work::Start { .. })
            {
                self.shared.spawn(concurrency::turned_away(self.shared.clone(), command));
                continue;
            }
            tries = tries.max(command.tries);
            let hopeless = match error.kind() {
                // What was decided after it is not to blame.
                StoreErrorKind::Invalid | StoreErrorKind::Ceiling => blamed == place,
                kind => matches!(kind, StoreErrorKind::Closed | StoreErrorKind::Corrupt),
            };
            let impatient =
                self.is_stopping || (matches!(command.reply, Reply::Caller(_)) && command.tries >= CALLER_TRIES);
            if hopeless && without_output(&mut command.work, &error) {
                tracing::warn!(id = aggregate.id(), %error, "a result cannot be kept; its job fails");
                again.push_back(command);
                continue;
            }
            if hopeless || impatient {
                match command.reply {
                    Reply::Delivery(delivery) if error.kind() != StoreErrorKind::Invalid => {
                        self.shared.give_back(delivery, FIRST_WAIT);
                    }
                    reply => answer(reply, Err(error.clone().into()), aggregate),
                }
                if error.kind() == StoreErrorKind::Ceiling {
                    // Whoever asked for a place is told that there is none, and goes on from there.
                    tracing::debug!(id = aggregate.id(), %error, "there is no place");
                } else {
                    tracing::error!(id = aggregate.id(), %error, "work is given up because its commit was refused");
                }
                continue;
            }
            if let Work::Start { workflow, start } = &command.work {
                idempotency =
                    start.idempotency_key.as_deref().map(|key| keys::idempotency(workflow.tenant().as_str(), key));
            }
            again.push_back(command);
        }
        again.append(&mut entry.queue);
        entry.queue = again;
        // Conflicts are with a writer that has finished, and most stores that fail once do not fail twice.
        let wait = (tries > PROMPT_TRIES).then(|| FIRST_WAIT.saturating_mul(1 << (tries - PROMPT_TRIES - 1).min(8)));
        self.load(aggregate.clone(), idempotency, wait);
    }
}
