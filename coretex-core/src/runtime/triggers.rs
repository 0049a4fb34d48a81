//! Triggers over the store: what is gathered is kept as a record that acts by itself, its events beside it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, ListPage, PlaneError, PlaneErrorKind, StartRequest,
    batch::{self, IDEMPOTENCY_TTL},
    keepers::{self, Record},
    keys,
    shared::Shared,
    start::{check_input, start, workflow_to_start},
};
use crate::{
    governance::Principal,
    job::{RunId, WorkflowId},
    ports::{Batch, Busy, Condition, Key, Op, Scan, StoreErrorKind},
    trigger::{Bucket, BucketInput, Firing, decide},
    value::{Value, limits::measure},
};

/// Starts that are written down together.
const TOGETHER: usize = 8;

/// An event for a trigger of a workflow.
#[derive(Clone, Debug)]
#[must_use]
pub struct TriggerRequest {
    workflow: WorkflowId,
    trigger: Arc<str>,
    input: Arc<Value>,
    event_id: Option<Arc<str>>,
}

impl TriggerRequest {
    /// An event with `input` for `trigger` of `workflow`.
    pub fn new(workflow: WorkflowId, trigger: impl Into<Arc<str>>, input: impl Into<Arc<Value>>) -> Self {
        Self { workflow, trigger: trigger.into(), input: input.into(), event_id: None }
    }

    /// Takes at most one event of this id within seven days, per trigger: a repeat is answered with the same run.
    pub fn event_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.event_id = Some(id.into());
        self
    }
}

/// That an event was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerReceipt {
    /// The run that it is part of, which starts when its events are gathered.
    pub run_id: RunId,
    /// The key that it went under; empty where the trigger has none.
    pub key: Arc<str>,
    /// An event of its id had been taken before.
    #[serde(default)]
    pub repeated: bool,
}

/// What a trigger has gathered under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketStatus {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The trigger.
    pub trigger: Arc<str>,
    /// The key; empty where the trigger has none.
    pub key: Arc<str>,
    /// Events that are being gathered.
    pub events: u32,
    /// When their run starts, unless others come.
    pub due_at: Option<Timestamp>,
    /// Runs that are to be started, and why they were not.
    pub starting: Vec<Firing>,
}

impl ControlPlane {
    /// Hands an event to a trigger. Answers when it is durable, with the run that it will be part of.
    ///
    /// # Errors
    /// When there is no such workflow or trigger, the input does not fit, a hundred runs of its key wait to be started
    /// (`trigger_backlog`), or the store refuses. An answer of kind `Unavailable` leaves open whether it was taken: repeat
    /// it with the same event id.
    pub async fn trigger(&self, principal: &Principal, request: TriggerRequest) -> Result<TriggerReceipt, PlaneError> {
        let shared = self.shared();
        let TriggerRequest { workflow, trigger: name, input, event_id } = request;
        // As it will be given to a run.
        check_input(shared, &serde_json::json!({"items": [&*input]}))?;
        if !input.is_object() {
            let message = "the input of an event is an object";
            return Err(PlaneError::new(PlaneErrorKind::Invalid, "run_input_invalid", message));
        }
        let definition = workflow_to_start(shared, principal, &workflow).await?;
        let trigger = definition.trigger(&name).ok_or_else(|| no_trigger(&workflow, &name))?;
        let key = trigger.key(&input).map_err(|error| {
            let message = format!("the key of trigger `{name}` cannot be used: {error}");
            PlaneError::new(PlaneErrorKind::Invalid, "trigger_key_invalid", message)
        })?;
        let tenant = principal.tenant.as_str();
        let id_key = event_id.as_deref().map(|id| keys::event_id(tenant, workflow.as_str(), &name, id));
        let bucket_key = keys::bucket(tenant, workflow.as_str(), &name, &key);
        let event = batch::encode(&input)?;
        let weight = weight_of(shared, &input);
        let input = BucketInput::Event { rule: trigger.rule().clone(), by: principal.id.clone(), weight };
        loop {
            if let Some(id_key) = &id_key
                && let Some(entry) = shared.store.get(id_key).await?
            {
                let taken: TriggerReceipt = super::query::read("an event's id", &entry)?;
                return Ok(TriggerReceipt { repeated: true, ..taken });
            }
            let record: Option<Record<Bucket>> = keepers::read(shared, &bucket_key).await?;
            let fresh;
            let before = match &record {
                Some(record) => &record.value,
                None => {
                    let incarnation = shared.ids.uuid().to_string().into();
                    let (tenant, by) = (principal.tenant.clone(), principal.id.clone());
                    fresh = Bucket::new(tenant, workflow.clone(), name.clone(), key.clone(), by, incarnation);
                    &fresh
                }
            };
            let (after, place) = decide(before, input.clone(), shared.now())
                .map_err(|backlog| PlaneError::caused(PlaneErrorKind::Conflict, "trigger_backlog", backlog))?;
            let Some(place) = place else { return Err(PlaneError::closed()) };
            let run_id = after.run_id(place.generation, place.first_at)?;
            let receipt = TriggerReceipt { run_id, key: key.clone(), repeated: false };
            let mut batch = Batch::new();
            if let Some(number) = place.number {
                let at = format!("{}{number:08}", keys::events_of(&bucket_key, place.generation));
                batch = batch.put(at, event.clone(), Condition::Always);
            }
            if let Some(id_key) = &id_key {
                batch = batch
                    .put(id_key.clone(), batch::encode(&receipt)?, Condition::Absent)
                    .expire(id_key.clone(), IDEMPOTENCY_TTL);
            }
            if keepers::write(shared, &bucket_key, record.as_ref(), Some((&after, after.wake())), batch).await? {
                return Ok(receipt);
            }
        }
    }

    /// What the triggers of a workflow have gathered, key by key.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn trigger_buckets(
        &self,
        principal: &Principal,
        workflow: &WorkflowId,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<BucketStatus>, PlaneError> {
        let prefix = keys::buckets_of(principal.tenant.as_str(), workflow.as_str());
        self.list(Scan::prefix(prefix), cursor, limit, |entry| {
            let bucket = keepers::parse::<Bucket>(entry)?.value;
            Ok(Some(BucketStatus {
                workflow_id: bucket.workflow,
                trigger: bucket.trigger,
                key: bucket.key,
                events: bucket.gathering.as_ref().map_or(0, |gathering| gathering.count),
                due_at: bucket.gathering.map(|gathering| gathering.due),
                starting: bucket.firing.into(),
            }))
        })
        .await
    }

    /// Starts the run of what has been gathered under `key` now.
    ///
    /// # Errors
    /// When nothing has been gathered there, or the store refuses.
    pub async fn flush_trigger(
        &self,
        principal: &Principal,
        workflow: &WorkflowId,
        trigger: &str,
        key: &str,
    ) -> Result<(), PlaneError> {
        let shared = self.shared();
        let bucket_key = keys::bucket(principal.tenant.as_str(), workflow.as_str(), trigger, key);
        loop {
            let record = self.bucket(&bucket_key, trigger, key).await?;
            // Nothing but an event is refused.
            let Ok((after, _)) = decide(&record.value, BucketInput::Flush, shared.now()) else { return Ok(()) };
            if after == record.value {
                return Ok(());
            }
            let state = Some((&after, after.wake()));
            if keepers::write(shared, &bucket_key, Some(&record), state, Batch::new()).await? {
                return Ok(());
            }
        }
    }

    /// Forgets what has been gathered under `key`, with runs that could not be started.
    ///
    /// # Errors
    /// When nothing has been gathered there, or the store refuses.
    pub async fn discard_trigger(
        &self,
        principal: &Principal,
        workflow: &WorkflowId,
        trigger: &str,
        key: &str,
    ) -> Result<(), PlaneError> {
        let shared = self.shared();
        let bucket_key = keys::bucket(principal.tenant.as_str(), workflow.as_str(), trigger, key);
        loop {
            let record = self.bucket(&bucket_key, trigger, key).await?;
            let bucket = &record.value;
            let gathering = bucket.gathering.iter().map(|_| bucket.generation);
            let mut batch = Batch::new();
            for generation in bucket.firing.iter().map(|firing| firing.generation).chain(gathering) {
                forget(&mut batch, events(shared, &bucket_key, generation).await?);
            }
            if keepers::write(shared, &bucket_key, Some(&record), None, batch).await? {
                return Ok(());
            }
        }
    }

    async fn bucket(&self, bucket_key: &Key, trigger: &str, key: &str) -> Result<Record<Bucket>, PlaneError> {
        keepers::read(self.shared(), bucket_key).await?.ok_or_else(|| {
            let message = format!("trigger `{trigger}` has gathered nothing under the key `{key}`");
            PlaneError::new(PlaneErrorKind::NotFound, "trigger_empty", message)
        })
    }
}

/// How much an event takes of what one run can be given, in millionths.
fn weight_of(shared: &Shared, input: &Value) -> u64 {
    let (limits, size) = (shared.options.payload_limits(), measure(input));
    let share = |part: usize, whole: usize| {
        // Behind each item comes a comma.
        let (part, whole) = (u128::try_from(part + 1).unwrap_or(0), u128::try_from(whole.max(1)).unwrap_or(1));
        u64::try_from(part * 1_000_000 / whole + 1).unwrap_or(u64::MAX)
    };
    share(size.bytes, limits.max_bytes).max(share(size.nodes, limits.max_nodes))
}

fn no_trigger(workflow: &WorkflowId, name: &str) -> PlaneError {
    let message = format!("workflow `{workflow}` has no trigger `{name}`");
    PlaneError::new(PlaneErrorKind::NotFound, "trigger_not_found", message)
}

/// Does what there is to do for a bucket now.
pub(super) async fn look(shared: &Arc<Shared>, key: &Key, mut busy: Busy) -> Result<(), PlaneError> {
    loop {
        let Some(record) = keepers::read::<Bucket>(shared, key).await? else { return Ok(()) };
        let now = shared.now();
        let mut bucket = record.value.clone();
        let mut batch = Batch::new();
        let due: Vec<Firing> =
            bucket.firing.iter().filter(|firing| firing.due <= now).take(TOGETHER).cloned().collect();
        for firing in &due {
            let events = events(shared, key, firing.generation).await?;
            // What it asks for holds time by itself, or lets it pass where it has to wait.
            drop(std::mem::take(&mut busy));
            let refusal = started(shared, &bucket, firing, &events).await?;
            busy = shared.clock.busy();
            if refusal.is_none() {
                forget(&mut batch, events);
            }
            let fired = BucketInput::Fired { generation: firing.generation, refusal };
            bucket = decided(&bucket, fired, shared.now());
        }
        if due.is_empty() {
            bucket = decided(&bucket, BucketInput::Tick, now);
        }
        if bucket == record.value {
            keepers::arm(shared, key, record.alarm.filter(|due| *due > shared.clock.now()));
            drop(busy);
            return Ok(());
        }
        let after = (!bucket.is_empty()).then(|| (&bucket, bucket.wake()));
        keepers::write(shared, key, Some(&record), after, batch).await?;
    }
}

/// Nothing but an event is refused.
fn decided(bucket: &Bucket, input: BucketInput, now: Timestamp) -> Bucket {
    decide(bucket, input, now).map_or_else(|_| bucket.clone(), |(bucket, _)| bucket)
}

/// The events of a generation with their keys, in their order.
async fn events(shared: &Shared, bucket: &Key, generation: u64) -> Result<Vec<(Key, Bytes)>, PlaneError> {
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(keys::events_of(bucket, generation)).after(after)).await?;
        events.extend(page.entries.into_iter().map(|entry| (entry.key, entry.value)));
        after = page.next;
        if after.is_none() {
            return Ok(events);
        }
    }
}

fn forget(batch: &mut Batch, events: Vec<(Key, Bytes)>) {
    let ops = events.into_iter().map(|(key, _)| batch::delete(key));
    ops.for_each(|op: Op| batch.push(op));
}

/// Starts the run of a generation; with the code and the text when that is refused. An error is one that may pass by
/// itself.
async fn started(
    shared: &Arc<Shared>,
    bucket: &Bucket,
    firing: &Firing,
    events: &[(Key, Bytes)],
) -> Result<Option<(Arc<str>, Arc<str>)>, PlaneError> {
    let run = bucket.run_id(firing.generation, firing.first_at)?;
    let mut values = Vec::with_capacity(events.len());
    for (key, bytes) in events {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| PlaneError::damaged(&format!("the event at `{key}`"), &error))?;
        values.push(value);
    }
    let input = if firing.is_batch { serde_json::json!({"items": values}) } else { values.pop().unwrap_or_default() };
    let mut request = StartRequest::new(bucket.workflow.clone(), input).run_id(run.clone());
    request = request.label("trigger", &*bucket.trigger);
    if !bucket.key.is_empty() {
        request = request.label("trigger_key", &*bucket.key);
    }
    let principal = Principal::service(bucket.principal.clone()).for_tenant(bucket.tenant.clone());
    let error = match start(shared, &principal, request).await {
        Ok(_) => return Ok(None),
        Err(error) => error,
    };
    match error.kind() {
        PlaneErrorKind::Closed => Err(error),
        _ if error.is_retryable() => Err(error),
        // Its id says that it is the run of these very events.
        _ if error.code() == "run_exists" => Ok(None),
        _ if error.code() == StoreErrorKind::Conflict.code() => {
            let stream = super::keys::AggregateId::Run(run.shared()).stream();
            match shared.store.read(&stream, 1, 1).await?.head {
                0 => Err(error),
                // It was started before, and deleted.
                _ => Ok(None),
            }
        }
        _ => Ok(Some((error.code().into(), error.to_string().into()))),
    }
}
