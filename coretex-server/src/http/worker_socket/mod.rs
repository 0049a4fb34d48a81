//! `GET /api/v1/worker-socket`: a worker in another process, over one WebSocket, without a broker.
//!
//! A worker does over it what a worker does and no more ([`rights`]), and can neither fill the memory nor hold anybody up:
//! whoever sends too much, reads too little or says nothing is cut off ([`connection`]). What it had begun when its connection
//! breaks is kept for a moment, for it to come back; then it counts as lost ([`session`]). The protocol is described in
//! `docs/reference/worker-socket.md`.

mod blobs;
mod connection;
mod deliver;
mod host;
mod options;
mod outbox;
mod publish;
mod rights;
mod session;
#[cfg(test)]
mod tests;

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use coretex_bus::socket::MAX_FRAME;

pub use self::options::WorkerSockets;
pub(super) use self::session::Sockets;
use self::{connection::serve, host::Host};
use super::{Api, Problem, auth::Caller};

pub(super) async fn open(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    // Browsers say on whose page they act, and let any page connect: none of them is a worker.
    if headers.contains_key(header::ORIGIN) {
        let detail = "a browser cannot be a worker; connect from a program, which sends no header `Origin`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail));
    }
    let upgrade = upgrade.map_err(|error| {
        let detail = format!("workers connect here with a WebSocket, such as with `Worker::connect`: {error}");
        Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    })?;
    let sockets = api.shared.sockets.clone();
    let Some(place) = sockets.place() else {
        let detail = "as many workers are connected as the server takes; connect later, or raise its limit";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "socket_limit", detail));
    };
    let host = Host::of(api.plane.clone(), caller.0);
    let closing = api.shared.closing.clone();
    Ok(upgrade.read_buffer_size(16 * 1024).max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).on_upgrade(
        move |socket| async move {
            serve(socket, sockets, host, closing).await;
            drop(place);
        },
    ))
}
