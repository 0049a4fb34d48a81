//! What the worker says about itself, and the cancels it hears.

use std::{collections::BTreeMap, sync::Arc};

use coretex_core::{
    ports::{Message, Subscription},
    protocol::{ComponentRole, Handshake, Heartbeat, JobCancel, PROTOCOL_VERSION, Payload as Body},
};

use super::shared::Shared;
use crate::extract::CancelReason;

/// Label of the heartbeats of a worker that takes no more jobs.
const DRAINING: &str = "coretex.draining";

pub(crate) fn handshake(shared: &Shared) -> Message {
    let spoken = ["cancel", "direct_dispatch", "error_codes", "heartbeats", "progress"];
    let handshake = Handshake {
        component_id: shared.id.to_string(),
        role: ComponentRole::Worker.into(),
        supported_versions: vec![PROTOCOL_VERSION],
        capabilities: spoken.into_iter().map(|name| (name.to_owned(), true)).collect::<BTreeMap<_, _>>(),
        sdk_version: concat!("coretex-worker/", env!("CARGO_PKG_VERSION")).to_owned(),
        ready_topics: shared.handlers.filters(),
        ..Handshake::default()
    };
    shared.message(&shared.subjects.handshake, &shared.id, Body::Handshake(handshake), shared.clock.now())
}

pub(crate) fn heartbeat(shared: &Shared) -> Message {
    let options = &shared.options;
    let mut labels = options.labels.clone();
    if shared.full_stop.is_raised() {
        labels.insert(DRAINING.to_owned(), "true".to_owned());
    }
    let heartbeat = Heartbeat {
        worker_id: shared.id.to_string(),
        region: options.region.clone(),
        r#type: options.kind.clone(),
        active_jobs: i32::try_from(shared.running()).unwrap_or(i32::MAX),
        capabilities: options.capabilities.clone(),
        pool: options.pool.clone(),
        max_parallel_jobs: i32::try_from(options.max_parallel).unwrap_or(i32::MAX),
        labels,
        ..Heartbeat::default()
    };
    shared.message(&shared.subjects.heartbeat, &shared.id, Body::Heartbeat(heartbeat), shared.clock.now())
}

/// Sends heartbeats, the first one an interval from now, until it is dropped.
pub(crate) async fn beat(shared: &Shared) {
    let Some(interval) = shared.options.heartbeat_interval else {
        return std::future::pending().await;
    };
    loop {
        shared.sleep(interval).await;
        shared.publish_lossy(heartbeat(shared)).await;
    }
}

/// Hears cancels until the bus is closed.
pub(crate) async fn hear_cancels(shared: &Arc<Shared>, mut cancels: Box<dyn Subscription>) {
    while let Some(delivery) = cancels.next().await {
        if let Some(cancel) = delivery.message.packet.job_cancel() {
            heed(shared, cancel);
        }
        delivery.ack_now();
    }
    std::future::pending().await
}

fn heed(shared: &Arc<Shared>, cancel: &JobCancel) {
    if cancel.job_id.is_empty() {
        return;
    }
    let by = if cancel.requested_by.is_empty() { "somebody" } else { &cancel.requested_by };
    let mut note = format!("cancelled by `{by}`");
    if !cancel.reason.is_empty() {
        note.push_str(": ");
        note.push_str(&cancel.reason);
    }
    let found = shared.registry().cancel(cancel, &note);
    let now = shared.clock.now();
    for job in found {
        job.ask_to_stop(CancelReason::Requested, Some(note.clone()), now);
    }
}
