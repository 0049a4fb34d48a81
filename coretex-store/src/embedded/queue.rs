//! Commits on their way to the writer.
//!
//! A call is queued at the first poll of its future, which is what orders calls. The writer takes all that wait at
//! once, so that under load one lock and one wake-up serve a whole group. The queue is bounded by refusal instead
//! of waiting, because a caller that waits for room could be overtaken.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use coretex_core::ports::{Batch, Receipt, StoreError, StoreErrorKind};
use tokio::sync::oneshot;

pub(super) type Answers = Vec<Result<Receipt, StoreError>>;

/// Calls that may wait; each belongs to a task that waits for its answer.
const WAITING: usize = 1 << 16;

#[derive(Debug)]
pub(super) enum Request {
    Commit {
        batches: Vec<Batch>,
        answer: oneshot::Sender<Answers>,
    },
    /// Fold everything into the base, then end.
    Close,
    /// End as if the process did.
    Stop,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    closed: Option<StoreError>,
    writer_sleeps: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call, or says why not.
    pub(super) fn push(&self, batches: Vec<Batch>, answer: oneshot::Sender<Answers>) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.waiting.len() >= WAITING {
            let message = format!("{WAITING} commits are waiting for the disk; commit less, or more at once");
            return Err(StoreError::new(StoreErrorKind::Unavailable, message));
        }
        state.waiting.push_back(Request::Commit { batches, answer });
        self.wake(state);
        Ok(())
    }

    /// Takes no more calls. What waits is still done, and then `last`, unless the queue was closed before.
    pub(super) fn close(&self, why: StoreError, last: Option<Request>) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(why);
            state.waiting.extend(last);
            self.wake(state);
        }
    }

    /// Takes no more calls, and gives back what waits.
    pub(super) fn fail(&self, why: StoreError) -> VecDeque<Request> {
        let mut state = self.state();
        state.closed = Some(why);
        std::mem::take(&mut state.waiting)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.writer_sleeps) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits for calls and moves all of them to `into`, which is empty.
    pub(super) fn take(&self, into: &mut VecDeque<Request>) {
        let mut state = self.state();
        while state.waiting.is_empty() {
            state.writer_sleeps = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, into);
    }
}
