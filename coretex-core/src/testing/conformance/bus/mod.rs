//! What every adapter of the bus port must do, case by case.
//!
//! An adapter calls [`bus_conformance!`](crate::bus_conformance) in a test module, with a function that makes a
//! bus to which nobody else is connected. The suite touches nothing but the port. A case fails by panicking.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a conformance case reports by panicking, as a test does"
)]

use std::{any::Any, fmt, pin::pin, sync::Arc, time::Duration};

use futures::future::{BoxFuture, Either, select};

use crate::{
    ports::{Bus, BusError, BusErrorKind, Delivery, Message, Subscribe, Subscription},
    protocol::{BusPacket, JobRequest, PROTOCOL_VERSION, Payload},
    testing::VirtualClock,
};

/// The cases, one function each. They are called by [`bus_conformance!`](crate::bus_conformance).
pub mod cases {
    pub use super::{pressure::*, routing::*, settling::*};
}

mod pressure;
mod routing;
mod settling;

/// Moves the bus's clock.
pub type Advance = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// A bus to try, with what the suite needs to know about it.
#[must_use]
pub struct Fixture {
    bus: Arc<dyn Bus>,
    advance: Option<Advance>,
    tick: Duration,
    group_capacity: Option<usize>,
    watch_capacity: Option<usize>,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// A bus on the real clock: cases that need time to pass wait for it, in ticks of 250 ms.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus,
            advance: None,
            tick: Duration::from_millis(250),
            group_capacity: None,
            watch_capacity: None,
            keep: None,
        }
    }

    /// The unit of all delays in the suite. It must be longer than the bus takes to deliver a message.
    pub fn with_tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Says how the bus's clock is moved, so that no case has to wait.
    pub fn with_advance(mut self, advance: Advance) -> Self {
        self.advance = Some(advance);
        self
    }

    /// The bus runs on this clock, which the suite moves.
    pub fn with_clock(self, clock: &VirtualClock) -> Self {
        let clock = clock.clone();
        self.with_tick(Duration::from_secs(1)).with_advance(Arc::new(move |by| {
            let clock = clock.clone();
            Box::pin(async move { clock.advance(by).await })
        }))
    }

    /// A group refuses the message behind this many unread ones. Best small; unknown, its cases pass unseen.
    pub fn with_group_capacity(mut self, messages: usize) -> Self {
        self.group_capacity = Some(messages);
        self
    }

    /// A subscription without a group loses messages when this many are unread. Unknown, its cases pass unseen.
    pub fn with_watch_capacity(mut self, messages: usize) -> Self {
        self.watch_capacity = Some(messages);
        self
    }

    /// Keeps `guard` (a server, a directory) alive for as long as the case runs.
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("bus", &self.bus)
            .field("advances", &self.advance.is_some())
            .field("tick", &self.tick)
            .field("group_capacity", &self.group_capacity)
            .field("watch_capacity", &self.watch_capacity)
            .field("guarded", &self.keep.is_some())
            .finish()
    }
}

impl<B: Bus> From<Arc<B>> for Fixture {
    fn from(bus: Arc<B>) -> Self {
        Self::new(bus)
    }
}

/// Runs the bus suite on what `$make` gives: a function that returns a future of a
/// [`Fixture`](crate::testing::conformance::bus::Fixture), or of an `Arc` of a bus.
///
/// Expands to one `#[tokio::test]` per case. The calling crate needs tokio with `macros`.
#[macro_export]
macro_rules! bus_conformance {
    ($make:expr) => {
        $crate::bus_conformance! { @cases $make;
            every_watcher_sees_every_message
            one_member_of_a_group_gets_each_message
            every_group_gets_each_message
            members_under_different_filters_are_different_groups
            filters_match_by_token
            illegal_subjects_and_filters_are_refused
            packets_and_payloads_arrive_unchanged
            messages_of_one_publisher_arrive_in_order
            a_new_subscription_sees_only_later_messages
            work_without_a_group_is_held_in_order
            held_work_goes_to_the_first_group_only
            held_work_waits_though_watchers_listen
            a_pattern_collects_what_is_held_on_several_subjects
            other_messages_without_a_listener_are_forgotten
            an_acknowledged_delivery_is_not_repeated
            a_nak_repeats_at_once_with_the_next_attempt
            a_delayed_nak_repeats_after_its_delay
            delays_end_in_their_own_order
            a_dropped_delivery_is_repeated
            an_unsettled_delivery_is_repeated_after_its_ack_wait
            a_delivery_in_progress_is_not_repeated
            an_expired_delivery_is_repeated_once
            only_the_first_settling_counts
            a_repeated_delivery_may_reach_another_member
            a_group_repeats_only_its_own_delivery
            watchers_need_not_settle
            a_full_group_refuses_and_delivers_nowhere
            a_full_group_takes_again_when_it_is_read
            a_slow_watcher_loses_the_oldest
            work_goes_to_the_member_that_waits
            a_member_that_leaves_gives_back_what_it_holds
            a_cancelled_next_loses_nothing
            a_closed_bus_ends_subscriptions_and_refuses
            many_publishers_and_members_lose_nothing_and_settle_once
        }
    };
    (@cases $make:expr; $($case:ident)*) => {
        $(
            #[::tokio::test]
            async fn $case() {
                let make = $make;
                let fixture = $crate::testing::conformance::bus::Fixture::from(make().await);
                $crate::testing::conformance::bus::cases::$case(fixture).await;
            }
        )*
    };
}

/// Longest real time that the suite waits for a message that must come.
const PATIENCE: Duration = Duration::from_secs(30);

type Sub = Box<dyn Subscription>;

fn message(subject: &str, number: u64) -> Message {
    let request = JobRequest { job_id: format!("job-{number}"), topic: subject.to_owned(), ..Default::default() };
    let packet = BusPacket {
        trace_id: number.to_string(),
        sender_id: "conformance".to_owned(),
        protocol_version: PROTOCOL_VERSION,
        payload: Some(Payload::JobRequest(request)),
        ..Default::default()
    };
    Message::new(subject, packet)
}

fn number(delivery: &Delivery) -> u64 {
    delivery.message.packet.trace_id.parse().expect("the packet is one of the suite")
}

/// The few things that cases do all the time.
impl Fixture {
    async fn publish(&self, subject: &str, number: u64) {
        self.bus.publish(message(subject, number)).await.expect("the bus takes the message");
    }

    async fn publish_all(&self, subject: &str, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.publish(subject, number).await;
        }
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Sub {
        self.bus.subscribe(subscribe).await.expect("the subscription is legal")
    }

    /// A member that never runs out of time in the suite.
    async fn member(&self, filter: &str, group: &str) -> Sub {
        self.subscribe(Subscribe::group(filter, group).ack_wait(self.tick * 1_000)).await
    }

    async fn watcher(&self, filter: &str) -> Sub {
        self.subscribe(Subscribe::all(filter)).await
    }

    /// Lets this many ticks pass by the bus's clock.
    async fn pass(&self, ticks: u32) {
        match &self.advance {
            Some(advance) => advance(self.tick * ticks).await,
            None => tokio::time::sleep(self.tick * ticks).await,
        }
    }

    /// What arrives within one tick.
    async fn within_a_tick(&self, subscription: &mut Sub) -> Option<Delivery> {
        match select(subscription.next(), pin!(self.pass(1))).await {
            Either::Left((delivery, _)) => delivery,
            Either::Right(((), next)) => futures::FutureExt::now_or_never(next).flatten(),
        }
    }

    async fn nothing(&self, subscription: &mut Sub) {
        if let Some(delivery) = self.within_a_tick(subscription).await {
            panic!("nothing should arrive, but {delivery:?} did");
        }
    }

    /// Everything that arrives until a tick passes without any, acknowledged.
    async fn drain(&self, subscription: &mut Sub) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(delivery) = self.within_a_tick(subscription).await {
            numbers.push(number(&delivery));
            delivery.ack().await.unwrap();
        }
        numbers
    }

    async fn refused(&self, subject: &str) -> BusErrorKind {
        match self.bus.publish(message(subject, 0)).await {
            Ok(()) => panic!("`{subject}` should be refused"),
            Err(error) => error.kind(),
        }
    }
}

/// The next delivery, which must come.
async fn take(subscription: &mut Sub) -> Delivery {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("a message arrives").expect("the bus is open")
}

/// The next delivery's number and attempt; it is acknowledged.
async fn settle(subscription: &mut Sub) -> (u64, u32) {
    let delivery = take(subscription).await;
    delivery.ack().await.unwrap();
    (number(&delivery), delivery.attempt)
}

/// The numbers of the next `count` deliveries; they are acknowledged.
async fn settle_all(subscription: &mut Sub, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(settle(subscription).await.0);
    }
    numbers
}

fn kind<T>(result: Result<T, BusError>) -> Option<BusErrorKind> {
    result.err().map(|error| error.kind())
}
