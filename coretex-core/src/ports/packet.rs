//! A packet on its way: made already, or made when somebody looks at it.

use std::{any::Any, fmt, ops::Deref, sync::Arc};

use crate::protocol::BusPacket;

/// What a packet is made from, when one is wanted.
pub trait PacketSource: Any + fmt::Debug + Send + Sync {
    /// The packet. The same at every call; made at the first.
    fn packet(&self) -> &BusPacket;
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
}

impl Packet {
    /// A packet that `source` makes when it is looked at.
    pub fn of(source: Arc<dyn PacketSource>) -> Self {
        Self(Form::Source(source))
    }

    /// What it is made from, if that is a `T`.
    #[must_use]
    pub fn source<T: PacketSource>(&self) -> Option<Arc<T>> {
        match &self.0 {
            Form::Made(_) => None,
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
