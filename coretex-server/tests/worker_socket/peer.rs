//! Peers that are no worker of the SDK: one that says what it likes, and a wire that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use coretex_bus::socket::{
    MAX_CHUNK, PATH, VERSION,
    frame::{Answer, Chunk, Demand, Frame, Get, Hello, Kind, Publish, Put, Subscribe, Want, Welcome},
};
use coretex_core::protocol::{BusPacket, JobResult};
use coretex_server::WorkerSockets;
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::rig::{KEY, Rig, ms};

/// Passes connections on until it cuts them.
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<()>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, _) = watch::channel(());
        let connections = Arc::new(AtomicUsize::new(0));
        let (cuts, count) = (cut.clone(), connections.clone());
        drop(tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut cut = cuts.subscribe();
                drop(tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                }));
            }
        }));
        Self { address, cut, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

struct Peer(WebSocketStream<TcpStream>);

async fn dial(rig: &Rig, headers: &[(&'static str, &str)]) -> Result<Peer, (u16, String)> {
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let mut request = format!("{}{PATH}", rig.url()).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(Peer(socket)),
        Err(Error::Http(answer)) => {
            let code = answer.headers().get("x-error-code").unwrap().to_str().unwrap().to_owned();
            Err((answer.status().as_u16(), code))
        }
        Err(error) => panic!("{error}"),
    }
}

fn hello(id: &str) -> Hello {
    Hello { version: VERSION, worker_id: id.to_owned(), window: 4, ..Hello::default() }
}

impl Peer {
    /// One that is welcome.
    async fn new(rig: &Rig, id: &str) -> Self {
        let mut peer = dial(rig, &[("x-api-key", KEY)]).await.unwrap();
        peer.say(hello(id)).await;
        assert!(matches!(peer.hear().await, Ok(Kind::Welcome(Welcome { window: 4, resumed: false, .. }))));
        peer
    }

    async fn say(&mut self, frame: impl Into<Frame>) {
        self.raw(Message::Binary(frame.into().to_bytes())).await;
    }

    async fn raw(&mut self, message: Message) {
        // The server may have hung up, which is read next.
        let _gone = self.0.send(message).await;
    }

    /// The next frame, or the code with which the server hung up.
    async fn hear(&mut self) -> Result<Kind, String> {
        loop {
            match tokio::time::timeout(ms(20_000), self.0.next()).await.expect("the server says something") {
                Some(Ok(Message::Binary(bytes))) => return Ok(Frame::read(bytes).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or_else(String::new, |frame| frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("hung up".to_owned()),
            }
        }
    }

    /// The code of the next answer.
    async fn answer(&mut self) -> String {
        match self.hear().await {
            Ok(Kind::Answer(Answer { code, .. })) => code,
            other => panic!("{other:?}"),
        }
    }

    async fn cut_off(mut self) -> String {
        loop {
            if let Err(code) = self.hear().await {
                return code;
            }
        }
    }
}

#[tokio::test]
async fn who_is_no_worker_is_turned_away_at_the_door() {
    let rig = Rig::with(WorkerSockets::default().with_max_connections(1)).await;
    for (headers, status, code) in [
        (vec![], 401, "api_key_missing"),
        (vec![("x-api-key", "wrong")], 401, "api_key_wrong"),
        (vec![("x-api-key", KEY), ("origin", "https://page.example")], 403, "origin_refused"),
    ] {
        assert_eq!(dial(&rig, &headers).await.err(), Some((status, code.to_owned())), "{headers:?}");
    }
    let _one = Peer::new(&rig, "w1").await;
    assert_eq!(dial(&rig, &[("x-api-key", KEY)]).await.err(), Some((503, "socket_limit".to_owned())));
}

#[tokio::test]
async fn who_breaks_the_protocol_is_cut_off_with_a_code() {
    let rig = Rig::start().await;
    let frame = |frame: Frame| Message::Binary(frame.to_bytes());
    let first: Vec<(Message, &str)> = vec![
        (Message::Text("hello".into()), "socket_protocol"),
        (Message::Binary(Bytes::from_static(&[0xff; 9])), "socket_protocol"),
        (frame(Get::default().into()), "socket_protocol"),
        (frame(Hello { version: 2, ..hello("w1") }.into()), "socket_version"),
        (frame(hello("w.1").into()), "worker_id_invalid"),
        (frame(hello("").into()), "worker_id_invalid"),
        (frame(hello(&"w".repeat(300)).into()), "worker_id_invalid"),
    ];
    for (message, code) in first {
        let mut peer = dial(&rig, &[("x-api-key", KEY)]).await.unwrap();
        peer.raw(message).await;
        assert_eq!(peer.cut_off().await, code);
    }
    let subscribe = |number| {
        let filter = "job.a".to_owned();
        Frame::from(Subscribe { number, group: Some(filter.clone()), filter, ack_wait_ms: 1_000 })
    };
    let later: Vec<(Vec<Message>, &str)> = vec![
        (vec![Message::Text("{}".into())], "socket_protocol"),
        (vec![Message::Binary(Bytes::new())], "socket_protocol"),
        (vec![frame(hello("w1").into())], "socket_protocol"),
        (vec![frame(Answer::done(1).into())], "socket_protocol"),
        (vec![frame(subscribe(0))], "socket_protocol"),
        (vec![frame(subscribe(1)), frame(subscribe(1))], "socket_protocol"),
        ((1..=257).map(|number| frame(subscribe(number))).collect(), "socket_limit"),
        (vec![frame(Chunk { number: 1, bytes: vec![0; MAX_CHUNK + 1].into() }.into())], "socket_limit"),
    ];
    for (place, (messages, code)) in later.into_iter().enumerate() {
        let mut peer = Peer::new(&rig, &format!("w{place}")).await;
        for message in messages {
            peer.raw(message).await;
        }
        assert_eq!(peer.cut_off().await, code, "case {place}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let rig = Rig::start().await;
    let mut peer = Peer::new(&rig, "w1").await;
    peer.raw(Message::Binary(vec![0; 2_000_000].into())).await;
    // Unread bytes may hide the last word.
    peer.cut_off().await;
    Peer::new(&rig, "w1").await;
}

#[tokio::test]
async fn what_is_not_for_workers_is_denied() {
    let rig = Rig::start().await;
    let mut peer = Peer::new(&rig, "w1").await;
    let watch = Subscribe { number: 1, filter: ">".to_owned(), group: None, ack_wait_ms: 1_000 };
    peer.say(watch).await;
    assert_eq!(peer.answer().await, "bus_denied");
    let result = |sender: &str, worker: &str| {
        let result = JobResult { job_id: "j".to_owned(), worker_id: worker.to_owned(), ..Default::default() };
        let packet = BusPacket { sender_id: sender.to_owned(), payload: Some(result.into()), ..Default::default() };
        Publish {
            number: 2,
            subject: "sys.job.result".to_owned(),
            packet: packet.encode_to_vec().into(),
            payload: None,
        }
    };
    for (publish, code) in [
        (result("w1", "w1"), ""),
        (result("w2", "w2"), "bus_denied"),
        (result("w1", "w2"), "bus_denied"),
        (Publish { subject: "sys.job.submit".to_owned(), ..result("w1", "w1") }, "bus_denied"),
        (Publish { packet: Bytes::from_static(&[0xff]), ..result("w1", "w1") }, "bus_invalid"),
        (Publish { payload: Some(Bytes::from_static(b"{")), ..result("w1", "w1") }, "bus_invalid"),
    ] {
        peer.say(publish.clone()).await;
        assert_eq!(peer.answer().await, code, "{publish:?}");
    }
    for (key, code) in
        [("res:another-job", "bus_denied"), ("pin/ab", "bus_denied"), ("ctx:j", "bus_denied"), ("../a", "blob_invalid")]
    {
        peer.say(Put { number: 3, key: key.to_owned(), size: 1 }).await;
        assert_eq!(peer.answer().await, code, "{key}");
    }
    peer.say(Get { number: 4, key: "res:none".to_owned(), head: false }).await;
    assert!(matches!(peer.hear().await, Ok(Kind::Found(found)) if !found.exists));
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let rig = Rig::with(WorkerSockets::default().with_idle(ms(200))).await;
    let mut peer = Peer::new(&rig, "w1").await;
    // Past the WebSocket, so that pings are not answered.
    let mut bytes = Vec::new();
    tokio::time::timeout(ms(20_000), peer.0.get_mut().read_to_end(&mut bytes)).await.unwrap().unwrap();
    assert!(bytes.windows(11).any(|part| part == b"socket_idle"), "{}", bytes.escape_ascii());
}

#[tokio::test]
async fn no_more_is_delivered_than_is_wanted_and_fits_the_window() {
    let rig = Rig::start().await;
    let mut peer = Peer::new(&rig, "w1").await;
    let filter = "job.a".to_owned();
    peer.say(Subscribe { number: 1, group: Some(filter.clone()), filter, ack_wait_ms: 60_000 }).await;
    assert_eq!(peer.answer().await, "");
    rig.workflow(serde_json::json!({"id": "many", "steps": {
        "s": {"topic": "job.a", "for_each": "[1,2,3,4,5,6,7,8]"},
    }}))
    .await;
    rig.start_run("many", serde_json::json!({})).await;
    // A question of another kind, whose answer comes behind whatever was delivered before it.
    async fn delivered(peer: &mut Peer) -> usize {
        peer.say(Get { number: 9, key: "res:none".to_owned(), head: true }).await;
        let mut count = 0;
        loop {
            match peer.hear().await.unwrap() {
                Kind::Deliver(_) => count += 1,
                Kind::Found(_) => return count,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(delivered(&mut peer).await, 0, "none was wanted");
    peer.say(Demand { number: 1, want: Want::One as i32 }).await;
    assert!(matches!(peer.hear().await, Ok(Kind::Deliver(_))));
    assert_eq!(delivered(&mut peer).await, 0, "one was wanted");
    peer.say(Demand { number: 1, want: Want::All as i32 }).await;
    for _ in 0..3 {
        assert!(matches!(peer.hear().await, Ok(Kind::Deliver(_))));
    }
    assert_eq!(delivered(&mut peer).await, 0, "four are unsettled");
}
