//! Taking a command: to be decided now, or to wait until the aggregate is at hand.

use std::{collections::VecDeque, time::Duration};

use super::{
    Command, Executor, FIRST_WAIT, answer,
    entry::{Entry, Phase},
};
use crate::{
    ports::{Key, PolicySnapshot},
    runtime::{
        PlaneError,
        keys::AggregateId,
        load,
        shared::{Reply, Work},
    },
};

impl Executor {
    pub(super) fn take(&mut self, command: Command, policy: &dyn PolicySnapshot) {
        if let Work::Stop = command.work {
            self.is_stopping = true;
            self.stopping.push(command.reply);
            return;
        }
        if self.is_stopping {
            match command.reply {
                // Not decided, so not settled either.
                Reply::Delivery(delivery) => self.shared.give_back(delivery, FIRST_WAIT),
                reply => answer(reply, Err(PlaneError::closed()), &command.aggregate),
            }
            return;
        }
        match self.entries.get_mut(&command.aggregate) {
            Some(entry) if entry.phase == Phase::Ready => self.decide(command, policy),
            Some(entry) if entry.phase == Phase::BackingOff => {
                let mut queue = VecDeque::from([command]);
                self.shared.let_time_pass(&mut queue, FIRST_WAIT);
                entry.queue.append(&mut queue);
            }
            Some(entry) => entry.queue.push_back(command),
            // A start expects nothing to be there, and its batch is refused if something is: no need to look first.
            None if matches!(command.work, Work::Start { .. } | Work::Submit(_)) => {
                self.entries.insert(command.aggregate.clone(), Entry::new(Phase::Ready));
                self.decide(command, policy);
            }
            None => {
                let aggregate = command.aggregate.clone();
                let mut entry = Entry::new(Phase::Loading);
                entry.queue.push_back(command);
                self.entries.insert(aggregate.clone(), entry);
                self.load(aggregate, None, None);
            }
        }
    }

    /// Reads an aggregate whose entry is there, after a wait if need be.
    pub(super) fn load(&mut self, aggregate: AggregateId, idempotency: Option<Key>, after: Option<Duration>) {
        if let Some(entry) = self.entries.get_mut(&aggregate) {
            entry.phase = if after.is_some() { Phase::BackingOff } else { Phase::Loading };
            if let Some(wait) = after {
                self.shared.let_time_pass(&mut entry.queue, wait);
            }
        }
        self.loads.push(Box::pin(load::load(self.shared.clone(), aggregate, idempotency, after)));
    }
}
