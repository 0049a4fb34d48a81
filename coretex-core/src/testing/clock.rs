//! Time that moves when it is told to, or when nobody has anything left to do.
//!
//! # By hand
//!
//! [`VirtualClock::advance`] walks to a later time, stopping at every deadline on the way: it wakes who sleeps
//! there, lets everyone run until they rest, and goes on. A sleeper that is woken on the way and sleeps again is
//! woken again, at its own time. [`VirtualClock::jump`] only sets the time and wakes.
//!
//! # By itself
//!
//! [`VirtualClock::auto`] and [`VirtualClock::run`] jump to the next deadline whenever the process rests. It rests
//! when
//!
//! 1. no [`Busy`] guard is held, and
//! 2. the driver has let the runtime run everyone else 32 times in a row (256 times on a runtime with several
//!    threads) during which nobody touched the clock: read it, slept, woke, or took a guard.
//!
//! Guards are what makes this exact; the second condition bridges the short ways between tasks that no guard
//! covers, such as a channel between two of them. One turn of a current-thread runtime polls every task that was
//! ready before it, so a chain of up to 32 hand-overs is seen through even if none of its links touches the clock. Work
//! that leaves the runtime (blocking threads, files, sockets) is invisible here and must hold a guard. Runs
//! repeat exactly on a current-thread runtime; on several threads the second condition is only very likely right.
//!
//! A sleeper that was woken and has not been polled since makes the driver wait for up to 1,024 turns, not
//! for ever: a task may rightly leave one branch of a `select` unpolled while it sleeps in another.

use std::{
    collections::BTreeMap,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::{BoxFuture, Either, select};
use jiff::Timestamp;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
};

use crate::ports::{Busy, BusyGauge, Clock};

/// Turns without a sign of life after which the process is taken to rest.
const QUIET_TURNS: u32 = 32;
/// The same, where tasks run on several threads.
const QUIET_TURNS_PARALLEL: u32 = 256;
/// Turns granted to sleepers that were woken and not polled.
const WOKEN_TURNS: u32 = 1_024;

/// A [`Clock`] that stands still until it is moved, by hand or by a driver. Cloning shares the time.
/// See the [module page](self).
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use coretex_core::{ports::Clock, testing::VirtualClock};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let clock = VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap());
/// let in_a_month = clock.now() + Duration::from_secs(30 * 24 * 3600);
/// clock.run(clock.sleep_until(in_a_month)).await; // returns at once
/// assert_eq!(clock.now(), in_a_month);
/// # });
/// ```
#[derive(Clone)]
pub struct VirtualClock(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    gauge: BusyGauge,
    /// Counts signs of life.
    life: AtomicU64,
    /// Somebody new sleeps.
    slept: Notify,
}

struct State {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
    numbers: u64,
    /// Woken sleepers that were not polled since.
    woken: usize,
}

enum Step {
    Jumped,
    Disturbed,
    Nothing,
}

impl VirtualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State { now: start, sleepers: BTreeMap::new(), numbers: 0, woken: 0 }),
            gauge: BusyGauge::default(),
            life: AtomicU64::new(0),
            slept: Notify::new(),
        }))
    }

    /// The guards that hold this clock.
    #[must_use]
    pub fn gauge(&self) -> &BusyGauge {
        &self.0.gauge
    }

    /// When the next sleeper wants to be woken.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().first()
    }

    /// Walks `by` forward, through every deadline on the way, whether guards are held or not, and returns when
    /// everyone woken has come to rest.
    pub async fn advance(&self, by: Duration) {
        let target = self.lock().now.checked_add(by).unwrap_or(Timestamp::MAX);
        loop {
            self.rest(false).await;
            let next = self.next_deadline().filter(|next| *next <= target);
            self.set(next.unwrap_or(target));
            if next.is_none() {
                break;
            }
        }
        self.rest(false).await;
    }

    /// Sets the time `by` forward at once and wakes whoever slept until then, in the order of their deadlines.
    pub fn jump(&self, by: Duration) {
        let target = self.lock().now.checked_add(by).unwrap_or(Timestamp::MAX);
        self.set(target);
    }

    /// Moves time to the next deadline whenever the process rests. Never completes; spawn it or use
    /// [`run`](Self::run).
    pub fn auto(&self) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move { while clock.step(Timestamp::MAX).await {} }
    }

    /// As [`auto`](Self::auto), and completes when the process rests with no deadline up to `end` left.
    pub fn auto_until(&self, end: Timestamp) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move { while clock.step(end).await {} }
    }

    /// Completes with `work`, and moves time on while it waits. Work that waits for what never comes hangs, or
    /// lets time run on if somebody sleeps periodically.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        match select(pin!(work), pin!(self.auto())).await {
            Either::Left((output, _)) => output,
            // `auto` only ends with the end of time.
            Either::Right(((), work)) => work.await,
        }
    }

    /// Waits until everyone rests, guards or not: for tests that move the clock by hand.
    pub async fn settle(&self) {
        self.rest(false).await;
    }

    /// Waits for rest and jumps to the next deadline up to `end`; false when there is none and `end` is not the
    /// end of time.
    async fn step(&self, end: Timestamp) -> bool {
        loop {
            let slept = self.0.slept.notified();
            self.0.gauge.idle().await;
            let life = self.rest(true).await;
            match self.step_now(end, life) {
                Step::Disturbed => {}
                Step::Jumped => return true,
                Step::Nothing if end < Timestamp::MAX => return false,
                Step::Nothing => slept.await,
            }
        }
    }

    /// Jumps to the next deadline up to `end`, if nothing stirred since `life` was read.
    fn step_now(&self, end: Timestamp, life: u64) -> Step {
        let mut state = self.lock();
        if self.0.gauge.count() > 0 || self.life() != life {
            return Step::Disturbed;
        }
        let Some(next) = state.first().filter(|next| *next <= end) else { return Step::Nothing };
        let wakers = state.set(next);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Step::Jumped
    }

    /// Lets everybody else run until nobody shows life; gives the count of signs. With `heed_guards`, a guard
    /// that is taken starts the wait anew.
    async fn rest(&self, heed_guards: bool) -> u64 {
        let parallel =
            Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() != RuntimeFlavor::CurrentThread);
        let enough = if parallel { QUIET_TURNS_PARALLEL } else { QUIET_TURNS };
        let (mut life, mut quiet, mut patience) = (self.life(), 0, WOKEN_TURNS);
        while quiet < enough {
            tokio::task::yield_now().await;
            if heed_guards && self.0.gauge.count() > 0 {
                self.0.gauge.idle().await;
                quiet = 0;
            }
            let seen = self.life();
            if seen != life {
                (life, quiet) = (seen, 0);
            } else if patience > 0 && self.lock().woken > 0 {
                patience -= 1;
            } else {
                quiet += 1;
            }
        }
        life
    }

    fn set(&self, now: Timestamp) {
        let wakers = self.lock().set(now);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn life(&self) -> u64 {
        self.0.life.load(Ordering::Acquire)
    }

    fn live(&self) {
        self.0.life.fetch_add(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first(&self) -> Option<Timestamp> {
        self.sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves time, never backwards, and takes out the sleepers whose time has come.
    fn set(&mut self, now: Timestamp) -> Vec<Waker> {
        self.now = self.now.max(now);
        let mut wakers = Vec::new();
        while let Some(first) = self.sleepers.first_entry()
            && first.key().0 <= self.now
        {
            if let Some(waker) = first.remove() {
                self.woken += 1;
                wakers.push(waker);
            }
        }
        wakers
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.live();
        self.lock().now
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.live();
        let mut state = self.lock();
        state.numbers += 1;
        let key = (at, state.numbers);
        // The deadline counts from now on, whether or not anyone polls.
        if at > state.now {
            state.sleepers.insert(key, None);
        }
        drop(state);
        self.0.slept.notify_waiters();
        Box::pin(Sleep { clock: self.clone(), key, polled: false })
    }

    fn busy(&self) -> Busy {
        self.live();
        self.0.gauge.enter()
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("VirtualClock")
            .field("now", &state.now)
            .field("sleepers", &state.sleepers.len())
            .field("busy", &self.0.gauge.count())
            .finish_non_exhaustive()
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Timestamp, u64),
    /// A waker is registered, or was taken to wake us.
    polled: bool,
}

impl Sleep {
    /// Takes note that this sleeper has seen its wake-up; true when its time has come.
    fn seen(&mut self, state: &mut State) -> bool {
        let due = self.key.0 <= state.now;
        if due && std::mem::take(&mut self.polled) {
            state.woken = state.woken.saturating_sub(1);
        }
        due
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if self.seen(&mut state) {
            drop(state);
            clock.live();
            return Poll::Ready(());
        }
        self.polled = true;
        let key = self.key;
        state.sleepers.insert(key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if !self.seen(&mut state) {
            let key = self.key;
            state.sleepers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
