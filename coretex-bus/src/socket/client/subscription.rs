//! The receiving end of a subscription, and how its deliveries are settled.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coretex_core::ports::{Ack, BusError, Delivery, Subscription};
use futures::future::BoxFuture;

use super::state::Core;
use crate::socket::frame::How;

#[derive(Debug)]
pub(super) struct SocketSubscription {
    core: Arc<Core>,
    number: u64,
}

impl SocketSubscription {
    pub(super) const fn new(core: Arc<Core>, number: u64) -> Self {
        Self { core, number }
    }
}

#[async_trait]
impl Subscription for SocketSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        // A member that always finds work must let others run now and then.
        tokio::task::consume_budget().await;
        let _wait = Wait(self);
        poll_fn(|cx| self.core.poll_next(self.number, cx)).await
    }
}

impl Drop for SocketSubscription {
    fn drop(&mut self) {
        self.core.unsubscribe(self.number);
    }
}

/// Stands in line for as long as it lives.
struct Wait<'a>(&'a SocketSubscription);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.core.wait_ends(self.0.number);
    }
}

/// Settles one delivery. Dropped unsettled, it gives the delivery back.
#[derive(Debug)]
pub(super) struct SocketAck {
    core: Arc<Core>,
    /// The session that made the delivery, as this process counts them.
    epoch: u64,
    delivery: u64,
    settled: AtomicBool,
}

impl SocketAck {
    pub(super) const fn new(core: Arc<Core>, epoch: u64, delivery: u64) -> Self {
        Self { core, epoch, delivery, settled: AtomicBool::new(false) }
    }

    fn settle(&self, how: How, delay: Duration) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.core.settle(self.epoch, self.delivery, how, delay);
        }
    }
}

impl Ack for SocketAck {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.ack_now();
        Box::pin(std::future::ready(Ok(())))
    }

    fn nak(&self, delay: Duration) -> BoxFuture<'_, Result<(), BusError>> {
        self.settle(How::Back, delay);
        Box::pin(std::future::ready(Ok(())))
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        if !self.settled.load(Ordering::Acquire) {
            self.core.say(self.epoch, self.delivery, How::Busy);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn ack_now(&self) {
        self.settle(How::Done, Duration::ZERO);
    }
}

impl Drop for SocketAck {
    fn drop(&mut self) {
        self.settle(How::Back, Duration::ZERO);
    }
}
