//! Records that act by themselves: each is read, decided about and written back on the condition that nobody else wrote
//! it, together with the timer that wakes it.
//!
//! | record | wake sources |
//! |---|---|
//! | `schedules/…` | `timers/<due>/schedules/…`, and `nudges/schedules/…` when a run of it ends |
//! | `buckets/…` | `timers/<due>/buckets/…` |
//!
//! A look at a record ends when there is nothing to do for it now. What it wants done stays in the record until that was
//! done and written down; a crash in between leads to the same look again. One task looks at a record at a time; callers
//! change it beside that, and whoever comes second reads it anew.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    PlaneError, PlaneErrorKind, batch,
    keys::{self, BUCKETS, NUDGES, SCHEDULES, Sleeper},
    schedules,
    shared::Shared,
    timers::Arm,
    triggers,
};
use crate::ports::{Batch, Busy, Condition, Entry, Key, Scan, StoreError, StoreErrorKind, Version};

/// The wait after a store that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Record<T> {
    pub(super) value: T,
    pub(super) alarm: Option<Timestamp>,
    version: Version,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    /// The timer that is set for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<Timestamp>,
    state: T,
}

/// Looks at the record, soon. One that is being looked at is looked at once more.
pub(super) fn nudge(shared: &Arc<Shared>, key: Key) {
    if shared.keepers.begin(&key) {
        let busy = shared.clock.busy();
        shared.spawn(run(shared.clone(), key, busy));
    }
}

/// Looks at every record that something happened to outside of it.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(NUDGES).after(after)).await?;
        for entry in &page.entries {
            nudge(shared, entry.key.as_str().trim_start_matches(NUDGES).into());
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn run(shared: Arc<Shared>, key: Key, mut busy: Busy) {
    loop {
        let looked = match key.as_str() {
            text if text.starts_with(SCHEDULES) => schedules::look(&shared, &key, busy).await,
            text if text.starts_with(BUCKETS) => triggers::look(&shared, &key, busy).await,
            _ => Ok(()),
        };
        match looked {
            // It is opened again, and looks at everything then.
            Err(error) if error.kind() == PlaneErrorKind::Closed => return,
            Err(error) if error.is_retryable() || error.kind() == PlaneErrorKind::Conflict => {
                tracing::warn!(%key, %error, "a record is looked at again later");
                shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), RETRY)).await;
                busy = shared.clock.busy();
                continue;
            }
            Err(error) => tracing::error!(%key, %error, "a record cannot be worked on until it is changed"),
            Ok(()) => {}
        }
        busy = shared.clock.busy();
        if !shared.keepers.again(&key) {
            return;
        }
    }
}

/// The record at `key`, if it is there.
pub(super) async fn read<T: DeserializeOwned>(shared: &Shared, key: &Key) -> Result<Option<Record<T>>, PlaneError> {
    shared.store.get(key).await?.map(|entry| parse(&entry)).transpose()
}

pub(super) fn parse<T: DeserializeOwned>(entry: &Entry) -> Result<Record<T>, PlaneError> {
    let stored: Stored<T> = serde_json::from_slice(&entry.value)
        .map_err(|error| PlaneError::damaged(&format!("the record at `{}`", entry.key), &error))?;
    Ok(Record { value: stored.state, alarm: stored.alarm, version: entry.version })
}

/// Writes the record, or removes it, with its timer and `batch`. False when somebody else wrote it since it was read.
pub(super) async fn write<T: Serialize>(
    shared: &Arc<Shared>,
    key: &Key,
    before: Option<&Record<T>>,
    after: Option<(&T, Option<Timestamp>)>,
    mut batch: Batch,
) -> Result<bool, PlaneError> {
    let condition = before.map_or(Condition::Absent, |before| Condition::Version(before.version));
    let set = before.and_then(|before| before.alarm);
    let alarm = after.and_then(|(_, alarm)| alarm);
    batch = match after {
        Some((state, alarm)) => batch.put(key.clone(), batch::encode(&Stored { alarm, state })?, condition),
        None => batch.delete(key.clone(), condition),
    };
    let sleeper = Sleeper::Record(key.clone());
    if set != alarm {
        if let Some(due) = set {
            batch.push(batch::delete(sleeper.timer(due)));
        }
        if let Some(due) = alarm {
            batch = batch.put(sleeper.timer(due), Bytes::from_static(b"1"), Condition::Always);
        }
    }
    match super::plane::commit_one(shared, batch).await {
        Ok(()) => {}
        Err(error) if error.code() == StoreErrorKind::Conflict.code() => return Ok(false),
        Err(error) => return Err(error),
    }
    arm(shared, key, alarm);
    Ok(true)
}

/// Sets the timer in memory, or looks at the record when its time has come.
pub(super) fn arm(shared: &Arc<Shared>, key: &Key, alarm: Option<Timestamp>) {
    match alarm {
        Some(due) if due > shared.clock.now() => {
            // The service reads what it missed from the store.
            let _gone = shared.timers.send(Arm { due, sleeper: Sleeper::Record(key.clone()) });
        }
        Some(_) => nudge(shared, key.clone()),
        None => {}
    }
}

/// What was said to the record from outside, to be removed with what it leads to.
pub(super) async fn heard(shared: &Shared, key: &Key) -> Result<Option<Entry>, PlaneError> {
    Ok(shared.store.get(&keys::nudge(key)).await?)
}

/// Removes what was heard, unless it was said again.
pub(super) fn forget(heard: Option<&Entry>) -> Batch {
    let batch = Batch::new();
    match heard {
        Some(entry) => batch.delete(entry.key.clone(), Condition::Version(entry.version)),
        None => batch,
    }
}
