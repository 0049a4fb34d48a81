//! Which jobs run here, which have ended here lately, and which must not start.
//!
//! Invariant: at most one entry per key; a running job is never forgotten, the others are bounded in number and
//! bytes, oldest forgotten first. A key is the job's id, with its dispatch id when it has one.

use std::{
    collections::{VecDeque, hash_map},
    sync::Arc,
};

use coretex_core::{
    ports::Delivery,
    protocol::{JobCancel, JobStatus},
};

use foldhash::{HashMap, HashMapExt};

use super::{answer::Answer, asked::Asked, job::Job};
use crate::extract::step_parts;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remember {
    pub(crate) results: usize,
    pub(crate) result_bytes: usize,
    pub(crate) cancels: usize,
}

pub(crate) struct Registry {
    entries: HashMap<Arc<str>, Entry>,
    finished: VecDeque<(Arc<str>, u64)>,
    cancelled: VecDeque<(Arc<str>, u64)>,
    finished_bytes: usize,
    /// Entries ever made; tells an entry from a later one of the same key.
    serial: u64,
    /// Running jobs whose key holds a dispatch id, and which a cancel by job id must search.
    dispatched: usize,
    remember: Remember,
}

enum Entry {
    Running(Arc<Job>),
    /// The answer rather than its packet: an eighth of the memory, and the packet is freed while it is warm.
    Finished {
        answer: Answer,
        bytes: usize,
        serial: u64,
    },
    Cancelled {
        note: String,
        serial: u64,
    },
}

/// What is known of a job that was delivered.
pub(crate) enum Known {
    /// Nothing that keeps it from starting; it is registered now.
    Started(Arc<Job>),
    /// It runs here; the delivery will be settled with it.
    Running,
    /// It ended here with this result.
    Finished(Answer, Delivery),
    /// It was cancelled before it came.
    Cancelled(String, Delivery),
}

impl Registry {
    pub(crate) fn new(remember: Remember) -> Self {
        Self {
            entries: HashMap::new(),
            finished: VecDeque::new(),
            cancelled: VecDeque::new(),
            finished_bytes: 0,
            serial: 0,
            dispatched: 0,
            remember,
        }
    }

    /// Registers the job unless it is known. `key` is what [`key`] makes of `asked`.
    pub(crate) fn admit(
        &mut self,
        key: &Arc<str>,
        asked: &Asked,
        delivery: Delivery,
        start: impl FnOnce(Delivery) -> Arc<Job>,
    ) -> Known {
        let dispatched = is_dispatched(asked);
        // A cancel that names no dispatch means all of them.
        if dispatched && let Some(Entry::Cancelled { note, .. }) = self.entries.get(asked.job_id()) {
            return Known::Cancelled(note.clone(), delivery);
        }
        let place = self.entries.entry(Arc::clone(key));
        if let hash_map::Entry::Occupied(known) = &place {
            match known.get() {
                Entry::Running(job) => {
                    job.attach(delivery);
                    return Known::Running;
                }
                Entry::Finished { answer, .. } if repeats(asked, &delivery, answer.status) => {
                    return Known::Finished(answer.clone(), delivery);
                }
                Entry::Cancelled { note, .. } => return Known::Cancelled(note.clone(), delivery),
                Entry::Finished { bytes, .. } => self.finished_bytes -= bytes,
            }
        }
        let job = start(delivery);
        self.dispatched += usize::from(dispatched);
        place.insert_entry(Entry::Running(Arc::clone(&job)));
        Known::Started(job)
    }

    /// The job ended here and its result was accepted: repeats are answered the same from now on.
    pub(crate) fn finish(&mut self, job: &Job, answer: Answer, bytes: usize) {
        let Some(entry @ Entry::Running(_)) = self.entries.get_mut(&job.key) else { return };
        self.serial += 1;
        *entry = Entry::Finished { answer, bytes, serial: self.serial };
        self.dispatched -= usize::from(is_dispatched(&job.asked));
        self.finished_bytes += bytes;
        self.finished.push_back((Arc::clone(&job.key), self.serial));
        while self.finished.len() > self.remember.results || self.finished_bytes > self.remember.result_bytes {
            let Some((key, serial)) = self.finished.pop_front() else { break };
            if let hash_map::Entry::Occupied(oldest) = self.entries.entry(key)
                && let Entry::Finished { bytes, serial: current, .. } = oldest.get()
                && *current == serial
            {
                self.finished_bytes -= bytes;
                oldest.remove();
            }
        }
    }

    /// The job does not run here any more and left nothing to repeat.
    pub(crate) fn forget(&mut self, job: &Job) {
        if let Some(Entry::Running(_)) = self.entries.get(&job.key) {
            self.entries.remove(&job.key);
            self.dispatched -= usize::from(is_dispatched(&job.asked));
        }
    }

    /// The jobs that a cancel stops. When there is none, the job must not start if it comes later.
    pub(crate) fn cancel(&mut self, cancel: &JobCancel, note: &str) -> Vec<Arc<Job>> {
        let dispatch = cancel.dispatch.as_ref().map_or("", |dispatch| dispatch.dispatch_id.as_str());
        let key = key_of(&cancel.job_id, dispatch);
        match self.entries.get(&key) {
            Some(Entry::Running(job)) => return vec![Arc::clone(job)],
            Some(Entry::Finished { .. } | Entry::Cancelled { .. }) => return Vec::new(),
            None => {}
        }
        let mut found = Vec::new();
        if !dispatch.is_empty() {
            // A job that came without a dispatch id can only be the one that is meant.
            if let Some(Entry::Running(job)) = self.entries.get(cancel.job_id.as_str()) {
                return vec![Arc::clone(job)];
            }
        } else if self.dispatched > 0 {
            found.extend(self.jobs().filter(|job| job.asked.job_id() == cancel.job_id).cloned());
        }
        self.serial += 1;
        self.entries.insert(Arc::clone(&key), Entry::Cancelled { note: note.to_owned(), serial: self.serial });
        self.cancelled.push_back((key, self.serial));
        while self.cancelled.len() > self.remember.cancels {
            let Some((key, serial)) = self.cancelled.pop_front() else { break };
            if matches!(self.entries.get(&key), Some(Entry::Cancelled { serial: current, .. }) if *current == serial) {
                self.entries.remove(&key);
            }
        }
        found
    }

    /// The jobs that run here, in no order.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Running(job) => Some(job),
            _ => None,
        })
    }
}

/// Whether a delivery of an ended job only repeats an earlier one. A job id that names no attempt may be sent again
/// on purpose after a failure; then it runs again.
fn repeats(asked: &Asked, delivery: &Delivery, status: JobStatus) -> bool {
    delivery.attempt > 1
        || status == JobStatus::Succeeded
        || is_dispatched(asked)
        || step_parts(asked.job_id()).is_some()
}

fn is_dispatched(asked: &Asked) -> bool {
    !asked.dispatch_id().is_empty()
}

/// What tells one attempt from another.
pub(crate) fn key(asked: &Asked) -> Arc<str> {
    match asked.order() {
        Some(order) => order.shared_job_id(),
        None => key_of(asked.job_id(), asked.dispatch_id()),
    }
}

fn key_of(job_id: &str, dispatch_id: &str) -> Arc<str> {
    if dispatch_id.is_empty() { job_id.into() } else { format!("{job_id}\n{dispatch_id}").into() }
}
