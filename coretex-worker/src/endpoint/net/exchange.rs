//! One request and its answer over one connection.

use std::io;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

/// A connection that is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Open(JoinHandle<()>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends `request`; the answer's body is read by whoever asked, as long as the connection is kept.
pub(crate) async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<(Response<Incoming>, Open)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let open = Open(tokio::spawn(async move {
        // What goes wrong is told to whoever waits for the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((response, open))
}

/// Reads a body as far as `max` bytes, and tells whether that was all of it.
pub(crate) async fn collect(mut body: Incoming, max: usize) -> io::Result<(Bytes, bool)> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            let room = max - bytes.len();
            bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                return Ok((bytes.freeze(), false));
            }
        }
    }
    Ok((bytes.freeze(), true))
}
