//! Following a run live: its timeline so far, then every event as it becomes durable.

use std::collections::VecDeque;

use super::{ControlPlane, PlaneError, keys::AggregateId};
use crate::{
    governance::Principal,
    job::{RunId, WorkflowId},
    ports::Changes,
    workflow::TimelineEvent,
};

/// The timeline of one run as it grows. Ends with the run.
#[derive(Debug)]
#[must_use]
pub struct RunWatch {
    plane: ControlPlane,
    run: RunId,
    workflow: WorkflowId,
    changes: Changes,
    next: u64,
    ready: VecDeque<TimelineEvent>,
    ended: bool,
    /// The run had ended when the watch began, so that nothing more comes.
    complete: bool,
}

/// Events read at a time.
const PAGE: usize = 1_000;

impl ControlPlane {
    /// Follows a run from event number `from` (1 for all) on.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or the store cannot be read.
    pub async fn watch(&self, principal: &Principal, run: &RunId, from: u64) -> Result<RunWatch, PlaneError> {
        // Watched before read, so that nothing falls in between.
        let stream = AggregateId::Run(run.shared()).stream();
        let changes = self.shared().store.watch(stream.as_str()).await?;
        let state = self.run(principal, run).await?;
        Ok(RunWatch {
            plane: self.clone(),
            run: run.clone(),
            workflow: state.workflow().id().clone(),
            changes,
            next: from.max(1),
            ready: VecDeque::new(),
            ended: state.status().is_terminal() && from > state.head(),
            complete: state.status().is_terminal(),
        })
    }
}

impl RunWatch {
    /// The next event; `None` after the one that ended the run, or when the store is closed. Cancel-safe.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<TimelineEvent>, PlaneError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.next = event.seq + 1;
                self.ended = event.kind == "run_status" && event.seq > 1;
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let read = self.plane.timeline_of(&self.run, &self.workflow, self.next, PAGE).await?;
            self.ready.extend(read.into_iter().filter(|event| event.seq >= self.next));
            if self.ready.is_empty() && (self.complete || self.changes.next().await.is_none()) {
                return Ok(None);
            }
        }
    }
}
