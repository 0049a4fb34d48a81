//! The commit pipeline: batches of all executors, grouped under one flush.
//!
//! While one group is being flushed, the next one gathers. Batches of one aggregate stay in the order in which they
//! were decided, because an executor hands them over in that order and groups follow each other.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::keys::AggregateId;
use crate::ports::{Batch, Receipt, Store, StoreError};

/// Batches of one executor, in order.
pub(super) struct Group {
    pub(super) executor: usize,
    pub(super) members: Vec<AggregateId>,
    pub(super) batches: Vec<Batch>,
}

/// What became of a [`Group`], in the same order.
pub(super) struct Committed {
    pub(super) members: Vec<AggregateId>,
    pub(super) results: Vec<Result<Receipt, StoreError>>,
}

/// Most batches under one flush. More would let a single flush hold everybody up; at this size its cost is shared
/// by enough.
const MAX_GROUP: usize = 2_048;

/// Runs until every executor has gone.
pub(super) async fn run(
    store: Arc<dyn Store>,
    mut groups: mpsc::UnboundedReceiver<Group>,
    executors: Vec<mpsc::UnboundedSender<Committed>>,
) {
    let mut waiting: Vec<Group> = Vec::new();
    while groups.recv_many(&mut waiting, 64).await > 0 {
        // Whoever is ready to run may have more for this flush.
        tokio::task::yield_now().await;
        while let Ok(group) = groups.try_recv() {
            waiting.push(group);
        }
        let mut batches = Vec::new();
        let mut owners = Vec::new();
        for group in waiting.drain(..) {
            owners.push((group.executor, group.members));
            batches.extend(group.batches);
            if batches.len() >= MAX_GROUP {
                flush(&store, &executors, &mut batches, &mut owners).await;
            }
        }
        flush(&store, &executors, &mut batches, &mut owners).await;
    }
}

async fn flush(
    store: &Arc<dyn Store>,
    executors: &[mpsc::UnboundedSender<Committed>],
    batches: &mut Vec<Batch>,
    owners: &mut Vec<(usize, Vec<AggregateId>)>,
) {
    if batches.is_empty() {
        return;
    }
    let mut results = store.commit(std::mem::take(batches)).await.into_iter();
    for (executor, members) in owners.drain(..) {
        let results = results.by_ref().take(members.len()).collect();
        if let Some(executor) = executors.get(executor) {
            // An executor that has gone has nobody left to tell.
            let _gone = executor.send(Committed { members, results });
        }
    }
}
