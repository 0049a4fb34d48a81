//! An engine that misbehaves as real ones sometimes do: what it answers is told by the test.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Notify,
};

use crate::rig::Scratch;

/// How the stream of a followed container ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Follow {
    /// In the middle of a frame.
    BreaksOff,
    /// Before it began.
    Refused,
    /// Never, as far as the container lets it.
    StaysOpen,
}

/// A container that prints `{"n":1}` and ends well.
pub(crate) struct FakeEngine {
    scratch: Scratch,
    removals: Arc<AtomicUsize>,
}

impl FakeEngine {
    /// An engine that refuses to remove a container `refusals` times. What the container printed is whole only when it
    /// is told that it has ended.
    pub(crate) fn start(follow: Follow, refusals: usize) -> Self {
        let scratch = Scratch::new();
        let listener = UnixListener::bind(scratch.path().join("engine.sock")).unwrap();
        let removals = Arc::new(AtomicUsize::new(0));
        let engine = Self { scratch, removals: removals.clone() };
        let followed = Arc::new(Notify::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, follow, refusals, removals.clone(), followed.clone()));
            }
        });
        engine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.path().join("engine.sock")
    }

    /// How often it was asked to remove the container.
    pub(crate) fn removals(&self) -> usize {
        self.removals.load(Ordering::Relaxed)
    }
}

async fn answer(
    mut stream: UnixStream,
    follow: Follow,
    refusals: usize,
    removals: Arc<AtomicUsize>,
    followed: Arc<Notify>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.unwrap();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let whole = |status: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let printed = [&[1, 0, 0, 0, 0, 0, 0, 8][..], b"{\"n\": 1}"].concat();
    let reply = match () {
        () if line.contains("/create") => whole("201 Created", b"{}"),
        () if line.contains("/start") => whole("204 No Content", b""),
        () if line.contains("follow=true") => {
            match follow {
                Follow::Refused => whole("500 Internal Server Error", b"{\"message\": \"gone already\"}"),
                // Less than it promised.
                Follow::BreaksOff => {
                    let mut reply = whole("200 OK", &printed);
                    reply.truncate(reply.len() - 4);
                    reply
                }
                Follow::StaysOpen => {
                    followed.notify_one();
                    return std::future::pending().await;
                }
            }
        }
        () if line.contains("follow=false") => whole("200 OK", &printed),
        () if line.contains("/wait") => {
            followed.notified().await;
            whole("200 OK", b"{\"StatusCode\": 0}")
        }
        () if line.starts_with("delete") => match removals.fetch_add(1, Ordering::Relaxed) {
            before if before < refusals => whole("500 Internal Server Error", b"{\"message\": \"busy\"}"),
            _ => whole("204 No Content", b""),
        },
        () if line.contains("/containers/json") => whole("200 OK", b"[]"),
        () => whole("200 OK", b"{\"State\": {\"OOMKilled\": false}}"),
    };
    stream.write_all(&reply).await.unwrap();
    drop(stream);
    if line.contains("follow=true") {
        followed.notify_one();
    }
}
