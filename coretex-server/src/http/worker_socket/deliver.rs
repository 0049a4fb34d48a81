//! From the bus to the worker: one task for each subscription.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coretex_bus::socket::{
    INLINE, MAX_PACKET,
    frame::{Deliver, Want},
};
use coretex_core::{
    ports::{BlobKey, Delivery, Message, Subscription},
    protocol::{self, Pointer},
};
use prost::Message as _;
use tokio::sync::watch;

use super::connection::Connection;

/// How long a message that could not be told waits to be tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Delivers for as long as the worker wants, its hands have room and its connection takes. Ends with the bus.
pub(super) async fn pump(
    connection: Arc<Connection>,
    number: u64,
    grouped: bool,
    mut subscription: Box<dyn Subscription>,
    want: Arc<watch::Sender<Want>>,
) {
    let mut wanted = want.subscribe();
    loop {
        // The sender lives in `want`, so waiting cannot fail.
        let _ = wanted.wait_for(|want| *want != Want::Nothing).await;
        let room = if grouped {
            let room = connection.session.window_room.clone().acquire_owned();
            tokio::select! {
                room = room => room.ok(),
                _ = wanted.changed() => continue,
            }
        } else {
            None
        };
        let delivery = tokio::select! {
            delivery = subscription.next() => delivery,
            _ = wanted.changed() => continue,
        };
        let Some(delivery) = delivery else { return connection.bus_closed() };
        let told = match tell(&connection, &delivery.message).await {
            Ok(told) => told,
            Err(Untold::Later(problem)) => {
                tracing::warn!(problem, subject = &*delivery.message.subject, "a message is delivered later");
                let _repeated_anyway = delivery.nak(PAUSE).await;
                continue;
            }
            Err(Untold::Never(problem)) => {
                tracing::error!(problem, subject = &*delivery.message.subject, "a message cannot be delivered");
                delivery.ack_now();
                continue;
            }
        };
        // Before it is sent: what the worker says next comes after it.
        want.send_if_modified(|want| {
            let one = *want == Want::One;
            if one {
                *want = Want::Nothing;
            }
            one
        });
        let subject = delivery.message.subject.to_string();
        let attempt = delivery.attempt;
        let delivery = room.map_or(0, |room| connection.session.hand_out(delivery, room));
        let (packet, payload) = told;
        if connection.outbox.send(Deliver { number, delivery, attempt, subject, packet, payload }).await.is_err() {
            return;
        }
    }
}

enum Untold {
    Later(String),
    Never(String),
}

/// The packet, and the payload beside it; a large payload is behind the packet's pointer.
async fn tell(connection: &Connection, message: &Message) -> Result<(Bytes, Option<Bytes>), Untold> {
    let mut wire = message.packet.for_wire();
    if wire.encoded_len() > MAX_PACKET {
        // Without what it repeats for workers that look for it in several places.
        wire = std::borrow::Cow::Borrowed(&*message.packet);
    }
    let length = wire.encoded_len();
    if length > MAX_PACKET {
        return Err(Untold::Never(format!("its packet has {length} bytes; at most {MAX_PACKET} travel")));
    }
    let payload = message.payload.as_ref().filter(|payload| !payload.0.is_null());
    let Some(payload) = payload else { return Ok((wire.encode_to_vec().into(), None)) };
    let json =
        serde_json::to_vec(&*payload.0).map_err(|error| Untold::Never(format!("its payload is no JSON: {error}")))?;
    if json.len() <= INLINE {
        return Ok((wire.encode_to_vec().into(), Some(json.into())));
    }
    let mut packet = wire.into_owned();
    let Some(protocol::Payload::JobRequest(request)) = &mut packet.payload else {
        return Err(Untold::Never("its payload is large, and only jobs point to theirs".to_owned()));
    };
    let pointer = Pointer::Context(request.job_id.clone());
    let key = pointer.key().unwrap_or_default();
    let key = BlobKey::parse(&key).map_err(|error| Untold::Never(format!("its input has no place: {error}")))?;
    let size = json.len();
    let put = connection.host.blobs.put(&key, json.into()).await;
    put.map_err(|error| Untold::Later(format!("its input of {size} bytes cannot be stored: {error}")))?;
    request.context_ptr = pointer.to_wire();
    Ok((packet.encode_to_vec().into(), None))
}

/// A delivery that is settled, told to the bus.
pub(super) async fn settle(delivery: &Delivery, how: coretex_bus::socket::frame::How, delay_ms: u64) {
    use coretex_bus::socket::frame::How;
    const LONGEST: Duration = Duration::from_secs(3_600);
    let told = match how {
        How::Done => delivery.ack().await,
        How::Back => delivery.nak(Duration::from_millis(delay_ms).min(LONGEST)).await,
        How::Busy => delivery.in_progress().await,
        How::Begun | How::Unknown => Ok(()),
    };
    if let Err(error) = told {
        tracing::debug!(%error, subject = &*delivery.message.subject, "a delivery was not settled");
    }
}
