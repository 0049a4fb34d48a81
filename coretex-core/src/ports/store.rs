//! The store port: one conditional, atomic, durable batch as the only way to write.
//!
//! # Contract for implementors
//!
//! * **Batch.** All operations of a [`Batch`] happen or none does. Conditions are judged in order against the
//!   state that includes the earlier operations of the same batch.
//! * **Group.** [`Store::commit`] takes several batches. Each is judged in order, against a state that includes
//!   the accepted batches before it, and fails alone. The group shares one flush. An `Ok` receipt means durable.
//! * **Order of calls.** Two calls are applied in the order in which their futures were first polled. Several calls may
//!   be out at once; those that wait together should share a flush.
//! * **Reads** are linearizable per key: a read that starts after a commit was answered sees it, whatever the
//!   [`WriteClass`] of the write. A read never shows a batch that is not durable.
//! * **Versions** of a key only grow, also across deletion, expiry and re-creation, so that a version serves as
//!   a fencing token. They are not dense and not comparable between keys.
//! * **Streams** are sequences of events numbered from 1; the head is the number of the last one, 0 if none.
//!   Trimming removes events and never lowers the head.
//! * **Expiry** is judged by the store's own clock ([`Store::now`]), which never runs backwards; an expired key
//!   reads as absent at once and stays so.
//! * **Failure.** [`StoreErrorKind::Unavailable`] means that the outcome is unknown: the batch may have been
//!   applied. Every other kind means that nothing of the batch was applied.
//! * `Clone` of a handle (adapters are usually behind `Arc`) shares the store.

use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// Bounds that every adapter enforces in the same way.
pub mod limits {
    /// Longest key, in bytes of UTF-8.
    pub const KEY_BYTES: usize = 512;
    /// Largest value or event, in bytes.
    pub const VALUE_BYTES: usize = 16 << 20;
    /// Most operations in one batch.
    pub const BATCH_OPS: usize = 100_000;
    /// Largest page of a scan or of a stream read, in entries.
    pub const PAGE: usize = 10_000;
    /// Largest page of a stream read, in bytes of events (at least one event is always returned).
    pub const PAGE_BYTES: usize = 16 << 20;
    /// Changes that a slow watcher may be behind before it is told that it lagged.
    pub const CHANGES: usize = 1_024;
}

/// Name of a value or of a stream: 1 to 512 bytes of UTF-8 without control characters.
///
/// By convention slash-separated, the first segment naming the kind of thing (`runs/…`, `approvals/…`), so that
/// adapters can give each kind its own table. Ordered by bytes. Cheap to clone. Values and streams live in
/// separate name spaces.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Wraps `text`. Whether it is a legal key is judged when a batch that names it is committed.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment: what kind of thing the key names.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Whether the key may be used.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when it is empty, longer than [`limits::KEY_BYTES`], or holds a control
    /// character.
    pub fn check(&self) -> Result<(), StoreError> {
        let text = self.as_str();
        if text.is_empty() {
            return Err(StoreError::invalid("a key is empty"));
        }
        if text.len() > limits::KEY_BYTES {
            return Err(StoreError::invalid(format!(
                "key `{}…` has {} bytes; at most {} are allowed",
                text.chars().take(40).collect::<String>(),
                text.len(),
                limits::KEY_BYTES
            )));
        }
        // All of them are below `~`, or begin with a byte that no printable ASCII text has. Every byte is looked at, which
        // takes many at once.
        let is_plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
        if !is_plain && text.chars().any(char::is_control) {
            return Err(StoreError::invalid(format!("key `{}` holds a control character", text.escape_debug())));
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Version of a key: opaque, growing with every write of that key, never reused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What must hold for an operation, and with it the whole batch, to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key has no value.
    Absent,
    /// The key has a value, at exactly this version.
    Version(Version),
}

/// What must hold of a stream for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: append wherever the head is.
    Any,
    /// The head is exactly this.
    Head(u64),
}

/// How much the caller depends on a write.
///
/// Both are visible to every read once the batch is acknowledged. A `View` can be rebuilt from exact records, so
/// an adapter that owns its disk alone may write it later and lose it in a crash *only if* it recovers it from its
/// own log; shared databases write both in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WriteClass {
    /// The record itself: durable when acknowledged.
    #[default]
    Exact,
    /// A fold of other records: may be coalesced.
    View,
}

/// One operation of a batch.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes nothing; the batch is refused unless `condition` holds. This is how a fencing token is checked.
    Require {
        /// The key to look at.
        key: Key,
        /// What must hold.
        condition: Condition,
    },
    /// Appends `events`, in order, to `stream`.
    Append {
        /// The stream.
        stream: Key,
        /// What must hold of its head.
        expected: Expected,
        /// One or more events; by convention JSON.
        events: Vec<Bytes>,
    },
    /// Sets the value of `key` and clears its expiry.
    Put {
        /// The key.
        key: Key,
        /// The value; by convention JSON.
        value: Bytes,
        /// What must hold.
        condition: Condition,
        /// How much the caller depends on it.
        class: WriteClass,
    },
    /// Removes `key`; removing an absent key is fine under [`Condition::Always`].
    Delete {
        /// The key.
        key: Key,
        /// What must hold.
        condition: Condition,
        /// How much the caller depends on it.
        class: WriteClass,
    },
    /// Adds `delta` to the counter at `key` (absent counts as 0). Commutative: two adds never conflict. The
    /// batch is refused with [`StoreErrorKind::Ceiling`] when `delta` is positive and the sum would pass
    /// `ceiling`, or when the sum leaves 64 bits; as a conflict when the value is not a decimal integer. The value
    /// reads as a decimal integer, gets a new version and keeps its expiry.
    Add {
        /// The key.
        key: Key,
        /// The change; may be negative.
        delta: i64,
        /// The largest sum allowed.
        ceiling: Option<i64>,
    },
    /// Lets `key` expire `after` from now by the store's clock. Refused as a conflict if the key is absent. The
    /// version stays: renewing a lease does not change its fencing token.
    Expire {
        /// The key.
        key: Key,
        /// How long it still lives.
        after: Duration,
    },
    /// Removes the events of `stream` numbered below `before` that exist now. The head stays. Not announced.
    Trim {
        /// The stream.
        stream: Key,
        /// The first number that is kept.
        before: u64,
    },
}

/// A unit of change: applied whole or not at all.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// An empty batch; committing it succeeds and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The operations, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The operations, by value.
    #[must_use]
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Adds any operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Adds [`Op::Require`].
    pub fn require(mut self, key: impl Into<Key>, condition: Condition) -> Self {
        self.ops.push(Op::Require { key: key.into(), condition });
        self
    }

    /// Adds [`Op::Append`] that expects `head`.
    pub fn append(mut self, stream: impl Into<Key>, head: u64, events: Vec<Bytes>) -> Self {
        self.ops.push(Op::Append { stream: stream.into(), expected: Expected::Head(head), events });
        self
    }

    /// Adds an exact [`Op::Put`].
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>, condition: Condition) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), condition, class: WriteClass::Exact });
        self
    }

    /// Adds an unconditional [`Op::Put`] of a view.
    pub fn put_view(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
            condition: Condition::Always,
            class: WriteClass::View,
        });
        self
    }

    /// Adds an exact [`Op::Delete`].
    pub fn delete(mut self, key: impl Into<Key>, condition: Condition) -> Self {
        self.ops.push(Op::Delete { key: key.into(), condition, class: WriteClass::Exact });
        self
    }

    /// Adds [`Op::Add`].
    pub fn add(mut self, key: impl Into<Key>, delta: i64, ceiling: Option<i64>) -> Self {
        self.ops.push(Op::Add { key: key.into(), delta, ceiling });
        self
    }

    /// Adds [`Op::Expire`].
    pub fn expire(mut self, key: impl Into<Key>, after: Duration) -> Self {
        self.ops.push(Op::Expire { key: key.into(), after });
        self
    }

    /// Adds [`Op::Trim`].
    pub fn trim(mut self, stream: impl Into<Key>, before: u64) -> Self {
        self.ops.push(Op::Trim { stream: stream.into(), before });
        self
    }

    /// Judges everything that does not depend on the state: keys, sizes, counts. Adapters call it first.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`], naming what is wrong.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.ops.len() > limits::BATCH_OPS {
            return Err(StoreError::invalid(format!(
                "a batch has {} operations; at most {} are allowed",
                self.ops.len(),
                limits::BATCH_OPS
            )));
        }
        for op in &self.ops {
            let (key, sizes) = match op {
                Op::Append { stream, events, .. } => {
                    if events.is_empty() {
                        return Err(StoreError::invalid(format!("append to `{stream}` carries no event")));
                    }
                    (stream, events.iter().map(Bytes::len).max().unwrap_or(0))
                }
                Op::Put { key, value, .. } => (key, value.len()),
                Op::Require { key, .. } | Op::Delete { key, .. } | Op::Add { key, .. } | Op::Expire { key, .. } => {
                    (key, 0)
                }
                Op::Trim { stream, .. } => (stream, 0),
            };
            key.check()?;
            if sizes > limits::VALUE_BYTES {
                return Err(StoreError::invalid(format!(
                    "`{key}` carries {sizes} bytes; at most {} are allowed",
                    limits::VALUE_BYTES
                )));
            }
        }
        Ok(())
    }
}

/// What one operation of an accepted batch led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// Nothing to report ([`Op::Require`], [`Op::Delete`], [`Op::Expire`], [`Op::Trim`]).
    Done,
    /// The head of the stream after the append.
    Appended(u64),
    /// The key's new version.
    Written(Version),
    /// The counter after the addition.
    Added(i64),
}

/// Proof that a batch is durable: one result per operation, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Results in the order of [`Batch::ops`].
    pub results: Vec<OpResult>,
}

/// A value as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its bytes.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
    /// When it expires, by the store's clock.
    pub expires_at: Option<Timestamp>,
}

/// An ordered walk over the keys that start with a prefix.
#[derive(Clone, Debug)]
#[must_use]
pub struct Scan {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys strictly after this one (before it, when `reverse`).
    pub after: Option<Key>,
    /// Most entries to return, 1 to [`limits::PAGE`].
    pub limit: usize,
    /// Descending order.
    pub reverse: bool,
}

impl Scan {
    /// Ascending from the start, 1,000 entries a page.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), after: None, limit: 1_000, reverse: false }
    }

    /// Continues behind `key`, as given by [`Page::next`].
    pub fn after(mut self, key: Option<Key>) -> Self {
        self.after = key;
        self
    }

    /// Sets the page size; it is clamped to 1 to [`limits::PAGE`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, limits::PAGE);
        self
    }

    /// Walks from the largest key down.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

/// One page of a scan.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The entries in order.
    pub entries: Vec<Entry>,
    /// Where to go on, if there may be more.
    pub next: Option<Key>,
}

/// Part of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamPage {
    /// Number of the first event returned; meaningless when there is none. Larger than what was asked for when
    /// the stream was trimmed.
    pub first: u64,
    /// The events in order, without gaps.
    pub events: Vec<Bytes>,
    /// The head of the stream when it was read; 0 if the stream never had an event.
    pub head: u64,
}

/// Something that a watcher asked for has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put, deleted, added to or given an expiry. Expiry itself, and deleting what is absent, is not
    /// announced.
    Value(Key),
    /// A stream has a new head.
    Stream(Key, u64),
    /// The watcher was too slow; it must read again whatever it follows.
    Lagged,
}

/// Changes under one prefix, in commit order, from the moment of [`Store::watch`] on. Dropping it ends the watch.
#[derive(Debug)]
#[must_use]
pub struct Changes {
    receiver: mpsc::Receiver<Change>,
    lagged: Arc<std::sync::atomic::AtomicBool>,
}

impl Changes {
    /// The next change; `None` when the store is closed.
    pub async fn next(&mut self) -> Option<Change> {
        if self.receiver.is_empty() && self.lagged.swap(false, std::sync::atomic::Ordering::AcqRel) {
            return Some(Change::Lagged);
        }
        self.receiver.recv().await
    }
}

/// The adapter's end of a [`Changes`].
#[derive(Clone, Debug)]
pub struct ChangeSender {
    sender: mpsc::Sender<Change>,
    lagged: Arc<std::sync::atomic::AtomicBool>,
}

impl ChangeSender {
    /// Offers a change without waiting; false when the watcher is gone and can be forgotten.
    ///
    /// From the first change that does not fit until the watcher has heard [`Change::Lagged`], changes are left
    /// out, so that what it hears after the marker has no gap.
    #[must_use]
    pub fn offer(&self, change: Change) -> bool {
        use mpsc::error::TrySendError::{Closed, Full};
        if self.lagged.load(std::sync::atomic::Ordering::Acquire) {
            return !self.sender.is_closed();
        }
        let Err(refused) = self.sender.try_send(change) else { return true };
        let Full(change) = refused else { return false };
        self.lagged.store(true, std::sync::atomic::Ordering::Release);
        // The watcher may have emptied the channel before the mark was set and be asleep now: this wakes it.
        !matches!(self.sender.try_send(change), Err(Closed(_)))
    }
}

/// Makes a bounded pair for [`Store::watch`].
pub fn change_channel() -> (ChangeSender, Changes) {
    let (sender, receiver) = mpsc::channel(limits::CHANGES);
    let lagged = Arc::new(std::sync::atomic::AtomicBool::new(false));
    (ChangeSender { sender, lagged: lagged.clone() }, Changes { receiver, lagged })
}

/// What sets one adapter apart from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Short name for messages and metrics: `memory`, `embedded`, `postgres`.
    pub name: &'static str,
    /// Acknowledged writes survive the end of the process and loss of power.
    pub durable: bool,
    /// This process alone owns the data; nobody else can write.
    pub single_process: bool,
}

impl Capabilities {
    /// Describes an adapter.
    #[must_use]
    pub const fn new(name: &'static str, durable: bool, single_process: bool) -> Self {
        Self { name, durable, single_process }
    }
}

/// The durable truth. See the [module page](self) for the contract.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What this adapter offers.
    fn capabilities(&self) -> Capabilities;

    /// The store's clock, which judges expiry.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Applies `batches` in order, each whole or not at all, under one flush. One result per batch, in order.
    async fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Receipt, StoreError>>;

    /// The value at `key`, or `None`.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// One page of an ordered walk.
    async fn scan(&self, scan: Scan) -> Result<Page, StoreError>;

    /// Events of `stream` from number `from` (at least 1) on, at most `limit` (clamped to [`limits::PAGE`]) and
    /// [`limits::PAGE_BYTES`].
    async fn read(&self, stream: &Key, from: u64, limit: usize) -> Result<StreamPage, StoreError>;

    /// Announces changes of the values and streams whose name starts with `prefix`.
    async fn watch(&self, prefix: &str) -> Result<Changes, StoreError>;

    /// Makes what is acknowledged quick to open again, and releases the data. Later calls answer
    /// [`StoreErrorKind::Closed`]. Closing twice is fine.
    async fn close(&self) -> Result<(), StoreError>;
}

/// Why a store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// A condition did not hold. Nothing of the batch was applied.
    Conflict,
    /// An addition would pass its ceiling. Nothing of the batch was applied.
    Ceiling,
    /// The request is not legal, whatever the state.
    Invalid,
    /// The backend did not answer, or failed half-way: **the outcome is unknown**.
    Unavailable,
    /// The disk or quota is full. Nothing of the batch was applied.
    Full,
    /// Stored data is damaged. It is named and not served.
    Corrupt,
    /// Another process owns the data directory.
    Locked,
    /// The data was written by a version that this one does not read.
    Format,
    /// The store was closed, or closed itself after a failure of the disk.
    Closed,
    /// The adapter does not offer this.
    Unsupported,
}

impl StoreErrorKind {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Conflict => "store_conflict",
            Self::Ceiling => "store_ceiling",
            Self::Invalid => "store_invalid",
            Self::Unavailable => "store_unavailable",
            Self::Full => "store_full",
            Self::Corrupt => "store_corrupt",
            Self::Locked => "store_locked",
            Self::Format => "store_format",
            Self::Closed => "store_closed",
            Self::Unsupported => "store_unsupported",
        }
    }
}

/// An error of the store port.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `kind`; `message` says what happened and what to do.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// [`StoreErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Conflict, message)
    }

    /// [`StoreErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Invalid, message)
    }

    /// [`StoreErrorKind::Closed`].
    pub fn closed(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Closed, message)
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Full)
    }

    /// Whether the batch may have been applied in spite of the error.
    #[must_use]
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable)
    }
}
