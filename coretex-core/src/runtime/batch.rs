//! From a transition to the batch that makes it durable.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    blob_refs, concurrency, dead_letters, index,
    keys::{self, AggregateId, Gate},
    schedules,
};
use crate::{
    job::{ApprovalRequest, Effect},
    plane::{Event, State, Transition},
    ports::{Batch, Condition, Expected, Op, StoreError, WriteClass, limits},
    workflow::{Claim, RunEffect, RunStatus, RunSummary, StartRun, Wake},
};

/// Events after which a snapshot is worth its bytes: a fold of fewer is quicker than reading one.
const SNAPSHOT_EVERY: u64 = 1_024;
/// Events for each step run of a large run after which one is: what writing it costs is shared by several times as many
/// events as it has parts, and folding those takes about as long as reading it.
const SNAPSHOT_EVERY_PART: u64 = 4;
/// How long an idempotency key is remembered.
pub(super) const IDEMPOTENCY_TTL: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

/// What the store holds about an aggregate besides its events, as of the last batch, durable or on its way.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) wake: Wake,
    pub(super) status: Option<RunStatus>,
    pub(super) claim: Claim,
    /// Digest of the definition that a run is under.
    pub(super) definition: Option<Arc<str>>,
    pub(super) snapshot_at: u64,
}

impl Kept {
    pub(super) const fn nothing() -> Self {
        Self { wake: Wake::Never, status: None, claim: Claim::None, definition: None, snapshot_at: 0 }
    }

    pub(super) fn of(state: &State, snapshot_at: u64) -> Self {
        let (status, claim, definition) = match state {
            State::Run(run) => (Some(run.status()), run.claim(), Some(run.workflow().digest().clone())),
            State::Job(_) => (None, Claim::None, None),
        };
        Self { wake: state.wake(), status, claim, definition, snapshot_at }
    }
}

/// The batch of one transition, and what it leaves to do.
pub(super) struct Prepared {
    pub(super) batch: Batch,
    /// A durable timer that the batch sets.
    pub(super) arm: Option<Timestamp>,
    /// A gate whose line is to be looked at.
    pub(super) gate: Option<Gate>,
    /// A schedule that is to hear of the end of the run.
    pub(super) schedule: Option<crate::ports::Key>,
    /// Keys of the effects that lie in the outbox, by position among the effects.
    pub(super) outbox: Vec<(usize, crate::ports::Key)>,
}

/// Builds the batch. `state` is the state after the transition, `head` the head before it; records are written in
/// `scratch`.
pub(super) fn prepare(
    aggregate: &AggregateId,
    head: u64,
    transition: &Transition,
    state: &State,
    kept: &mut Kept,
    start: Option<&StartRun>,
    scratch: &mut Vec<u8>,
) -> Result<Prepared, StoreError> {
    let mut batch = Batch::new();
    let mut prepared_arm = None;
    if !transition.events.is_empty() {
        let events = encode_events(&transition.events, scratch).map_err(|error| unencodable(&error))?;
        blob_refs::noted(&mut batch, aggregate, &transition.events);
        batch.push(Op::Append { stream: aggregate.stream(), expected: Expected::Head(head), events });
    }
    let wake = state.wake();
    if wake != kept.wake {
        match kept.wake {
            Wake::Hot => batch.push(delete(aggregate.hot())),
            Wake::At(due) => batch.push(delete(aggregate.timer(due))),
            Wake::Never | Wake::Human | Wake::Slot => {}
        }
        match wake {
            Wake::Hot => batch.push(put(aggregate.hot(), Bytes::from_static(b"1"))),
            Wake::At(due) => {
                batch.push(put(aggregate.timer(due), Bytes::from_static(b"1")));
                prepared_arm = Some(due);
            }
            Wake::Never | Wake::Human | Wake::Slot => {}
        }
        kept.wake = wake;
    }
    let mut schedule = None;
    let mut has_moved = false;
    if let State::Run(run) = state {
        if run.status().is_terminal() && kept.status.is_none_or(|status| !status.is_terminal()) {
            schedule = schedules::origin(run);
            if let Some(schedule) = &schedule {
                batch.push(put(keys::nudge(schedule), Bytes::from_static(b"1")));
            }
        }
        let digest = run.workflow().digest();
        let left = kept.definition.take_if(|definition| definition != digest);
        has_moved = left.is_some();
        if (kept.status != Some(run.status()) || has_moved)
            && let Some(summary) = RunSummary::of(run)
        {
            let view = encode_in(scratch, &summary)?;
            if let Some(left) = left {
                index::moved(&mut batch, &summary, &left);
            }
            index::changed(&mut batch, &summary, kept.status);
            batch.push(put_view(keys::run(&summary.id), view));
            kept.status = Some(run.status());
        }
        if kept.definition.is_none() {
            kept.definition = Some(digest.clone());
        }
        if run.head() >= kept.snapshot_at + SNAPSHOT_EVERY.max(SNAPSHOT_EVERY_PART * run.size() as u64) {
            let snapshot = run.to_snapshot().map_err(|error| unencodable(&error))?;
            // A fold that is too large for a record is folded from the events every time.
            if snapshot.len() <= limits::VALUE_BYTES {
                batch.push(put_view(aggregate.snapshot(), snapshot.into()));
            }
            kept.snapshot_at = run.head();
        }
    }
    if let State::Job(record) = state
        && let Some(at) = record.job.completed_at
        && !transition.events.is_empty()
    {
        // A job ends once: nothing happens to it afterwards.
        batch.push(put(keys::job_ended(at, aggregate.id()), encode(&record.job.state)?));
    }
    if let Some(key) = start.and_then(|start| start.idempotency_key.as_deref())
        && let State::Run(run) = state
    {
        let key = keys::idempotency(run.tenant().as_str(), key);
        let value = Bytes::copy_from_slice(aggregate.id().as_bytes());
        batch.push(Op::Put { key: key.clone(), value, condition: Condition::Absent, class: WriteClass::Exact });
        batch.push(Op::Expire { key, after: IDEMPOTENCY_TTL });
    }
    // Behind the idempotency key: a repeat is answered with the first run, even where that one holds the last place.
    let mut gate = None;
    if let State::Run(run) = state {
        gate = concurrency::push_claim(&mut batch, kept.claim, run)?;
        if has_moved && gate.is_none() {
            gate = concurrency::renew_claim(&mut batch, run)?;
        }
        kept.claim = run.claim();
    }
    let tenant = match state {
        State::Run(run) => run.tenant(),
        State::Job(record) => &record.spec.tenant,
    };
    for id in &transition.records.closed {
        batch.push(delete(keys::approval(tenant.as_str(), id)));
    }
    // A question that is asked anew closes and opens under one id.
    for request in &transition.records.opened {
        push_approval(&mut batch, request)?;
    }
    for letter in &transition.records.dead_letters {
        dead_letters::push(&mut batch, letter)?;
    }
    let mut outbox = Vec::new();
    for (n, effect) in transition.effects.iter().enumerate() {
        // Dispatches, alerts and questions follow from the state; these would be lost with the process.
        let record = match effect {
            RunEffect::Job(
                effect @ (Effect::Cancel { .. } | Effect::Report { .. } | Effect::ReportDeadLetter { .. }),
            ) => encode(effect)?,
            RunEffect::Child(effect) => encode(effect)?,
            RunEffect::Job(_) | RunEffect::Notify { .. } | RunEffect::Store { .. } => continue,
        };
        let key = keys::outbox(aggregate, head, n);
        batch.push(put(key.clone(), record));
        outbox.push((n, key));
    }
    Ok(Prepared { batch, arm: prepared_arm, gate, schedule, outbox })
}

/// The events as they are stored, each in as many bytes as it has, because a store in memory keeps them.
fn encode_events(events: &[Event], scratch: &mut Vec<u8>) -> Result<Vec<Bytes>, serde_json::Error> {
    let mut encoded = Vec::with_capacity(events.len());
    for event in events {
        scratch.clear();
        event.encode_into(scratch)?;
        encoded.push(Bytes::copy_from_slice(scratch));
    }
    Ok(encoded)
}

fn push_approval(batch: &mut Batch, request: &ApprovalRequest) -> Result<(), StoreError> {
    batch.push(put(keys::approval(request.tenant.as_str(), &request.subject.id()), encode(request)?));
    Ok(())
}

pub(super) fn encode(value: &impl serde::Serialize) -> Result<Bytes, StoreError> {
    encode_in(&mut Vec::new(), value)
}

/// Writes `value` in `scratch`, and takes as many bytes as it has.
fn encode_in(scratch: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<Bytes, StoreError> {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, value).map_err(|error| unencodable(&error))?;
    Ok(Bytes::copy_from_slice(scratch))
}

fn unencodable(error: &serde_json::Error) -> StoreError {
    StoreError::invalid(format!("a record cannot be written as JSON: {error}"))
}

pub(super) const fn put(key: crate::ports::Key, value: Bytes) -> Op {
    Op::Put { key, value, condition: Condition::Always, class: WriteClass::Exact }
}

pub(super) const fn put_view(key: crate::ports::Key, value: Bytes) -> Op {
    Op::Put { key, value, condition: Condition::Always, class: WriteClass::View }
}

pub(super) const fn delete(key: crate::ports::Key) -> Op {
    Op::Delete { key, condition: Condition::Always, class: WriteClass::Exact }
}
