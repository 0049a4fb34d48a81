//! Ordered walks and their cursors.

use super::*;
use crate::ports::{Scan, limits};

impl Fixture {
    async fn keys(&self, scan: Scan) -> (Vec<String>, Option<String>) {
        let page = self.store.scan(scan).await.expect("the store answers");
        let keys = page.entries.iter().map(|entry| entry.key.as_str().to_owned()).collect();
        (keys, page.next.map(|key| key.as_str().to_owned()))
    }

    async fn put_all(&self, keys: &[&str]) {
        let batch = keys.iter().fold(Batch::new(), |batch, key| batch.put(*key, bytes(key), ALWAYS));
        self.ok(batch).await;
    }
}

/// Keys come in the order of their bytes, and only those with the prefix.
pub async fn scans_are_ordered_and_stay_within_the_prefix(f: Fixture) {
    f.put_all(&["b/2", "b/10", "a", "b", "b/", "b/é", "b/z", "b/Z", "b0", "c/1", "b/\u{10ffff}", "ba"]).await;
    f.ok(Batch::new().append("b/stream", 0, events(&["e"])).put("b/gone", bytes("x"), ALWAYS)).await;
    f.ok(Batch::new().delete("b/gone", ALWAYS)).await;
    let expected = ["b/", "b/10", "b/2", "b/Z", "b/z", "b/é", "b/\u{10ffff}"].map(str::to_owned).to_vec();
    assert_eq!(f.keys(Scan::prefix("b/")).await, (expected, None));
    assert_eq!(f.keys(Scan::prefix("b/\u{10ffff}")).await.0, ["b/\u{10ffff}"]);
    assert_eq!(f.keys(Scan::prefix("b/1")).await.0, ["b/10"]);
    assert_eq!(f.keys(Scan::prefix("x")).await, (vec![], None));
    let (all, _) = f.keys(Scan::prefix("")).await;
    assert_eq!(all.len(), 12);
    assert!(all.is_sorted());
    let page = f.store.scan(Scan::prefix("c/")).await.unwrap();
    assert_eq!(Some(&page.entries[0]), f.entry("c/1").await.as_ref(), "a scan shows the same entry as a get");
}

/// Pages follow each other without gap or repeat; the last one has no cursor, or leads to an empty page.
pub async fn scans_resume_behind_their_cursor(f: Fixture) {
    let keys: Vec<String> = (0..50).map(|i| format!("t/{i:03}")).collect();
    f.put_all(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    f.put_all(&["s", "t", "u"]).await;
    for limit in [1, 7, 25, 49, 50, 51] {
        for reverse in [false, true] {
            let (mut after, mut seen) = (None, vec![]);
            loop {
                let mut scan = Scan::prefix("t/").limit(limit).after(after);
                if reverse {
                    scan = scan.reverse();
                }
                let (page, next) = f.keys(scan).await;
                assert!(page.len() <= limit);
                assert!(next.is_none() || page.last() == next.as_ref(), "the cursor is the last key of its page");
                seen.extend(page);
                match next {
                    Some(next) => after = Some(Key::from(next)),
                    None => break,
                }
            }
            if reverse {
                seen.reverse();
            }
            assert_eq!(seen, keys, "page size {limit}, reverse {reverse}");
        }
    }
}

/// A reverse walk starts at the largest key with the prefix, and a cursor means the keys before it.
pub async fn scans_go_backwards(f: Fixture) {
    f.put_all(&["t", "t/a", "t/b", "t/c", "t/\u{10ffff}x", "t0", "u"]).await;
    let (keys, next) = f.keys(Scan::prefix("t/").limit(2).reverse()).await;
    assert_eq!(keys, ["t/\u{10ffff}x", "t/c"]);
    assert_eq!(next.as_deref(), Some("t/c"));
    let (keys, next) = f.keys(Scan::prefix("t/").limit(2).reverse().after(Some("t/c".into()))).await;
    assert_eq!(keys, ["t/b", "t/a"]);
    let (keys, _) =
        f.keys(Scan::prefix("t/").limit(2).reverse().after(next.map(Key::from).or(Some("t/a".into())))).await;
    assert!(keys.is_empty());
    assert_eq!(f.keys(Scan::prefix("").limit(1).reverse()).await.0, ["u"]);
}

/// Keys that come and go between two pages neither repeat nor hide the others.
pub async fn scans_survive_writes_between_pages(f: Fixture) {
    f.put_all(&["t/b", "t/d", "t/f", "t/h"]).await;
    let (keys, next) = f.keys(Scan::prefix("t/").limit(2)).await;
    assert_eq!(keys, ["t/b", "t/d"]);
    f.put_all(&["t/a", "t/c", "t/e", "t/g"]).await;
    // The key that the cursor names is gone, too.
    f.ok(Batch::new().delete("t/d", ALWAYS).delete("t/f", ALWAYS)).await;
    let (keys, next) = f.keys(Scan::prefix("t/").limit(2).after(next.map(Key::from))).await;
    assert_eq!(keys, ["t/e", "t/g"]);
    let (keys, next) = f.keys(Scan::prefix("t/").limit(2).after(next.map(Key::from))).await;
    assert_eq!((keys, next), (vec!["t/h".to_owned()], None));

    let (keys, next) = f.keys(Scan::prefix("t/").limit(2).reverse()).await;
    assert_eq!(keys, ["t/h", "t/g"]);
    f.put_all(&["t/f", "t/i"]).await;
    let (keys, _) = f.keys(Scan::prefix("t/").limit(2).reverse().after(next.map(Key::from))).await;
    assert_eq!(keys, ["t/f", "t/e"]);
}

/// A page size outside its range is clamped, also when written into the field.
pub async fn scans_clamp_their_page_size(f: Fixture) {
    f.put_all(&["t/a", "t/b"]).await;
    let none = Scan { limit: 0, ..Scan::prefix("t/") };
    assert_eq!(f.keys(none).await, (vec!["t/a".to_owned()], Some("t/a".to_owned())));
    let many = Scan { limit: usize::MAX, ..Scan::prefix("t/") };
    assert_eq!(f.keys(many).await.0.len(), 2);
    let mut batch = Batch::new();
    for i in 0..=limits::PAGE {
        batch = batch.put(format!("many/{i:06}"), bytes("v"), ALWAYS);
    }
    f.ok(batch).await;
    let (keys, next) = f.keys(Scan { limit: usize::MAX, ..Scan::prefix("many/") }).await;
    assert_eq!(keys.len(), limits::PAGE);
    assert_eq!(next.as_ref(), keys.last());
    let (keys, next) = f.keys(Scan::prefix("many/").limit(limits::PAGE).after(next.map(Key::from))).await;
    assert_eq!((keys.len(), next), (1, None));
}

/// A cursor outside the prefix does not widen the walk.
pub async fn scans_take_any_cursor(f: Fixture) {
    f.put_all(&["s/1", "t/1", "t/2", "u/1"]).await;
    let cursor = |key: &str| Some(Key::from(key));
    assert_eq!(f.keys(Scan::prefix("t/").after(cursor("a"))).await.0, ["t/1", "t/2"]);
    assert!(f.keys(Scan::prefix("t/").after(cursor("u"))).await.0.is_empty());
    assert!(f.keys(Scan::prefix("t/").after(cursor("t/2"))).await.0.is_empty());
    assert!(f.keys(Scan::prefix("t/").reverse().after(cursor("a"))).await.0.is_empty());
    assert!(f.keys(Scan::prefix("t/").reverse().after(cursor("t/"))).await.0.is_empty());
    assert_eq!(f.keys(Scan::prefix("t/").reverse().after(cursor("u"))).await.0, ["t/2", "t/1"]);
    assert_eq!(f.keys(Scan::prefix("").after(cursor("t/1"))).await.0, ["t/2", "u/1"]);
}
