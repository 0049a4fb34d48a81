//! Atomicity, conditions, versions, counters, limits.

use std::time::Duration;

use super::*;
use crate::ports::{Expected, WriteClass, limits};

/// A batch whose last operation is refused leaves no trace of the others, of whatever kind they are.
pub async fn a_batch_is_applied_whole_or_not_at_all(f: Fixture) {
    f.put("t/old", "1").await;
    f.put("t/lease", "1").await;
    f.ok(Batch::new().add("t/count", 5, None)).await;
    f.ok(Batch::new().append("t/stream", 0, events(&["a", "b", "c"]))).await;
    let before = f.dump("t/", &["t/stream", "t/new"]).await;
    let doomed = Batch::new()
        .put("t/old", bytes("2"), ALWAYS)
        .put("t/fresh", bytes("1"), ABSENT)
        .delete("t/lease", ALWAYS)
        .add("t/count", 1, None)
        .add("t/count2", 1, None)
        .expire("t/old", Duration::from_secs(3600))
        .append("t/stream", 3, events(&["d"]))
        .append("t/new", 0, events(&["x"]))
        .trim("t/stream", 3)
        .put_view("t/view", bytes("v"))
        .require("t/nothing", Condition::Version(Version(1)));
    assert_eq!(f.refused(doomed).await, StoreErrorKind::Conflict);
    assert_eq!(f.dump("t/", &["t/stream", "t/new"]).await, before);
    // What was taken back may be done again, by the same conditions.
    f.ok(Batch::new().put("t/fresh", bytes("1"), ABSENT).append("t/new", 0, events(&["x"]))).await;
    assert_eq!(f.stream("t/new").await, (1, vec!["x".to_owned()], 1));
}

/// Each kind of operation that can refuse does so in the first, a middle and the last place, and nothing is left.
pub async fn every_operation_can_refuse_its_batch(f: Fixture) {
    f.put("t/here", "1").await;
    f.ok(Batch::new().add("t/full", 10, None)).await;
    f.ok(Batch::new().append("t/stream", 0, events(&["a"]))).await;
    let before = f.dump("t/", &["t/stream", "t/other"]).await;
    let never = Condition::Version(Version(u64::MAX));
    let refusing = [
        (Op::Require { key: "t/here".into(), condition: ABSENT }, StoreErrorKind::Conflict),
        (
            Op::Append { stream: "t/stream".into(), expected: Expected::Head(7), events: events(&["b"]) },
            StoreErrorKind::Conflict,
        ),
        (
            Op::Put { key: "t/here".into(), value: bytes("2"), condition: ABSENT, class: WriteClass::Exact },
            StoreErrorKind::Conflict,
        ),
        (Op::Delete { key: "t/here".into(), condition: never, class: WriteClass::View }, StoreErrorKind::Conflict),
        (Op::Add { key: "t/full".into(), delta: 1, ceiling: Some(10) }, StoreErrorKind::Ceiling),
        (Op::Add { key: "t/full".into(), delta: i64::MAX, ceiling: None }, StoreErrorKind::Ceiling),
        (Op::Expire { key: "t/absent".into(), after: Duration::from_secs(1) }, StoreErrorKind::Conflict),
        (Op::Append { stream: "t/stream".into(), expected: Expected::Any, events: vec![] }, StoreErrorKind::Invalid),
        (Op::Trim { stream: "".into(), before: 2 }, StoreErrorKind::Invalid),
    ];
    for (op, kind) in refusing {
        for place in 0..3 {
            let mut batch = Batch::new();
            for i in 0..3 {
                if i == place {
                    batch.push(op.clone());
                } else {
                    batch.push(any_append("t/other", &["o"]));
                    batch = batch.put(format!("t/side{i}"), bytes("s"), ALWAYS).delete("t/here2", ALWAYS);
                }
            }
            assert_eq!(f.refused(batch).await, kind, "{op:?} in place {place}");
            assert_eq!(f.dump("t/", &["t/stream", "t/other"]).await, before, "{op:?} in place {place}");
        }
    }
}

/// Conditions are judged against a state that includes what the batch did before them.
pub async fn conditions_see_earlier_operations_of_the_batch(f: Fixture) {
    let version = f.put("t/a", "1").await;
    f.ok(Batch::new()
        .delete("t/a", Condition::Version(version))
        .require("t/a", ABSENT)
        .put("t/a", bytes("2"), ABSENT)
        .append("t/s", 0, events(&["x"]))
        .append("t/s", 1, events(&["y", "z"]))
        .append("t/s", 3, events(&["w"]))
        .add("t/n", 2, Some(3))
        .add("t/n", 1, Some(3)))
        .await;
    assert_eq!(f.text("t/a").await.as_deref(), Some("2"));
    assert_eq!(f.text("t/n").await.as_deref(), Some("3"));
    assert_eq!(f.stream("t/s").await.2, 4);

    let twice = Batch::new().put("t/b", bytes("1"), ABSENT).put("t/b", bytes("2"), ABSENT);
    assert_eq!(f.refused(twice).await, StoreErrorKind::Conflict);
    let stale = Batch::new().put("t/a", bytes("3"), ALWAYS).require("t/a", Condition::Version(version));
    assert_eq!(f.refused(stale).await, StoreErrorKind::Conflict);
    let over = Batch::new().add("t/m", 2, Some(3)).add("t/m", 2, Some(3));
    assert_eq!(f.refused(over).await, StoreErrorKind::Ceiling);
    assert_eq!(f.text("t/a").await.as_deref(), Some("2"));
    assert_eq!((f.text("t/b").await, f.text("t/m").await), (None, None));

    // An expiry of zero takes effect within the batch, too.
    f.ok(Batch::new().put("t/c", bytes("1"), ABSENT).expire("t/c", Duration::ZERO).require("t/c", ABSENT)).await;
    assert_eq!(f.text("t/c").await, None);
}

/// `Absent` and `Version` hold exactly when they say so, for each operation that carries a condition.
pub async fn conditions_are_judged_by_version_and_absence(f: Fixture) {
    let first = f.put("t/a", "1").await;
    assert_eq!(f.refused(Batch::new().put("t/a", bytes("x"), ABSENT)).await, StoreErrorKind::Conflict);
    let results = f.ok(Batch::new().put("t/a", bytes("2"), Condition::Version(first))).await;
    let [OpResult::Written(second)] = results[..] else { panic!("a put answers with a version: {results:?}") };
    assert!(second > first, "{second:?} after {first:?}");
    assert_eq!(f.entry("t/a").await.unwrap().version, second);
    for stale in [first, Version(second.0 + 1)] {
        let stale = Condition::Version(stale);
        assert_eq!(f.refused(Batch::new().put("t/a", bytes("x"), stale)).await, StoreErrorKind::Conflict);
        assert_eq!(f.refused(Batch::new().delete("t/a", stale)).await, StoreErrorKind::Conflict);
        assert_eq!(f.refused(Batch::new().require("t/a", stale)).await, StoreErrorKind::Conflict);
    }
    assert_eq!(f.ok(Batch::new().require("t/a", Condition::Version(second))).await, [OpResult::Done]);
    assert_eq!(f.ok(Batch::new().delete("t/a", Condition::Version(second))).await, [OpResult::Done]);
    assert_eq!(f.refused(Batch::new().delete("t/a", Condition::Version(second))).await, StoreErrorKind::Conflict);
    assert_eq!(f.ok(Batch::new().delete("t/a", ALWAYS)).await, [OpResult::Done]);
    assert_eq!(f.ok(Batch::new().delete("t/a", ABSENT).require("t/a", ABSENT)).await, [OpResult::Done; 2]);
}

/// `Put` clears the expiry; `Add` keeps it.
pub async fn a_put_clears_the_expiry_and_an_add_keeps_it(f: Fixture) {
    let hour = Duration::from_secs(3600);
    f.ok(Batch::new().add("t/n", 1, None).expire("t/n", hour).add("t/n", 1, None)).await;
    let entry = f.entry("t/n").await.unwrap();
    assert_eq!(entry.value, "2");
    assert!(entry.expires_at.is_some(), "an addition keeps the expiry");
    f.put("t/n", "7").await;
    assert_eq!(f.entry("t/n").await.unwrap().expires_at, None);
}

/// A key that was deleted comes back with a larger version, within a batch and across batches.
pub async fn versions_grow_across_deletion_and_recreation(f: Fixture) {
    let mut last = f.put("t/a", "0").await;
    for round in 0..20 {
        if round % 3 == 0 {
            f.ok(Batch::new().delete("t/a", ALWAYS)).await;
        }
        let results = if round % 3 == 1 {
            f.ok(Batch::new().delete("t/a", ALWAYS).put("t/a", bytes("x"), ABSENT)).await
        } else {
            f.ok(Batch::new().put("t/a", bytes("x"), ALWAYS)).await
        };
        let Some(OpResult::Written(next)) = results.last() else { panic!("no version in {results:?}") };
        assert!(*next > last, "round {round}: {next:?} after {last:?}");
        assert_eq!(f.entry("t/a").await.unwrap().version, *next);
        last = *next;
    }
    f.ok(Batch::new().put("t/n", bytes("1"), ALWAYS)).await;
    let before = f.entry("t/n").await.unwrap().version;
    f.ok(Batch::new().add("t/n", 1, None)).await;
    let after = f.entry("t/n").await.unwrap().version;
    assert!(after > before, "an addition is a write");
    f.ok(Batch::new().expire("t/n", Duration::from_secs(3600))).await;
    assert_eq!(f.entry("t/n").await.unwrap().version, after, "an expiry is not");
}

/// Counters start at 0, go down freely, and stop exactly at the ceiling.
pub async fn counters_add_up_and_stop_at_their_ceiling(f: Fixture) {
    assert_eq!(f.ok(Batch::new().add("t/n", 3, Some(5))).await, [OpResult::Added(3)]);
    assert_eq!(f.ok(Batch::new().add("t/n", 2, Some(5))).await, [OpResult::Added(5)]);
    assert_eq!(f.refused(Batch::new().add("t/n", 1, Some(5))).await, StoreErrorKind::Ceiling);
    assert_eq!(f.ok(Batch::new().add("t/n", 0, Some(4))).await, [OpResult::Added(5)]);
    assert_eq!(f.ok(Batch::new().add("t/n", -1, Some(0))).await, [OpResult::Added(4)]);
    assert_eq!(f.ok(Batch::new().add("t/n", -10, None)).await, [OpResult::Added(-6)]);
    assert_eq!(f.text("t/n").await.as_deref(), Some("-6"));
    assert_eq!(f.ok(Batch::new().add("t/n", i64::MAX, None)).await, [OpResult::Added(i64::MAX - 6)]);
    assert_eq!(f.refused(Batch::new().add("t/n", 7, None)).await, StoreErrorKind::Ceiling);
    assert_eq!(f.refused(Batch::new().add("t/new", 1, Some(0))).await, StoreErrorKind::Ceiling);
    assert_eq!(f.text("t/new").await, None);
    f.ok(Batch::new().delete("t/n", ALWAYS)).await;
    assert_eq!(f.ok(Batch::new().add("t/n", 1, None)).await, [OpResult::Added(1)]);
}

/// A batch that adds to a counter and removes it asks whether the counter is free and leaves nothing behind.
pub async fn a_counter_can_be_asked_and_left_alone_in_one_batch(f: Fixture) {
    let ask = || Batch::new().add("t/mark", 1, Some(1)).delete("t/mark", ALWAYS).put("t/v", bytes("v"), ALWAYS);
    f.ok(ask()).await;
    assert_eq!((f.text("t/mark").await, f.text("t/v").await.as_deref()), (None, Some("v")));
    f.ok(Batch::new().put("t/mark", bytes("1"), ALWAYS).delete("t/v", ALWAYS)).await;
    assert_eq!(f.refused(ask()).await, StoreErrorKind::Ceiling);
    assert_eq!((f.text("t/mark").await.as_deref(), f.text("t/v").await), (Some("1"), None));
    f.ok(Batch::new().delete("t/mark", ALWAYS)).await;
    f.ok(ask()).await;
}

/// An addition to a value that is no number is refused; one to a number that was put is fine.
pub async fn counters_refuse_values_that_are_no_numbers(f: Fixture) {
    f.put("t/text", "{\"a\":1}").await;
    assert_eq!(f.refused(Batch::new().add("t/text", 1, None)).await, StoreErrorKind::Conflict);
    f.put("t/number", "41").await;
    assert_eq!(f.ok(Batch::new().add("t/number", 1, None)).await, [OpResult::Added(42)]);
}

/// Illegal keys, sizes and counts are refused whatever the state; legal extremes are taken.
pub async fn limits_are_enforced(f: Fixture) {
    let too_long = "k".repeat(limits::KEY_BYTES + 1);
    for key in ["", "a\nb", "a\0b", "a\u{7f}", too_long.as_str()] {
        assert_eq!(f.refused(Batch::new().put(key, bytes("v"), ALWAYS)).await, StoreErrorKind::Invalid, "{key:?}");
        assert_eq!(f.refused(Batch::new().append(key, 0, events(&["e"]))).await, StoreErrorKind::Invalid, "{key:?}");
        assert_eq!(f.refused(Batch::new().require(key, ABSENT)).await, StoreErrorKind::Invalid, "{key:?}");
    }
    let large = Bytes::from(vec![b'x'; limits::VALUE_BYTES + 1]);
    assert_eq!(f.refused(Batch::new().put("t/v", large.clone(), ALWAYS)).await, StoreErrorKind::Invalid);
    assert_eq!(f.refused(Batch::new().append("t/v", 0, vec![large.clone()])).await, StoreErrorKind::Invalid);
    let mut many = Batch::new();
    for _ in 0..=limits::BATCH_OPS {
        many.push(Op::Require { key: "t/none".into(), condition: ABSENT });
    }
    assert_eq!(f.refused(many).await, StoreErrorKind::Invalid);

    let longest = "ü".repeat(limits::KEY_BYTES / 2);
    let largest = large.slice(1..);
    f.ok(Batch::new().put(longest.as_str(), largest.clone(), ALWAYS).append(
        longest.as_str(),
        0,
        vec![largest.clone()],
    ))
    .await;
    assert_eq!(f.entry(&longest).await.unwrap().value, largest);
    let page = f.store.read(&Key::from(longest.as_str()), 1, 10).await.unwrap();
    assert_eq!(page.events, [largest]);
    f.ok(Batch::new().put("t/empty", Bytes::new(), ALWAYS).append("t/empty", 0, vec![Bytes::new()])).await;
    assert_eq!(f.entry("t/empty").await.unwrap().value, "");
    assert_eq!(f.stream("t/empty").await, (1, vec![String::new()], 1));
}

/// Nothing to do is done.
pub async fn an_empty_batch_succeeds(f: Fixture) {
    assert_eq!(f.ok(Batch::new()).await, []);
    assert!(f.store.commit(vec![]).await.is_empty());
    assert_eq!(f.store.commit(vec![Batch::new(), Batch::new()]).await.len(), 2);
}

/// The class of a write changes nothing for readers and conditions.
pub async fn a_view_is_read_like_any_other_write(f: Fixture) {
    let results = f.ok(Batch::new().put_view("t/v", bytes("1"))).await;
    let [OpResult::Written(version)] = results[..] else { panic!("a put answers with a version: {results:?}") };
    assert_eq!(f.entry("t/v").await.map(|entry| (entry.value, entry.version)), Some((bytes("1"), version)));
    assert_eq!(f.refused(Batch::new().put("t/v", bytes("2"), ABSENT)).await, StoreErrorKind::Conflict);
    f.ok(Batch::new().put_view("t/v", bytes("2")).require("t/w", ABSENT)).await;
    assert_eq!(f.text("t/v").await.as_deref(), Some("2"));
}
