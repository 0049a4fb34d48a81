//! What a connection has to send: bounded in bytes, written by one task.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use coretex_bus::socket::{MAX_FRAME, frame::Frame, refusal::Refusal};
use futures::{SinkExt, stream::SplitSink};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{interval, timeout},
};

/// Bytes that wait to be written; room for two of the largest frames.
const ROOM: usize = 2 * MAX_FRAME;
/// What a small frame counts for, beside its bytes.
const EACH: usize = 256;
/// Longest time for a write to get on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes frames to send. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    room: Arc<Semaphore>,
    frames: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
}

/// The other end, for the task that writes.
#[derive(Debug)]
pub(super) struct Outgoing(mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>);

/// The connection is over.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) fn outbox() -> (Outbox, Outgoing) {
    // As many frames as the room has places for: it is what bounds the queue.
    let (frames, outgoing) = mpsc::unbounded_channel();
    (Outbox { room: Arc::new(Semaphore::new(ROOM)), frames }, Outgoing(outgoing))
}

impl Outbox {
    /// Queues a frame; waits for room.
    pub(super) async fn send(&self, frame: impl Into<Frame>) -> Result<(), Gone> {
        let bytes = frame.into().to_bytes();
        let size = u32::try_from((bytes.len() + EACH).min(ROOM)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(size).await.map_err(|_| Gone)?;
        self.frames.send((bytes, room)).map_err(|_| Gone)
    }
}

/// Writes what is queued, and pings in between. Ends when it is told to, with the reason as its last word, or because the
/// worker does not read.
pub(super) async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut outgoing: Outgoing,
    ping_every: Duration,
    mut last_word: oneshot::Receiver<Option<Refusal>>,
) -> Option<Refusal> {
    let mut ping = interval(ping_every);
    ping.reset();
    loop {
        let message = tokio::select! {
            biased;
            word = &mut last_word => {
                let close = word.ok().flatten().map(|refusal| CloseFrame {
                    code: refusal.number(),
                    reason: refusal.code().into(),
                });
                // Gone already is fine.
                let _ = timeout(PATIENCE, sink.send(Message::Close(close))).await;
                return None;
            }
            frame = outgoing.0.recv() => frame,
            _ = ping.tick() => {
                match timeout(PATIENCE, sink.send(Message::Ping(Bytes::new()))).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(Refusal::Slow),
                }
            }
        };
        let (bytes, room) = message?;
        let written = timeout(PATIENCE, async {
            sink.feed(Message::Binary(bytes)).await?;
            drop(room);
            // What is queued behind it goes along.
            while let Ok((bytes, room)) = outgoing.0.try_recv() {
                sink.feed(Message::Binary(bytes)).await?;
                drop(room);
            }
            sink.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(Refusal::Slow),
        }
    }
}
