//! The receiving end of a group, and how its deliveries are settled.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{flights::Ticket, group::Group, registry::Registry};
use crate::ports::{Ack, BusError, Delivery, Subscription};

/// Settles one delivery. Dropped unsettled, it gives the delivery back.
#[derive(Debug)]
pub(super) struct MemoryAck {
    group: Arc<Group>,
    ticket: Ticket,
    settled: AtomicBool,
}

impl MemoryAck {
    pub(super) fn new(group: Arc<Group>, ticket: Ticket) -> Self {
        Self { group, ticket, settled: AtomicBool::new(false) }
    }

    fn give_back(&self, delay: Duration) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.group.give_back(self.ticket, delay);
        }
    }
}

impl Ack for MemoryAck {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async {
            self.ack_now();
            Ok(())
        })
    }

    fn nak(&self, delay: Duration) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            self.give_back(delay);
            Ok(())
        })
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async {
            if !self.settled.load(Ordering::Acquire) {
                self.group.extend(self.ticket);
            }
            Ok(())
        })
    }

    fn ack_now(&self) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.group.settle(self.ticket);
        }
    }
}

impl Drop for MemoryAck {
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.group.give_back(self.ticket, Duration::ZERO);
        }
    }
}

/// One member of a group.
#[derive(Debug)]
pub(super) struct GroupSubscription {
    pub(super) group: Arc<Group>,
    pub(super) member: usize,
    pub(super) ack_wait: Duration,
    pub(super) registry: Arc<Registry>,
}

#[async_trait]
impl Subscription for GroupSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        // A member that always finds work must let others run now and then.
        tokio::task::consume_budget().await;
        Next { subscription: self, waiting: false }.await
    }
}

impl Drop for GroupSubscription {
    fn drop(&mut self) {
        self.registry.leave_group(&self.group, self.member);
    }
}

/// Waits for the next delivery; leaves the line when dropped. A delivery leaves the queue only in the poll that
/// returns it, so a dropped wait loses nothing.
struct Next<'a> {
    subscription: &'a GroupSubscription,
    waiting: bool,
}

impl Future for Next<'_> {
    type Output = Option<Delivery>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let GroupSubscription { group, member, ack_wait, .. } = self.subscription;
        let answer = group.poll_next(*member, *ack_wait, context);
        self.waiting = answer.is_pending();
        answer
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.subscription.group.turn_away(self.subscription.member);
        }
    }
}
