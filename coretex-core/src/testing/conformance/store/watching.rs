//! Change notification, and the end of a store.

use std::time::Duration;

use super::*;
use crate::ports::{Change, Changes, Scan, limits};

const PATIENCE: Duration = Duration::from_secs(20);

async fn next(changes: &mut Changes) -> Change {
    tokio::time::timeout(PATIENCE, changes.next()).await.expect("a change is announced").expect("the store is open")
}

fn value(key: &str) -> Change {
    Change::Value(key.into())
}

/// Changes come in the order of commits, within a batch in the order of its operations.
pub async fn watchers_hear_changes_in_commit_order(f: Fixture) {
    f.put("t/before", "x").await;
    let mut changes = f.store.watch("t/").await.unwrap();
    f.ok(Batch::new().put("t/a", bytes("1"), ALWAYS).append("t/s", 0, events(&["e", "f"])).add("t/n", 1, None)).await;
    f.ok(Batch::new().expire("t/a", Duration::from_secs(3600)).require("t/n", ALWAYS).delete("t/n", ALWAYS)).await;
    f.store.commit((0..5).map(|i| Batch::new().put(format!("t/{i}"), bytes("v"), ALWAYS)).collect()).await;
    for expected in [value("t/a"), Change::Stream("t/s".into(), 2), value("t/n"), value("t/a"), value("t/n")] {
        assert_eq!(next(&mut changes).await, expected);
    }
    for i in 0..5 {
        assert_eq!(next(&mut changes).await, value(&format!("t/{i}")));
    }
    // What is announced can be read.
    f.put("t/last", "seen").await;
    assert_eq!(next(&mut changes).await, value("t/last"));
    assert_eq!(f.text("t/last").await.as_deref(), Some("seen"));
}

/// A watcher hears of its prefix only; several watchers hear independently.
pub async fn watchers_hear_only_their_prefix(f: Fixture) {
    let mut a = f.store.watch("a/").await.unwrap();
    let mut b = f.store.watch("b/").await.unwrap();
    let mut all = f.store.watch("").await.unwrap();
    drop(f.store.watch("a/").await.unwrap());
    f.put("a/1", "x").await;
    f.put("b/1", "x").await;
    f.put("ab", "x").await;
    f.ok(Batch::new().append("b/s", 0, events(&["e"]))).await;
    f.put("a/2", "x").await;
    assert_eq!([next(&mut a).await, next(&mut a).await], [value("a/1"), value("a/2")]);
    assert_eq!([next(&mut b).await, next(&mut b).await], [value("b/1"), Change::Stream("b/s".into(), 1)]);
    let mut heard = vec![];
    for _ in 0..5 {
        heard.push(next(&mut all).await);
    }
    assert_eq!(
        heard,
        [value("a/1"), value("b/1"), value("ab"), Change::Stream("b/s".into(), 1), value("a/2")],
        "the empty prefix is everything"
    );
}

/// Nothing of a refused batch is announced, nor of one that changes nothing.
pub async fn watchers_hear_nothing_of_refused_batches(f: Fixture) {
    f.put("t/taken", "x").await;
    let mut changes = f.store.watch("t/").await.unwrap();
    let refused =
        Batch::new().put("t/phantom", bytes("x"), ALWAYS).append("t/s", 0, events(&["e"])).require("t/taken", ABSENT);
    f.store.commit(vec![refused.clone(), Batch::new().put("t/real", bytes("x"), ALWAYS), refused.clone()]).await;
    f.refused(refused).await;
    f.ok(Batch::new().delete("t/absent", ALWAYS).require("t/taken", ALWAYS).trim("t/s", 5)).await;
    f.put("t/end", "x").await;
    assert_eq!([next(&mut changes).await, next(&mut changes).await], [value("t/real"), value("t/end")]);
}

/// A watcher that does not keep up hears that it lagged, and then every later change.
pub async fn a_slow_watcher_is_told_that_it_lagged(f: Fixture) {
    let mut changes = f.store.watch("t/").await.unwrap();
    let many = limits::CHANGES * 2;
    for part in 0..4 {
        let batch = (0..many / 4).fold(Batch::new(), |batch, i| batch.put(format!("t/{part}/{i}"), bytes("v"), ALWAYS));
        f.ok(batch).await;
    }
    let mut heard = 0;
    loop {
        match next(&mut changes).await {
            Change::Lagged => break,
            _ => heard += 1,
        }
        assert!(heard < many, "everything was heard, although nobody listened");
    }
    f.put("t/after", "x").await;
    loop {
        // An adapter that hears of changes late may still bring some from before the marker.
        match next(&mut changes).await {
            Change::Value(key) if key.as_str() == "t/after" => break,
            Change::Value(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// After `close`, every call answers `Closed` and watchers end; closing twice is fine.
pub async fn a_closed_store_answers_closed(f: Fixture) {
    f.put("t/a", "1").await;
    let mut changes = f.store.watch("t/").await.unwrap();
    f.store.close().await.unwrap();
    f.store.close().await.unwrap();
    let closed = Some(StoreErrorKind::Closed);
    let key = Key::from("t/a");
    let answers = f.store.commit(vec![Batch::new().put("t/b", bytes("1"), ALWAYS), Batch::new()]).await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        assert_eq!(answer.err().map(|error| error.kind()), closed);
    }
    assert_eq!(f.store.get(&key).await.err().map(|error| error.kind()), closed);
    assert_eq!(f.store.scan(Scan::prefix("")).await.err().map(|error| error.kind()), closed);
    assert_eq!(f.store.read(&key, 1, 1).await.err().map(|error| error.kind()), closed);
    assert_eq!(f.store.watch("").await.err().map(|error| error.kind()), closed);
    assert_eq!(f.store.now().await.err().map(|error| error.kind()), closed);
    let end = tokio::time::timeout(PATIENCE, changes.next()).await.expect("the watch ends");
    assert_eq!(end, None);
}
