//! An HTTP server of this process: sockets, and whatever a test wants to answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers each request with the text that `answer` makes.
    pub(crate) async fn start(answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Self {
        Self::start_on([127, 0, 0, 1].into(), answer).await
    }

    pub(crate) async fn start_on(ip: IpAddr, answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, answer) = (Arc::clone(&server.seen), Arc::new(answer));
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                drop(tokio::spawn(async move {
                    let (request, mut stream) = read(stream).await;
                    let text = answer(&request);
                    seen.lock().unwrap().push(request);
                    let _ = stream.write_all(text.as_bytes()).await;
                    // An answer without an end is what a test asks for by `hold`.
                    if text.contains("x-hold: ") {
                        std::future::pending::<()>().await;
                    }
                }));
            }
        }));
        server
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn read(stream: TcpStream) -> (Seen, TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut seen = Seen { line: String::new(), headers: Vec::new(), body: Vec::new() };
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) && line != "\r\n" {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if !seen.line.is_empty() => {
                seen.headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            _ => seen.line = line.trim_end().to_owned(),
        }
        line.clear();
    }
    let length = seen.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    seen.body = vec![0; length];
    let _ = stream.read_exact(&mut seen.body).await;
    (seen, stream.into_inner())
}

/// An answer with a status line, headers and a body.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n" + body
}

pub(crate) fn json(body: &serde_json::Value) -> String {
    reply(200, &[("content-type", "application/json; charset=utf-8")], &body.to_string())
}
