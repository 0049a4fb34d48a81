//! Full queues, slow readers, cancelled waits, members that come and go, the end.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures::FutureExt;

use super::*;

/// Publishes from `first` on until the group is full; gives how many it took.
async fn fill(bus: &Fixture, subject: &str, capacity: usize) -> u64 {
    let mut taken = 0;
    loop {
        match bus.bus.publish(message(subject, taken)).await {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error.kind(), BusErrorKind::Full, "{error}");
                assert!(error.is_retryable());
                return taken;
            }
        }
        assert!(taken <= 2 * capacity as u64, "the queue takes more than twice what was said");
    }
}

pub async fn a_full_group_refuses_and_delivers_nowhere(bus: Fixture) {
    let Some(capacity) = bus.group_capacity else { return };
    let mut full = bus.member("job.>", "slow").await;
    let taken = fill(&bus, "job.a", capacity).await;
    let mut other = bus.member("job.b", "other").await;
    let mut watcher = bus.watcher("job.b").await;
    assert_eq!(bus.refused("job.b").await, BusErrorKind::Full);
    bus.nothing(&mut other).await;
    bus.nothing(&mut watcher).await;
    assert_eq!(settle_all(&mut full, taken as usize).await, Vec::from_iter(0..taken), "what was taken is delivered");
    bus.publish("job.b", 1).await;
    for subscription in [&mut full, &mut other, &mut watcher] {
        assert_eq!(settle(subscription).await, (1, 1));
    }
}

pub async fn a_full_group_takes_again_when_it_is_read(bus: Fixture) {
    let Some(capacity) = bus.group_capacity else { return };
    let mut member = bus.member("job.a", "workers").await;
    let mut taken = fill(&bus, "job.a", capacity).await;
    let mut read = 0;
    for _ in 0..3 {
        for _ in 0..capacity.min(3) {
            assert_eq!(settle(&mut member).await, (read, 1));
            read += 1;
        }
        for _ in 0..capacity.min(3) {
            bus.publish("job.a", taken).await;
            taken += 1;
        }
    }
    assert_eq!(settle_all(&mut member, (taken - read) as usize).await, Vec::from_iter(read..taken));
}

pub async fn a_slow_watcher_loses_the_oldest(bus: Fixture) {
    let Some(capacity) = bus.watch_capacity else { return };
    let mut watcher = bus.watcher("notes.a").await;
    let count = 3 * capacity as u64;
    bus.publish_all("notes.a", 0..count).await;
    let seen = bus.drain(&mut watcher).await;
    assert!(!seen.is_empty() && seen.len() < count as usize, "{} of {count} were kept", seen.len());
    let newest: Vec<_> = (count - seen.len() as u64..count).collect();
    assert_eq!(seen, newest, "the newest are kept, in order");
}

pub async fn work_goes_to_the_member_that_waits(bus: Fixture) {
    let mut busy = bus.member("job.a", "workers").await;
    let mut idle = bus.member("job.a", "workers").await;
    bus.publish("job.a", 0).await;
    let in_hand = loop {
        // Which of the two gets the first one is the bus's choice; make `busy` the one that has it.
        if let Some(delivery) = bus.within_a_tick(&mut busy).await {
            break delivery;
        }
        std::mem::swap(&mut busy, &mut idle);
    };
    for n in 1..=5 {
        let next = idle.next();
        let publish = bus.publish("job.a", n);
        let (delivery, ()) = futures::future::join(tokio::time::timeout(PATIENCE, next), publish).await;
        let delivery = delivery.expect("the idle member gets it").expect("the bus is open");
        assert_eq!(number(&delivery), n);
        delivery.ack().await.unwrap();
    }
    in_hand.ack().await.unwrap();
}

pub async fn a_member_that_leaves_gives_back_what_it_holds(bus: Fixture) {
    let mut leaving = bus.member("job.a", "workers").await;
    let mut staying = bus.member("job.a", "workers").await;
    let total = bus.group_capacity.unwrap_or(10).min(10) as u64;
    {
        // It stands in line and leaves it.
        let waiting = bus.within_a_tick(&mut leaving).await;
        assert!(waiting.is_none());
    }
    bus.publish_all("job.a", 0..total).await;
    drop(leaving);
    let mut seen = settle_all(&mut staying, total as usize).await;
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..total));
    bus.nothing(&mut staying).await;
}

pub async fn a_cancelled_next_loses_nothing(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    let mut watcher = bus.watcher("job.a").await;
    for n in 0..20 {
        let first = member.next().now_or_never();
        assert!(first.is_none(), "nothing was published");
        assert!(watcher.next().now_or_never().is_none(), "nothing was published");
        {
            // Polled, then overtaken by a message, then dropped.
            let mut waiting = member.next();
            let mut watching = watcher.next();
            assert!((&mut waiting).now_or_never().is_none());
            assert!((&mut watching).now_or_never().is_none());
            bus.publish("job.a", n).await;
        }
        assert_eq!(number(&take(&mut watcher).await), n);
        // A bus may have handed it to the wait that was dropped, and then repeats it.
        assert_eq!(settle(&mut member).await.0, n);
    }
    bus.nothing(&mut member).await;
}

pub async fn a_closed_bus_ends_subscriptions_and_refuses(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    let mut watcher = bus.watcher("job.a").await;
    bus.publish("job.a", 1).await;
    let in_hand = take(&mut member).await;
    let _ = take(&mut watcher).await;
    let mut waiting_member = bus.member("job.a", "workers").await;
    let waiting = tokio::spawn(async move { waiting_member.next().await.is_none() });
    tokio::task::yield_now().await;
    bus.bus.close().await.unwrap();
    bus.bus.close().await.unwrap();
    for subscription in [&mut member, &mut watcher] {
        let next = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("the subscription ends");
        assert!(next.is_none(), "nothing arrives from a closed bus");
    }
    assert!(tokio::time::timeout(PATIENCE, waiting).await.expect("whoever waits is sent home").unwrap());
    assert_eq!(bus.refused("job.a").await, BusErrorKind::Closed);
    assert!(bus.bus.try_publish(message("job.a", 2)).is_err());
    for subscribe in [Subscribe::all("job.a"), Subscribe::group("job.a", "workers")] {
        assert_eq!(kind(bus.bus.subscribe(subscribe).await), Some(BusErrorKind::Closed));
    }
    // Settling may fail now, but neither hangs nor panics.
    let _ = in_hand.ack().await;
}

pub async fn many_publishers_and_members_lose_nothing_and_settle_once(bus: Fixture) {
    const TASKS: u64 = 64;
    const EACH: u64 = 50;
    let bus = Arc::new(bus);
    let settled: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let mut members = Vec::new();
    for index in 0..TASKS {
        let mut member = bus.member("job.many", "workers").await;
        let settled = settled.clone();
        members.push(tokio::spawn(async move {
            while let Some(delivery) = member.next().await {
                // Some are given back, and some forgotten, at their first attempt.
                match (number(&delivery) + index) % 7 {
                    0 if delivery.attempt == 1 => delivery.nak(Duration::ZERO).await.unwrap(),
                    1 if delivery.attempt == 1 => drop(delivery),
                    _ => {
                        delivery.ack().await.unwrap();
                        *settled.lock().unwrap().entry(number(&delivery)).or_default() += 1;
                    }
                }
                if index % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    let publishers = (0..TASKS).map(|index| {
        let bus = bus.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                while let Err(error) = bus.bus.publish(message("job.many", index * EACH + n)).await {
                    assert!(error.is_retryable(), "{error}");
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let count = || settled.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    let all = async {
        while count() < TASKS * EACH {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    bus.bus.close().await.unwrap();
    for member in members {
        member.await.unwrap();
    }
    let settled = settled.lock().unwrap();
    let sum: u64 = settled.keys().sum();
    assert_eq!(settled.len() as u64, TASKS * EACH, "every message is acknowledged");
    assert_eq!(sum, (0..TASKS * EACH).sum::<u64>());
    assert!(settled.values().all(|times| *times == 1), "and none twice");
}
