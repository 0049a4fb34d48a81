//! The two threads of a store.
//!
//! The *writer* owns the journal. It takes all calls that wait, judges them, writes what was accepted as one record,
//! syncs once, makes it visible, and answers. The *checkpointer* owns the base. It folds a frozen memtable into it
//! while the writer goes on, and then removes the journal files that are covered.
//!
//! A failed write or sync ends the store: what is on the disk then is unknown, and asking the disk again would not
//! tell. Reopening does.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use coretex_core::ports::{StoreError, StoreErrorKind};
use tokio::sync::oneshot;

use super::{
    base::Base,
    error::text_of,
    journal::{self, AppendError, Journal, Place},
    judge::Judge,
    layers::Layers,
    memtable::Memtable,
    options::Options,
    queue::{Answers, Request},
    shared::Shared,
};
use crate::disk::DiskLock;

/// A group is not made larger than about this, in bytes, by further calls.
const GROUP: usize = 4 << 20;

/// A frozen memtable to fold into the base.
#[derive(Debug)]
struct Job {
    memory: Arc<Memtable>,
    /// The first group that the base does not cover afterwards.
    keep: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    journal: Journal,
    version: u64,
    /// Bytes in the journal that the base does not cover.
    uncovered: u64,
    /// The last attempt to make room failed for want of space.
    starved: Option<StoreError>,
    jobs: Option<mpsc::Sender<Job>>,
    checkpointer: Option<thread::JoinHandle<()>>,
    /// Held until everything else is let go.
    lock: Option<DiskLock>,
}

/// Whether the writer goes on.
#[derive(Debug)]
enum Next {
    Go,
    End(Result<(), StoreError>),
}

/// Everything that [`start`] needs.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    pub(super) place: Place,
    pub(super) journal: Journal,
    pub(super) base: Base,
    pub(super) version: u64,
    pub(super) uncovered: u64,
    pub(super) lock: DiskLock,
}

/// Starts both threads.
pub(super) fn start(parts: Parts) -> Result<thread::JoinHandle<()>, StoreError> {
    let Parts { shared, options, place, journal, base, version, uncovered, lock } = parts;
    let (jobs, queue) = mpsc::channel();
    let for_checkpoints = shared.clone();
    let checkpointer = spawn("coretex-fold", move || checkpoints(&for_checkpoints, &base, &place, &queue))?;
    let writer = Writer {
        shared,
        options,
        journal,
        version,
        uncovered,
        starved: None,
        jobs: Some(jobs),
        checkpointer: Some(checkpointer),
        lock: Some(lock),
    };
    spawn("coretex-store", move || writer.run())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, StoreError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        StoreError::new(StoreErrorKind::Unavailable, format!("cannot start a thread for the store: {error}"))
    })
}

fn closed_by(error: &StoreError) -> StoreError {
    if error.kind() == StoreErrorKind::Closed {
        return error.clone();
    }
    StoreError::closed(format!("the store closed itself after a failure ({error}); open it again"))
        .with_source(error.clone())
}

fn checkpoints(shared: &Shared, base: &Base, place: &Place, jobs: &mpsc::Receiver<Job>) {
    while let Ok(Job { memory, keep }) = jobs.recv() {
        let work = AssertUnwindSafe(|| checkpoint(shared, base, place, &memory, keep));
        let result = catch_unwind(work).unwrap_or_else(|panic| {
            Err(StoreError::new(StoreErrorKind::Unavailable, format!("a checkpoint failed: {}", text_of(&*panic))))
        });
        if let Err(error) = &result {
            tracing::error!(%error, "the embedded store closes itself: a checkpoint failed");
            // First nobody may read, then writers may know.
            drop(shared.shut(closed_by(error)));
            // The writer learns of it when it next looks, and answers what waits.
            shared.queue.close(closed_by(error), Some(Request::Stop));
        }
        drop(memory);
        shared.checkpoint_ends(result);
    }
}

fn checkpoint(shared: &Shared, base: &Base, place: &Place, memory: &Memtable, keep: u64) -> Result<(), StoreError> {
    let before = match &*shared.read() {
        Ok(layers) => layers.below.base.clone(),
        Err(error) => return Err(error.clone()),
    };
    base.checkpoint(memory, &before, shared.now())?;
    drop(before);
    let view = Arc::new(base.view()?);
    if let Ok(layers) = &mut *shared.write() {
        layers.below.base = view;
        layers.below.frozen = None;
    }
    if let Err(error) = journal::remove_before(place, keep) {
        // They are covered, and the next checkpoint or start removes them.
        tracing::warn!(%error, "covered journal files could not be removed");
    }
    Ok(())
}

impl Writer {
    fn run(mut self) {
        let shared = self.shared.clone();
        let result = catch_unwind(AssertUnwindSafe(|| self.serve())).unwrap_or_else(|panic| {
            let error = StoreError::new(StoreErrorKind::Unavailable, text_of(&*panic));
            self.fail(&error);
            Err(error)
        });
        self.release();
        drop(self.lock.take());
        shared.ended.send_replace(Some(result));
    }

    fn serve(&mut self) -> Result<(), StoreError> {
        let mut requests = VecDeque::new();
        if let Err(error) = self.make_room() {
            self.fail(&error);
            return Err(error);
        }
        loop {
            self.shared.clone().queue.take(&mut requests);
            while !requests.is_empty() {
                match self.next(&mut requests) {
                    Next::Go => {}
                    Next::End(result) => {
                        refuse(requests.drain(..), &StoreError::closed("the store was closed"));
                        return result;
                    }
                }
            }
        }
    }

    fn next(&mut self, requests: &mut VecDeque<Request>) -> Next {
        match requests.front() {
            Some(Request::Commit { .. }) => match self.group(requests) {
                Ok(()) => Next::Go,
                Err(error) => {
                    self.fail(&error);
                    refuse(requests.drain(..), &closed_by(&error));
                    Next::End(Err(error))
                }
            },
            Some(Request::Close) => Next::End(self.close()),
            Some(Request::Stop) | None => {
                drop(self.shared.shut(StoreError::closed("the store was closed")));
                Next::End(self.shared.checkpoint_settled())
            }
        }
    }

    /// Makes the calls at the front durable, as many as fit, and answers them. An error means that the store must
    /// not go on.
    fn group(&mut self, requests: &mut VecDeque<Request>) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        if self.starved.is_some() {
            self.make_room()?;
        }
        let mut answers: Vec<(oneshot::Sender<Answers>, Answers)> = Vec::with_capacity(requests.len());
        let group = {
            let guard = shared.read();
            let layers = guard.as_ref().map_err(Clone::clone)?;
            if let Some(error) = self.starved.clone().filter(|_| layers.active.bytes > 2 * self.options.memory_bytes) {
                refuse(requests.drain(..), &error);
                return Ok(());
            }
            let mut judge = Judge::new(layers, shared.now(), self.version);
            while judge.size() < GROUP
                && let Some(request) = requests.pop_front_if(|request| matches!(request, Request::Commit { .. }))
            {
                let Request::Commit { batches, answer } = request else { continue };
                answers.push((answer, batches.into_iter().map(|batch| judge.judge(batch)).collect()));
            }
            judge.finish()
        };
        self.version = group.version;
        if !group.effects.is_empty() {
            match self.journal.append(|out| group.encode(out)) {
                Ok(bytes) => self.uncovered += bytes,
                Err(AppendError::Full(error)) => {
                    answer_all(answers, Some(&error));
                    return Ok(());
                }
                Err(AppendError::Failed(error)) => {
                    let unknown = StoreError::new(StoreErrorKind::Unavailable, error.to_string()).with_source(error);
                    // First nobody may read, then those who wait may know.
                    self.fail(&unknown);
                    answer_all(answers, Some(&unknown));
                    return Err(unknown);
                }
            }
            let changes = shared.changes(&group.effects);
            if let Ok(layers) = &mut *shared.write() {
                layers.active.lsn = self.journal.next_lsn() - 1;
                layers.active.now = group.now;
                layers.active.version = group.version;
                for effect in group.effects {
                    layers.active.apply(effect);
                }
            }
            if !changes.is_empty() {
                shared.announce(&changes);
            }
        }
        answer_all(answers, None);
        self.make_room()
    }

    /// Folds the active memtable or starts a new segment when it is time. Waits for a checkpoint that still runs
    /// when there is no room for another memtable.
    fn make_room(&mut self) -> Result<(), StoreError> {
        let memory = self.shared.read().as_ref().map_or(0, |layers| layers.active.bytes);
        let result = if memory >= self.options.memory_bytes || self.uncovered >= self.options.checkpoint_bytes {
            self.freeze()
        } else if self.journal.segment_len() >= self.options.segment_bytes {
            self.journal.rotate()
        } else {
            Ok(())
        };
        match result {
            Ok(()) => self.starved = None,
            Err(AppendError::Full(error)) => {
                if self.starved.is_none() {
                    tracing::warn!(%error, "no space to fold the journal; commits go on until memory is used up");
                }
                self.starved = Some(error);
            }
            Err(AppendError::Failed(error)) => return Err(error),
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<(), AppendError> {
        self.shared.checkpoint_settled().map_err(AppendError::Failed)?;
        // From here on the groups of this memtable are in files of their own.
        self.journal.rotate()?;
        let memory = match &mut *self.shared.write() {
            Ok(Layers { active, below }) => {
                let next = active.next();
                let memory = Arc::new(std::mem::replace(active, next));
                below.frozen = Some(memory.clone());
                memory
            }
            Err(error) => return Err(AppendError::Failed(error.clone())),
        };
        self.uncovered = 0;
        self.shared.checkpoint_begins();
        let job = Job { memory, keep: self.journal.next_lsn() };
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            let error = StoreError::new(StoreErrorKind::Unavailable, "the checkpoint thread has ended");
            self.shared.checkpoint_ends(Err(error.clone()));
            return Err(AppendError::Failed(error));
        }
        Ok(())
    }

    /// Folds everything, so that the next start has nothing to replay, and ends.
    fn close(&mut self) -> Result<(), StoreError> {
        let empty = self.shared.read().as_ref().map_or(true, |layers| layers.active.is_empty());
        let folded = if empty { Ok(()) } else { self.freeze() };
        let settled = self.shared.checkpoint_settled();
        drop(self.shared.shut(StoreError::closed("the store was closed")));
        match folded {
            // Nothing is lost: the journal has it.
            Ok(()) | Err(AppendError::Full(_)) => settled,
            Err(AppendError::Failed(error)) => Err(error),
        }
    }

    /// The disk failed: nobody reads, nobody writes.
    fn fail(&mut self, error: &StoreError) {
        let why = closed_by(error);
        if self.shared.shut(why.clone()).is_some() {
            tracing::error!(%error, "the embedded store closes itself");
        }
        refuse(self.shared.queue.fail(why.clone()).into_iter(), &why);
    }

    /// Ends the checkpointer, and with it lets go of the base.
    fn release(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.checkpointer.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

fn answer_all(answers: Vec<(oneshot::Sender<Answers>, Answers)>, failure: Option<&StoreError>) {
    for (answer, mut results) in answers {
        if let Some(error) = failure {
            for result in &mut results {
                if result.is_ok() {
                    *result = Err(error.clone());
                }
            }
        }
        // A caller that is gone needs no answer.
        let _ = answer.send(results);
    }
}

fn refuse(requests: impl Iterator<Item = Request>, why: &StoreError) {
    for request in requests {
        if let Request::Commit { batches, answer } = request {
            let _ = answer.send(batches.iter().map(|_| Err(why.clone())).collect());
        }
    }
}
