//! A bus on which things go wrong.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Faults, plan::Way};
use crate::ports::{Bus, BusCapabilities, BusError, BusErrorKind, Clock, Message, Subscribe, Subscription};

/// A [`Bus`] over another one, on which things go wrong by plan. Cloning shares it.
///
/// Late messages wait on the clock in a task of their own, so it must be used inside a tokio runtime when the plan
/// delays or reorders.
#[derive(Clone)]
pub struct FaultyBus {
    inner: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    record: Option<Arc<Mutex<Vec<Message>>>>,
}

impl FaultyBus {
    /// Lets things go wrong on `inner`; `clock` says when late messages are due.
    #[must_use]
    pub fn new(inner: Arc<dyn Bus>, clock: Arc<dyn Clock>, faults: &Faults) -> Self {
        Self { inner, clock, faults: faults.clone(), record: None }
    }

    /// Keeps a copy of everything published, whatever becomes of it, in `record`.
    #[must_use]
    pub fn recording(mut self, record: Arc<Mutex<Vec<Message>>>) -> Self {
        self.record = Some(record);
        self
    }

    fn note(&self, message: &Message) {
        if let Some(record) = &self.record {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        }
    }

    fn send_later(&self, message: Message, wait: std::time::Duration) {
        let (inner, clock) = (self.inner.clone(), self.clock.clone());
        let sleep = clock.sleep_until(clock.now() + wait);
        tokio::spawn(async move {
            sleep.await;
            let _busy = clock.busy();
            if let Err(error) = inner.publish(message).await {
                tracing::debug!(%error, "a late message is lost");
            }
        });
    }
}

impl fmt::Debug for FaultyBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBus").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Bus for FaultyBus {
    fn capabilities(&self) -> BusCapabilities {
        self.inner.capabilities()
    }

    async fn publish(&self, message: Message) -> Result<(), BusError> {
        let way = self.faults.way();
        if way == Way::Full {
            return Err(BusError::new(BusErrorKind::Full, "the fault plan lets the queue be full; publish again"));
        }
        self.note(&message);
        match way {
            Way::Twice => {
                self.inner.publish(message.clone()).await?;
                self.inner.publish(message).await
            }
            Way::Late(wait) => {
                self.send_later(message, wait);
                Ok(())
            }
            Way::Lost => Ok(()),
            Way::Straight | Way::Full => self.inner.publish(message).await,
        }
    }

    fn try_publish(&self, message: Message) -> Result<(), Message> {
        let way = self.faults.way();
        if way == Way::Full {
            return Err(message);
        }
        match way {
            Way::Lost => self.note(&message),
            Way::Late(wait) => {
                self.note(&message);
                self.send_later(message, wait);
            }
            Way::Straight | Way::Twice | Way::Full => {
                let copy = message.clone();
                self.inner.try_publish(message)?;
                if way == Way::Twice {
                    // One of two is as good as a message that was not doubled.
                    let _refused = self.inner.try_publish(copy.clone());
                }
                self.note(&copy);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BusError> {
        self.inner.subscribe(subscribe).await
    }

    async fn close(&self) -> Result<(), BusError> {
        self.inner.close().await
    }
}
