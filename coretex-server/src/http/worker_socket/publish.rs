//! From the worker to the bus.

use std::sync::Arc;

use coretex_bus::socket::{
    MAX_PACKET, MAX_PAYLOAD,
    frame::{Answer, Publish},
};
use coretex_core::{
    ports::{BusErrorKind, Message, Payload},
    protocol::{BusPacket, subjects},
};
use prost::Message as _;

use super::connection::Connection;

/// Publishes what the worker may, and says whether it was accepted.
pub(super) async fn publish(connection: &Connection, publish: Publish) -> Answer {
    let Publish { number, subject, packet, payload } = publish;
    let refuse = |kind: BusErrorKind, text: String| Answer::refused(number, kind.code(), text);
    if packet.len() > MAX_PACKET || payload.as_ref().is_some_and(|payload| payload.len() > MAX_PAYLOAD) {
        let text = format!("a packet has at most {MAX_PACKET} bytes and a payload {MAX_PAYLOAD}; use the blob store");
        return refuse(BusErrorKind::Invalid, text);
    }
    let packet = match BusPacket::decode(packet) {
        Ok(packet) => packet,
        Err(error) => return refuse(BusErrorKind::Invalid, format!("the packet cannot be read: {error}")),
    };
    if let Err(problem) = connection.host.rights.publish(&connection.session.worker, &subject, &packet) {
        tracing::warn!(worker = &*connection.session.worker, problem, "a message of a worker is refused");
        return refuse(BusErrorKind::Denied, problem);
    }
    let payload = match payload.filter(|_| carries_payload(connection, &subject)) {
        Some(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Some(Payload(Arc::new(value))),
            Err(error) => return refuse(BusErrorKind::Invalid, format!("the payload is no JSON: {error}")),
        },
        None => None,
    };
    match connection.host.bus.publish(Message::new(subject, packet).with_payload(payload)).await {
        Ok(()) => Answer::done(number),
        Err(error) => Answer::refused(number, error.code(), error.to_string()),
    }
}

/// Outputs travel beside their results; nothing else of a worker has any.
fn carries_payload(connection: &Connection, subject: &str) -> bool {
    match connection.host.rights {
        super::rights::Rights::Worker => subject == subjects::JOB_RESULT,
        #[cfg(test)]
        super::rights::Rights::All => true,
    }
}
