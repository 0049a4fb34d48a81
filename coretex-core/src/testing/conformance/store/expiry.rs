//! Keys that end by the store's clock.

use std::time::Duration;

use super::*;
use crate::ports::Scan;

const SHORT: Duration = Duration::from_millis(80);
const LONG: Duration = Duration::from_secs(3600);

/// An expired key is absent for every kind of read and every condition, at once.
pub async fn expired_keys_read_as_absent(f: Fixture) {
    let before = f.store.now().await.unwrap();
    f.ok(Batch::new().put("t/a", bytes("1"), ALWAYS).expire("t/a", SHORT)).await;
    f.ok(Batch::new().put("t/b", bytes("1"), ALWAYS).expire("t/b", LONG)).await;
    f.ok(Batch::new().put("t/c", bytes("1"), ALWAYS)).await;
    let at = f.entry("t/b").await.unwrap().expires_at.unwrap();
    assert!(at >= before.checked_add(LONG).unwrap(), "{at} is too soon");
    assert!(at <= f.store.now().await.unwrap().checked_add(LONG).unwrap(), "{at} is too late");
    f.pass(SHORT).await;
    assert!(f.store.now().await.unwrap() > before);
    assert_eq!(f.entry("t/a").await, None);
    let keys = |page: crate::ports::Page| page.entries.iter().map(|e| e.key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(f.store.scan(Scan::prefix("t/")).await.unwrap()), ["t/b", "t/c"]);
    assert_eq!(keys(f.store.scan(Scan::prefix("t/").limit(2).reverse()).await.unwrap()), ["t/c", "t/b"]);
    assert_eq!(keys(f.store.scan(Scan::prefix("t/").limit(1)).await.unwrap()), ["t/b"]);
    let later = Batch::new().expire("t/a", LONG);
    assert_eq!(f.refused(later).await, StoreErrorKind::Conflict);
    f.ok(Batch::new().require("t/a", ABSENT).put("t/a", bytes("2"), ABSENT)).await;
    assert_eq!(f.text("t/a").await.as_deref(), Some("2"));
    f.pass(SHORT).await;
    assert_eq!(f.text("t/a").await.as_deref(), Some("2"), "the new value has no expiry");
}

/// A lease that is renewed in time lives on; one whose key is put again never expires.
pub async fn an_expiry_can_be_renewed_and_cleared(f: Fixture) {
    f.ok(Batch::new().put("t/lease", bytes("me"), ABSENT).expire("t/lease", LONG)).await;
    f.ok(Batch::new().put("t/kept", bytes("me"), ABSENT).expire("t/kept", SHORT)).await;
    f.ok(Batch::new().put("t/cut", bytes("me"), ABSENT).expire("t/cut", LONG)).await;
    let fence = f.entry("t/lease").await.unwrap();
    f.ok(Batch::new().require("t/lease", Condition::Version(fence.version)).expire("t/lease", 2 * LONG)).await;
    let renewed = f.entry("t/lease").await.unwrap();
    assert!(renewed.expires_at > fence.expires_at);
    assert_eq!(renewed.version, fence.version);
    f.ok(Batch::new().put("t/kept", bytes("me"), ALWAYS)).await;
    f.ok(Batch::new().expire("t/cut", SHORT)).await;
    f.pass(SHORT).await;
    assert_eq!(f.text("t/kept").await.as_deref(), Some("me"));
    assert_eq!(f.text("t/lease").await.as_deref(), Some("me"));
    assert_eq!(f.text("t/cut").await, None);
    f.ok(Batch::new().put("t/far", bytes("x"), ALWAYS).expire("t/far", Duration::MAX)).await;
    assert_eq!(f.text("t/far").await.as_deref(), Some("x"), "an expiry beyond the end of time is that end");
}

/// A key that expired comes back with a larger version: the next holder's fencing token is larger.
pub async fn versions_grow_across_expiry(f: Fixture) {
    let mut last = Version(0);
    for round in 0..4 {
        let results = f.ok(Batch::new().put("t/lease", bytes("me"), ABSENT).expire("t/lease", SHORT)).await;
        let [OpResult::Written(version), OpResult::Done] = results[..] else { panic!("{results:?}") };
        assert!(version > last, "round {round}: {version:?} after {last:?}");
        last = version;
        f.pass(SHORT).await;
        let stale = Batch::new().require("t/lease", Condition::Version(version));
        assert_eq!(f.refused(stale).await, StoreErrorKind::Conflict);
    }
}

/// A counter that expired counts from 0 again, without the old expiry.
pub async fn an_expired_counter_starts_again(f: Fixture) {
    f.ok(Batch::new().add("t/n", 5, Some(5)).expire("t/n", SHORT)).await;
    f.pass(SHORT).await;
    assert_eq!(f.ok(Batch::new().add("t/n", 1, Some(5))).await, [OpResult::Added(1)]);
    assert_eq!(f.entry("t/n").await.unwrap().expires_at, None);
}
