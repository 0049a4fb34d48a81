//! One job in the hands of this worker: what it is, who may stop it, what time does to it.
//!
//! Invariant: the deliveries of a job are settled exactly once, by whoever takes them out of `held`; a job never
//! holds one after it has left the registry.

use std::{
    mem,
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
};

use coretex_core::{
    ports::{Delivery, Message},
    protocol::{JobProgress, JobRequest, JobStatus, Payload as Body},
    value::Value,
};
use jiff::Timestamp;

use super::{
    asked::Asked,
    shared::Shared,
    signal::{Signal, StopFlag},
};
use crate::{extract::CancelReason, job_error::JobError};

/// A point in time in microseconds since the epoch; what timers compare.
pub(crate) type Micros = i64;

/// A timer that is not set.
pub(crate) const NEVER: Micros = i64::MAX;

static NO_INPUT: LazyLock<Arc<Value>> = LazyLock::new(|| Arc::new(Value::Null));

pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    /// What the registry knows it by.
    pub(crate) key: Arc<str>,
    pub(crate) asked: Asked,
    pub(crate) delivery_attempt: u32,
    pub(crate) received_at: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    /// Asks the handler to stop.
    pub(crate) stop: StopFlag,
    /// Drops the handler, or ends the attempts to publish its result.
    pub(crate) abort: Signal,
    input: OnceLock<Arc<Value>>,
    cancel_note: OnceLock<String>,
    timers: Mutex<Timers>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    first: Option<Arc<Delivery>>,
    /// Redeliveries that arrived while the job was running.
    more: Vec<Arc<Delivery>>,
}

struct Timers {
    announce_at: Micros,
    extend_at: Micros,
    deadline_at: Micros,
    drop_at: Micros,
    flush_at: Micros,
    last_report: Micros,
    pending: Option<(u8, String)>,
    ended: bool,
}

impl Timers {
    fn next(&self) -> Micros {
        let Self { announce_at, extend_at, deadline_at, drop_at, flush_at, .. } = *self;
        [announce_at, extend_at, deadline_at, drop_at, flush_at].into_iter().min().unwrap_or(NEVER)
    }
}

/// What a tick found to do for one job.
#[derive(Default)]
pub(crate) struct Due {
    pub(crate) announcement: Option<Message>,
    pub(crate) extend: Vec<Arc<Delivery>>,
}

impl Job {
    pub(crate) fn new(shared: &Arc<Shared>, key: Arc<str>, asked: Asked, delivery: Delivery, now: Timestamp) -> Self {
        let input = OnceLock::new();
        if let Some(payload) = &delivery.message.payload {
            // A new cell is empty.
            let _ = input.set(Arc::clone(&payload.0));
        }
        let deadline = asked.deadline(now);
        let settles = delivery.handle.is_some();
        let started = now.as_microsecond();
        let options = &shared.options;
        let timers = Timers {
            announce_at: later(started, options.announce_after),
            extend_at: if settles { later(started, options.ack_wait / 3) } else { NEVER },
            deadline_at: deadline.map_or(NEVER, Timestamp::as_microsecond),
            drop_at: NEVER,
            flush_at: NEVER,
            last_report: Micros::MIN,
            pending: None,
            ended: false,
        };
        Self {
            shared: Arc::clone(shared),
            key,
            asked,
            delivery_attempt: delivery.attempt,
            received_at: now,
            deadline,
            stop: StopFlag::default(),
            abort: Signal::default(),
            input,
            cancel_note: OnceLock::new(),
            timers: Mutex::new(timers),
            held: Mutex::new(Held { first: Some(Arc::new(delivery)), more: Vec::new() }),
        }
    }

    pub(crate) fn request(&self) -> &JobRequest {
        self.asked.request()
    }

    pub(crate) fn input(&self) -> &Arc<Value> {
        self.input.get().unwrap_or(&NO_INPUT)
    }

    pub(crate) fn has_input(&self) -> bool {
        self.input.get().is_some()
    }

    /// Sets the input that was fetched. The first one stays.
    pub(crate) fn set_input(&self, value: Value) {
        let _ = self.input.set(Arc::new(value));
    }

    /// Asks the handler to stop, and drops it when `cancel_grace` has passed.
    pub(crate) fn ask_to_stop(&self, reason: CancelReason, note: Option<String>, now: Timestamp) {
        if let Some(note) = note {
            // Repeated cancels keep the first note.
            let _ = self.cancel_note.set(note);
        }
        self.stop.raise(reason);
        let drop_at = later(now.as_microsecond(), self.shared.options.cancel_grace);
        let mut timers = self.timers();
        if !timers.ended {
            timers.drop_at = timers.drop_at.min(drop_at);
            drop(timers);
            self.shared.ticker.arm(drop_at);
        }
    }

    pub(crate) fn cancel_note(&self) -> Option<&str> {
        self.cancel_note.get().map(String::as_str)
    }

    /// When the ticker must first look at the job.
    pub(crate) fn first_due(&self) -> Micros {
        self.timers().next()
    }

    /// Does what has become due and says when to look again.
    pub(crate) fn tick(&self, now: Timestamp, due: &mut Due) -> Micros {
        let at = now.as_microsecond();
        let options = &self.shared.options;
        let mut timers = self.timers();
        if timers.extend_at <= at {
            timers.extend_at = later(at, options.ack_wait / 3);
            self.held().each(|delivery| due.extend.push(Arc::clone(delivery)));
        }
        if timers.drop_at <= at {
            timers.drop_at = NEVER;
            self.abort.raise();
        }
        if timers.deadline_at <= at {
            timers.deadline_at = NEVER;
            timers.drop_at = timers.drop_at.min(later(at, options.cancel_grace));
            self.stop.raise(CancelReason::Deadline);
        }
        let said = if timers.flush_at <= at { timers.pending.take() } else { None };
        if timers.flush_at <= at {
            timers.flush_at = NEVER;
        }
        if said.is_some() || timers.announce_at <= at {
            let (percent, message) = said.unwrap_or_default();
            timers.announce_at = NEVER;
            timers.last_report = at;
            due.announcement = Some(self.announcement(percent, message, now));
        }
        timers.next()
    }

    /// Takes a report of the handler: the message to send now, or nothing when it will be sent later.
    pub(crate) fn report(&self, percent: u8, message: String) -> Result<Option<Message>, JobError> {
        let now = self.shared.clock.now();
        let at = now.as_microsecond();
        let interval = self.shared.options.progress_interval;
        let mut timers = self.timers();
        if timers.ended {
            return Err(JobError::cancelled());
        }
        let open_at = if timers.last_report == Micros::MIN { at } else { later(timers.last_report, interval) };
        if open_at > at {
            timers.pending = Some((percent, message));
            timers.flush_at = open_at;
            drop(timers);
            self.shared.ticker.arm(open_at);
            return Ok(None);
        }
        timers.announce_at = NEVER;
        timers.flush_at = NEVER;
        timers.pending = None;
        timers.last_report = at;
        Ok(Some(self.announcement(percent, message, now)))
    }

    /// The handler is done: from here on time only extends the deliveries.
    pub(crate) fn end(&self) {
        let mut timers = self.timers();
        let extend_at = timers.extend_at;
        *timers = Timers {
            announce_at: NEVER,
            extend_at,
            deadline_at: NEVER,
            drop_at: NEVER,
            flush_at: NEVER,
            last_report: Micros::MIN,
            pending: None,
            ended: true,
        };
    }

    /// Adds a redelivery of the job, to be settled with it.
    pub(crate) fn attach(&self, delivery: Delivery) {
        self.held().more.push(Arc::new(delivery));
    }

    /// Whether somebody else would be given the job if we gave it back: not when it was sent to this worker alone.
    pub(crate) fn can_be_given_back(&self) -> bool {
        let direct = &self.shared.subjects.direct;
        let held = self.held();
        held.first
            .iter()
            .chain(&held.more)
            .any(|delivery| delivery.handle.is_some() && delivery.message.subject != *direct)
    }

    /// Takes the deliveries, to settle them.
    pub(crate) fn take_held(&self) -> impl Iterator<Item = Arc<Delivery>> + Send + use<> {
        let Held { first, more } = mem::take(&mut *self.held());
        first.into_iter().chain(more)
    }

    fn announcement(&self, percent: u8, message: String, now: Timestamp) -> Message {
        let request = self.request();
        let progress = JobProgress {
            job_id: request.job_id.clone(),
            percent: i32::from(percent.min(100)),
            message,
            status: JobStatus::Running.into(),
            dispatch: request.dispatch.clone(),
            identity: request.identity.clone(),
            ..JobProgress::default()
        };
        self.shared.message(&self.shared.subjects.progress, self.asked.trace_id(), Body::JobProgress(progress), now)
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn each(&self, visit: impl FnMut(&Arc<Delivery>)) {
        self.first.iter().chain(&self.more).for_each(visit);
    }
}

pub(crate) fn later(at: Micros, wait: std::time::Duration) -> Micros {
    at.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(NEVER))
}
