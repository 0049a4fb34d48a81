//! Acting: effects leave, once the batch that decided them is durable.

use std::{
    collections::{BTreeMap, VecDeque},
    iter::{Enumerate, Peekable},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
    vec,
};

use futures::future::{Either, select};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    artifacts::{self, Artifact},
    batch, children,
    executor::Command,
    keys::AggregateId,
    order::JobOrder,
    shared::{Reply, Shared, Work},
};
use crate::{
    job::{DeadLetter, Effect, Failure, JobId, JobInput, JobSpec, JobState, Lease, StepRunId, codes},
    plane::Input,
    policy::Decision,
    ports::{Batch, BusError, BusErrorKind, Busy, Key, Message, Packet, Payload, Scan, StoreErrorKind},
    protocol::{self, AlertSeverity, BusPacket, ErrorCode, JobCancel, JobStatus, SystemAlert, subjects},
    workflow::{ChildEffect, RunEffect, RunInput},
};

/// The wait before the second try to publish or to clear the outbox; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Tries to clear the outbox: a minute's worth. What is left is cleared at the next start.
const DELETE_TRIES: u32 = 20;

/// What is left to do of one decision.
#[derive(Debug)]
pub(super) struct Actions {
    aggregate: AggregateId,
    effects: Enumerate<vec::IntoIter<RunEffect>>,
    /// Keys of those that lie in the outbox, by position.
    outbox: Peekable<vec::IntoIter<(usize, Key)>>,
}

impl Actions {
    pub(super) fn new(aggregate: AggregateId, effects: Vec<RunEffect>, outbox: Vec<(usize, Key)>) -> Self {
        Self { aggregate, effects: effects.into_iter().enumerate(), outbox: outbox.into_iter().peekable() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.effects.len() == 0
    }

    /// Runs the next `most` effects, in order, and says how many there were. Inputs that follow at once are added to
    /// `local`.
    pub(super) fn act(&mut self, shared: &Arc<Shared>, most: usize, local: &mut VecDeque<Command>) -> usize {
        let before = self.effects.len();
        for (n, effect) in self.effects.by_ref().take(most) {
            let key = self.outbox.next_if(|(at, _)| *at == n).map(|(_, key)| key);
            act(shared, &self.aggregate, effect, key, local);
        }
        before - self.effects.len()
    }
}

/// What the bus takes at once goes at once; the rest goes on in the background.
fn act(
    shared: &Arc<Shared>,
    aggregate: &AggregateId,
    effect: RunEffect,
    key: Option<Key>,
    local: &mut VecDeque<Command>,
) {
    match effect {
        RunEffect::Job(Effect::Dispatch { spec, deadline_at, decision, lease }) => {
            dispatch(shared, aggregate, spec, deadline_at, &decision, lease.as_ref());
        }
        // Answered before the batch was sealed.
        RunEffect::Job(Effect::Place { .. }) => {}
        RunEffect::Job(Effect::AskPolicy { spec, until }) => ask(shared, aggregate, spec, until),
        RunEffect::Job(effect) => shared.spawn(empty(shared.clone(), aggregate.clone(), Outgoing::Job(effect), key)),
        RunEffect::Child(effect) => {
            shared.spawn(empty(shared.clone(), aggregate.clone(), Outgoing::Child(effect), key));
        }
        RunEffect::Store { tenant, step, attempt, op, key, value } => {
            artifacts::carry_out(shared, aggregate, Artifact { tenant, step, attempt, op, key, value });
        }
        RunEffect::Notify { run, step, title, payload, workflow, .. } => {
            let message = alert(shared, run.as_str(), workflow.as_str(), &step, &title, &payload);
            match shared.bus.try_publish(message) {
                Ok(()) => local.push_back(notified(shared, aggregate, step)),
                Err(message) => {
                    let (shared, aggregate) = (shared.clone(), aggregate.clone());
                    let busy = shared.clock.busy();
                    shared.clone().spawn(async move {
                        if publish(&shared, message, busy).await.is_ok() {
                            let done = notified(&shared, &aggregate, step);
                            // A control plane that is shutting down publishes again when it is opened.
                            let _closed = shared.send(done.aggregate, done.work, done.reply).await;
                        }
                    });
                }
            }
        }
    }
}

fn notified(shared: &Shared, aggregate: &AggregateId, step: StepRunId) -> Command {
    Command {
        aggregate: aggregate.clone(),
        work: Work::Input(Input::Run(RunInput::Notified { step })),
        reply: Reply::Nobody,
        busy: shared.clock.busy(),
        tries: 0,
        fetched: None,
    }
}

fn dispatch(
    shared: &Arc<Shared>,
    aggregate: &AggregateId,
    spec: Arc<JobSpec>,
    deadline_at: Timestamp,
    decision: &Decision,
    lease: Option<&Lease>,
) {
    let job = spec.id.clone();
    let subject = match lease {
        Some(lease) => shared.placement.subject(lease, &spec.topic),
        None => spec.topic.shared(),
    };
    let payload = Some(Payload(spec.input.clone()));
    let constraints = decision.constraints.clone();
    let order = JobOrder::new(spec, constraints, deadline_at, shared.now(), shared.sender_id.clone());
    let packet: Packet = if shared.bus.capabilities().in_process { order.into() } else { order.wire_packet().into() };
    let Err(message) = shared.bus.try_publish(Message { subject, packet, payload }) else { return };
    let (shared, aggregate) = (shared.clone(), aggregate.clone());
    let busy = shared.clock.busy();
    shared.clone().spawn(async move {
        // What is given up at its deadline must not reach a worker later.
        let deadline = shared.clock.sleep_until(deadline_at);
        let Either::Left((Err(error), _)) = select(pin!(publish(&shared, message, busy)), deadline).await else {
            return;
        };
        // A bus that was closed says nothing about the job: it is dispatched again at the next start.
        if error.kind() != BusErrorKind::Closed {
            let failure = Failure::fatal(codes::DISPATCH_FAILED, error.to_string());
            let input = job_input(&aggregate, &job, JobInput::Undeliverable(failure));
            // A control plane that is shutting down dispatches again when it is opened.
            let _closed = shared.send(aggregate, Work::Input(input), Reply::Nobody).await;
        }
    });
}

/// The input for whatever holds the job: its run, or the job itself.
pub(super) fn job_input(aggregate: &AggregateId, job: &JobId, input: JobInput) -> Input {
    match aggregate {
        AggregateId::Run(_) => Input::Run(RunInput::Job { job: job.clone(), input }),
        AggregateId::Job(_) => Input::Job(input),
    }
}

/// Asks the remote kernel until an answer comes too late: then it is asked anew, and two answers need not be waited for.
fn ask(shared: &Arc<Shared>, aggregate: &AggregateId, spec: Arc<JobSpec>, until: Timestamp) {
    let (shared, aggregate) = (shared.clone(), aggregate.clone());
    let busy = shared.clock.busy();
    shared.clone().spawn(async move {
        let request = spec.question().at(shared.clock.now());
        let mut answer = shared.policy.ask(&request);
        // One that answers at once takes no time.
        let decision = match futures::poll!(answer.as_mut()) {
            Poll::Ready(decision) => decision,
            Poll::Pending => {
                drop(busy);
                match select(answer, shared.clock.sleep_until(until)).await {
                    Either::Left((decision, _)) => decision,
                    Either::Right(_) => return,
                }
            }
        };
        let input = job_input(&aggregate, &spec.id, JobInput::Judged(decision));
        // A control plane that is shutting down asks again when it is opened.
        let _closed = shared.send(aggregate, Work::Input(input), Reply::Nobody).await;
    });
}

/// Publishes again what a refused batch may have left in the outbox of `aggregate`. A store that cannot be read is asked
/// again until it can: nobody else would look before the next start.
pub(super) async fn empty_outbox(shared: Arc<Shared>, aggregate: AggregateId) {
    let mut wait = FIRST_WAIT;
    let mut after = None;
    loop {
        let busy = shared.clock.busy();
        match shared.store.scan(Scan::prefix(aggregate.outbox()).after(after.clone())).await {
            Ok(page) => {
                for entry in page.entries {
                    if let Ok(effect) = serde_json::from_slice::<Outgoing>(&entry.value) {
                        shared.spawn(empty(shared.clone(), aggregate.clone(), effect, Some(entry.key)));
                    }
                }
                match page.next {
                    None => return,
                    next => after = next,
                }
                wait = FIRST_WAIT;
                continue;
            }
            Err(error) if !error.is_retryable() => {
                tracing::error!(%error, id = aggregate.id(), "the outbox cannot be read; it is emptied at the next start");
                return;
            }
            Err(error) => tracing::debug!(%error, id = aggregate.id(), "the outbox cannot be read; trying again"),
        }
        drop(busy);
        shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What lies in the outbox.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Outgoing {
    /// An announcement about a job.
    Job(Effect),
    /// Something to tell another run.
    Child(ChildEffect),
}

/// Does what lies in the outbox of `owner` and then takes it out. A crash in between does it twice.
pub(super) async fn empty(shared: Arc<Shared>, owner: AggregateId, effect: Outgoing, key: Option<Key>) {
    match effect {
        Outgoing::Job(effect) => {
            let busy = shared.clock.busy();
            let Some(message) = effect_message(&shared, &effect) else { return };
            match publish(&shared, message, busy).await {
                Ok(()) => {}
                Err(error) if error.kind() == BusErrorKind::Closed => return,
                Err(error) => tracing::error!(%error, "an announcement cannot be published and is given up"),
            }
        }
        Outgoing::Child(effect) => {
            if !children::carry_out(&shared, &owner, &effect).await {
                return;
            }
        }
    }
    let Some(key) = key else { return };
    let mut wait = FIRST_WAIT;
    for _ in 0..DELETE_TRIES {
        let busy = shared.clock.busy();
        let mut batch = Batch::new();
        batch.push(batch::delete(key.clone()));
        match shared.store.commit(vec![batch]).await.into_iter().next() {
            Some(Err(error)) if error.is_retryable() || error.kind() == StoreErrorKind::Conflict => {}
            _ => return,
        }
        drop(busy);
        shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    tracing::debug!(%key, "the outbox keeps a published announcement; it is published again at the next start");
}

/// Publishes with patience: a full or unreachable bus is tried again for as long as it takes. `busy` holds virtual time
/// but for the waits.
pub(super) async fn publish(shared: &Shared, message: Message, busy: Busy) -> Result<(), BusError> {
    let mut wait = FIRST_WAIT;
    let mut busy = Some(busy);
    loop {
        match shared.bus.publish(message.clone()).await {
            // Nobody reads them; the letters themselves lie in the store.
            Err(error) if error.kind() == BusErrorKind::Full && *message.subject == *subjects::JOB_DLQ => {
                return Err(error);
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, subject = &*message.subject, "publishing again");
                drop(busy.take());
                shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), wait)).await;
                busy = Some(shared.clock.busy());
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            result => return result,
        }
    }
}

fn packet(shared: &Shared, trace_id: &str, payload: impl Into<protocol::Payload>) -> BusPacket {
    BusPacket::new(trace_id, shared.options.sender_id.as_str(), shared.now(), payload)
}

fn effect_message(shared: &Shared, effect: &Effect) -> Option<Message> {
    match effect {
        Effect::Cancel { job, trace_id, by, reason } => {
            let cancel = JobCancel {
                job_id: job.to_string(),
                reason: reason.to_string(),
                requested_by: if by.is_empty() { shared.options.sender_id.clone() } else { by.to_string() },
                ..JobCancel::default()
            };
            Some(Message::new(subjects::JOB_CANCEL, packet(shared, trace_id, cancel)))
        }
        Effect::Report { job, trace_id, state, failure }
        | Effect::ReportDeadLetter { job, trace_id, state, failure } => {
            let (status, code) = match state {
                JobState::Denied => (JobStatus::Denied, ErrorCode::SafetyDenied),
                JobState::Timeout => (JobStatus::Timeout, ErrorCode::JobTimeout),
                JobState::Cancelled => (JobStatus::Cancelled, ErrorCode::Unspecified),
                _ => (JobStatus::Failed, ErrorCode::Unspecified),
            };
            let result = protocol::JobResult {
                job_id: job.to_string(),
                status: status as i32,
                worker_id: shared.options.sender_id.clone(),
                error_code: failure.code.to_string(),
                error_message: failure.message.to_string(),
                error_code_enum: code as i32,
                ..protocol::JobResult::default()
            };
            let is_letter = matches!(effect, Effect::ReportDeadLetter { .. });
            let subject = if is_letter { subjects::JOB_DLQ } else { subjects::JOB_RESULT };
            Some(Message::new(subject, packet(shared, trace_id, result)))
        }
        Effect::Dispatch { .. } | Effect::Place { .. } | Effect::AskPolicy { .. } => None,
    }
}

/// The announcement of a job that was given up.
pub(super) fn report_dead_letter(letter: &DeadLetter) -> RunEffect {
    RunEffect::Job(Effect::ReportDeadLetter {
        job: letter.spec.id.clone(),
        trace_id: letter.spec.trace_id.clone(),
        state: letter.state,
        failure: letter.failure.clone(),
    })
}

fn alert(shared: &Shared, run: &str, workflow: &str, step: &StepRunId, title: &str, payload: &Value) -> Message {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let level = text("level").unwrap_or("INFO").to_uppercase();
    let severity = match level.as_str() {
        "WARN" | "WARNING" => AlertSeverity::Warning,
        "ERROR" => AlertSeverity::Error,
        "CRITICAL" => AlertSeverity::Critical,
        _ => AlertSeverity::Info,
    };
    let component = text("component").unwrap_or(&shared.options.sender_id).to_owned();
    let alert = SystemAlert {
        level,
        message: text("message").unwrap_or(title).to_owned(),
        component: component.clone(),
        code: text("code").unwrap_or("workflow_event").to_owned(),
        severity: severity as i32,
        source_component: component,
        details: BTreeMap::from([
            ("run_id".to_owned(), run.to_owned()),
            ("workflow_id".to_owned(), workflow.to_owned()),
            ("step_id".to_owned(), step.to_string()),
        ]),
        trace_id: run.to_owned(),
        ..SystemAlert::default()
    };
    Message::new(subjects::WORKFLOW_EVENT, packet(shared, run, alert))
        .with_payload(Some(Payload(Arc::new(payload.clone()))))
}
