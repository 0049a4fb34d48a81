//! Outputs kept by pointer that a decision reads: loaded between two tries of it.
//!
//! The command that led to the decision is put aside, with whoever waits for it, and comes back with what was read. Other
//! inputs of the run are decided meanwhile: inputs may come in any order. A crash in between loses nothing, since nothing
//! was decided or acknowledged. A few commands are put aside at once, so that what is loaded stays bounded.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::{executor::Command, inbound::PINNED, shared::Shared};
use crate::{
    job::{LoadedOutputs, OutputNeeded},
    ports::{BlobErrorKind, BlobKey, Busy},
    value::{Value, limits},
};

/// Commands of one control plane whose outputs are loaded at once: each has at most twice `Options::decision_bytes`.
pub(super) const MOST_FETCHES: usize = 4;
/// The wait before a blob store that is away is asked again.
const WAIT: Duration = Duration::from_secs(1);

/// What was loaded for a command, while it is decided.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) outputs: LoadedOutputs,
    /// The place among those that load; kept from the first output to the decision.
    place: Option<OwnedSemaphorePermit>,
}

/// Loads an output for `command` and hands it back to its executor.
pub(super) fn fetch(shared: &Arc<Shared>, command: Command, needed: OutputNeeded) {
    let shared = shared.clone();
    shared.clone().spawn(async move {
        let Command { aggregate, work, reply, mut busy, tries, fetched } = command;
        let mut fetched = fetched.unwrap_or_default();
        if fetched.place.is_none() {
            fetched.place = shared.fetching.clone().try_acquire_owned().ok();
        }
        if fetched.place.is_none() {
            // Those that have a place may wait out some time, so none is held here. The semaphore is never closed.
            drop(busy);
            fetched.place = shared.fetching.clone().acquire_owned().await.ok();
            busy = shared.clock.busy();
        }
        let value = load(&shared, &needed, busy).await;
        fetched.outputs.insert(needed.sha256, value.map(Arc::new));
        let busy = shared.clock.busy();
        shared.route(Command { aggregate, work, reply, busy, tries, fetched: Some(fetched) }).await;
    });
}

/// The output; `None` where nothing can be read. Asks a blob store that is away for as long as it takes; `busy` holds
/// virtual time but for the waits.
async fn load(shared: &Shared, needed: &OutputNeeded, busy: Busy) -> Option<Value> {
    let key = BlobKey::parse(&format!("{PINNED}{}", needed.sha256)).ok()?;
    let mut busy = Some(busy);
    loop {
        match shared.blobs.get(&key).await {
            Ok(Some(bytes)) => return read(shared, needed, &bytes),
            Ok(None) => {
                tracing::error!(%key, "a pinned output is gone");
                return None;
            }
            Err(error) if error.kind() == BlobErrorKind::Unavailable => {
                tracing::warn!(%error, %key, "an output cannot be read; trying again");
                drop(busy.take());
                shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), WAIT)).await;
                busy = Some(shared.clock.busy());
            }
            Err(error) => {
                tracing::error!(%error, %key, "an output cannot be read");
                return None;
            }
        }
    }
}

fn read(shared: &Shared, needed: &OutputNeeded, bytes: &[u8]) -> Option<Value> {
    let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if digest != *needed.sha256 {
        tracing::error!(sha256 = &*needed.sha256, "a pinned output is not what it was");
        return None;
    }
    let value = serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into());
    (limits::measure(&value).depth <= shared.options.max_input_depth).then_some(value)
}
