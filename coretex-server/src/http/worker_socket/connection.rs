//! One connection of a worker: reads its frames, one after the other, until either side ends it.
//!
//! Reading waits for whatever a frame leads to, so a worker that sends faster than is done is slowed down by its own
//! connection. Everything that is sent goes through the [`outbox`](super::outbox).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::extract::ws::{Message, WebSocket};
use coretex_bus::socket::{
    MAX_CHUNK, MAX_TRANSFERS, VERSION,
    frame::{Answer, Frame, Hello, Kind, Subscribe as SubscribeFrame, Want, Welcome},
    refusal::Refusal,
};
use coretex_core::{
    ports::{BlobErrorKind, BusErrorKind, Subscribe},
    protocol::subjects,
};
use futures::{StreamExt, stream::SplitStream};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    blobs::{self, Transfer},
    deliver,
    host::Host,
    outbox::{Outbox, outbox, write},
    publish::publish,
    session::{Attached, Session, Sockets},
};

/// Longest time until a worker says who it is.
const GREETING: Duration = Duration::from_secs(10);
/// Longest time to settle that a worker can ask for.
const LONGEST_ACK_WAIT: Duration = Duration::from_secs(3_600);

/// What the tasks of a connection share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sockets: Arc<Sockets>,
    pub(super) host: Host,
    pub(super) session: Arc<Session>,
    pub(super) outbox: Outbox,
    transfers: Mutex<HashMap<u64, (Transfer, Option<AbortHandle>)>>,
    bus_closed: Notify,
}

/// Why a connection ends.
enum End {
    /// The worker said so.
    Left,
    /// It is gone.
    Broken,
    /// We say so.
    Refused(Refusal),
}

impl Connection {
    pub(super) fn transfers(&self) -> MutexGuard<'_, HashMap<u64, (Transfer, Option<AbortHandle>)>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bus_closed(&self) {
        self.bus_closed.notify_one();
    }

    /// Largest blob that goes over the socket.
    pub(super) fn max_blob(&self) -> u64 {
        let room = u64::try_from(self.sockets.options.blob_bytes).unwrap_or(u64::MAX);
        self.host.blobs.max_bytes().min(room)
    }

    /// Sends a frame of a transfer. `Err` ends the transfer: nobody reads on.
    pub(super) async fn tell(&self, frame: impl Into<Frame>) -> Result<(), Answer> {
        self.outbox.send(frame).await.map_err(|_| Answer::default())
    }
}

/// Serves a worker until its connection ends.
pub(super) async fn serve(
    mut socket: WebSocket,
    sockets: Arc<Sockets>,
    host: Host,
    closing: Option<watch::Receiver<bool>>,
) {
    let hello = match timeout(GREETING, greeting(&mut socket)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(End::Refused(refusal))) => return refuse(socket, refusal).await,
        Ok(Err(_)) => return,
        Err(_) => return refuse(socket, Refusal::Idle).await,
    };
    let attached = sockets.attach(&hello, &host);
    let session = attached.session.clone();
    tracing::info!(worker = &*session.worker, sdk = clip(&hello.sdk), resumed = attached.resumed, "a worker connected");
    let (sink, stream) = socket.split();
    let (outbox, outgoing) = outbox();
    let (last_word, told) = oneshot::channel();
    let mut writer = tokio::spawn(write(sink, outgoing, sockets.options.idle() / 3, told));
    let connection = Arc::new(Connection {
        sockets: sockets.clone(),
        host: host.clone(),
        session,
        outbox,
        transfers: Mutex::default(),
        bus_closed: Notify::new(),
    });
    let mut tasks = JoinSet::new();
    let mut written = None;
    let end = tokio::select! {
        end = read(&connection, &attached, stream, &mut tasks) => end,
        () = attached.replaced.notified() => End::Refused(Refusal::Replaced),
        () = connection.bus_closed.notified() => End::Refused(Refusal::Closing),
        () = closed(closing) => End::Refused(Refusal::Closing),
        ended = &mut writer => {
            let refusal = ended.unwrap_or_default();
            written = Some(());
            refusal.map_or(End::Broken, End::Refused)
        }
    };
    // Those that deliver first: what they have taken and not sent is given back.
    tasks.shutdown().await;
    connection.transfers().clear();
    let worker = connection.session.worker.clone();
    let left = matches!(end, End::Left);
    let refusal = match end {
        End::Refused(refusal) => Some(refusal),
        End::Left | End::Broken => None,
    };
    tracing::info!(worker = &*worker, left, code = refusal.map_or("", Refusal::code), "a worker's connection ended");
    sockets.detach(&attached, host, left);
    if written.is_none() {
        // The writer may have ended meanwhile.
        let _gone = last_word.send(refusal);
        let _gone = writer.await;
    }
}

async fn closed(closing: Option<watch::Receiver<bool>>) {
    match closing {
        // A sender that is gone closes as well.
        Some(mut closing) => drop(closing.wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}

/// The first frame: who it is.
async fn greeting(socket: &mut WebSocket) -> Result<Hello, End> {
    let protocol = End::Refused(Refusal::Protocol);
    let hello = loop {
        match socket.recv().await {
            Some(Ok(Message::Binary(bytes))) => match Frame::read(bytes) {
                Ok(Kind::Hello(hello)) => break hello,
                _ => return Err(protocol),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_))) => return Err(protocol),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Broken),
        }
    };
    if hello.version != VERSION {
        return Err(End::Refused(Refusal::Version));
    }
    let legal = subjects::worker_jobs(&hello.worker_id).is_ok() && !hello.worker_id.contains('.');
    if !legal || hello.worker_id.len() > 200 {
        return Err(End::Refused(Refusal::WorkerId));
    }
    Ok(hello)
}

async fn refuse(mut socket: WebSocket, refusal: Refusal) {
    let close = axum::extract::ws::CloseFrame { code: refusal.number(), reason: refusal.code().into() };
    // Gone already is fine.
    let _gone = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(close)))).await;
}

/// A subscription of the connection.
struct Pump {
    want: Arc<watch::Sender<Want>>,
    task: AbortHandle,
}

async fn read(
    connection: &Arc<Connection>,
    attached: &Attached,
    mut stream: SplitStream<WebSocket>,
    tasks: &mut JoinSet<()>,
) -> End {
    let idle = connection.sockets.options.idle();
    let welcome = Welcome {
        session: connection.session.token(),
        resumed: attached.resumed,
        window: connection.session.window,
        max_blob: connection.max_blob(),
        idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
        durable: connection.host.blobs.durable(),
    };
    if connection.outbox.send(welcome).await.is_err() {
        return End::Broken;
    }
    let mut pumps = HashMap::new();
    loop {
        let bytes = match timeout(idle, stream.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Text(_)))) => return End::Refused(Refusal::Protocol),
            Ok(Some(Ok(Message::Close(_)))) => return End::Left,
            Ok(Some(Err(_)) | None) => return End::Broken,
            Err(_) => return End::Refused(Refusal::Idle),
        };
        while tasks.try_join_next().is_some() {}
        let kind = match Frame::read(bytes) {
            Ok(kind) => kind,
            Err(error) => {
                tracing::warn!(%error, worker = &*connection.session.worker, "a worker is cut off");
                return End::Refused(Refusal::Protocol);
            }
        };
        if let Err(refusal) = take(connection, &mut pumps, tasks, kind).await {
            return End::Refused(refusal);
        }
    }
}

async fn take(
    connection: &Arc<Connection>,
    pumps: &mut HashMap<u64, Pump>,
    tasks: &mut JoinSet<()>,
    kind: Kind,
) -> Result<(), Refusal> {
    match kind {
        Kind::Settle(settle) => {
            if let Some(delivery) = connection.session.settle(settle.delivery, settle.how()) {
                deliver::settle(&delivery, settle.how(), settle.delay_ms).await;
            }
        }
        Kind::Publish(message) => {
            let answer = publish(connection, message).await;
            let _gone = connection.outbox.send(answer).await;
        }
        Kind::Demand(demand) => {
            if let Some(pump) = pumps.get(&demand.number) {
                pump.want.send_replace(demand.want());
            }
        }
        Kind::Subscribe(wanted) => {
            if pumps.len() >= connection.sockets.options.max_subscriptions {
                return Err(Refusal::Limit);
            }
            let number = wanted.number;
            if number == 0 || pumps.contains_key(&number) {
                return Err(Refusal::Protocol);
            }
            let answer = match subscribe(connection, tasks, wanted).await {
                Ok(pump) => {
                    pumps.insert(number, pump);
                    Answer::done(number)
                }
                Err(answer) => answer,
            };
            let _gone = connection.outbox.send(answer).await;
        }
        Kind::Unsubscribe(unsubscribe) => {
            if let Some(pump) = pumps.remove(&unsubscribe.number) {
                pump.task.abort();
            }
        }
        Kind::Get(get) => begin(connection, tasks, get.number, || Transfer::get(get)).await?,
        Kind::Put(put) => begin(connection, tasks, put.number, || Transfer::put(put)).await?,
        Kind::Chunk(chunk) => {
            if chunk.bytes.len() > MAX_CHUNK {
                return Err(Refusal::Limit);
            }
            let goes_to = match connection.transfers().get(&chunk.number) {
                // One that has ended, and whose answer the worker has not read yet.
                None => return Ok(()),
                Some((transfer, _)) => transfer.chunk(&chunk.bytes).ok_or(Refusal::Limit)?,
            };
            let _ended = goes_to.send(chunk.bytes).await;
        }
        Kind::More(more) => {
            if let Some((transfer, _)) = connection.transfers().get(&more.number)
                && !transfer.more(more.bytes)
            {
                return Err(Refusal::Limit);
            }
        }
        Kind::Stop(stop) => {
            if let Some((_, Some(task))) = connection.transfers().remove(&stop.number) {
                task.abort();
            }
        }
        Kind::Hello(_) | Kind::Welcome(_) | Kind::Deliver(_) | Kind::Answer(_) | Kind::Found(_) => {
            return Err(Refusal::Protocol);
        }
    }
    Ok(())
}

async fn subscribe(
    connection: &Arc<Connection>,
    tasks: &mut JoinSet<()>,
    wanted: SubscribeFrame,
) -> Result<Pump, Answer> {
    let SubscribeFrame { number, filter, group, ack_wait_ms } = wanted;
    let worker = &*connection.session.worker;
    if let Err(problem) = connection.host.rights.subscribe(worker, &filter, group.as_deref()) {
        tracing::warn!(worker, problem, "a subscription of a worker is refused");
        return Err(Answer::refused(number, BusErrorKind::Denied.code(), problem));
    }
    let grouped = group.is_some();
    let ack_wait = Duration::from_millis(ack_wait_ms).min(LONGEST_ACK_WAIT);
    let subscribe = match group {
        Some(group) => Subscribe::group(filter, group).ack_wait(ack_wait),
        None => Subscribe::all(filter),
    };
    let subscription = connection.host.bus.subscribe(subscribe).await;
    let subscription = subscription.map_err(|error| Answer::refused(number, error.code(), error.to_string()))?;
    let want = Arc::new(watch::Sender::new(Want::Nothing));
    let task = tasks.spawn(deliver::pump(connection.clone(), number, grouped, subscription, want.clone()));
    Ok(Pump { want, task })
}

async fn begin(
    connection: &Arc<Connection>,
    tasks: &mut JoinSet<()>,
    number: u64,
    make: impl FnOnce() -> (Transfer, blobs::Start),
) -> Result<(), Refusal> {
    {
        let mut transfers = connection.transfers();
        if number == 0 || transfers.contains_key(&number) {
            return Err(Refusal::Protocol);
        }
        if transfers.len() < MAX_TRANSFERS {
            let (transfer, start) = make();
            transfers.insert(number, (transfer, None));
            let shared = connection.clone();
            let task = tasks.spawn(async move { blobs::run(&shared, start).await });
            // It cannot have ended: ending takes the lock that is held here.
            if let Some((_, handle)) = transfers.get_mut(&number) {
                *handle = Some(task);
            }
            return Ok(());
        }
    }
    let text = format!("{MAX_TRANSFERS} blobs are on their way already; wait for one to arrive");
    let _gone = connection.outbox.send(Answer::refused(number, BlobErrorKind::Unavailable.code(), text)).await;
    Ok(())
}

/// Text from outside, for a log.
fn clip(text: &str) -> &str {
    text.char_indices().nth(100).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
