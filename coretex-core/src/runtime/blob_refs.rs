//! Who needs which pinned output: noted in the batch that stores the output, and taken back with the run.
//!
//! A pinned output lies under the digest of its bytes and may be needed by many. Only large outputs are pinned, so most
//! batches note nothing.

use std::sync::Arc;

use super::{
    PlaneError,
    batch::{delete, put},
    keys::{self, AggregateId},
};
use crate::{
    job::{JobEvent, Output},
    plane::{Event, JobRecordEvent},
    ports::{Batch, Key, Scan, Store},
    workflow::RunEvent,
};

/// Notes what the outputs among `events` pin.
pub(super) fn noted(batch: &mut Batch, aggregate: &AggregateId, events: &[Event]) {
    let mut note = |output: &Output| {
        let Some(digest) = &output.sha256 else { return };
        let mark = bytes::Bytes::from_static(b"1");
        batch.push(put(reference(aggregate, digest), mark.clone()));
        batch.push(put(format!("{}{digest}", keys::blobs_of(aggregate)).into(), mark));
    };
    events.iter().for_each(|event| each_output(event, &mut note));
}

/// Takes back everything that `aggregate` needs.
pub(super) async fn removed(
    store: &Arc<dyn Store>,
    aggregate: &AggregateId,
    batch: &mut Batch,
) -> Result<(), PlaneError> {
    let prefix = keys::blobs_of(aggregate);
    let mut after = None;
    loop {
        let page = store.scan(Scan::prefix(prefix.as_str()).after(after)).await?;
        for entry in page.entries {
            if let Some(digest) = entry.key.as_str().strip_prefix(&prefix) {
                batch.push(delete(reference(aggregate, digest)));
            }
            batch.push(delete(entry.key));
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn reference(aggregate: &AggregateId, digest: &str) -> Key {
    format!("{}{}/{}", keys::blob_refs(digest), aggregate.kind(), aggregate.id()).into()
}

fn each_output(event: &Event, mut visit: impl FnMut(&Output)) {
    match event {
        Event::Run(stored) => match &stored.event {
            RunEvent::StepCompleted { output, .. }
            | RunEvent::StepJob { event: JobEvent::Succeeded { output, .. }, .. } => visit(output),
            // A run that goes on from another one needs what that made, for as long as itself is kept.
            RunEvent::RunRestored { state } => state.outputs().for_each(visit),
            _ => {}
        },
        Event::Job(stored) => {
            if let JobRecordEvent::JobChanged { event: JobEvent::Succeeded { output, .. } } = &stored.event {
                visit(output);
            }
        }
    }
}
