//! A subscription without a group: sees everything, loses the oldest when it does not read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;

use super::registry::Registry;
use crate::{
    ports::{Delivery, Message, Subscription},
    protocol::subjects::SubjectFilter,
};

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) id: u64,
    pub(super) filter: SubjectFilter,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    waker: Option<Waker>,
    closed: bool,
    lost: u64,
}

impl Watcher {
    pub(super) fn new(id: u64, filter: SubjectFilter, capacity: usize) -> Self {
        Self { id, filter, capacity: capacity.max(1), state: Mutex::default() }
    }

    pub(super) fn offer(&self, message: Message) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let oldest = if state.queue.len() >= self.capacity { state.queue.pop_front() } else { None };
        state.queue.push_back(message);
        let waker = state.waker.take();
        state.lost += u64::from(oldest.is_some());
        let first_loss = oldest.is_some() && state.lost == 1;
        drop(state);
        if first_loss {
            tracing::warn!(filter = self.filter.as_str(), "a watcher reads too slowly and loses its oldest messages");
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        let waker = state.waker.take();
        drop(state);
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        match state.queue.pop_front() {
            Some(message) => Poll::Ready(Some(Delivery { message, attempt: 1, handle: None })),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving end of a [`Watcher`].
#[derive(Debug)]
pub(super) struct WatcherSubscription {
    pub(super) watcher: Arc<Watcher>,
    pub(super) registry: Arc<Registry>,
}

#[async_trait]
impl Subscription for WatcherSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        tokio::task::consume_budget().await;
        std::future::poll_fn(|context| self.watcher.poll_next(context)).await
    }
}

impl Drop for WatcherSubscription {
    fn drop(&mut self) {
        self.registry.leave_watcher(&self.watcher);
        self.watcher.close();
    }
}
