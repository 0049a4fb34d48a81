//! Places under concurrency keys: who holds one, who waits for one, and how a place that has come free is given on.
//!
//! ```text
//! start -> batch takes a place, if one is free and nobody waits -> the run begins
//!       -> refused: [turned_away] carries out the policy -> batch queues the run -> [pump] admits it, in its turn
//! ```
//!
//! A place is a record under `slots/` and one on the counter `slots-taken/`. Both are written by the batch in which the
//! run begins and removed by the batch in which it ends, whatever ends it: so there is no place without a run that holds
//! it, and a crash can come at any point. The counter's ceiling is what keeps the limit.
//!
//! A run that waits is a run: its stream holds the event that queued it, `queued/` holds its place in the line. Whoever
//! puts it there marks the gate under `queues/`; a start that finds the mark does not overtake. The mark goes, on the
//! condition that it was not set anew, when the line was seen to be empty. At the start of a control plane each mark has
//! its line looked at, so that a turn that was lost in a crash is taken.

mod away;
mod gave_way;
mod pump;
mod query;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    batch::encode,
    keys::{self, Gate},
};
use crate::{
    job::{Priority, RunId},
    ports::{Batch, Condition, Key, Op, StoreError, WriteClass},
    workflow::{Claim, Run, Slot},
};

pub(super) use away::turned_away;
pub(super) use pump::{nudge, recover};
pub use query::{QueuedQuery, QueuedStart, SlotHolder};

/// A place that is held, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    run_id: String,
    workflow_id: String,
    key: Arc<str>,
    since: Timestamp,
}

/// A run that waits, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    run_id: String,
    workflow_id: String,
    priority: Priority,
    since: Timestamp,
    #[serde(flatten)]
    slot: Slot,
}

/// The gate that `run` goes through.
pub(super) fn gate_of(run: &Run) -> Option<Gate> {
    run.slot().map(|slot| Gate::new(run.tenant(), &slot.key))
}

/// Adds what turns a claim of `before` into the one that `run` has now. Returns the gate whose line is to be looked at
/// when the batch is durable.
pub(super) fn push_claim(batch: &mut Batch, before: Claim, run: &Run) -> Result<Option<Gate>, StoreError> {
    let after = run.claim();
    let (Some(slot), Some(id)) = (run.slot(), run.id()) else { return Ok(None) };
    if before == after {
        return Ok(None);
    }
    let gate = Gate::new(run.tenant(), &slot.key);
    let in_line = || gate.waiting(run.priority(), run.created_at(), id.as_str());
    match before {
        Claim::Waits => batch.push(super::batch::delete(in_line())),
        Claim::Holds => {
            batch.push(super::batch::delete(gate.holder(id.as_str())));
            batch.push(Op::Add { key: gate.taken(), delta: -1, ceiling: None });
        }
        Claim::None => {}
    }
    match after {
        Claim::Holds => {
            if before == Claim::None {
                // The mark of a line counts 1: with it the sum passes the ceiling. Without it nothing is left behind.
                batch.push(Op::Add { key: gate.line(), delta: 1, ceiling: Some(1) });
                batch.push(super::batch::delete(gate.line()));
            }
            let holder = Holder {
                run_id: id.to_string(),
                workflow_id: run.workflow().id().to_string(),
                key: slot.key.clone(),
                since: run.updated_at(),
            };
            batch.push(put(gate.holder(id.as_str()), encode(&holder)?));
            batch.push(Op::Add { key: gate.taken(), delta: 1, ceiling: Some(i64::from(slot.limit)) });
        }
        Claim::Waits => {
            batch.push(put(in_line(), encode(&waiting(run, slot, id))?));
            batch.push(put(gate.line(), Bytes::from_static(b"1")));
        }
        Claim::None => {}
    }
    // A run that took the free place leaves nothing to do; the pump that admitted it looks on by itself.
    Ok((after != Claim::Holds).then_some(gate))
}

/// Writes anew what a run that waits claims, which its workflow's rule says otherwise since it moved onto another
/// version: the places, or the policy, under the same key. Returns the gate whose line is to be looked at, because there
/// may be more places now.
pub(super) fn renew_claim(batch: &mut Batch, run: &Run) -> Result<Option<Gate>, StoreError> {
    let (Claim::Waits, Some(slot), Some(id)) = (run.claim(), run.slot(), run.id()) else { return Ok(None) };
    let gate = Gate::new(run.tenant(), &slot.key);
    batch.push(put(gate.waiting(run.priority(), run.created_at(), id.as_str()), encode(&waiting(run, slot, id))?));
    batch.push(put(gate.line(), Bytes::from_static(b"1")));
    Ok(Some(gate))
}

fn waiting(run: &Run, slot: &Slot, id: &RunId) -> Waiting {
    Waiting {
        run_id: id.to_string(),
        workflow_id: run.workflow().id().to_string(),
        priority: run.priority(),
        since: run.created_at(),
        slot: slot.clone(),
    }
}

const fn put(key: Key, value: Bytes) -> Op {
    Op::Put { key, value, condition: Condition::Always, class: WriteClass::Exact }
}

impl Gate {
    fn line(&self) -> Key {
        keys::line(self)
    }

    fn taken(&self) -> Key {
        keys::slots_taken(self)
    }

    fn holder(&self, run: &str) -> Key {
        format!("{}{run}", keys::slots(self)).into()
    }

    fn waiting(&self, priority: Priority, since: Timestamp, run: &str) -> Key {
        let rank = match priority {
            Priority::Critical => 0,
            Priority::Interactive => 1,
            Priority::Batch => 2,
        };
        format!("{}{rank}/{:020}/{run}", keys::queued(self), since.as_microsecond().max(0)).into()
    }
}
