//! What workers say of themselves reaches the fleet.

use std::sync::Arc;

use crate::{
    protocol::{Handshake, Heartbeat},
    runtime::shared::Shared,
};

/// A worker is there, with this load.
pub(in crate::runtime) fn heartbeat(shared: &Arc<Shared>, beat: &Heartbeat) {
    let (now, seed) = (shared.now(), shared.ids.random());
    let elsewhere = !shared.bus.capabilities().in_process;
    let outcome = shared.placement.step(now, |desk| {
        if elsewhere {
            desk.bindings.set_remote(&beat.worker_id);
        }
        desk.scheduler.heartbeat(beat, now, seed)
    });
    if elsewhere {
        shared.placement.turn_on();
    }
    shared.act_on(outcome);
}

/// A worker says what it serves and speaks.
pub(in crate::runtime) fn handshake(shared: &Arc<Shared>, handshake: &Handshake) {
    let (now, seed) = (shared.now(), shared.ids.random());
    let outcome = shared.placement.step(now, |desk| desk.scheduler.handshake(handshake, now, seed));
    shared.act_on(outcome);
}

/// A worker is at work, which renews what it has as a heartbeat does.
pub(in crate::runtime) fn progress(shared: &Arc<Shared>, worker: &str) {
    let now = shared.now();
    shared.placement.step(now, |desk| desk.scheduler.renew(worker, now));
}
