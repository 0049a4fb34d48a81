//! What a delivery asks for: read from the job itself when it comes from this process, and from its packet otherwise.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use coretex_core::{
    ports::{Order, Packet},
    protocol::{JobRequest, PROTOCOL_VERSION},
};
use jiff::Timestamp;

static NO_REQUEST: LazyLock<JobRequest> = LazyLock::new(JobRequest::default);

/// A request for a job that has an id.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    packet: Packet,
    order: Option<Arc<dyn Order>>,
}

impl Asked {
    /// `None` when the packet is no job request, or one without an id.
    pub(crate) fn of(packet: &Packet) -> Option<Self> {
        let order = packet.order().cloned();
        let known = order.is_some() || packet.job_request().is_some_and(|request| !request.job_id.is_empty());
        known.then(|| Self { packet: packet.clone(), order })
    }

    /// The request as CAP describes it.
    pub(crate) fn request(&self) -> &JobRequest {
        self.packet.job_request().unwrap_or(&NO_REQUEST)
    }

    /// The job as this process ordered it.
    pub(crate) const fn order(&self) -> Option<&Arc<dyn Order>> {
        self.order.as_ref()
    }

    pub(crate) fn job_id(&self) -> &str {
        match &self.order {
            Some(order) => order.job_id(),
            None => &self.request().job_id,
        }
    }

    pub(crate) fn topic(&self) -> &str {
        match &self.order {
            Some(order) => order.topic(),
            None => &self.request().topic,
        }
    }

    /// Names one dispatch of the job; empty when nobody counts them.
    pub(crate) fn dispatch_id(&self) -> &str {
        match &self.order {
            Some(_) => "",
            None => self.request().dispatch.as_ref().map_or("", |dispatch| &dispatch.dispatch_id),
        }
    }

    /// The trace to echo; a peer that gave none gets the job's id.
    pub(crate) fn trace_id(&self) -> &str {
        match &self.order {
            Some(order) => order.trace_id(),
            None if self.packet.trace_id.is_empty() => self.job_id(),
            None => &self.packet.trace_id,
        }
    }

    /// The trace as it came.
    pub(crate) fn given_trace_id(&self) -> &str {
        match &self.order {
            Some(order) => order.trace_id(),
            None => &self.packet.trace_id,
        }
    }

    pub(crate) fn protocol_version(&self) -> i32 {
        if self.order.is_some() { PROTOCOL_VERSION } else { self.packet.protocol_version }
    }

    /// Until when it must be done. `deadline_ms` counts from the dispatch; a dispatcher whose clock is ahead of ours
    /// does not lengthen it.
    pub(crate) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(order) = &self.order {
            return Some(order.deadline_at());
        }
        let budget = self.request().budget.as_ref()?;
        let allowed = u64::try_from(budget.deadline_ms).ok().filter(|ms| *ms > 0)?;
        let sent_at = self.packet.created_at.and_then(|at| Timestamp::try_from(at).ok()).map_or(now, |at| at.min(now));
        sent_at.checked_add(Duration::from_millis(allowed)).ok()
    }
}
