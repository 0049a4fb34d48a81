//! Blobs to and from the worker, in chunks, as the other side has room for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use coretex_bus::socket::{
    BLOB_WINDOW, MAX_CHUNK,
    frame::{Answer, Chunk, Found, Get, More, Put},
};
use coretex_core::{
    ports::{BlobEntry, BlobError, BlobErrorKind, BlobKey, BusErrorKind},
    protocol::Pointer,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::connection::Connection;

/// How long a transfer waits for the worker to go on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chunks that wait to be put together; room for a window of them.
const CHUNKS: usize = 64;

/// A transfer, as the frames that belong to it find it.
#[derive(Debug)]
pub(super) enum Transfer {
    /// To the worker.
    Get {
        /// Bytes that the worker has room for.
        room: Arc<Semaphore>,
    },
    /// From the worker.
    Put {
        /// Where its bytes go.
        chunks: mpsc::Sender<Bytes>,
        /// Bytes that it may still send.
        room: Arc<AtomicUsize>,
    },
}

/// A transfer of either way, to be run.
pub(super) enum Start {
    Get(Get, Arc<Semaphore>),
    Put(Put, mpsc::Receiver<Bytes>, Arc<AtomicUsize>),
}

impl Transfer {
    pub(super) fn get(get: Get) -> (Self, Start) {
        let room = Arc::new(Semaphore::new(BLOB_WINDOW));
        (Self::Get { room: room.clone() }, Start::Get(get, room))
    }

    pub(super) fn put(put: Put) -> (Self, Start) {
        let (chunks, arriving) = mpsc::channel(CHUNKS);
        let room = Arc::new(AtomicUsize::new(0));
        (Self::Put { chunks, room: room.clone() }, Start::Put(put, arriving, room))
    }

    /// The worker has room for more. False when it says what makes no sense.
    pub(super) fn more(&self, bytes: u32) -> bool {
        let Self::Get { room } = self else { return false };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let fits = bytes <= BLOB_WINDOW && room.available_permits() <= BLOB_WINDOW;
        if fits {
            room.add_permits(bytes);
        }
        fits
    }

    /// Takes note of a chunk; where it goes. `None` when there was no room for it.
    pub(super) fn chunk(&self, bytes: &Bytes) -> Option<mpsc::Sender<Bytes>> {
        let Self::Put { chunks, room } = self else { return None };
        let take = |left: usize| left.checked_sub(bytes.len());
        let fits = !bytes.is_empty() && room.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok();
        fits.then(|| chunks.clone())
    }
}

/// Runs a transfer to its end and says how it ended.
pub(super) async fn run(connection: &Connection, start: Start) {
    let (number, ended) = match start {
        Start::Get(get, room) => (get.number, send(connection, get, &room).await),
        Start::Put(put, chunks, room) => (put.number, receive(connection, put, chunks, &room).await),
    };
    connection.transfers().remove(&number);
    if let Err(answer) = ended {
        // Whoever would read it has gone.
        let _gone = connection.outbox.send(answer).await;
    }
}

fn refuse(number: u64, error: &BlobError) -> Answer {
    Answer::refused(number, error.code(), error.to_string())
}

fn key(number: u64, text: &str) -> Result<BlobKey, Answer> {
    BlobKey::parse(text).map_err(|error| refuse(number, &error))
}

/// Room for a blob among those of all connections.
async fn room(connection: &Connection, number: u64, size: u64) -> Result<OwnedSemaphorePermit, Answer> {
    let most = connection.max_blob();
    if size > most {
        let text = format!("the blob has {size} bytes; at most {most} are taken over the socket");
        return Err(refuse(number, &BlobError::new(BlobErrorKind::TooLarge, text)));
    }
    let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
    let room = connection.sockets.blob_room.clone().acquire_many_owned(kib).await;
    room.map_err(|_| refuse(number, &BlobError::new(BlobErrorKind::Unavailable, "the server is closing")))
}

fn found(number: u64, entry: &BlobEntry) -> Found {
    Found {
        number,
        exists: true,
        size: entry.size,
        sha256: entry.sha256.to_vec().into(),
        written_at_us: entry.written_at.as_microsecond(),
    }
}

fn stalled(number: u64) -> Answer {
    let text = format!("the worker did not go on with the blob for {PATIENCE:?}");
    refuse(number, &BlobError::new(BlobErrorKind::Unavailable, text))
}

/// Sends a blob to the worker, or what is known of it.
async fn send(connection: &Connection, get: Get, window: &Semaphore) -> Result<(), Answer> {
    let number = get.number;
    let key = key(number, &get.key)?;
    let blobs = &connection.host.blobs;
    let entry = blobs.head(&key).await.map_err(|error| refuse(number, &error))?;
    let nothing = Found { number, ..Found::default() };
    let Some(mut entry) = entry else { return connection.tell(nothing).await };
    if get.head {
        return connection.tell(found(number, &entry)).await;
    }
    let _room = room(connection, number, entry.size).await?;
    let bytes = blobs.get(&key).await.map_err(|error| refuse(number, &error))?;
    let Some(mut bytes) = bytes else { return connection.tell(nothing).await };
    if u64::try_from(bytes.len()).ok() != Some(entry.size) {
        // Written anew in between.
        let again = blobs.head(&key).await.map_err(|error| refuse(number, &error))?;
        entry = again.filter(|entry| u64::try_from(bytes.len()).ok() == Some(entry.size)).ok_or_else(|| {
            let text = format!("blob `{key}` changes while it is read; ask again");
            refuse(number, &BlobError::new(BlobErrorKind::Unavailable, text))
        })?;
    }
    connection.tell(found(number, &entry)).await?;
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK));
        let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        match timeout(PATIENCE, window.acquire_many(size)).await {
            Ok(Ok(room)) => room.forget(),
            Ok(Err(_)) | Err(_) => return Err(stalled(number)),
        }
        connection.tell(Chunk { number, bytes: chunk }).await?;
    }
    Ok(())
}

/// Takes a blob of the worker.
async fn receive(
    connection: &Connection,
    put: Put,
    mut chunks: mpsc::Receiver<Bytes>,
    granted: &AtomicUsize,
) -> Result<(), Answer> {
    let number = put.number;
    let key = key(number, &put.key)?;
    if !may_write(connection, &key).await {
        let text =
            format!("blob `{key}` is no output of a job of this worker; write `res:<job id>` of one that it runs");
        return Err(Answer::refused(number, BusErrorKind::Denied.code(), text));
    }
    let _room = room(connection, number, put.size).await?;
    let size = usize::try_from(put.size).unwrap_or(usize::MAX);
    let grant = async |bytes: usize| {
        granted.fetch_add(bytes, Ordering::AcqRel);
        connection.tell(More { number, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }).await
    };
    let mut left_to_grant = size;
    let first = left_to_grant.min(BLOB_WINDOW);
    left_to_grant -= first;
    let mut bytes = BytesMut::new();
    if first > 0 {
        grant(first).await?;
    }
    while bytes.len() < size {
        let Ok(Some(chunk)) = timeout(PATIENCE, chunks.recv()).await else { return Err(stalled(number)) };
        bytes.extend_from_slice(&chunk);
        let more = left_to_grant.min(chunk.len());
        if more > 0 {
            left_to_grant -= more;
            grant(more).await?;
        }
    }
    let entry = connection.host.blobs.put(&key, bytes.freeze()).await.map_err(|error| refuse(number, &error))?;
    connection.tell(found(number, &entry)).await
}

/// A worker writes the outputs of its jobs: `res:<job>`, and what lies below it.
async fn may_write(connection: &Connection, key: &BlobKey) -> bool {
    if connection.host.rights.writes_everything() {
        return true;
    }
    let Some(Pointer::Result(id)) = Pointer::from_key(key.as_str()) else { return false };
    let owner = id.split_once('/').map_or(id.as_str(), |(job, _)| job);
    for job in [id.as_str(), owner] {
        if connection.session.has_job(job) || connection.host.is_open(job).await {
            return true;
        }
    }
    false
}
