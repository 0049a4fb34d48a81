//! A packet on its way: made already, or made when somebody looks at it.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;

use crate::protocol::{BusPacket, JobResult, JobStatus};

/// What a packet is made from, when one is wanted.
pub trait PacketSource: Any + fmt::Debug + Send + Sync {
    /// The packet. The same at every call; made at the first.
    fn packet(&self) -> &BusPacket;
}

/// A job that is handed out within this process: what its receiver needs to know without the packet.
pub trait Order: PacketSource {
    /// The job's id, as in the request.
    fn job_id(&self) -> &str;
    /// The same, shared.
    fn shared_job_id(&self) -> Arc<str>;
    /// The kind of work.
    fn topic(&self) -> &str;
    /// The trace to echo.
    fn trace_id(&self) -> &str;
    /// When it is given up.
    fn deadline_at(&self) -> Timestamp;
    /// The packet as it is told to those outside of this process, who look for more in it.
    fn wire_packet(&self) -> BusPacket {
        self.packet().clone()
    }
}

/// An order that was carried out within this process. The output travels beside it.
#[derive(Debug)]
pub struct JobDone {
    order: Arc<dyn Order>,
    worker: Arc<str>,
    at: Timestamp,
    execution: Duration,
    packet: OnceLock<Box<BusPacket>>,
}

impl JobDone {
    /// Says that `worker` has done what was ordered, `at` this time, in this long.
    #[must_use]
    pub fn new(order: Arc<dyn Order>, worker: Arc<str>, at: Timestamp, execution: Duration) -> Self {
        Self { order, worker, at, execution, packet: OnceLock::new() }
    }

    /// The order, if it is an `O`.
    #[must_use]
    pub fn order<O: Order>(&self) -> Option<&O> {
        let order: &dyn Any = &*self.order;
        order.downcast_ref()
    }

    /// Who did it.
    #[must_use]
    pub const fn worker(&self) -> &Arc<str> {
        &self.worker
    }

    /// How long it took.
    #[must_use]
    pub const fn execution(&self) -> Duration {
        self.execution
    }
}

impl PacketSource for JobDone {
    fn packet(&self) -> &BusPacket {
        self.packet.get_or_init(|| {
            let result = JobResult {
                job_id: self.order.job_id().to_owned(),
                status: JobStatus::Succeeded.into(),
                worker_id: self.worker.to_string(),
                execution_ms: i64::try_from(self.execution.as_millis()).unwrap_or(i64::MAX),
                ..JobResult::default()
            };
            Box::new(BusPacket::new(self.order.trace_id(), &*self.worker, self.at, result))
        })
    }
}

impl From<JobDone> for Packet {
    fn from(done: JobDone) -> Self {
        Self::of(Arc::new(done))
    }
}

/// The typed envelope of a message; reads as a [`BusPacket`].
///
/// Within one process sender and receiver share what the packet would tell, and mostly nobody looks at the packet
/// itself: [`Packet::source`] gives what it would be made from. Cloning shares it.
#[derive(Clone)]
pub struct Packet(Form);

#[derive(Clone)]
enum Form {
    Made(Arc<BusPacket>),
    Source(Arc<dyn PacketSource>),
    Order(Arc<dyn Order>),
}

impl Packet {
    /// A packet that `source` makes when it is looked at.
    pub fn of(source: Arc<dyn PacketSource>) -> Self {
        Self(Form::Source(source))
    }

    /// The packet of an order.
    pub fn order_of(order: Arc<dyn Order>) -> Self {
        Self(Form::Order(order))
    }

    /// The order that it stands for, if it is one within this process.
    #[must_use]
    pub const fn order(&self) -> Option<&Arc<dyn Order>> {
        match &self.0 {
            Form::Order(order) => Some(order),
            Form::Made(_) | Form::Source(_) => None,
        }
    }

    /// The packet as it leaves the process.
    #[must_use]
    pub fn for_wire(&self) -> Cow<'_, BusPacket> {
        match &self.0 {
            Form::Order(order) => Cow::Owned(order.wire_packet()),
            Form::Made(_) | Form::Source(_) => Cow::Borrowed(self),
        }
    }

    /// What it is made from, if that is a `T`.
    #[must_use]
    pub fn source<T: PacketSource>(&self) -> Option<Arc<T>> {
        match &self.0 {
            Form::Made(_) | Form::Order(_) => None,
            Form::Source(source) => {
                let source: Arc<dyn Any + Send + Sync> = source.clone();
                source.downcast().ok()
            }
        }
    }
}

impl Deref for Packet {
    type Target = BusPacket;

    fn deref(&self) -> &BusPacket {
        match &self.0 {
            Form::Made(packet) => packet,
            Form::Source(source) => source.packet(),
            Form::Order(order) => order.packet(),
        }
    }
}

impl From<BusPacket> for Packet {
    fn from(packet: BusPacket) -> Self {
        Self(Form::Made(Arc::new(packet)))
    }
}

impl From<Arc<BusPacket>> for Packet {
    fn from(packet: Arc<BusPacket>) -> Self {
        Self(Form::Made(packet))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
