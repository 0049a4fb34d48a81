//! A small HTTP client for the API: what `coretexctl` needs and nothing more. Plain HTTP, one connection per call.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Largest answer read as a whole, in bytes.
const MAX_ANSWER: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls one server.
#[derive(Clone)]
pub struct Client {
    authority: String,
    base: String,
    key: Option<String>,
    principal: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server()).finish_non_exhaustive()
    }
}

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address of the server is not one.
    #[error("`{0}` is not the address of a server; give one like http://127.0.0.1:8081")]
    Address(String),
    /// Nobody answers there.
    #[error("no server answers at {server}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the connection to {server} broke: {reason}")]
    Broken {
        /// The server.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// The server refuses.
    #[error("{detail}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// The stable code; empty when the answer has none.
        code: String,
        /// What the server says.
        detail: String,
    },
}

/// What is sent with a call.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    body: Bytes,
    kind: Option<&'static str>,
    headers: Vec<(String, String)>,
}

impl Sent {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// A JSON value.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self { body: value.to_string().into(), kind: Some("application/json"), headers: Vec::new() }
    }

    /// A text of the media type `kind`.
    #[must_use]
    pub fn text(text: String, kind: &'static str) -> Self {
        Self { body: text.into(), kind: Some(kind), headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Client {
    /// A client of the server at `server`, such as `http://127.0.0.1:8081`.
    ///
    /// # Errors
    /// When that is no `http://` address.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(server.to_owned());
        let rest = match server.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(wrong()),
            None => server,
        };
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let port_given = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if port_given { host.to_owned() } else { format!("{host}:80") };
        let path = path.trim_end_matches('/');
        let base = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { authority, base, key: None, principal: None })
    }

    /// Sends `key` with every call.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// Acts as `principal`.
    #[must_use]
    pub fn with_principal(mut self, principal: Option<String>) -> Self {
        self.principal = principal;
        self
    }

    /// The address of the server.
    #[must_use]
    pub fn server(&self) -> String {
        format!("http://{}{}", self.authority, self.base)
    }

    /// Asks for `path` and reads the answer as JSON; `null` when it has no body.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, Sent::nothing()).await
    }

    /// Posts to `path` and reads the answer as JSON; `null` when it has no body.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn post(&self, path: &str, sent: Sent) -> Result<Value, ClientError> {
        self.call(Method::POST, path, sent).await
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, Sent::nothing()).await
    }

    async fn call(&self, method: Method, path: &str, sent: Sent) -> Result<Value, ClientError> {
        let response = self.send(method, path, sent).await?;
        let body =
            Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| self.broken(&error))?;
        let bytes = body.to_bytes();
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())))
    }

    /// Follows the server-sent events of `path`, after the event `last` if there is one.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn events(&self, path: &str, last: Option<&str>) -> Result<Events, ClientError> {
        let mut sent = Sent::nothing().header("accept", "text/event-stream");
        if let Some(last) = last {
            sent = sent.header("last-event-id", last);
        }
        let response = self.send(Method::GET, path, sent).await?;
        Ok(Events { server: self.server(), body: response.into_body(), buffer: Vec::new(), last: None })
    }

    async fn send(&self, method: Method, path: &str, sent: Sent) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_LENGTH, sent.body.len())
            .header(header::CONNECTION, "close");
        if let Some(kind) = sent.kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        if let Some(principal) = &self.principal {
            request = request.header("x-principal-id", principal);
        }
        for (name, value) in &sent.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(sent.body)).map_err(|error| self.broken(&error))?;
        let unreachable = |reason: String| ClientError::Unreachable { server: self.server(), reason };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable("it took longer than five seconds".to_owned())),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // It ends with the answer, and says there what went wrong.
        drop(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    fn broken(&self, error: &(impl fmt::Display + ?Sized)) -> ClientError {
        ClientError::Broken { server: self.server(), reason: error.to_string() }
    }
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map(|body| body.to_bytes());
    let bytes = bytes.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |member: &str| problem.get(member).and_then(Value::as_str).map(str::to_owned);
    let detail = text("detail").unwrap_or_else(|| match String::from_utf8_lossy(&bytes).trim() {
        "" => reason(status),
        body => body.to_owned(),
    });
    ClientError::Refused { status: status.as_u16(), code: text("code").unwrap_or_default(), detail }
}

fn reason(status: StatusCode) -> String {
    format!("the server answers {status}")
}

/// Server-sent events as they come.
#[derive(Debug)]
#[must_use]
pub struct Events {
    server: String,
    body: Incoming,
    buffer: Vec<u8>,
    last: Option<String>,
}

impl Events {
    /// The data of the next event; `None` when the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks. Ask again after [`Events::last_id`].
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(data) = self.read(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(data));
                }
                continue;
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.buffer.extend(frame.data_ref().into_iter().flatten()),
                Some(Err(error)) => {
                    return Err(ClientError::Broken { server: self.server.clone(), reason: error.to_string() });
                }
            }
        }
    }

    /// The id of the last event that came.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The data of one block; `None` for comments.
    fn read(&mut self, block: &str) -> Option<String> {
        let mut data: Option<String> = None;
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.last = Some(value.to_owned()),
                "data" => {
                    let data = data.get_or_insert_default();
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                _ => {}
            }
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_leniently_and_judged_strictly() {
        for (given, server) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("localhost:9", "http://localhost:9"),
            ("http://host/base/", "http://host:80/base"),
        ] {
            assert_eq!(Client::new(given).unwrap().server(), server);
        }
        for wrong in ["https://host", "", "http://", "a b"] {
            assert!(Client::new(wrong).is_err(), "{wrong}");
        }
    }
}
