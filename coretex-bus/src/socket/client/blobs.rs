//! Blobs over the socket, in chunks, as the other side has room for them.

use std::{collections::BTreeMap, mem, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use coretex_core::ports::{BlobEntry, BlobError, BlobErrorKind, BlobKey, Blobs, BusError};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};

use super::state::{Core, Life};
use crate::socket::{
    MAX_CHUNK, MAX_TRANSFERS,
    frame::{Chunk, Found, Frame, Get, More, Put, Stop},
};

/// How often a transfer is begun again after the connection broke.
const ATTEMPTS: usize = 10;

/// Largest blob until the server has said what it takes.
const MAX_BLOB: u64 = 64 << 20;

/// A [`Blobs`] over a worker socket. A worker reads what it has the key of and writes for its jobs; it neither deletes nor
/// lists. A transfer that the connection breaks is begun again on the next one.
#[derive(Debug)]
pub struct SocketBlobs {
    core: Arc<Core>,
    /// As many at once as the server takes of one connection.
    places: Semaphore,
}

/// How a transfer ended.
type Outcome = Result<(Found, Bytes), Failed>;

#[derive(Debug)]
pub(super) enum Failed {
    /// The connection broke.
    Lost,
    /// The other side, or this one, refuses it.
    Refused(BlobError),
}

#[derive(Debug)]
pub(super) struct Transfer {
    way: Way,
    done: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
enum Way {
    Head,
    Get { found: Option<Found>, bytes: BytesMut },
    Put { left: Bytes },
}

/// The transfers of a connection, by number.
#[derive(Debug, Default)]
pub(super) struct Transfers(BTreeMap<u64, Transfer>);

impl Transfers {
    pub(super) fn insert(&mut self, number: u64, transfer: Transfer) {
        self.0.insert(number, transfer);
    }

    fn end(&mut self, number: u64, outcome: Outcome) {
        if let Some(transfer) = self.0.remove(&number) {
            // Whoever wanted it may have gone.
            let _gone = transfer.done.send(outcome);
        }
    }

    pub(super) fn refused(&mut self, number: u64, code: &str, message: String) {
        use BlobErrorKind as Kind;
        let kinds = [Kind::TooLarge, Kind::Corrupt, Kind::Full, Kind::Unavailable];
        let kind = kinds.into_iter().find(|kind| kind.code() == code).unwrap_or(Kind::Invalid);
        self.end(number, Err(Failed::Refused(BlobError::new(kind, message))));
    }

    pub(super) fn lost(&mut self) {
        for transfer in mem::take(&mut self.0).into_values() {
            let _gone = transfer.done.send(Err(Failed::Lost));
        }
    }

    pub(super) fn closed(&mut self, reason: &BusError) {
        for transfer in mem::take(&mut self.0).into_values() {
            let _gone = transfer.done.send(Err(Failed::Refused(unavailable(reason))));
        }
    }
}

impl Core {
    /// What the server knows of a blob. `Err` says what is wrong with it.
    pub(super) fn found(&self, found: Found) -> Result<(), String> {
        let mut state = self.state();
        let most = state.welcome.as_ref().map_or(MAX_BLOB, |welcome| welcome.max_blob);
        let number = found.number;
        let Some(transfer) = state.transfers.0.get_mut(&number) else { return Ok(()) };
        match &mut transfer.way {
            Way::Get { found: known, bytes } if found.exists && found.size > 0 => {
                if found.size > most || known.is_some() {
                    return Err(format!("a blob of {} bytes is sent; at most {most} were said", found.size));
                }
                bytes.reserve(usize::try_from(found.size).unwrap_or(0).min(MAX_CHUNK));
                *known = Some(found);
            }
            Way::Put { left } if !left.is_empty() => return Err("a blob is confirmed before it was sent".to_owned()),
            Way::Head | Way::Get { .. } | Way::Put { .. } => state.transfers.end(number, Ok((found, Bytes::new()))),
        }
        Ok(())
    }

    /// Bytes of a blob.
    pub(super) fn chunk(&self, chunk: Chunk) -> Result<(), String> {
        let mut state = self.state();
        let number = chunk.number;
        let Some(transfer) = state.transfers.0.get_mut(&number) else { return Ok(()) };
        let Way::Get { found: Some(found), bytes } = &mut transfer.way else {
            return Err("bytes of a blob come before it was found".to_owned());
        };
        bytes.extend_from_slice(&chunk.bytes);
        let size = usize::try_from(found.size).unwrap_or(usize::MAX);
        if bytes.len() > size || chunk.bytes.is_empty() {
            return Err(format!("more bytes of a blob come than its {size}"));
        }
        if bytes.len() == size {
            let outcome = (mem::take(found), mem::take(bytes).freeze());
            state.transfers.end(number, Ok(outcome));
        } else {
            let room = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
            self.send(&mut state, More { number, bytes: room });
        }
        Ok(())
    }

    /// The server has room for more of a blob.
    pub(super) fn more(&self, more: More) {
        let mut state = self.state();
        let Some(transfer) = state.transfers.0.get_mut(&more.number) else { return };
        let Way::Put { left } = &mut transfer.way else { return };
        let mut room = usize::try_from(more.bytes).unwrap_or(0);
        let mut chunks = Vec::new();
        while room > 0 && !left.is_empty() {
            let bytes = left.split_to(left.len().min(room).min(MAX_CHUNK));
            room -= bytes.len();
            chunks.push(Chunk { number: more.number, bytes });
        }
        for chunk in chunks {
            self.send(&mut state, chunk);
        }
    }
}

/// Gives up a transfer that nobody waits for any more.
struct Wanted<'a>(&'a Core, u64);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.transfers.0.remove(&self.1).is_some() {
            self.0.send(&mut state, Stop { number: self.1 });
        }
    }
}

impl SocketBlobs {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, places: Semaphore::new(MAX_TRANSFERS) }
    }

    async fn run(&self, frame: impl Fn(u64) -> Frame, way: impl Fn() -> Way) -> Result<(Found, Bytes), BlobError> {
        let core = &*self.core;
        // It is never closed.
        let _place = self.places.acquire().await;
        for _ in 0..ATTEMPTS {
            let mut life = core.life.subscribe();
            // The sender lives in `core`, so waiting cannot fail.
            let _ = life.wait_for(|life| matches!(life, Life::Up | Life::Closed)).await;
            if let Some(reason) = core.state().closed() {
                return Err(unavailable(reason));
            }
            let (done, ended) = oneshot::channel();
            let Some(number) = core.transfer(&frame, Transfer { way: way(), done }) else { continue };
            let _wanted = Wanted(core, number);
            match ended.await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(Failed::Refused(error))) => return Err(error),
                Ok(Err(Failed::Lost)) | Err(_) => {}
            }
        }
        let text = format!("the connection broke {ATTEMPTS} times before the blob was over");
        Err(BlobError::new(BlobErrorKind::Unavailable, text))
    }
}

fn unavailable(reason: &BusError) -> BlobError {
    BlobError::new(BlobErrorKind::Unavailable, reason.to_string())
}

fn not_offered(what: &str) -> BlobError {
    BlobError::new(BlobErrorKind::Invalid, format!("a worker does not {what} blobs; ask the server's API"))
}

fn entry(key: &BlobKey, found: &Found) -> Result<BlobEntry, BlobError> {
    let damaged = |what: &str| BlobError::new(BlobErrorKind::Corrupt, format!("blob `{key}` came without its {what}"));
    Ok(BlobEntry {
        key: key.clone(),
        size: found.size,
        sha256: (&*found.sha256).try_into().map_err(|_| damaged("digest"))?,
        written_at: Timestamp::from_microsecond(found.written_at_us).map_err(|_| damaged("time"))?,
    })
}

#[async_trait]
impl Blobs for SocketBlobs {
    fn max_bytes(&self) -> u64 {
        self.core.state().welcome.as_ref().map_or(MAX_BLOB, |welcome| welcome.max_blob)
    }

    fn durable(&self) -> bool {
        self.core.state().welcome.as_ref().is_none_or(|welcome| welcome.durable)
    }

    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<BlobEntry, BlobError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > self.max_bytes() {
            let text = format!("blob `{key}` has {size} bytes; at most {} are taken", self.max_bytes());
            return Err(BlobError::new(BlobErrorKind::TooLarge, text));
        }
        let frame = |number| Put { number, key: key.to_string(), size }.into();
        let (found, _) = self.run(frame, || Way::Put { left: bytes.clone() }).await?;
        entry(key, &found)
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>, BlobError> {
        let frame = |number| Get { number, key: key.to_string(), head: false }.into();
        let (found, bytes) = self.run(frame, || Way::Get { found: None, bytes: BytesMut::new() }).await?;
        if !found.exists {
            return Ok(None);
        }
        if Sha256::digest(&bytes).as_slice() != &*found.sha256 {
            let text = format!("blob `{key}` does not match its digest");
            return Err(BlobError::new(BlobErrorKind::Corrupt, text));
        }
        Ok(Some(bytes))
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<BlobEntry>, BlobError> {
        let frame = |number| Get { number, key: key.to_string(), head: true }.into();
        let (found, _) = self.run(frame, || Way::Head).await?;
        found.exists.then(|| entry(key, &found)).transpose()
    }

    async fn delete(&self, _: &BlobKey) -> Result<(), BlobError> {
        Err(not_offered("delete"))
    }

    async fn list(&self, _: &str, _: Option<&BlobKey>, _: usize) -> Result<Vec<BlobEntry>, BlobError> {
        Err(not_offered("list"))
    }
}
