//! What becomes of a delivery that is acknowledged, given back, forgotten or extended.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use super::*;

pub async fn an_acknowledged_delivery_is_not_repeated(bus: Fixture) {
    let mut member = bus.subscribe(Subscribe::group("job.a", "workers").ack_wait(bus.tick * 2)).await;
    bus.publish_all("job.a", [1, 2]).await;
    let first = take(&mut member).await;
    first.ack().await.unwrap();
    let second = take(&mut member).await;
    second.ack_now();
    drop((first, second));
    bus.pass(5).await;
    bus.nothing(&mut member).await;
}

pub async fn a_nak_repeats_at_once_with_the_next_attempt(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    bus.publish("job.a", 1).await;
    for attempt in 1..=4 {
        let delivery = take(&mut member).await;
        assert_eq!((number(&delivery), delivery.attempt), (1, attempt));
        delivery.nak(Duration::ZERO).await.unwrap();
    }
    assert_eq!(settle(&mut member).await, (1, 5));
    bus.nothing(&mut member).await;
}

pub async fn a_delayed_nak_repeats_after_its_delay(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    bus.publish("job.a", 1).await;
    take(&mut member).await.nak(bus.tick * 4).await.unwrap();
    bus.publish("job.a", 2).await;
    assert_eq!(settle(&mut member).await, (2, 1), "others do not wait for it");
    bus.nothing(&mut member).await;
    bus.pass(4).await;
    assert_eq!(settle(&mut member).await, (1, 2));
}

pub async fn delays_end_in_their_own_order(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    bus.publish_all("job.a", [1, 2, 3]).await;
    for ticks in [6, 2, 4] {
        take(&mut member).await.nak(bus.tick * ticks).await.unwrap();
    }
    for expected in [2, 3, 1] {
        bus.pass(2).await;
        assert_eq!(settle(&mut member).await, (expected, 2));
    }
}

pub async fn a_dropped_delivery_is_repeated(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    bus.publish("job.a", 1).await;
    drop(take(&mut member).await);
    assert_eq!(settle(&mut member).await, (1, 2));
    bus.nothing(&mut member).await;
}

pub async fn an_unsettled_delivery_is_repeated_after_its_ack_wait(bus: Fixture) {
    let mut short = bus.subscribe(Subscribe::group("job.a", "workers").ack_wait(bus.tick * 4)).await;
    bus.publish("job.a", 1).await;
    let kept = take(&mut short).await;
    bus.pass(2).await;
    bus.nothing(&mut short).await;
    bus.pass(2).await;
    let again = take(&mut short).await;
    assert_eq!((number(&again), again.attempt), (1, 2));
    bus.pass(5).await;
    assert_eq!(settle(&mut short).await, (1, 3), "a repetition must be settled in time as well");
    drop((kept, again));
    bus.nothing(&mut short).await;
}

pub async fn a_delivery_in_progress_is_not_repeated(bus: Fixture) {
    let mut member = bus.subscribe(Subscribe::group("job.a", "workers").ack_wait(bus.tick * 4)).await;
    bus.publish("job.a", 1).await;
    let delivery = take(&mut member).await;
    for _ in 0..4 {
        bus.pass(2).await;
        delivery.in_progress().await.unwrap();
    }
    bus.nothing(&mut member).await;
    bus.pass(4).await;
    assert_eq!(settle(&mut member).await, (1, 2), "the last extension has run out");
}

pub async fn an_expired_delivery_is_repeated_once(bus: Fixture) {
    let mut member = bus.subscribe(Subscribe::group("job.a", "workers").ack_wait(bus.tick * 2)).await;
    bus.publish("job.a", 1).await;
    let expired = take(&mut member).await;
    bus.pass(3).await;
    assert_eq!(settle(&mut member).await, (1, 2));
    // Neither giving the old delivery back nor dropping it makes a third one.
    expired.nak(Duration::ZERO).await.unwrap();
    drop(expired);
    bus.pass(3).await;
    bus.nothing(&mut member).await;
}

pub async fn only_the_first_settling_counts(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    bus.publish("job.a", 1).await;
    let delivery = take(&mut member).await;
    delivery.ack().await.unwrap();
    delivery.nak(Duration::ZERO).await.unwrap();
    delivery.in_progress().await.unwrap();
    delivery.ack_now();
    bus.nothing(&mut member).await;

    bus.publish("job.a", 2).await;
    let delivery = take(&mut member).await;
    delivery.nak(Duration::ZERO).await.unwrap();
    delivery.ack().await.unwrap();
    drop(delivery);
    assert_eq!(settle(&mut member).await, (2, 2));
    bus.nothing(&mut member).await;
}

pub async fn a_repeated_delivery_may_reach_another_member(bus: Fixture) {
    let mut first = bus.member("job.a", "workers").await;
    bus.publish("job.a", 1).await;
    let delivery = take(&mut first).await;
    let mut second = bus.member("job.a", "workers").await;
    delivery.nak(Duration::ZERO).await.unwrap();
    assert_eq!(settle(&mut second).await, (1, 2));
}

pub async fn a_group_repeats_only_its_own_delivery(bus: Fixture) {
    let (mut one, mut two) = (bus.member("job.a", "one").await, bus.member("job.a", "two").await);
    let mut watcher = bus.watcher("job.a").await;
    bus.publish("job.a", 1).await;
    take(&mut one).await.nak(Duration::ZERO).await.unwrap();
    assert_eq!(settle(&mut one).await, (1, 2));
    assert_eq!(settle(&mut two).await, (1, 1));
    assert_eq!(settle(&mut watcher).await, (1, 1));
    for subscription in [&mut one, &mut two, &mut watcher] {
        bus.nothing(subscription).await;
    }
}

pub async fn watchers_need_not_settle(bus: Fixture) {
    let mut watcher = bus.subscribe(Subscribe::all("job.a").ack_wait(bus.tick)).await;
    bus.publish_all("job.a", [1, 2]).await;
    drop(take(&mut watcher).await);
    take(&mut watcher).await.nak(Duration::ZERO).await.unwrap();
    bus.pass(3).await;
    bus.nothing(&mut watcher).await;
}
