//! Where everything lies in the store. One function per kind of record, nowhere else.
//!
//! | key | holds | lives |
//! |---|---|---|
//! | stream `run/<id>`, `job/<id>` | the events: the truth | until deleted |
//! | `hot/<kind>/<id>` | wake source: a worker has one of its jobs | while that is so |
//! | `timers/<due>/<kind>/<id>` | wake source: its earliest timer | while it waits for nothing else |
//! | `approvals/<tenant>/<id>` | a question that waits for a human | while it waits |
//! | `outbox/<kind>/<id>/<head>/<n>` | an effect that may not have happened yet | until it has |
//! | `definitions/<digest>`, `workflows/<id>` | definitions by content and by name | until deleted |
//! | `versions/<workflow>/<n>`, `version-of/<workflow>/<digest>` | what was stored under a name, and its number | until pruned |
//! | `pins/<digest>` | counter: runs that pin the definition; `pruned` when it was removed | with the definition |
//! | `runs/<id>` | what lists show (view) | with the run |
//! | `runs-at/<tenant>/<µs>/<id>`, `runs-of/<workflow>/<µs>/<id>` | runs by creation (view) | with the run |
//! | `by-status/<tenant>/<shelf>/<µs>/<id>` | runs by status (view): `live`, `waiting` besides, or how they ended | with the run |
//! | `by-label/<tenant>/<hash>/<µs>/<id>` | runs by label (view) | with the run |
//! | `live-of/<workflow>/<digest>/<run>` | runs that have not ended, by what they pin | while that is so |
//! | `snapshots/<kind>/<id>` | a state at some event (view) | with the aggregate |
//! | `restarts/<run>` | a run that is to be restarted, and as what | until it is |
//! | `blob-refs/<digest>/<kind>/<id>`, `blobs-of/<kind>/<id>/<digest>` | who needs a pinned output | with the aggregate |
//! | `jobs-ended/<µs>/<job>` | how a job that was submitted by itself ended, by when | with the job |
//! | `dlq/<job>`, `dlq-by-time/<µs>/<job>` | jobs given up | until retried or deleted |
//! | `dlq-of/<tenant>/<µs>/<job>`, `dlq-by/<tenant>/<hash>/<µs>/<job>` | those of a tenant; by fingerprint, code, topic, workflow, run | with the letter |
//! | `dlq-groups/<tenant>/<fingerprint>`, `dlq-counts/<tenant>/<fingerprint>` | letters of one kind: what they share; how many there are | while there is one |
//! | `dlq-retried/<job>` | what became of one that was tried again, with the letter | thirty days |
//! | `slots/<tenant>/<gate>/<run>`, `slots-taken/<tenant>/<gate>` | a place under a concurrency key; how many are held | while a run holds it |
//! | `queued/<tenant>/<gate>/<rank>/<µs>/<run>` | a run that waits for a place | while it waits |
//! | `gave-way/<tenant>/<gate>/<kind>/<digest>` | the run that gave way to a start under `cancel_newest` | seven days |
//! | `queues/<tenant>/<gate>` | wake source: somebody may wait there | until the line was seen empty |
//! | `schedules/<tenant>/<id>` | a schedule | until deleted |
//! | `timers/<due>/schedules/…` | wake source: its next time | while it has one |
//! | `nudges/schedules/…` | wake source: a run of it has ended | until it was looked at |
//! | `buckets/<tenant>/<workflow>/<digest>`, `bucket-events/…/<generation>/<n>` | what a trigger gathers under one key; its events | until their run is started |
//! | `timers/<due>/buckets/…` | wake source: when that is complete, or tried again | while it gathers |
//! | `event-ids/<tenant>/<workflow>/<trigger>/<digest>` | the run that an event went to | seven days |
//! | `idempotency/<tenant>/<key>` | the run that a key started | seven days |

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{job::TenantId, ports::Key};

/// Which aggregate: the kind and the id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum AggregateId {
    Run(Arc<str>),
    Job(Arc<str>),
}

impl AggregateId {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Run(id) | Self::Job(id) => id,
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Job(_) => "job",
        }
    }

    fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "run" => Some(Self::Run(id.into())),
            "job" => Some(Self::Job(id.into())),
            _ => None,
        }
    }

    /// FNV-1a (Fowler, Noll and Vo) of the id: the same on every machine, so that a shard never moves.
    pub(super) fn shard(&self) -> u8 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.id().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let [.., low] = (hash ^ (hash >> 32)).to_be_bytes();
        low
    }

    pub(super) fn stream(&self) -> Key {
        key([self.kind(), "/", self.id()])
    }

    pub(super) fn hot(&self) -> Key {
        key([HOT, self.kind(), "/", self.id()])
    }

    /// What the keys of its outbox begin with.
    pub(super) fn outbox(&self) -> String {
        format!("{OUTBOX}{}/{}/", self.kind(), self.id())
    }

    pub(super) fn snapshot(&self) -> Key {
        format!("snapshots/{}/{}", self.kind(), self.id()).into()
    }

    pub(super) fn timer(&self, due: Timestamp) -> Key {
        format!("timers/{:020}/{}/{}", due.as_microsecond().max(0), self.kind(), self.id()).into()
    }
}

/// The parts one behind the other. Several keys are made for each run and one for each batch, where a format string would
/// be felt.
fn key<const PARTS: usize>(parts: [&str; PARTS]) -> Key {
    parts.concat().into()
}

pub(super) const HOT: &str = "hot/";
pub(super) const TIMERS: &str = "timers/";
pub(super) const OUTBOX: &str = "outbox/";
pub(super) const WORKFLOWS: &str = "workflows/";
pub(super) const RUNS: &str = "runs/";
pub(super) const VERSIONS: &str = "versions/";
pub(super) const RESTARTS: &str = "restarts/";
pub(super) const BY_STATUS: &str = "by-status/";
pub(super) const JOBS_ENDED: &str = "jobs-ended/";
pub(super) const DEAD_LETTERS_BY_TIME: &str = "dlq-by-time/";
pub(super) const DEAD_LETTER_COUNTS: &str = "dlq-counts/";
pub(super) const APPROVALS: &str = "approvals/";
pub(super) const NUDGES: &str = "nudges/";
pub(super) const BUCKETS: &str = "buckets/";
pub(super) const SCHEDULES: &str = "schedules/";
pub(super) const SLOTS: &str = "slots/";
pub(super) const SLOTS_TAKEN: &str = "slots-taken/";
pub(super) const QUEUED: &str = "queued/";
pub(super) const LINES: &str = "queues/";

/// A concurrency key of a tenant, as it stands in names: any text can be a key, a name is short and plain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gate(Arc<str>);

impl Gate {
    pub(super) fn new(tenant: &TenantId, key: &str) -> Self {
        Self(format!("{tenant}/{}", short_digest(key.as_bytes())).into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// 128 bits of the SHA-256 of `bytes`, in hex.
pub(super) fn short_digest(bytes: &[u8]) -> String {
    hex_of(Sha256::digest(bytes), 16)
}

/// The first `count` of `bytes`, in hex.
pub(super) fn hex_of(bytes: impl IntoIterator<Item = u8>, count: usize) -> String {
    use std::fmt::Write;
    bytes.into_iter().take(count).fold(String::with_capacity(2 * count), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

pub(super) fn parse_gate(prefix: &str, key: &Key) -> Option<Gate> {
    Some(Gate(key.as_str().strip_prefix(prefix)?.into()))
}

pub(super) fn line(gate: &Gate) -> Key {
    format!("{LINES}{}", gate.as_str()).into()
}

pub(super) fn slots_taken(gate: &Gate) -> Key {
    format!("{SLOTS_TAKEN}{}", gate.as_str()).into()
}

pub(super) fn slots(gate: &Gate) -> String {
    format!("{SLOTS}{}/", gate.as_str())
}

/// Who gave way to a start, which its idempotency key or its run names.
pub(super) fn gave_way(gate: &Gate, kind: &str, name: &str) -> Key {
    format!("gave-way/{}/{kind}/{}", gate.as_str(), short_digest(name.as_bytes())).into()
}

pub(super) fn queued(gate: &Gate) -> String {
    format!("{QUEUED}{}/", gate.as_str())
}

pub(super) fn parse_hot(key: &Key) -> Option<AggregateId> {
    let (kind, id) = key.as_str().strip_prefix(HOT)?.split_once('/')?;
    AggregateId::parse(kind, id)
}

pub(super) fn parse_outbox(key: &Key) -> Option<AggregateId> {
    let (kind, rest) = key.as_str().strip_prefix(OUTBOX)?.split_once('/')?;
    AggregateId::parse(kind, rest.split('/').next()?)
}

/// Who is woken by a timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sleeper {
    /// A run or a job.
    Aggregate(AggregateId),
    /// A record that acts by itself, by its key.
    Record(Key),
}

impl Sleeper {
    pub(super) fn timer(&self, due: Timestamp) -> Key {
        match self {
            Self::Aggregate(aggregate) => aggregate.timer(due),
            Self::Record(key) => format!("{TIMERS}{:020}/{key}", due.as_microsecond().max(0)).into(),
        }
    }
}

pub(super) fn parse_timer(key: &Key) -> Option<(Timestamp, Sleeper)> {
    let (due, rest) = key.as_str().strip_prefix(TIMERS)?.split_once('/')?;
    let due = Timestamp::from_microsecond(due.parse().ok()?).ok()?;
    let (kind, id) = rest.split_once('/')?;
    let sleeper = match AggregateId::parse(kind, id) {
        Some(aggregate) => Sleeper::Aggregate(aggregate),
        None => Sleeper::Record(rest.into()),
    };
    Some((due, sleeper))
}

/// Says that `record` has something to look at, which happened outside of it.
pub(super) fn nudge(record: &Key) -> Key {
    format!("{NUDGES}{record}").into()
}

pub(super) fn schedules_of(tenant: &str) -> String {
    format!("{SCHEDULES}{tenant}/")
}

pub(super) fn buckets_of(tenant: &str, workflow: &str) -> String {
    format!("{BUCKETS}{tenant}/{workflow}/")
}

/// What is gathered under `key` of a trigger.
pub(super) fn bucket(tenant: &str, workflow: &str, trigger: &str, key: &str) -> Key {
    let digest = short_digest(format!("{trigger}/{key}").as_bytes());
    format!("{}{digest}", buckets_of(tenant, workflow)).into()
}

/// What the keys of the events of one generation begin with.
pub(super) fn events_of(bucket: &Key, generation: u64) -> String {
    let name = bucket.as_str().trim_start_matches(BUCKETS);
    format!("bucket-events/{name}/{generation:012}/")
}

/// That an event was taken.
pub(super) fn event_id(tenant: &str, workflow: &str, trigger: &str, id: &str) -> Key {
    format!("event-ids/{tenant}/{workflow}/{trigger}/{}", short_digest(id.as_bytes())).into()
}

pub(super) fn schedule(tenant: &str, id: &str) -> Key {
    format!("{SCHEDULES}{tenant}/{id}").into()
}

pub(super) fn definition(digest: &str) -> Key {
    format!("definitions/{digest}").into()
}

pub(super) fn workflow(id: &str) -> Key {
    key([WORKFLOWS, id])
}

pub(super) fn run(id: &str) -> Key {
    key([RUNS, id])
}

/// What the keys of a workflow's versions begin with.
pub(super) fn versions(workflow: &str) -> String {
    format!("{VERSIONS}{workflow}/")
}

pub(super) fn version(workflow: &str, number: u64) -> Key {
    format!("{VERSIONS}{workflow}/{number:010}").into()
}

pub(super) fn version_of(workflow: &str, digest: &str) -> Key {
    format!("version-of/{workflow}/{digest}").into()
}

pub(super) fn pins(digest: &str) -> Key {
    key(["pins/", digest])
}

/// What the keys of those who need the pinned output `digest` begin with.
pub(super) fn blob_refs(digest: &str) -> String {
    format!("blob-refs/{digest}/")
}

/// What the keys of the pinned outputs that `aggregate` needs begin with.
pub(super) fn blobs_of(aggregate: &AggregateId) -> String {
    format!("blobs-of/{}/{}/", aggregate.kind(), aggregate.id())
}

/// The note of a restart, by the run that is restarted.
pub(super) fn restart(run: &str) -> Key {
    format!("{RESTARTS}{run}").into()
}

pub(super) fn runs_at(tenant: &str) -> String {
    ["runs-at/", tenant, "/"].concat()
}

pub(super) fn runs_of(workflow: &str) -> String {
    ["runs-of/", workflow, "/"].concat()
}

pub(super) fn by_status(tenant: &str, shelf: &str) -> String {
    [BY_STATUS, tenant, "/", shelf, "/"].concat()
}

/// Labels are free text of any length, so the key holds a hash; whoever reads it compares the text itself.
pub(super) fn by_label(tenant: &str, name: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(value.as_bytes());
    format!("by-label/{tenant}/{}/", hex_of(hash.finalize(), 16))
}

pub(super) fn live_of(workflow: &str) -> String {
    format!("live-of/{workflow}/")
}

/// What the keys of the live runs that pin one definition begin with.
pub(super) fn live_on(workflow: &str, digest: &str) -> String {
    format!("live-of/{workflow}/{digest}/")
}

pub(super) fn live(workflow: &str, digest: &str, run: &str) -> Key {
    key(["live-of/", workflow, "/", digest, "/", run])
}

pub(super) fn approval(tenant: &str, id: &str) -> Key {
    format!("{APPROVALS}{tenant}/{id}").into()
}

pub(super) fn dead_letter(job: &str) -> Key {
    format!("dlq/{job}").into()
}

pub(super) fn dead_letter_by_time(at: Timestamp, job: &str) -> Key {
    format!("{DEAD_LETTERS_BY_TIME}{:020}/{job}", at.as_microsecond().max(0)).into()
}

/// Letters of a tenant, by when they were written.
pub(super) fn dead_letters_of(tenant: &str) -> String {
    format!("dlq-of/{tenant}/")
}

/// Letters of a tenant that have `value` as their `kind`. Values are free text of any length, so the key holds a hash.
pub(super) fn dead_letters_by(tenant: &str, kind: &str, value: &str) -> String {
    let hash = Sha256::digest(format!("{kind}/{value}"));
    format!("dlq-by/{tenant}/{}/", hex_of(hash, 12))
}

pub(super) fn dead_letter_groups_of(tenant: &str) -> String {
    format!("dlq-groups/{tenant}/")
}

pub(super) fn dead_letter_group(tenant: &str, fingerprint: &str) -> Key {
    format!("dlq-groups/{tenant}/{fingerprint}").into()
}

pub(super) fn dead_letter_count(tenant: &str, fingerprint: &str) -> Key {
    format!("{DEAD_LETTER_COUNTS}{tenant}/{fingerprint}").into()
}

pub(super) fn dead_letter_retried(job: &str) -> Key {
    format!("dlq-retried/{job}").into()
}

pub(super) fn job_ended(at: Timestamp, job: &str) -> Key {
    format!("{JOBS_ENDED}{}", super::index::place(at, job)).into()
}

pub(super) fn idempotency(tenant: &str, key: &str) -> Key {
    format!("idempotency/{tenant}/{key}").into()
}

pub(super) fn outbox(aggregate: &AggregateId, head: u64, n: usize) -> Key {
    format!("{}{head:012}/{n:04}", aggregate.outbox()).into()
}
