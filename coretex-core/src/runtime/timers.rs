//! The durable timers: one record per run that waits for nothing but time, and per record that acts by itself.
//!
//! The records lie in the store in the order in which they are due. This service keeps the next ones in memory, fires
//! them when their time has come by handing the run a tick, and reads on when it has fired them. A tick that fires
//! twice, or for a run that has moved on, changes nothing; the batch in which the run takes it removes the record.

use std::{collections::BTreeSet, pin::Pin, sync::Arc, task::Poll};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    keepers,
    keys::{self, AggregateId, Sleeper, TIMERS},
    shared::{Reply, Shared, Work},
};
use crate::{
    plane::Input,
    ports::{Key, Page, Scan, StoreErrorKind},
    workflow::RunInput,
};

/// A timer that was made durable.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) due: Timestamp,
    pub(super) sleeper: Sleeper,
}

impl Arm {
    pub(super) const fn run(due: Timestamp, aggregate: AggregateId) -> Self {
        Self { due, sleeper: Sleeper::Aggregate(aggregate) }
    }
}

/// Timers read ahead. At 100 bytes each this bounds the service to well under a megabyte, however many runs wait.
const WINDOW: usize = 4_096;

struct Wheel {
    shared: Arc<Shared>,
    near: BTreeSet<(Timestamp, Sleeper)>,
    /// Timers due after this may lie in the store without being in `near`.
    horizon: Timestamp,
    /// The last record read.
    cursor: Option<Key>,
}

pub(super) async fn run(shared: Arc<Shared>, mut armed: mpsc::UnboundedReceiver<Arm>) {
    let mut wheel = Wheel { shared, near: BTreeSet::new(), horizon: Timestamp::MIN, cursor: None };
    wheel.read_on().await;
    let mut sleep: Option<(Timestamp, BoxFuture<'static, ()>)> = None;
    loop {
        let next = wheel.near.first().map(|(due, _)| *due);
        if sleep.as_ref().map(|(due, _)| *due) != next {
            sleep = next.map(|due| (due, wheel.shared.clock.sleep_until(due)));
        }
        let mut arrived = Vec::new();
        let open = std::future::poll_fn(|cx| {
            if let Poll::Ready(count) = armed.poll_recv_many(cx, &mut arrived, 256) {
                return Poll::Ready(count > 0);
            }
            match &mut sleep {
                Some((_, sleep)) => Pin::new(sleep).poll(cx).map(|()| true),
                None => Poll::Pending,
            }
        })
        .await;
        if !open {
            return;
        }
        for Arm { due, sleeper } in arrived {
            if due <= wheel.horizon {
                wheel.near.insert((due, sleeper));
            }
        }
        wheel.forget_far();
        wheel.fire().await;
    }
}

impl Wheel {
    async fn fire(&mut self) {
        loop {
            let now = self.shared.clock.now();
            while self.near.first().is_some_and(|(due, _)| *due <= now) {
                let aggregate = match self.near.pop_first() {
                    Some((_, Sleeper::Aggregate(aggregate))) => aggregate,
                    Some((_, Sleeper::Record(key))) => {
                        keepers::nudge(&self.shared, key);
                        continue;
                    }
                    None => break,
                };
                let input = match &aggregate {
                    AggregateId::Run(_) => Input::Run(RunInput::Tick),
                    AggregateId::Job(_) => Input::Job(crate::job::JobInput::Tick),
                };
                // A control plane that is shutting down fires its timers when it is opened again.
                if self.shared.send(aggregate, Work::Input(input), Reply::Nobody).await.is_err() {
                    return;
                }
            }
            if !self.near.is_empty() || self.horizon == Timestamp::MAX {
                return;
            }
            self.read_on().await;
            if self.near.first().is_none_or(|(due, _)| *due > now) {
                return;
            }
        }
    }

    /// Reads the next window behind the horizon, again until that succeeds or the store is closed.
    async fn read_on(&mut self) {
        loop {
            let read = Scan::prefix(TIMERS).after(self.cursor.clone()).limit(WINDOW);
            let error = match self.shared.store.scan(read).await {
                Ok(page) => return self.take_page(page),
                Err(error) => error,
            };
            tracing::error!(%error, "the durable timers cannot be read");
            if error.kind() == StoreErrorKind::Closed {
                return;
            }
            let again = crate::job::job_after(self.shared.clock.now(), std::time::Duration::from_secs(1));
            self.shared.clock.sleep_until(again).await;
        }
    }

    fn take_page(&mut self, page: Page) {
        self.near.extend(page.entries.iter().filter_map(|entry| keys::parse_timer(&entry.key)));
        let last = page.entries.last().map(|entry| entry.key.clone());
        self.horizon = match (page.next, last.as_ref().and_then(keys::parse_timer)) {
            (Some(_), Some((due, _))) => due,
            _ => Timestamp::MAX,
        };
        self.cursor = last.or(self.cursor.take());
    }

    /// Keeps the window small when many runs go to sleep: the far ones are read again when their time comes near.
    fn forget_far(&mut self) {
        if self.near.len() <= 4 * WINDOW {
            return;
        }
        if let Some(first_far) = self.near.iter().nth(WINDOW).cloned() {
            let _far = self.near.split_off(&first_far);
        }
        if let Some((due, sleeper)) = self.near.last() {
            self.horizon = *due;
            self.cursor = Some(sleeper.timer(*due));
        }
    }
}
