//! The socket with every right passes the suite that every bus runs; its blobs pass theirs but for what workers do not do.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::WebSocketUpgrade, routing::get};
use bytes::Bytes;
use coretex_bus::socket::{PATH, SocketBus, SocketOptions};
use coretex_core::{
    ports::{
        BlobErrorKind, BlobKey, Blobs, Bus, SystemClock,
        memory::{MemoryBlobs, MemoryBus},
    },
    testing::conformance::bus::Fixture,
};
use tokio::net::TcpListener;

use super::{WorkerSockets, connection::serve, host::Host, session::Sockets};

/// A server of nothing but the socket, and one worker on it.
async fn connected(blobs: Arc<dyn Blobs>, options: WorkerSockets) -> (Arc<MemoryBus>, Arc<SocketBus>) {
    let bus = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let host = Host::bare(bus.clone(), blobs);
    let sockets = Arc::new(Sockets::new(options));
    let open = move |upgrade: WebSocketUpgrade| {
        let (host, sockets) = (host.clone(), sockets.clone());
        async move { upgrade.on_upgrade(move |socket| serve(socket, sockets, host, None)) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move { axum::serve(listener, Router::new().route(PATH, get(open))).await }));
    let worker = SocketBus::new(SocketOptions::new(format!("ws://{address}"), "w1").window(4_096)).unwrap();
    (bus, Arc::new(worker))
}

fn memory() -> Arc<dyn Blobs> {
    Arc::new(MemoryBlobs::new(Arc::new(SystemClock)))
}

async fn fixture() -> Fixture {
    let options = WorkerSockets::default().with_max_window(4_096);
    let (inner, worker) = connected(memory(), options).await;
    // The server's own bus goes with the fixture.
    Fixture::new(worker as Arc<dyn Bus>).with_tick(Duration::from_millis(100)).with_guard(inner)
}

mod bus {
    coretex_core::bus_conformance!(super::fixture);
}

fn key(text: &str) -> BlobKey {
    BlobKey::parse(text).unwrap()
}

/// Bytes that differ from place to place.
fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn blobs_of_any_size_arrive_as_they_were() {
    let inner = memory();
    let (_bus, worker) = connected(inner.clone(), WorkerSockets::default()).await;
    worker.subscribe(coretex_core::ports::Subscribe::all("notes.a")).await.unwrap();
    let blobs = worker.blobs();
    for len in [0, 1, 256 * 1024, 256 * 1024 + 1, 5_000_000] {
        let (key, bytes) = (key(&format!("res:job-{len}")), bytes(len));
        let written = blobs.put(&key, bytes.clone()).await.unwrap();
        let known = inner.head(&key).await.unwrap().unwrap();
        assert_eq!((written.size, written.sha256), (known.size, known.sha256), "{len}");
        assert_eq!(written.written_at.as_microsecond(), known.written_at.as_microsecond(), "{len}");
        assert_eq!(blobs.get(&key).await.unwrap(), Some(bytes), "{len}");
        assert_eq!(blobs.head(&key).await.unwrap(), Some(written), "{len}");
    }
    assert_eq!(blobs.get(&key("res:none")).await.unwrap(), None);
    assert_eq!(blobs.head(&key("res:none")).await.unwrap(), None);
    let kind = |error: coretex_core::ports::BlobError| error.kind();
    assert_eq!(blobs.delete(&key("res:none")).await.map_err(kind), Err(BlobErrorKind::Invalid));
    assert_eq!(blobs.list("", None, 10).await.map_err(kind), Err(BlobErrorKind::Invalid));
}

#[tokio::test]
async fn many_blobs_share_the_room_that_there_is() {
    let options = WorkerSockets::default().with_blob_bytes(3 << 20);
    let (_bus, worker) = connected(memory(), options).await;
    worker.subscribe(coretex_core::ports::Subscribe::all("notes.a")).await.unwrap();
    let blobs = Arc::new(worker.blobs());
    let transfers = (0..12).map(|n| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            let (key, bytes) = (key(&format!("res:job-{n}")), bytes(2_000_000 + n));
            blobs.put(&key, bytes.clone()).await.unwrap();
            assert_eq!(blobs.get(&key).await.unwrap(), Some(bytes));
        })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        transfer.await.unwrap();
    }
    let refused = blobs.put(&key("res:large"), bytes(4_000_000)).await.unwrap_err();
    assert_eq!(refused.kind(), BlobErrorKind::TooLarge);
}
