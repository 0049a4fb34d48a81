//! Who gave way to a start: noted before they are told, so that the start, repeated after a crash in between, finds whom
//! it sent away and lets no second one go.

use std::time::Duration;

use super::Waiting;
use crate::{
    ports::{Batch, Condition, Key, Scan},
    runtime::{
        PlaneError, PlaneErrorKind,
        batch::IDEMPOTENCY_TTL,
        keys::{self, Gate},
        plane::commit_one,
        query::read,
        shared::Shared,
    },
    workflow::{RunSummary, StartRun},
};

/// As long as a start may be repeated under an idempotency key.
const REMEMBERED: Duration = IDEMPOTENCY_TTL;

/// The note for `start`: by the idempotency key where it has one, because its run id is another one each time.
fn note(gate: &Gate, start: &StartRun) -> Key {
    match &start.idempotency_key {
        Some(key) => keys::gave_way(gate, "key", key),
        None => keys::gave_way(gate, "run", start.id.as_str()),
    }
}

/// Whoever shall give way to `start`, of those that wait under `gate`: the youngest, or the one that was chosen before.
/// `None` when nobody waits, or somebody has gone for it already.
pub(super) async fn choose(shared: &Shared, gate: &Gate, start: &StartRun) -> Result<Option<Waiting>, PlaneError> {
    loop {
        match try_to_choose(shared, gate, start).await {
            // Nothing was chosen; things are looked at again.
            Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
            chosen => return chosen,
        }
    }
}

async fn try_to_choose(shared: &Shared, gate: &Gate, start: &StartRun) -> Result<Option<Waiting>, PlaneError> {
    let note = note(gate, start);
    let before = match shared.store.get(&note).await? {
        Some(before) => Some(read::<String>("who gave way", &before)?),
        None => None,
    };
    let line = look(shared, gate, before.as_deref()).await?;
    if let Some(run) = before {
        if line.chosen.is_some() {
            return Ok(line.chosen);
        }
        let summary = shared.store.get(&keys::run(&run)).await?;
        let ended = match &summary {
            Some(entry) => read::<RunSummary>("a run summary", entry)?.status.is_terminal(),
            None => true,
        };
        if ended {
            return Ok(None);
        }
        // It has a place by now, so it did not go: somebody else does.
    }
    let Some(youngest) = line.youngest else { return Ok(None) };
    let batch = Batch::new()
        .put(note.clone(), crate::runtime::batch::encode(&youngest.run_id)?, Condition::Always)
        .expire(note, REMEMBERED);
    commit_one(shared, batch).await?;
    Ok(Some(youngest))
}

/// What is to be known of a line.
#[derive(Default)]
struct Line {
    /// Whoever has stood in it for the shortest time.
    youngest: Option<Waiting>,
    /// The run that was asked for, if it stands in it.
    chosen: Option<Waiting>,
}

async fn look(shared: &Shared, gate: &Gate, run: Option<&str>) -> Result<Line, PlaneError> {
    let mut line = Line::default();
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(keys::queued(gate)).after(after)).await?;
        for entry in &page.entries {
            let waiting: Waiting = read("the line", entry)?;
            if run == Some(&waiting.run_id) {
                line.chosen = Some(waiting.clone());
            }
            let younger = |than: &Waiting| (than.since, &than.run_id) < (waiting.since, &waiting.run_id);
            if line.youngest.as_ref().is_none_or(younger) {
                line.youngest = Some(waiting);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(line);
        }
    }
}
