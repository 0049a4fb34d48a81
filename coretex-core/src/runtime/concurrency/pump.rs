//! Gives places that have come free to those who wait, one gate at a time, in the order of its line.

use std::{sync::Arc, time::Duration};

use super::{Holder, Waiting};
use crate::{
    plane::Input,
    ports::{Batch, Busy, Condition, Scan, StoreError, StoreErrorKind},
    runtime::{
        PlaneError, PlaneErrorKind,
        keys::{self, AggregateId, Gate, LINES, SLOTS_TAKEN},
        shared::{Shared, Work},
    },
    workflow::{ConcurrencyPolicy, RunInput},
};

/// The wait after a store that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Looks at the line of `gate`, soon. Nudging a gate that is being looked at has it looked at once more.
pub(in crate::runtime) fn nudge(shared: &Arc<Shared>, gate: Gate) {
    if shared.gates.begin(&gate) {
        let busy = shared.clock.busy();
        shared.spawn(run(shared.clone(), gate, busy));
    }
}

/// Looks at every line that somebody may stand in, and at counts that have come down to nothing. As many reads as keys
/// are in use.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::runtime) async fn recover(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for prefix in [LINES, SLOTS_TAKEN] {
        let mut after = None;
        loop {
            let page = shared.store.scan(Scan::prefix(prefix).after(after)).await?;
            for entry in page.entries.iter().filter(|entry| prefix == LINES || &*entry.value == b"0") {
                if let Some(gate) = keys::parse_gate(prefix, &entry.key) {
                    nudge(shared, gate);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

async fn run(shared: Arc<Shared>, gate: Gate, mut busy: Busy) {
    loop {
        match work(&shared, &gate, busy).await {
            Ok(()) => {}
            // It is opened again, and looks at every line then.
            Err(error) if error.kind() == PlaneErrorKind::Closed => return,
            Err(error) => {
                tracing::warn!(gate = gate.as_str(), %error, "a line is looked at again later");
                shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), RETRY)).await;
                busy = shared.clock.busy();
                continue;
            }
        }
        busy = shared.clock.busy();
        if !shared.gates.again(&gate) {
            return;
        }
    }
}

/// Admits until nobody waits, or there is no place.
async fn work(shared: &Arc<Shared>, gate: &Gate, mut busy: Busy) -> Result<(), PlaneError> {
    let mut last = None;
    loop {
        let Some((key, first)) = sweep(shared, gate).await? else { return Ok(()) };
        if last.as_ref() == Some(&key) {
            // It was admitted, so its record should be gone: the store is asked again later, not at once.
            return Err(PlaneError::damaged(
                &format!("the line at `{key}`"),
                &"whoever was admitted still stands in it",
            ));
        }
        match tell(shared, &first.run_id, RunInput::Admit, &mut busy).await {
            Ok(()) => last = Some(key),
            Err(error) if error.code() == StoreErrorKind::Ceiling.code() => {
                if !give_way(shared, gate, &first, &mut busy).await? {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The first in line. When there is none, what only says that there might be is removed.
pub(super) async fn sweep(shared: &Shared, gate: &Gate) -> Result<Option<(crate::ports::Key, Waiting)>, PlaneError> {
    loop {
        let mark = shared.store.get(&gate.line()).await?;
        let taken = shared.store.get(&gate.taken()).await?;
        let page = shared.store.scan(Scan::prefix(keys::queued(gate)).limit(1)).await?;
        if let Some(entry) = page.entries.into_iter().next() {
            let waiting = serde_json::from_slice(&entry.value)
                .map_err(|error| PlaneError::damaged(&format!("the line at `{}`", entry.key), &error))?;
            return Ok(Some((entry.key, waiting)));
        }
        let mut batches = Vec::new();
        if let Some(mark) = mark {
            // Set anew since it was read: somebody has joined the line.
            batches.push(Batch::new().delete(mark.key, Condition::Version(mark.version)));
        }
        if let Some(taken) = taken.filter(|taken| &*taken.value == b"0") {
            batches.push(Batch::new().delete(taken.key, Condition::Version(taken.version)));
        }
        let mut joined = false;
        if !batches.is_empty() {
            let marked = batches.len() - usize::from(batches.len() > 1);
            for (n, result) in shared.store.commit(batches).await.into_iter().enumerate() {
                match result {
                    Err(error) if error.kind() == StoreErrorKind::Conflict => joined |= n < marked,
                    Err(error) => return Err(error.into()),
                    Ok(_) => {}
                }
            }
        }
        if !joined {
            return Ok(None);
        }
    }
}

/// Makes room for the first in line, if its policy says so. Whether there is room at once.
async fn give_way(shared: &Arc<Shared>, gate: &Gate, first: &Waiting, busy: &mut Busy) -> Result<bool, PlaneError> {
    let newest = match first.slot.policy {
        ConcurrencyPolicy::CancelOldest => false,
        ConcurrencyPolicy::CancelNewest => true,
        ConcurrencyPolicy::Queue | ConcurrencyPolicy::Reject | ConcurrencyPolicy::Singleton => return Ok(false),
    };
    let mut holders = holders(shared, gate).await?;
    holders.sort_by(|a, b| (a.since, &a.run_id).cmp(&(b.since, &b.run_id)));
    let goes = if newest { holders.pop() } else { holders.into_iter().next() };
    let Some(goes) = goes else { return Ok(false) };
    cancel(shared, &goes.run_id, &first.run_id, &goes.key, busy).await?;
    // What a worker has of it is stopped in order, and its end has the line looked at again.
    Ok(shared.store.get(&gate.holder(&goes.run_id)).await?.is_none())
}

pub(super) async fn cancel(
    shared: &Shared,
    goes: &str,
    comes: &str,
    key: &str,
    busy: &mut Busy,
) -> Result<(), PlaneError> {
    let reason = format!("it gave way to run `{comes}` under the concurrency key `{key}`");
    let input = RunInput::Cancel { by: "coretex".into(), reason: reason.into() };
    tell(shared, goes, input, busy).await
}

/// Hands `input` to a run and waits until it is durable. The command holds time meanwhile, or lets it pass where it has
/// to wait itself; `busy` would keep it from passing.
async fn tell(shared: &Shared, run: &str, input: RunInput, busy: &mut Busy) -> Result<(), PlaneError> {
    let told = shared.call(AggregateId::Run(run.into()), Work::Input(Input::Run(input)));
    *busy = Busy::default();
    let told = told.await;
    *busy = shared.clock.busy();
    told.map(|_| ())
}

/// Everyone who holds a place, in the order of their run ids.
pub(super) async fn holders(shared: &Shared, gate: &Gate) -> Result<Vec<Holder>, PlaneError> {
    let mut holders = Vec::new();
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(keys::slots(gate)).after(after)).await?;
        for entry in &page.entries {
            let holder = serde_json::from_slice(&entry.value)
                .map_err(|error| PlaneError::damaged(&format!("the place at `{}`", entry.key), &error))?;
            holders.push(holder);
        }
        after = page.next;
        if after.is_none() {
            return Ok(holders);
        }
    }
}
