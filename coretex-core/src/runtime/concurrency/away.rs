//! A start whose batch was refused because there was no place for it, or somebody waited: its policy is carried out.

use std::{sync::Arc, time::Duration};

use super::{
    gave_way,
    pump::{cancel, holders, sweep},
};
use crate::{
    job::TenantId,
    ports::Busy,
    runtime::{
        PlaneError, PlaneErrorKind,
        executor::Command,
        keys::{self, AggregateId, Gate},
        shared::{Reply, Shared, Work},
    },
    workflow::{ConcurrencyPolicy, Slot},
};

/// Tries to find either a place or somebody who has it, while they change hands.
const TRIES: u32 = 100;
/// The wait after a store that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Carries out the policy of the start in `command`, and answers it in the end.
pub(in crate::runtime) async fn turned_away(shared: Arc<Shared>, mut command: Command) {
    let error = match outcome(&shared, &mut command).await {
        Ok(Outcome::Again) => return shared.route(command).await,
        Ok(Outcome::Instead(run)) => {
            if let Reply::Caller(caller) = command.reply {
                // A caller that has gone does not mind.
                let _gone = caller.send(Ok(AggregateId::Run(run.into())));
            }
            return;
        }
        // Whoever started it and does not wait for an answer relies on it.
        Err(error) if error.is_retryable() && matches!(command.reply, Reply::Nobody) => {
            command.busy = Busy::default();
            shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), RETRY)).await;
            return shared.route(command).await;
        }
        Err(error) => error,
    };
    if let Reply::Caller(caller) = command.reply {
        // A caller that has gone does not mind.
        let _gone = caller.send(Err(error));
    }
}

enum Outcome {
    /// The start is decided again, as it now is.
    Again,
    /// This run stands for it.
    Instead(String),
}

async fn outcome(shared: &Arc<Shared>, command: &mut Command) -> Result<Outcome, PlaneError> {
    let tries = command.tries;
    let Work::Start { workflow, start } = &mut command.work else { return Ok(Outcome::Again) };
    // It was rendered for the decision whose batch was refused.
    let slot = workflow.concurrency().map(|rule| rule.slot(workflow.id(), &start.input));
    let Some(Ok(slot)) = slot else { return Err(PlaneError::closed()) };
    let gate = Gate::new(workflow.tenant(), &slot.key);
    match slot.policy {
        ConcurrencyPolicy::Queue | ConcurrencyPolicy::CancelOldest => {}
        ConcurrencyPolicy::CancelNewest => {
            if let Some(goes) = gave_way::choose(shared, &gate, start).await? {
                cancel(shared, &goes.run_id, start.id.as_str(), &slot.key, &mut command.busy).await?;
            }
        }
        ConcurrencyPolicy::Reject => {
            if tries >= TRIES || is_full(shared, &gate, &slot).await? {
                return Err(no_place(workflow.tenant(), &slot));
            }
            return Ok(Outcome::Again);
        }
        ConcurrencyPolicy::Singleton => {
            let oldest = holders(shared, &gate)
                .await?
                .into_iter()
                .min_by(|a, b| (a.since, &a.run_id).cmp(&(b.since, &b.run_id)));
            let there = match oldest {
                Some(holder) => Some((holder.run_id, holder.workflow_id)),
                None => sweep(shared, &gate).await?.map(|(_, waiting)| (waiting.run_id, waiting.workflow_id)),
            };
            return match there {
                Some((run, of)) if *of == *workflow.id().as_str() => Ok(Outcome::Instead(run)),
                Some((run, of)) => Err(held_by_another(&slot, &run, &of)),
                None if tries >= TRIES => Err(no_place(workflow.tenant(), &slot)),
                None => Ok(Outcome::Again),
            };
        }
    }
    start.queued = true;
    Ok(Outcome::Again)
}

fn no_place(tenant: &TenantId, slot: &Slot) -> PlaneError {
    let message = format!(
        "all {} places under the concurrency key `{}` of tenant `{tenant}` are taken; start it when a run has ended",
        slot.limit, slot.key
    );
    PlaneError::new(PlaneErrorKind::Conflict, "concurrency_limit", message)
}

/// A run of another workflow does not stand for the start.
fn held_by_another(slot: &Slot, run: &str, workflow: &str) -> PlaneError {
    let message = format!(
        "the place under the concurrency key `{}` is held by run `{run}` of workflow `{workflow}`; start it when that \
         has ended, or give the workflows keys of their own",
        slot.key
    );
    PlaneError::new(PlaneErrorKind::Conflict, "concurrency_limit", message)
}

async fn is_full(shared: &Shared, gate: &Gate, slot: &Slot) -> Result<bool, PlaneError> {
    if sweep(shared, gate).await?.is_some() {
        return Ok(true);
    }
    let taken = shared.store.get(&keys::slots_taken(gate)).await?;
    let taken = taken.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse::<i64>().ok()).unwrap_or(0);
    Ok(taken >= i64::from(slot.limit))
}
