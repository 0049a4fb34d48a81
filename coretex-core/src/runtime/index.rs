//! The indexes of runs: what lists, searches, deletions and retention find runs by.
//!
//! They are written in the runs' own batches, so that they always agree with the runs. A run keeps its place, its time
//! of creation and its id, in every one of them for as long as it exists; that makes cursors stable and lets a search
//! walk several of them at once. Shelves are by status: `live` for every run that has not ended, and `waiting` besides
//! for those of them that wait for a human; then how it ended, for good.

use jiff::Timestamp;

use super::{
    batch::{delete, put, put_view},
    keys,
};
use crate::{
    ports::{Batch, Key, Op},
    workflow::{RunStatus, RunSummary},
};

/// The shelf of runs that have not ended.
pub(super) const LIVE: &str = "live";
/// The shelf of those of them that wait for a human.
pub(super) const WAITING: &str = "waiting";
/// The shelves of runs that have ended.
pub(super) const ENDED: [RunStatus; 4] =
    [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled, RunStatus::TimedOut];

/// Where a run stands in every index: earlier runs first, those of one moment by id.
pub(super) fn place(created_at: Timestamp, id: &str) -> String {
    format!("{:020}/{id}", created_at.as_microsecond().max(0))
}

/// The parts of a place.
pub(super) fn parse_place(place: &str) -> Option<(Timestamp, &str)> {
    let (time, id) = place.split_once('/')?;
    Some((Timestamp::from_microsecond(time.parse().ok()?).ok()?, id))
}

pub(super) const fn shelf(status: RunStatus) -> &'static str {
    if status.is_terminal() { status.as_str() } else { LIVE }
}

/// Adds what changes in the indexes when a run comes from `before` (`None`: from nowhere) to what `run` shows.
pub(super) fn changed(batch: &mut Batch, run: &RunSummary, before: Option<RunStatus>) {
    let at = place(run.created_at, &run.id);
    let keys = Keys { run, at: &at };
    if before.is_none() {
        batch.push(Op::Add { key: keys::pins(&run.definition), delta: 1, ceiling: None });
        for key in keys.fixed() {
            batch.push(mark(key));
        }
    }
    let now = run.status;
    if before.map(shelf) != Some(shelf(now)) {
        if let Some(before) = before {
            batch.push(unmark(keys.on(shelf(before))));
        }
        batch.push(mark(keys.on(shelf(now))));
    }
    match (before == Some(RunStatus::Waiting), now == RunStatus::Waiting) {
        (false, true) => batch.push(mark(keys.on(WAITING))),
        (true, false) => batch.push(unmark(keys.on(WAITING))),
        _ => {}
    }
    match (before.is_some_and(|before| !before.is_terminal()), now.is_terminal()) {
        (false, false) => batch.push(put(keys.live(), MARK)),
        (true, true) => batch.push(delete(keys.live())),
        _ => {}
    }
}

/// Adds what changes when a run moved from the definition `left` onto the one that `run` shows. The definition that it
/// left stays pinned: the run's earlier events are folded under it, for as long as they are kept.
pub(super) fn moved(batch: &mut Batch, run: &RunSummary, left: &str) {
    if !run.past_definitions.contains(&run.definition) {
        batch.push(Op::Add { key: keys::pins(&run.definition), delta: 1, ceiling: None });
    }
    batch.push(delete(keys::live(&run.workflow_id, left, &run.id)));
    if !run.status.is_terminal() {
        batch.push(put(keys::live(&run.workflow_id, &run.definition, &run.id), MARK));
    }
}

/// Takes a run that has ended out of all indexes.
pub(super) fn removed(batch: &mut Batch, run: &RunSummary) {
    let at = place(run.created_at, &run.id);
    let keys = Keys { run, at: &at };
    let mut pinned: std::collections::BTreeSet<&str> = run.past_definitions.iter().map(String::as_str).collect();
    pinned.insert(&run.definition);
    for digest in pinned {
        batch.push(Op::Add { key: keys::pins(digest), delta: -1, ceiling: None });
    }
    for key in keys.fixed() {
        batch.push(unmark(key));
    }
    batch.push(unmark(keys.on(shelf(run.status))));
}

const MARK: bytes::Bytes = bytes::Bytes::from_static(b"1");

const fn mark(key: Key) -> Op {
    put_view(key, MARK)
}

const fn unmark(key: Key) -> Op {
    Op::Delete { key, condition: crate::ports::Condition::Always, class: crate::ports::WriteClass::View }
}

/// The keys of one run.
struct Keys<'a> {
    run: &'a RunSummary,
    at: &'a str,
}

impl Keys<'_> {
    /// Those that stay for as long as the run exists.
    fn fixed(&self) -> impl Iterator<Item = Key> {
        let Self { run, at } = *self;
        let lists = [keys::runs_at(&run.org_id), keys::runs_of(&run.workflow_id)];
        let labels = run.labels.iter().map(|(name, value)| keys::by_label(&run.org_id, name, value));
        lists.into_iter().chain(labels).map(move |list| (list + at).into())
    }

    fn on(&self, shelf: &str) -> Key {
        (keys::by_status(&self.run.org_id, shelf) + self.at).into()
    }

    fn live(&self) -> Key {
        keys::live(&self.run.workflow_id, &self.run.definition, &self.run.id)
    }
}
