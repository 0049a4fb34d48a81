//! Reading who waits and who holds a place.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Holder, Waiting};
use crate::{
    governance::Principal,
    job::Priority,
    ports::Scan,
    runtime::{
        ControlPlane, ListPage, PlaneError,
        keys::{self, Gate, QUEUED, SLOTS},
        query::read,
    },
};

/// Which starts to list.
#[derive(Clone, Debug, Default)]
pub struct QueuedQuery {
    /// Only those under this concurrency key, in the order in which they get a place; otherwise in that order key by key.
    pub key: Option<String>,
    /// Most items, 1 to 1,000; 50 when 0.
    pub limit: usize,
    /// Where to go on, as given by [`ListPage::next`].
    pub cursor: Option<String>,
}

/// A run that waits for a place under its concurrency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedStart {
    /// The run, in state `pending`. Cancelling it takes it out of the line.
    pub run_id: String,
    /// Its workflow.
    pub workflow_id: String,
    /// The key.
    pub key: Arc<str>,
    /// The more urgent go first.
    pub priority: Priority,
    /// When it joined the line.
    pub queued_at: Timestamp,
}

/// A run that holds a place under its concurrency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotHolder {
    /// The run.
    pub run_id: String,
    /// Its workflow.
    pub workflow_id: String,
    /// The key.
    pub key: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

impl ControlPlane {
    /// Starts of the principal's tenant that wait for a place under their concurrency key.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn queued_starts(
        &self,
        principal: &Principal,
        query: QueuedQuery,
    ) -> Result<ListPage<QueuedStart>, PlaneError> {
        let prefix = match &query.key {
            Some(key) => keys::queued(&Gate::new(&principal.tenant, key)),
            None => format!("{QUEUED}{}/", principal.tenant),
        };
        self.list(Scan::prefix(prefix), query.cursor, query.limit, |entry| {
            let waiting: Waiting = read("a queued start", entry)?;
            Ok(Some(QueuedStart {
                run_id: waiting.run_id,
                workflow_id: waiting.workflow_id,
                key: waiting.slot.key,
                priority: waiting.priority,
                queued_at: waiting.since,
            }))
        })
        .await
    }

    /// Runs of the principal's tenant that hold a place under a concurrency key.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn slot_holders(
        &self,
        principal: &Principal,
        query: QueuedQuery,
    ) -> Result<ListPage<SlotHolder>, PlaneError> {
        let prefix = match &query.key {
            Some(key) => keys::slots(&Gate::new(&principal.tenant, key)),
            None => format!("{SLOTS}{}/", principal.tenant),
        };
        self.list(Scan::prefix(prefix), query.cursor, query.limit, |entry| {
            let Holder { run_id, workflow_id, key, since } = read("a place", entry)?;
            Ok(Some(SlotHolder { run_id, workflow_id, key, since }))
        })
        .await
    }
}
