//! The task that owns the connection: makes it, reads and writes it, and makes it again.

use std::{io, sync::Arc, time::Duration};

use coretex_core::ports::{BusError, BusErrorKind, IdSource, SystemIds};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::state::{Core, Life};
use crate::socket::{
    MAX_FRAME,
    frame::{Frame, Kind, Welcome},
    refusal::Refusal,
};

/// Longest time to make a connection, and for a write to get on.
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest wait between two connections.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long somebody may be away from the line before the place is given up: a worker that takes one message after the
/// other is back at once.
const CALM: Duration = Duration::from_millis(2);

/// How a connection ended.
enum End {
    /// We closed it.
    Closed,
    /// It is of no use to try again.
    Lasting(BusError),
    /// It broke, or was not made.
    Broken(String),
}

/// Keeps the connection until it is closed.
pub(super) async fn run(core: Arc<Core>) {
    let mut wait = FIRST_WAIT;
    let mut ever = false;
    loop {
        let began_at = Instant::now();
        let end = connection(&core, &mut ever).await;
        core.went_down();
        let why = match end {
            End::Closed => return,
            End::Lasting(error) => {
                tracing::error!(%error, worker_id = core.options.worker_id, "the worker's connection ends for good");
                return core.close(error);
            }
            End::Broken(why) => why,
        };
        if began_at.elapsed() > wait {
            wait = FIRST_WAIT;
        }
        let half = u64::try_from(wait.as_millis() / 2).unwrap_or(0);
        let pause = Duration::from_millis(half + SystemIds.random() % (half + 1));
        tracing::warn!(server = %core.address, why, ?pause, "not connected; trying again");
        wait = (wait * 2).min(LONGEST_WAIT);
        tokio::select! {
            () = sleep(pause) => {}
            () = closed(&core) => return,
        }
    }
}

async fn closed(core: &Core) {
    let mut life = core.life.subscribe();
    // The sender lives in `core`, so waiting cannot fail.
    let _ = life.wait_for(|life| *life == Life::Closed).await;
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

async fn connection(core: &Arc<Core>, ever: &mut bool) -> End {
    let made = tokio::select! {
        made = make(core, *ever) => made,
        // One that is up is closed in order, by whoever writes.
        () = closed(core) => return End::Closed,
    };
    let (socket, welcome) = match made {
        Ok(made) => made,
        Err(end) => return end,
    };
    *ever = true;
    let idle = Duration::from_millis(welcome.idle_ms.clamp(100, 600_000));
    let resumed = welcome.resumed;
    if !core.welcome(welcome) {
        return End::Closed;
    }
    tracing::info!(server = %core.address, worker_id = core.options.worker_id, resumed, "connected");
    let (sink, stream) = socket.split();
    // Side by side, so that neither waits for the other: reading makes room for writing.
    tokio::select! {
        end = read(core, stream, idle) => end,
        end = write(core, sink) => end,
    }
}

/// Makes a connection that both sides agree on.
async fn make(core: &Core, ever: bool) -> Result<(Socket, Welcome), End> {
    let mut socket = match timeout(PATIENCE, open(core)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(WsError::Http(answer))) => {
            let text = refused(answer.status().as_u16(), answer.headers(), answer.body().as_deref());
            // A server that let this worker in before is being changed; one that never did will not.
            return Err(match answer.status().as_u16() {
                400 | 401 | 403 | 404 if !ever => End::Lasting(BusError::new(BusErrorKind::Denied, text)),
                _ => End::Broken(text),
            });
        }
        Ok(Err(error)) => return Err(End::Broken(error.to_string())),
        Err(_) => return Err(End::Broken("it takes too long to connect".to_owned())),
    };
    match timeout(PATIENCE, greet(core, &mut socket)).await {
        Ok(Ok(welcome)) => Ok((socket, welcome)),
        Ok(Err(end)) => Err(end),
        Err(_) => Err(End::Broken("the server does not answer".to_owned())),
    }
}

async fn open(core: &Core) -> Result<Socket, WsError> {
    let address = &core.address;
    let stream = TcpStream::connect((&*address.host, address.port)).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match &core.tls {
        Some(tls) => Box::new(tls.connect(&address.host, stream).await?),
        None => Box::new(stream),
    };
    let mut request = address.request.clone().into_client_request()?;
    if let Some(key) = &core.options.key {
        let mut value = HeaderValue::from_str(&key.0).map_err(|_| io::Error::other("the API key is no plain text"))?;
        value.set_sensitive(true);
        request.headers_mut().insert("x-api-key", value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

/// What an answer other than a connection says.
fn refused(status: u16, headers: &tokio_tungstenite::tungstenite::http::HeaderMap, body: Option<&[u8]>) -> String {
    let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or("no code");
    let problem = body.and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    format!(
        "the server answers {status} ({code}): {}",
        detail.unwrap_or("it says nothing more; is it a coretex server?")
    )
}

async fn greet(core: &Core, socket: &mut Socket) -> Result<Welcome, End> {
    let broken = |error: WsError| End::Broken(error.to_string());
    socket.send(message(&core.hello())).await.map_err(broken)?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                return match Frame::read(bytes) {
                    Ok(Kind::Welcome(welcome)) => Ok(welcome),
                    _ => Err(End::Broken("the server's first frame is no welcome".to_owned())),
                };
            }
            Some(Ok(Message::Close(frame))) => return Err(left(frame)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(error)),
            None => return Err(End::Broken("the server hung up".to_owned())),
        }
    }
}

fn message(frame: &Frame) -> Message {
    Message::Binary(frame.to_bytes())
}

/// What the server's last word means.
fn left(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else { return End::Broken("the server hung up".to_owned()) };
    let text = format!("the server closed the connection ({} {})", u16::from(frame.code), frame.reason);
    match Refusal::of_code(&frame.reason) {
        Some(Refusal::Replaced) => {
            let text = format!("{text}: another worker connected with the same id; give each an id of its own");
            End::Lasting(BusError::new(BusErrorKind::Closed, text))
        }
        Some(refusal) if refusal.is_lasting() => End::Lasting(BusError::new(BusErrorKind::Denied, text)),
        _ => End::Broken(text),
    }
}

async fn read(
    core: &Arc<Core>,
    mut stream: impl StreamExt<Item = Result<Message, WsError>> + Unpin,
    idle: Duration,
) -> End {
    loop {
        let bytes = match timeout(idle, stream.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Close(frame)))) => return left(frame),
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(error))) => return End::Broken(error.to_string()),
            Ok(None) => return End::Broken("the server hung up".to_owned()),
            Err(_) => return End::Broken(format!("nothing was heard of the server for {idle:?}")),
        };
        let taken = match Frame::read(bytes) {
            Ok(Kind::Deliver(deliver)) => core.arrive(deliver),
            Ok(Kind::Answer(answer)) => {
                core.answer(answer);
                Ok(())
            }
            Ok(Kind::Found(found)) => core.found(found),
            Ok(Kind::Chunk(chunk)) => core.chunk(chunk),
            Ok(Kind::More(more)) => {
                core.more(more);
                Ok(())
            }
            // A newer server may say more.
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(problem) = taken {
            return End::Broken(problem);
        }
    }
}

async fn write(core: &Arc<Core>, mut sink: impl SinkExt<Message, Error = WsError> + Unpin) -> End {
    let mut calm_at = None;
    loop {
        let sent = timeout(PATIENCE, async {
            while let Some(frame) = core.next_frame() {
                sink.feed(message(&frame)).await?;
            }
            sink.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Broken(error.to_string()),
            Err(_) => return End::Broken("the server reads nothing".to_owned()),
        }
        if core.life() == Life::Closed {
            let bye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            // Gone already is fine.
            let _ = timeout(PATIENCE, sink.send(Message::Close(Some(bye)))).await;
            return End::Closed;
        }
        tokio::select! {
            () = core.write.notified() => {}
            () = core.calm.notified() => calm_at = calm_at.or(Some(Instant::now() + CALM)),
            () = async { match calm_at { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {
                calm_at = None;
                core.calm_down();
            }
        }
    }
}
