//! Who gets a message, and in which order.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use serde_json::json;

use super::*;

pub async fn every_watcher_sees_every_message(bus: Fixture) {
    let (mut one, mut two) = (bus.watcher("notes.a").await, bus.watcher("notes.a").await);
    bus.publish_all("notes.a", 0..10).await;
    assert_eq!(settle_all(&mut one, 10).await, Vec::from_iter(0..10));
    assert_eq!(settle_all(&mut two, 10).await, Vec::from_iter(0..10));
}

pub async fn one_member_of_a_group_gets_each_message(bus: Fixture) {
    let (mut one, mut two) = (bus.member("job.a", "workers").await, bus.member("job.a", "workers").await);
    bus.publish_all("job.a", 0..20).await;
    let mut seen = Vec::new();
    for round in 0..20 {
        let member = if round % 2 == 0 { &mut one } else { &mut two };
        match bus.within_a_tick(member).await {
            Some(delivery) => {
                delivery.ack().await.unwrap();
                seen.push(number(&delivery));
            }
            None => break,
        }
    }
    seen.extend(bus.drain(&mut one).await);
    seen.extend(bus.drain(&mut two).await);
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..20));
}

pub async fn every_group_gets_each_message(bus: Fixture) {
    let mut watcher = bus.watcher("job.*").await;
    let (mut one, mut two) = (bus.member("job.a", "one").await, bus.member("job.a", "two").await);
    bus.publish_all("job.a", 0..5).await;
    for subscription in [&mut watcher, &mut one, &mut two] {
        assert_eq!(settle_all(subscription, 5).await, Vec::from_iter(0..5));
    }
}

pub async fn members_under_different_filters_are_different_groups(bus: Fixture) {
    let (mut one, mut two) = (bus.member("job.a", "workers").await, bus.member("job.*", "workers").await);
    bus.publish("job.a", 1).await;
    assert_eq!(settle(&mut one).await, (1, 1));
    assert_eq!(settle(&mut two).await, (1, 1));
}

pub async fn filters_match_by_token(bus: Fixture) {
    let subjects = ["a", "a.b", "a.b.c", "a.x.c", "b", "A.b"];
    for (filter, expected) in [
        ("a", &["a"][..]),
        ("a.b", &["a.b"]),
        ("a.*", &["a.b"]),
        ("a.*.c", &["a.b.c", "a.x.c"]),
        ("*.b", &["a.b", "A.b"]),
        ("a.>", &["a.b", "a.b.c", "a.x.c"]),
        ("*", &["a", "b"]),
        (">", &subjects),
    ] {
        let filter = format!("t.{filter}");
        let mut watcher = bus.watcher(&filter).await;
        let mut member = bus.member(&filter, "group").await;
        for (index, subject) in subjects.iter().enumerate() {
            bus.publish(&format!("t.{subject}"), index as u64).await;
        }
        for subscription in [&mut watcher, &mut member] {
            let seen = bus.drain(subscription).await;
            let mut seen: Vec<_> = seen.into_iter().map(|index| subjects[index as usize]).collect();
            seen.sort_by_key(|subject| subjects.iter().position(|known| known == subject));
            assert_eq!(seen, expected, "{filter}");
        }
    }
}

pub async fn illegal_subjects_and_filters_are_refused(bus: Fixture) {
    for subject in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n"] {
        assert_eq!(bus.refused(subject).await, BusErrorKind::Invalid, "subject {subject:?}");
    }
    for filter in ["", "a.", "a..b", "a b", "a.>.b", "a*", "*a.b"] {
        for subscribe in [Subscribe::all(filter), Subscribe::group(filter, "group")] {
            assert_eq!(kind(bus.bus.subscribe(subscribe).await), Some(BusErrorKind::Invalid), "filter {filter:?}");
        }
    }
    let nameless = bus.bus.subscribe(Subscribe::group("job.a", "")).await;
    assert_eq!(kind(nameless), Some(BusErrorKind::Invalid), "a group needs a name");
    let instant = bus.bus.subscribe(Subscribe::group("job.a", "group").ack_wait(Duration::ZERO)).await;
    assert_eq!(kind(instant), Some(BusErrorKind::Invalid), "nobody can settle in no time");
}

pub async fn packets_and_payloads_arrive_unchanged(bus: Fixture) {
    let mut member = bus.member("job.a", "workers").await;
    let payload = crate::ports::Payload(Arc::new(json!({ "text": "ä", "list": [1, 2.5, null] })));
    let sent = message("job.a", 1).with_payload(Some(payload));
    bus.bus.publish(sent.clone()).await.unwrap();
    let got = take(&mut member).await;
    assert_eq!(got.message.subject, sent.subject);
    if bus.bus.capabilities().in_process {
        assert_eq!(got.message.packet, sent.packet);
        assert_eq!(got.message.payload, sent.payload);
    } else {
        assert_eq!(got.message.packet.job_request().map(|job| &job.job_id), Some(&"job-1".to_owned()));
    }
    got.ack().await.unwrap();
}

pub async fn messages_of_one_publisher_arrive_in_order(bus: Fixture) {
    let mut watcher = bus.watcher("job.a").await;
    let mut member = bus.member("job.>", "workers").await;
    let count = bus.group_capacity.into_iter().chain(bus.watch_capacity).min().unwrap_or(200).min(200);
    bus.publish_all("job.a", 0..count as u64).await;
    assert_eq!(settle_all(&mut watcher, count).await, Vec::from_iter(0..count as u64));
    assert_eq!(settle_all(&mut member, count).await, Vec::from_iter(0..count as u64));
}

pub async fn a_new_subscription_sees_only_later_messages(bus: Fixture) {
    let mut old = bus.watcher("notes.a").await;
    let mut old_group = bus.member("job.a", "old").await;
    bus.publish("notes.a", 1).await;
    bus.publish("job.a", 1).await;
    let mut new = bus.watcher("notes.a").await;
    let mut new_group = bus.member("job.a", "new").await;
    bus.publish("notes.a", 2).await;
    bus.publish("job.a", 2).await;
    for (subscription, expected) in
        [(&mut old, &[1, 2][..]), (&mut old_group, &[1, 2]), (&mut new, &[2]), (&mut new_group, &[2])]
    {
        assert_eq!(bus.drain(subscription).await, expected);
    }
}

pub async fn work_without_a_group_is_held_in_order(bus: Fixture) {
    for subject in ["job.a", "job.a.b", "worker.w1.jobs", "sys.job.submit", "sys.job.result", "sys.job.dlq"] {
        bus.publish_all(subject, 0..5).await;
        let mut member = bus.member(subject, "late").await;
        bus.publish(subject, 5).await;
        assert_eq!(settle_all(&mut member, 6).await, Vec::from_iter(0..6), "{subject}");
        bus.nothing(&mut member).await;
    }
}

pub async fn held_work_goes_to_the_first_group_only(bus: Fixture) {
    bus.publish("job.a", 1).await;
    let mut first = bus.member("job.a", "first").await;
    let mut second = bus.member("job.a", "second").await;
    assert_eq!(settle(&mut first).await, (1, 1));
    bus.nothing(&mut second).await;
}

pub async fn held_work_waits_though_watchers_listen(bus: Fixture) {
    let mut watcher = bus.watcher(">").await;
    bus.publish("job.a", 1).await;
    assert_eq!(settle(&mut watcher).await, (1, 1));
    let mut late_watcher = bus.watcher("job.a").await;
    bus.nothing(&mut late_watcher).await;
    let mut member = bus.member("job.*", "workers").await;
    assert_eq!(settle(&mut member).await, (1, 1));
}

pub async fn a_pattern_collects_what_is_held_on_several_subjects(bus: Fixture) {
    bus.publish_all("job.a", [1, 2]).await;
    bus.publish_all("job.b", [11, 12]).await;
    bus.publish("sys.job.submit", 21).await;
    let mut member = bus.member("job.*", "workers").await;
    let seen = settle_all(&mut member, 4).await;
    let on_a: Vec<_> = seen.iter().filter(|number| **number < 10).copied().collect();
    let on_b: Vec<_> = seen.iter().filter(|number| **number > 10).copied().collect();
    assert_eq!((on_a, on_b), (vec![1, 2], vec![11, 12]), "each subject in its order");
    bus.nothing(&mut member).await;
    let mut submits = bus.member("sys.job.submit", "schedulers").await;
    assert_eq!(settle(&mut submits).await, (21, 1));
}

pub async fn other_messages_without_a_listener_are_forgotten(bus: Fixture) {
    for subject in ["sys.heartbeat", "sys.job.progress", "notes.a", "worker.jobs"] {
        bus.publish(subject, 1).await;
        let mut member = bus.member(subject, "late").await;
        let mut watcher = bus.watcher(subject).await;
        bus.nothing(&mut member).await;
        bus.nothing(&mut watcher).await;
    }
}
