//! Batches on their way through the store.
//!
//! Everything decided in one round is one call, and a call goes out whether or not earlier ones have come back: the
//! store applies calls in the order of their first polls and puts those that wait under one flush. A store that does not
//! have to wait answers within the round.

use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll, Waker},
};

use futures::{FutureExt, future::BoxFuture};

use super::Executor;
use crate::{
    ports::{Batch, Receipt, StoreError, StoreErrorKind},
    runtime::{keys::AggregateId, shared::Shared},
};

/// Calls that an executor has out at once. What is decided meanwhile gathers for the next: a slow store is given few
/// large calls rather than many small ones.
const MAX_CALLS: usize = 4;

type Results = Vec<Result<Receipt, StoreError>>;

/// What became of a call, once it is known.
enum Call {
    Out(BoxFuture<'static, Results>),
    Back(Results),
}

/// The calls of one executor that are out, oldest first.
#[derive(Default)]
pub(super) struct Calls(VecDeque<(Vec<AggregateId>, Call)>);

impl Calls {
    /// Hands `batches` of `members` to the store.
    fn call(&mut self, shared: &Shared, members: Vec<AggregateId>, batches: Vec<Batch>) {
        let store = shared.store.clone();
        let mut commit = async move { store.commit(batches).await }.boxed();
        // The first poll puts the call in order; whoever waits for it polls again.
        let call = match commit.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(results) => Call::Back(results),
            Poll::Pending => Call::Out(commit),
        };
        self.0.push_back((members, call));
    }

    /// Ready when the oldest call has come back.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for (_, call) in &mut self.0 {
            if let Call::Out(commit) = call
                && let Poll::Ready(results) = commit.poll_unpin(cx)
            {
                *call = Call::Back(results);
            }
        }
        if matches!(self.0.front(), Some((_, Call::Back(_)))) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&mut self) -> Option<(Vec<AggregateId>, Results)> {
        match self.0.pop_front()? {
            (members, Call::Back(results)) => Some((members, results)),
            out => {
                self.0.push_front(out);
                None
            }
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calls({})", self.0.len())
    }
}

impl Executor {
    /// Hands over what was decided, and acts on what has come back.
    pub(super) fn flush(&mut self) {
        if !self.batches.is_empty() && self.calls.0.len() < MAX_CALLS {
            let members = std::mem::take(&mut self.members);
            let batches = std::mem::take(&mut self.batches);
            self.calls.call(&self.shared, members, batches);
        }
        while let Some((members, results)) = self.calls.take() {
            self.take_results(members, results);
        }
    }

    fn take_results(&mut self, mut members: Vec<AggregateId>, results: Results) {
        let mut results = results.into_iter();
        for aggregate in members.drain(..) {
            let result = results
                .next()
                .unwrap_or_else(|| Err(StoreError::new(StoreErrorKind::Unavailable, "the store gave no result")));
            self.under_way = self.under_way.saturating_sub(1);
            let Some(entry) = self.entries.get_mut(&aggregate) else { continue };
            // What waits in front of the batch was decided before it and is settled by its predecessor.
            let Some(pending) = entry.pending.front_mut() else { continue };
            match result {
                Ok(_) => {
                    pending.sent = false;
                    self.settle(&aggregate);
                }
                Err(error) => self.refuse(&aggregate, error),
            }
        }
        if self.members.is_empty() {
            self.members = members;
        }
    }
}
