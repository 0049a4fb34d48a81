//! Telling one task or many to stop.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

use crate::extract::CancelReason;

/// Raised once. Any task may look at it, one may wait for it: the last that polls is the one that is woken. No
/// allocation, no lock.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_raised() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Raised between the look and the registration: nobody would wake us.
        if self.is_raised() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Runs `future` until it ends or the signal is raised.
    pub(crate) async fn unless<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}

const NONE: u8 = 0;
const SHUTDOWN: u8 = 1;
const DEADLINE: u8 = 2;
const REQUESTED: u8 = 3;

/// The reason to stop a job, seen by any number of holders. The first reason stays, except that a shutdown gives
/// way to the others: those end the job, a shutdown only ends it here.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    reason: AtomicU8,
    notify: Notify,
}

impl StopFlag {
    pub(crate) fn raise(&self, reason: CancelReason) {
        let code = match reason {
            CancelReason::Requested => REQUESTED,
            CancelReason::Deadline => DEADLINE,
            CancelReason::Shutdown => SHUTDOWN,
        };
        let replace = |known| (known == NONE || (known == SHUTDOWN && code != SHUTDOWN)).then_some(code);
        if self.reason.fetch_update(Ordering::AcqRel, Ordering::Acquire, replace).is_ok() {
            self.notify.notify_waiters();
        }
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        match self.reason.load(Ordering::Acquire) {
            REQUESTED => Some(CancelReason::Requested),
            DEADLINE => Some(CancelReason::Deadline),
            SHUTDOWN => Some(CancelReason::Shutdown),
            _ => None,
        }
    }

    pub(crate) async fn raised(&self) -> CancelReason {
        loop {
            let mut notified = pin!(self.notify.notified());
            notified.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            notified.await;
        }
    }
}
