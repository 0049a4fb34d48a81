//! Appending, reading in pages, trimming.

use super::*;
use crate::ports::limits;

/// An append expects a head and is refused when it is another; the answer is the new head.
pub async fn appends_check_the_head(f: Fixture) {
    assert_eq!(f.ok(Batch::new().append("t/s", 0, events(&["a", "b"]))).await, [OpResult::Appended(2)]);
    for wrong in [0, 1, 3, u64::MAX] {
        assert_eq!(f.refused(Batch::new().append("t/s", wrong, events(&["x"]))).await, StoreErrorKind::Conflict);
    }
    assert_eq!(f.refused(Batch::new().append("t/none", 1, events(&["x"]))).await, StoreErrorKind::Conflict);
    assert_eq!(f.ok(Batch::new().append("t/s", 2, events(&["c"]))).await, [OpResult::Appended(3)]);
    let mut anywhere = Batch::new();
    anywhere.push(any_append("t/s", &["d"]));
    assert_eq!(f.ok(anywhere).await, [OpResult::Appended(4)]);
    assert_eq!(f.stream("t/s").await, (1, ["a", "b", "c", "d"].map(str::to_owned).to_vec(), 4));
}

/// A stream and a value may have the same name and know nothing of each other.
pub async fn streams_and_values_have_separate_names(f: Fixture) {
    f.ok(Batch::new().append("t/x", 0, events(&["e"]))).await;
    assert_eq!(f.entry("t/x").await, None);
    f.ok(Batch::new().put("t/x", bytes("v"), ABSENT)).await;
    f.ok(Batch::new().delete("t/x", ALWAYS)).await;
    assert_eq!(f.stream("t/x").await, (1, vec!["e".to_owned()], 1));
    assert_eq!(f.dump("t/", &[]).await, "");
}

/// Pages follow each other without gap or repeat, and each tells the head.
pub async fn streams_are_read_in_pages_by_count(f: Fixture) {
    let texts: Vec<String> = (1..=95).map(|i| format!("event {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Appended in uneven pieces, as adapters may keep them in pieces.
    for (head, piece) in [(0, 0..1), (1, 1..40), (40, 40..41), (41, 41..95)] {
        f.ok(Batch::new().append("t/s", head, events(&texts[piece]))).await;
    }
    f.ok(Batch::new().append("t/sneighbour", 0, events(&["other"]))).await;
    let key = Key::from("t/s");
    for limit in [1, 7, 40, 95, 1_000] {
        let (mut from, mut seen) = (1, vec![]);
        loop {
            let page = f.store.read(&key, from, limit).await.unwrap();
            assert_eq!(page.head, 95);
            assert!(page.events.len() <= limit);
            if page.events.is_empty() {
                break;
            }
            assert_eq!(page.first, from);
            from += page.events.len() as u64;
            seen.extend(page.events);
        }
        assert_eq!(seen, events(&texts), "page size {limit}");
    }
    let zero = f.store.read(&key, 0, 0).await.unwrap();
    assert_eq!((zero.first, zero.events), (1, events(&["event 1"])), "0 is taken as 1");
}

/// A page ends before it passes the byte limit, but always has one event.
pub async fn streams_are_read_in_pages_by_bytes(f: Fixture) {
    let half = Bytes::from(vec![b'h'; limits::PAGE_BYTES / 2]);
    let full = Bytes::from(vec![b'f'; limits::PAGE_BYTES]);
    let small = bytes("small");
    for (head, event) in [(0, &small), (1, &full), (2, &half), (3, &half), (4, &small)] {
        f.ok(Batch::new().append("t/s", head, vec![event.clone()])).await;
    }
    let key = Key::from("t/s");
    for (from, count) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 1)] {
        let page = f.store.read(&key, from, 100).await.unwrap();
        assert_eq!((page.first, page.events.len(), page.head), (from, count, 5), "from {from}");
    }
}

/// Reading a stream that is not there, or behind its head, is no error.
pub async fn reading_beyond_a_stream_finds_nothing(f: Fixture) {
    let page = f.store.read(&Key::from("t/none"), 1, 10).await.unwrap();
    assert_eq!((page.events.len(), page.head), (0, 0));
    f.ok(Batch::new().append("t/s", 0, events(&["a"]))).await;
    for from in [2, 3, u64::MAX] {
        let page = f.store.read(&Key::from("t/s"), from, 10).await.unwrap();
        assert_eq!((page.events.len(), page.head), (0, 1), "from {from}");
    }
}

/// Trimmed events are gone, the others keep their numbers, and the head stays for appends to expect.
pub async fn a_trim_removes_events_and_keeps_the_head(f: Fixture) {
    f.ok(Batch::new().append("t/s", 0, events(&["a", "b", "c", "d"]))).await;
    for before in [0, 1] {
        assert_eq!(f.ok(Batch::new().trim("t/s", before)).await, [OpResult::Done]);
        assert_eq!(f.stream("t/s").await.0, 1, "nothing lies below {before}");
    }
    f.ok(Batch::new().trim("t/s", 3)).await;
    assert_eq!(f.stream("t/s").await, (3, events_text(&["c", "d"]), 4));
    f.ok(Batch::new().trim("t/s", 2)).await;
    assert_eq!(f.stream("t/s").await.0, 3, "a trim never brings events back");
    let page = f.store.read(&Key::from("t/s"), 4, 10).await.unwrap();
    assert_eq!((page.first, page.events), (4, events(&["d"])));
    f.ok(Batch::new().append("t/s", 4, events(&["e"])).trim("t/s", 5).append("t/s", 5, events(&["f"]))).await;
    assert_eq!(f.stream("t/s").await, (5, events_text(&["e", "f"]), 6));
    f.ok(Batch::new().trim("t/s", 7)).await;
    assert_eq!(f.stream("t/s").await, (0, vec![], 6));
    assert_eq!(f.refused(Batch::new().append("t/s", 0, events(&["x"]))).await, StoreErrorKind::Conflict);
    f.ok(Batch::new().append("t/s", 6, events(&["g"]))).await;
    assert_eq!(f.stream("t/s").await, (7, events_text(&["g"]), 7));
    f.ok(Batch::new().trim("t/none", 9)).await;
    assert_eq!(f.stream("t/none").await, (0, vec![], 0));
}

/// A trim concerns what exists; events appended later are kept, even with numbers below its bound.
pub async fn a_trim_beyond_the_head_spares_later_events(f: Fixture) {
    f.ok(Batch::new().append("t/s", 0, events(&["a", "b"]))).await;
    f.ok(Batch::new().trim("t/s", u64::MAX)).await;
    f.ok(Batch::new().append("t/s", 2, events(&["c"]))).await;
    assert_eq!(f.stream("t/s").await, (3, events_text(&["c"]), 3));
}

fn events_text(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
