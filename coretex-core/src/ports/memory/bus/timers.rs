//! One sleeper per bus, which calls groups when a deadline of theirs has come.
//!
//! The task starts with the first deadline and sleeps until the earliest one; it ends with the bus. Setting a later
//! deadline than the earliest wakes nobody.

use std::{
    collections::BTreeMap,
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures::future::select;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::Notify};

use super::group::Group;
use crate::ports::{Busy, Clock};

pub(super) struct Timers {
    clock: Arc<dyn Clock>,
    /// The clock waits for guards, and stops wherever somebody sleeps: no deadline may be kept beyond its use.
    pub(super) exact: bool,
    state: Mutex<State>,
    changed: Notify,
    /// Where subscriptions were made, for deadlines set from outside of a runtime.
    runtime: OnceLock<Handle>,
}

#[derive(Default)]
struct State {
    due: BTreeMap<(Timestamp, u64), Arc<Group>>,
    running: bool,
    closed: bool,
    /// Holds virtual time until the task has seen the change.
    changing: Option<Busy>,
}

impl Timers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let exact = clock.busy().holds_time();
        Self { clock, exact, state: Mutex::default(), changed: Notify::new(), runtime: OnceLock::new() }
    }

    /// Remembers the caller's runtime.
    pub(super) fn meet_runtime(&self) {
        if self.runtime.get().is_none()
            && let Ok(handle) = Handle::try_current()
        {
            // Somebody else was faster: just as good.
            let _ = self.runtime.set(handle);
        }
    }

    /// Replaces the time at which `group` wants to be called.
    pub(super) fn set(self: &Arc<Self>, group: &Arc<Group>, old: Option<Timestamp>, new: Option<Timestamp>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let before = state.first();
        // The replaced group is dropped after the lock.
        let _replaced = old.and_then(|old| state.due.remove(&(old, group.id)));
        if let Some(new) = new {
            state.due.insert((new, group.id), group.clone());
        }
        let after = state.first();
        if before == after && (state.running || after.is_none()) {
            return;
        }
        if self.exact && state.changing.is_none() {
            state.changing = Some(self.clock.busy());
        }
        if state.running {
            drop(state);
            self.changed.notify_one();
            return;
        }
        if state.due.is_empty() {
            state.changing = None;
            return;
        }
        let Some(runtime) = Handle::try_current().ok().or_else(|| self.runtime.get().cloned()) else {
            state.changing = None;
            drop(state);
            tracing::warn!("no tokio runtime: deliveries of the memory bus are not repeated in time");
            return;
        };
        state.running = true;
        drop(state);
        runtime.spawn(run(Running(self.clone())));
    }

    /// Forgets all deadlines and ends the task.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.changing = None;
        let due = std::mem::take(&mut state.due);
        drop(state);
        drop(due);
        self.changed.notify_one();
    }

    fn fire(&self) {
        let now = self.clock.now();
        let mut calls = Vec::new();
        let mut state = self.lock();
        while let Some(first) = state.due.first_entry()
            && first.key().0 <= now
        {
            calls.push(first.remove_entry());
        }
        drop(state);
        for ((at, _), group) in calls {
            group.on_time(at, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}

async fn run(running: Running) {
    let timers = &running.0;
    loop {
        let sleep = {
            let mut state = timers.lock();
            if state.closed {
                return;
            }
            let sleep = state.first().map(|at| timers.clock.sleep_until(at));
            let changing = state.changing.take();
            drop(state);
            drop(changing);
            sleep
        };
        let changed = pin!(timers.changed.notified());
        match sleep {
            Some(sleep) => drop(select(sleep, changed).await),
            None => changed.await,
        }
        timers.fire();
    }
}

/// A runtime that shuts down drops the task, perhaps before it ran; the next deadline then starts another one.
struct Running(Arc<Timers>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running = false;
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("armed", &self.lock().due.len()).finish_non_exhaustive()
    }
}
