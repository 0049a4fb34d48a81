//! What every adapter of the blobs port must do, case by case.
//!
//! An adapter calls [`blobs_conformance!`](crate::blobs_conformance) in a test module, with a function that makes
//! an empty store of blobs. The suite touches nothing but the port; damage and loss of power are the adapter's own
//! to test. A case fails by panicking.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a conformance case reports by panicking, as a test does")]

use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::ports::{BlobErrorKind, BlobKey, Blobs};

/// Blobs to try.
#[must_use]
pub struct Fixture {
    blobs: Arc<dyn Blobs>,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// An empty store of blobs. One whose largest blob is a few megabytes at most is tried to its limit.
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, keep: None }
    }

    /// Keeps `guard` (a temporary directory, a server) alive for as long as the case runs.
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }

    async fn put(&self, key: &str, text: &str) {
        self.blobs.put(&self::key(key), Bytes::copy_from_slice(text.as_bytes())).await.expect("the blob is taken");
    }

    async fn text(&self, key: &str) -> Option<String> {
        let bytes = self.blobs.get(&self::key(key)).await.expect("the blob is served")?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let after = after.map(key);
        let entries = self.blobs.list(prefix, after.as_ref(), limit).await.expect("keys are listed");
        entries.into_iter().map(|entry| entry.key.to_string()).collect()
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("blobs", &self.blobs).field("guarded", &self.keep.is_some()).finish()
    }
}

impl<B: Blobs> From<Arc<B>> for Fixture {
    fn from(blobs: Arc<B>) -> Self {
        Self::new(blobs)
    }
}

/// Runs the blobs suite on what `$make` gives: a function that returns a future of a
/// [`Fixture`](crate::testing::conformance::blobs::Fixture), or of an `Arc` of blobs.
///
/// Expands to one `#[tokio::test]` per case. The calling crate needs tokio with `macros`.
#[macro_export]
macro_rules! blobs_conformance {
    ($make:expr) => {
        $crate::blobs_conformance! { @cases $make;
            what_was_put_is_read_and_described
            a_second_put_replaces_the_first
            readers_see_whole_blobs_only
            absent_blobs_are_none
            deleting_is_final_and_may_be_repeated
            illegal_keys_are_refused
            every_legal_key_names_its_own_blob
            keys_are_listed_in_byte_order
            lists_are_read_in_pages
            lists_stay_within_their_prefix
            lists_describe_what_they_name
            lists_go_on_while_blobs_come_and_go
            a_blob_that_is_too_large_is_refused
        }
    };
    (@cases $make:expr; $($case:ident)*) => {
        $(
            #[::tokio::test]
            async fn $case() {
                let make = $make;
                let fixture = $crate::testing::conformance::blobs::Fixture::from(make().await);
                $crate::testing::conformance::blobs::cases::$case(fixture).await;
            }
        )*
    };
}

/// Keys whose order, nesting and characters are apt to be got wrong. In byte order.
const KEYS: [&str; 18] = [
    "+", ".", ".hidden", "A", "[0]", "a", "a+", "a+/b", "a-b", "a.b", "a/.", "a/b", "a/b/c", "a0", "a:b", "a@b", "a_b",
    "b",
];

fn key(text: &str) -> BlobKey {
    BlobKey::parse(text).expect("the key is legal")
}

/// The cases, one function each. They are called by [`blobs_conformance!`](crate::blobs_conformance).
pub mod cases {
    #![expect(missing_docs, reason = "the name of a case says what it shows")]

    use super::*;

    pub async fn what_was_put_is_read_and_described(fixture: Fixture) {
        let blobs = &fixture.blobs;
        for (name, size) in [("empty", 0), ("one", 1), ("some", 1_000), ("many", 300_000)] {
            let bytes: Bytes = (0..size)
                .map(|index: u32| index.to_le_bytes().into_iter().fold(7, |sum: u8, byte| sum.rotate_left(1) ^ byte))
                .collect();
            let entry = blobs.put(&key(name), bytes.clone()).await.unwrap();
            assert_eq!(entry.key.as_str(), name);
            assert_eq!(entry.size, u64::from(size));
            assert_eq!(entry.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
            assert_eq!(blobs.get(&key(name)).await.unwrap(), Some(bytes));
            assert_eq!(blobs.head(&key(name)).await.unwrap(), Some(entry));
        }
    }

    pub async fn a_second_put_replaces_the_first(fixture: Fixture) {
        for text in ["first", "second, which is longer", "3rd", ""] {
            fixture.put("a/b", text).await;
            assert_eq!(fixture.text("a/b").await.as_deref(), Some(text));
            let entry = fixture.blobs.head(&key("a/b")).await.unwrap().unwrap();
            assert_eq!(entry.size, text.len() as u64);
        }
        assert_eq!(fixture.list("", None, 10).await, ["a/b"]);
    }

    pub async fn readers_see_whole_blobs_only(fixture: Fixture) {
        let fixture = Arc::new(fixture);
        let writers = (0..4_u8).map(|writer| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                for round in 0..10_usize {
                    let bytes = vec![b'a' + writer; 1 + 7_000 * usize::from(writer) + round];
                    fixture.blobs.put(&key("shared"), bytes.into()).await.unwrap();
                }
            })
        });
        let readers = (0..4).map(|_| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    if let Some(bytes) = fixture.blobs.get(&key("shared")).await.unwrap() {
                        let first = *bytes.first().expect("no writer writes nothing");
                        assert!(bytes.iter().all(|byte| *byte == first), "parts of two blobs");
                        assert_eq!((bytes.len() - 1) % 7_000 / 10, 0, "a part of a blob");
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in writers.chain(readers).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }

    pub async fn absent_blobs_are_none(fixture: Fixture) {
        fixture.put("a/b", "here").await;
        for absent in ["a", "a/b/c", "a/c", "b", "a/B"] {
            assert_eq!(fixture.blobs.get(&key(absent)).await.unwrap(), None, "{absent}");
            assert_eq!(fixture.blobs.head(&key(absent)).await.unwrap(), None, "{absent}");
        }
    }

    pub async fn deleting_is_final_and_may_be_repeated(fixture: Fixture) {
        fixture.put("a/b", "gone soon").await;
        fixture.put("a/c", "stays").await;
        fixture.put("a", "stays as well").await;
        for _ in 0..2 {
            fixture.blobs.delete(&key("a/b")).await.unwrap();
            assert_eq!(fixture.text("a/b").await, None);
            assert_eq!(fixture.blobs.head(&key("a/b")).await.unwrap(), None);
            assert_eq!(fixture.list("", None, 10).await, ["a", "a/c"]);
        }
        fixture.blobs.delete(&key("never/there")).await.unwrap();
        fixture.put("a/b", "back").await;
        assert_eq!(fixture.text("a/b").await.as_deref(), Some("back"));
    }

    pub async fn illegal_keys_are_refused(_: Fixture) {
        let long = "x".repeat(BlobKey::MAX_BYTES + 1);
        for illegal in
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a..b", "a b", "a\\b", "a\0", "ä", "a%2Fb", "a~", &long]
        {
            assert_eq!(BlobKey::parse(illegal).unwrap_err().kind(), BlobErrorKind::Invalid, "{illegal:?}");
        }
        assert!(BlobKey::parse(&"x".repeat(BlobKey::MAX_BYTES)).is_ok());
    }

    pub async fn every_legal_key_names_its_own_blob(fixture: Fixture) {
        let long = "x".repeat(BlobKey::MAX_BYTES);
        let longest_but_one = "x".repeat(BlobKey::MAX_BYTES - 1);
        let special = "@:[]+".repeat(100);
        let deep = ["d"; 200].join("/");
        let keys = || KEYS.into_iter().chain([&*long, &*longest_but_one, &*special, &*deep]);
        for text in keys() {
            fixture.put(text, text).await;
        }
        for text in keys() {
            assert_eq!(fixture.text(text).await.as_deref(), Some(text));
        }
        let mut expected: Vec<_> = keys().collect();
        expected.sort_unstable();
        assert_eq!(fixture.list("", None, 100).await, expected);
        for text in keys() {
            fixture.blobs.delete(&key(text)).await.unwrap();
            assert_eq!(fixture.text(text).await, None);
        }
        assert!(fixture.list("", None, 100).await.is_empty());
    }

    pub async fn keys_are_listed_in_byte_order(fixture: Fixture) {
        for text in KEYS.iter().rev() {
            fixture.put(text, text).await;
        }
        assert_eq!(fixture.list("", None, 100).await, KEYS);
    }

    pub async fn lists_are_read_in_pages(fixture: Fixture) {
        for text in KEYS {
            fixture.put(text, text).await;
        }
        for limit in [1, 3, 17, 18, 19] {
            let mut walked: Vec<String> = Vec::new();
            loop {
                let page = fixture.list("", walked.last().map(String::as_str), limit).await;
                assert!(page.len() <= limit, "{} entries, at most {limit} were asked for", page.len());
                if page.is_empty() {
                    break;
                }
                walked.extend(page);
            }
            assert_eq!(walked, KEYS, "pages of {limit}");
        }
        assert!(fixture.list("", None, 0).await.is_empty());
        assert_eq!(fixture.list("", None, usize::MAX).await, KEYS, "a limit beyond the bound is no error");
    }

    pub async fn lists_stay_within_their_prefix(fixture: Fixture) {
        for text in KEYS {
            fixture.put(text, text).await;
        }
        for prefix in ["", "a", "a/", "a/b", "a+", ".", "a/b/", "b", "zz", "a:", "A"] {
            for after in [None, Some("+"), Some("a"), Some("a/"), Some("a/b"), Some("a.c"), Some("zzz")] {
                let after = after.filter(|after| BlobKey::parse(after).is_ok());
                let wanted = |text: &&str| text.starts_with(prefix) && after.is_none_or(|after| *text > after);
                let expected: Vec<_> = KEYS.into_iter().filter(wanted).collect();
                assert_eq!(fixture.list(prefix, after, 100).await, expected, "`{prefix}` behind {after:?}");
            }
        }
    }

    pub async fn lists_describe_what_they_name(fixture: Fixture) {
        let mut expected = Vec::new();
        for text in ["a", "b/c", "d"] {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            expected.push(fixture.blobs.put(&key(text), bytes).await.unwrap());
        }
        assert_eq!(fixture.blobs.list("", None, 10).await.unwrap(), expected);
    }

    pub async fn lists_go_on_while_blobs_come_and_go(fixture: Fixture) {
        let fixture = Arc::new(fixture);
        for index in 0..20 {
            fixture.put(&format!("steady/{index:02}"), "stays").await;
        }
        let changer = tokio::spawn({
            let fixture = fixture.clone();
            async move {
                for round in 0..40 {
                    let name = format!("steady/{:02}/changing", round % 20);
                    fixture.put(&name, "comes").await;
                    tokio::task::yield_now().await;
                    fixture.blobs.delete(&key(&name)).await.unwrap();
                }
            }
        });
        while !changer.is_finished() {
            let mut listed = fixture.list("steady/", None, 100).await;
            assert!(listed.is_sorted());
            listed.retain(|text| !text.ends_with("changing"));
            assert_eq!(listed.len(), 20, "what stays is always seen");
            tokio::task::yield_now().await;
        }
        changer.await.unwrap();
    }

    pub async fn a_blob_that_is_too_large_is_refused(fixture: Fixture) {
        let max = fixture.blobs.max_bytes();
        if max > 16 << 20 {
            // Too much to try; the adapter's own tests open it with a lower limit.
            return;
        }
        let max = usize::try_from(max).unwrap();
        fixture.blobs.put(&key("a"), vec![1; max].into()).await.expect("the largest is taken");
        let refused = fixture.blobs.put(&key("a"), vec![2; max + 1].into()).await;
        assert_eq!(refused.unwrap_err().kind(), BlobErrorKind::TooLarge);
        let kept = fixture.blobs.get(&key("a")).await.unwrap().expect("it is still there");
        assert!(kept.len() == max && kept.iter().all(|byte| *byte == 1), "the old blob is left alone");
    }
}
