//! Who belongs to a group and who of them waits for work.
//!
//! Invariant: while someone waits without having been woken, at least as many members have been woken as there
//! are messages queued. Whoever is woken and turns away passes the call on ([`Members::turn_away`]).

use std::{collections::VecDeque, task::Waker};

#[derive(Debug, Default)]
enum Wait {
    #[default]
    Busy,
    /// In the line with this number.
    Waiting(u64, Waker),
    /// Woken for a message and not seen since.
    Called,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    members: Vec<Option<Wait>>,
    free: Vec<usize>,
    /// Longest waiting first. Entries whose number is not the member's are stale.
    line: VecDeque<(usize, u64)>,
    waiting: usize,
    numbers: u64,
}

impl Members {
    pub(super) fn join(&mut self) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        if let Some(place) = self.members.get_mut(index) {
            *place = Some(Wait::Busy);
        }
        index
    }

    /// Forgets a member that does not wait.
    pub(super) fn leave(&mut self, member: usize) {
        self.busy(member);
        if let Some(place) = self.members.get_mut(member)
            && place.take().is_some()
        {
            self.free.push(member);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.members.len()
    }

    /// Puts the member into the line, or keeps its place there.
    pub(super) fn wait(&mut self, member: usize, waker: &Waker) {
        let Some(Some(wait)) = self.members.get_mut(member) else { return };
        if let Wait::Waiting(_, known) = wait {
            known.clone_from(waker);
            return;
        }
        self.numbers += 1;
        self.waiting += 1;
        *wait = Wait::Waiting(self.numbers, waker.clone());
        // Members that time out and come back leave stale entries behind.
        if self.line.len() > 2 * self.waiting + 16 {
            let members = &self.members;
            self.line.retain(|(member, number)| {
                matches!(members.get(*member), Some(Some(Wait::Waiting(current, _))) if current == number)
            });
        }
        self.line.push_back((member, self.numbers));
    }

    /// The member has work, or has left the line.
    pub(super) fn busy(&mut self, member: usize) {
        if let Some(Some(wait)) = self.members.get_mut(member)
            && let Wait::Waiting(..) = std::mem::take(wait)
        {
            self.waiting -= 1;
        }
    }

    /// The member stops waiting; true if it had been called for a message that somebody else must take now.
    #[must_use]
    pub(super) fn turn_away(&mut self, member: usize) -> bool {
        let called = matches!(self.members.get(member), Some(Some(Wait::Called)));
        self.busy(member);
        called
    }

    /// Calls the member that waits longest. The waker is to be used once the lock is released.
    #[must_use]
    pub(super) fn call(&mut self) -> Option<Waker> {
        while self.waiting > 0 {
            let (member, number) = self.line.pop_front()?;
            if let Some(Some(wait)) = self.members.get_mut(member)
                && matches!(wait, Wait::Waiting(current, _) if *current == number)
                && let Wait::Waiting(_, waker) = std::mem::replace(wait, Wait::Called)
            {
                self.waiting -= 1;
                return Some(waker);
            }
        }
        None
    }

    /// Calls everyone.
    pub(super) fn call_all(&mut self) -> Vec<Waker> {
        std::iter::from_fn(|| self.call()).collect()
    }
}
