//! What every adapter of the store port must do, case by case.
//!
//! An adapter calls [`store_conformance!`](crate::store_conformance) in a test module, with a function that makes
//! an empty store. The suite touches nothing but the port; what it cannot see from there (loss of power, damaged
//! files) is the adapter's own to test. A case fails by panicking. The model case prints its seed; `CORETEX_SEED`
//! replays it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a conformance case reports by panicking, as a test does"
)]

use std::{any::Any, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::ports::{Batch, Condition, Entry, Key, Op, OpResult, Receipt, Store, StoreError, StoreErrorKind, Version};

/// The cases, one function each. They are called by [`store_conformance!`](crate::store_conformance).
pub mod cases;

mod batches;
mod expiry;
mod groups;
mod model;
mod scans;
mod streams;
mod watching;

/// Moves the store's clock.
pub type Advance = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// An empty store to try, with what the suite needs beside it.
#[must_use]
pub struct Fixture {
    store: Arc<dyn Store>,
    advance: Option<Advance>,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// A store whose clock is the real one: cases that need time to pass wait for it.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, advance: None, keep: None }
    }

    /// Says how the store's clock is moved, so that no case has to wait.
    pub fn with_advance(mut self, advance: Advance) -> Self {
        self.advance = Some(advance);
        self
    }

    /// Keeps `guard` (a temporary directory, a server) alive for as long as the case runs.
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }

    /// Lets `time` pass by the store's clock.
    async fn pass(&self, time: Duration) {
        if let Some(advance) = &self.advance {
            return advance(time).await;
        }
        let end = crate::ports::expiry_after(self.store.now().await.unwrap(), time);
        while self.store.now().await.unwrap() <= end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("store", &self.store)
            .field("advances", &self.advance.is_some())
            .field("guarded", &self.keep.is_some())
            .finish()
    }
}

impl<S: Store> From<Arc<S>> for Fixture {
    fn from(store: Arc<S>) -> Self {
        Self::new(store)
    }
}

impl From<Arc<dyn Store>> for Fixture {
    fn from(store: Arc<dyn Store>) -> Self {
        Self::new(store)
    }
}

/// Runs the store suite on what `$make` gives: a function that returns a future of a
/// [`Fixture`](crate::testing::conformance::store::Fixture), or of an `Arc` of a store.
///
/// Expands to one `#[tokio::test]` per case. The calling crate needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($make:expr) => {
        $crate::store_conformance! { @cases $make;
            a_batch_is_applied_whole_or_not_at_all
            every_operation_can_refuse_its_batch
            conditions_see_earlier_operations_of_the_batch
            conditions_are_judged_by_version_and_absence
            a_put_clears_the_expiry_and_an_add_keeps_it
            versions_grow_across_deletion_and_recreation
            counters_add_up_and_stop_at_their_ceiling
            a_counter_can_be_asked_and_left_alone_in_one_batch
            counters_refuse_values_that_are_no_numbers
            limits_are_enforced
            an_empty_batch_succeeds
            a_view_is_read_like_any_other_write
            each_batch_of_a_group_fails_alone
            a_refused_batch_leaves_nothing_for_the_next_of_its_group
            a_group_is_judged_in_order
            concurrent_adds_reach_the_ceiling_and_never_pass_it
            concurrent_creators_agree_on_one_winner
            concurrent_appends_have_no_gap_and_no_loss
            calls_are_applied_in_the_order_of_their_first_poll
            reads_see_what_was_acknowledged
            appends_check_the_head
            streams_and_values_have_separate_names
            streams_are_read_in_pages_by_count
            streams_are_read_in_pages_by_bytes
            reading_beyond_a_stream_finds_nothing
            a_trim_removes_events_and_keeps_the_head
            a_trim_beyond_the_head_spares_later_events
            scans_are_ordered_and_stay_within_the_prefix
            scans_resume_behind_their_cursor
            scans_go_backwards
            scans_survive_writes_between_pages
            scans_clamp_their_page_size
            scans_take_any_cursor
            expired_keys_read_as_absent
            an_expiry_can_be_renewed_and_cleared
            versions_grow_across_expiry
            an_expired_counter_starts_again
            watchers_hear_changes_in_commit_order
            watchers_hear_only_their_prefix
            watchers_hear_nothing_of_refused_batches
            a_slow_watcher_is_told_that_it_lagged
            a_closed_store_answers_closed
            a_random_history_agrees_with_the_model
        }
    };
    (@cases $make:expr; $($case:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let make = $make;
                let fixture = $crate::testing::conformance::store::Fixture::from(make().await);
                $crate::testing::conformance::store::cases::$case(fixture).await;
            }
        )*
    };
}

const ALWAYS: Condition = Condition::Always;
const ABSENT: Condition = Condition::Absent;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn events(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| bytes(text)).collect()
}

/// The few things that cases do all the time.
impl Fixture {
    async fn commit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        let mut answers = self.store.commit(vec![batch]).await;
        assert_eq!(answers.len(), 1, "one answer per batch");
        answers.remove(0)
    }

    async fn ok(&self, batch: Batch) -> Vec<OpResult> {
        self.commit(batch).await.expect("the batch is legal and its conditions hold").results
    }

    async fn refused(&self, batch: Batch) -> StoreErrorKind {
        match self.commit(batch).await {
            Ok(receipt) => panic!("the batch should have been refused, but gave {receipt:?}"),
            Err(error) => error.kind(),
        }
    }

    /// Puts, and returns the new version.
    async fn put(&self, key: &str, value: &str) -> Version {
        match self.ok(Batch::new().put(key, bytes(value), ALWAYS)).await[..] {
            [OpResult::Written(version)] => version,
            ref other => panic!("a put answers with a version, not {other:?}"),
        }
    }

    async fn entry(&self, key: &str) -> Option<Entry> {
        self.store.get(&Key::from(key)).await.expect("the store answers")
    }

    async fn text(&self, key: &str) -> Option<String> {
        self.entry(key).await.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    }

    /// The whole of a stream: number of the first event, events, head.
    async fn stream(&self, stream: &str) -> (u64, Vec<String>, u64) {
        let page = self.store.read(&Key::from(stream), 1, usize::MAX).await.expect("the store answers");
        let events: Vec<_> = page.events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        (if events.is_empty() { 0 } else { page.first }, events, page.head)
    }

    /// Everything under a prefix, as one string that tells two states apart.
    async fn dump(&self, prefix: &str, streams: &[&str]) -> String {
        let page = self.store.scan(crate::ports::Scan::prefix(prefix)).await.expect("the store answers");
        let mut out = String::new();
        for entry in page.entries {
            out += &format!("{entry:?}\n");
        }
        for stream in streams {
            out += &format!("{stream}: {:?}\n", self.stream(stream).await);
        }
        out
    }
}

fn any_append(stream: &str, texts: &[&str]) -> Op {
    Op::Append { stream: stream.into(), expected: crate::ports::Expected::Any, events: events(texts) }
}
