use std::{sync::Arc, time::Duration};

use futures::FutureExt;

use super::*;
use crate::{
    ports::Delivery,
    protocol::BusPacket,
    testing::{VirtualClock, conformance::bus as conformance},
};

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> VirtualClock {
    VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap())
}

fn message(subject: &str, number: u64) -> Message {
    Message::new(subject, BusPacket { trace_id: number.to_string(), ..Default::default() })
}

fn number(delivery: &Delivery) -> u64 {
    delivery.message.packet.trace_id.parse().unwrap()
}

fn bus(clock: &VirtualClock) -> MemoryBus {
    MemoryBus::new(Arc::new(clock.clone()))
}

#[tokio::test]
async fn an_unsettled_delivery_holds_virtual_time() {
    let clock = clock();
    let bus = bus(&clock);
    let mut worker = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    bus.publish(message("job.a", 1)).await.unwrap();
    assert_eq!(clock.gauge().count(), 1, "queued");
    let delivery = worker.next().await.unwrap();
    clock.settle().await;
    assert_eq!(clock.gauge().count(), 1, "in flight");
    delivery.ack().await.unwrap();
    clock.settle().await;
    assert_eq!(clock.gauge().count(), 0, "settled");
    assert_eq!(clock.next_deadline(), None, "no deadline is left behind");
}

#[tokio::test]
async fn parked_held_and_watched_messages_let_virtual_time_pass() {
    let clock = clock();
    let bus = bus(&clock);
    bus.publish(message("job.b", 1)).await.unwrap();
    assert_eq!(clock.gauge().count(), 0, "held");
    let _watcher = bus.subscribe(Subscribe::all(">")).await.unwrap();
    bus.publish(message("sys.alert", 2)).await.unwrap();
    assert_eq!(clock.gauge().count(), 0, "watched");
    let mut worker = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    bus.publish(message("job.a", 3)).await.unwrap();
    let start = clock.now();
    worker.next().await.unwrap().nak(3600 * SECOND).await.unwrap();
    let again = clock.run(worker.next()).await.unwrap();
    assert_eq!((number(&again), again.attempt), (3, 2));
    assert_eq!(clock.now(), start + 3600 * SECOND);
    again.ack_now();
}

#[tokio::test]
async fn what_a_group_leaves_behind_is_held_with_its_attempts() {
    let clock = clock();
    let bus = bus(&clock);
    let mut first = bus.subscribe(Subscribe::group("job.*", "workers")).await.unwrap();
    for n in 1..=3 {
        bus.publish(message("job.a", n)).await.unwrap();
    }
    let in_hand = first.next().await.unwrap();
    drop(first);
    clock.settle().await;
    assert_eq!(clock.gauge().count(), 1, "only what is in hand holds time");
    let mut second = bus.subscribe(Subscribe::group("job.a", "others")).await.unwrap();
    drop(in_hand);
    // The first group is gone and this one is no successor of it, but nothing may be lost.
    let mut third = bus.subscribe(Subscribe::group("job.>", "late")).await.unwrap();
    let mut seen = Vec::new();
    for subscription in [&mut second, &mut third] {
        while let Some(Some(delivery)) = subscription.next().now_or_never() {
            seen.push((number(&delivery), delivery.attempt));
            delivery.ack_now();
        }
    }
    assert_eq!(seen, [(2, 1), (3, 1), (1, 2)]);
}

#[tokio::test]
async fn a_delivery_outlives_its_group_and_returns_to_its_successor() {
    let clock = clock();
    let bus = bus(&clock);
    let mut first = bus.subscribe(Subscribe::group("notes.a", "workers")).await.unwrap();
    bus.publish(message("notes.a", 1)).await.unwrap();
    let in_hand = first.next().await.unwrap();
    drop(first);
    let mut second = bus.subscribe(Subscribe::group("notes.a", "workers")).await.unwrap();
    in_hand.nak(SECOND).await.unwrap();
    let again = clock.run(second.next()).await.unwrap();
    assert_eq!((number(&again), again.attempt), (1, 2));
    again.ack_now();
}

#[tokio::test]
async fn closing_lets_go_of_everything() {
    let clock = clock();
    let bus = bus(&clock);
    let mut worker = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    for n in 0..3 {
        bus.publish(message("job.a", n)).await.unwrap();
    }
    let in_hand = worker.next().await.unwrap();
    worker.next().await.unwrap().nak(SECOND).await.unwrap();
    drop(bus);
    drop(in_hand);
    assert!(worker.next().await.is_none());
    clock.settle().await;
    assert_eq!((clock.gauge().count(), clock.next_deadline()), (0, None));
}

#[tokio::test]
async fn a_called_member_that_turns_away_passes_the_call_on() {
    let clock = clock();
    let bus = bus(&clock);
    let mut first = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    let mut second = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    let waits = tokio::spawn(async move { second.next().await.map(|delivery| number(&delivery)) });
    let mut next = first.next();
    assert!((&mut next).now_or_never().is_none());
    tokio::task::yield_now().await;
    // `first` is at the head of the line and called; `second` waits behind it.
    bus.publish(message("job.a", 7)).await.unwrap();
    drop(next);
    assert_eq!(waits.await.unwrap(), Some(7));
}

#[tokio::test]
async fn try_publish_gives_back_what_it_cannot_take() {
    let bus = MemoryBus::with_options(Arc::new(clock()), MemoryBusOptions::default().with_held_capacity(1));
    assert!(bus.try_publish(message("job.a", 1)).is_ok());
    let back = bus.try_publish(message("job.a", 2)).unwrap_err();
    assert_eq!(back.packet.trace_id, "2");
    assert_eq!(bus.publish(back).await.unwrap_err().kind(), BusErrorKind::Full);
    assert!(bus.try_publish(message("sys.alert", 3)).is_ok(), "forgotten, not refused");
}

#[test]
fn deadlines_outlive_the_runtime_that_watched_them() {
    let clock = clock();
    let bus = bus(&clock);
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime();
    let mut worker = first.block_on(bus.subscribe(Subscribe::group("job.a", "workers"))).unwrap();
    first.block_on(async {
        bus.publish(message("job.a", 1)).await.unwrap();
        worker.next().await.unwrap().nak(60 * SECOND).await.unwrap();
        tokio::task::yield_now().await;
    });
    drop(first);
    runtime().block_on(async {
        bus.publish(message("job.a", 2)).await.unwrap();
        worker.next().await.unwrap().ack_now();
        let again = clock.run(worker.next()).await.unwrap();
        assert_eq!((number(&again), again.attempt), (1, 2));
        again.ack_now();
    });
}

#[tokio::test]
async fn a_thousand_settled_deliveries_cost_one_call_of_the_timers() {
    // On a clock that nobody can hold, deadlines of settled deliveries are left to run out.
    #[derive(Debug)]
    struct Free(VirtualClock, std::sync::atomic::AtomicUsize);
    impl Clock for Free {
        fn now(&self) -> jiff::Timestamp {
            self.0.now()
        }
        fn sleep_until(&self, at: jiff::Timestamp) -> futures::future::BoxFuture<'static, ()> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.sleep_until(at)
        }
    }
    let free = Arc::new(Free(clock(), Default::default()));
    let bus = MemoryBus::new(free.clone());
    let mut worker = bus.subscribe(Subscribe::group("job.a", "workers")).await.unwrap();
    for n in 0..1_000 {
        bus.publish(message("job.a", n)).await.unwrap();
        worker.next().await.unwrap().ack_now();
        tokio::task::yield_now().await;
    }
    let kept = {
        bus.publish(message("job.a", 1_000)).await.unwrap();
        worker.next().await.unwrap()
    };
    free.0.advance(31 * SECOND).await;
    let again = worker.next().await.unwrap();
    assert_eq!((number(&again), again.attempt), (1_000, 2));
    assert!(free.1.load(std::sync::atomic::Ordering::Relaxed) <= 3);
    drop(kept);
    again.ack_now();
}

fn small() -> conformance::Fixture {
    let clock = clock();
    let options = MemoryBusOptions::default().with_group_capacity(64).with_watch_capacity(32);
    let bus = MemoryBus::with_options(Arc::new(clock.clone()), options);
    conformance::Fixture::new(Arc::new(bus)).with_clock(&clock).with_group_capacity(64).with_watch_capacity(32)
}

mod suite {
    crate::bus_conformance!(|| async { super::small() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_lose_nothing_either() {
    for _ in 0..20 {
        conformance::cases::many_publishers_and_members_lose_nothing_and_settle_once(small()).await;
    }
}
