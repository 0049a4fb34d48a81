//! Scripted people: they read the questions that wait, and answer through the control plane.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use super::script::{ApproverScript, Hidden, Say};
use crate::{
    governance::Principal,
    job::{Answer, ApprovalRequest},
    ports::{Changes, Clock, Entry, Scan, Store, StoreError, Version},
    runtime::ControlPlane,
};

const QUESTIONS: &str = "approvals/";

pub(super) type SharedScript = Arc<Mutex<Hidden<dyn ApproverScript>>>;

/// Somebody who answers questions.
#[derive(Clone, Debug)]
pub(super) struct Approver {
    pub(super) id: String,
    pub(super) script: SharedScript,
}

impl Approver {
    /// Begins to watch; the future answers for as long as it is polled.
    pub(super) async fn connect(
        &self,
        plane: ControlPlane,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<impl Future<Output = ()> + Send + 'static, StoreError> {
        let changes = store.watch(QUESTIONS).await?;
        Ok(attend(self.clone(), plane, store, clock, changes))
    }
}

async fn attend(
    approver: Approver,
    plane: ControlPlane,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    mut changes: Changes,
) {
    let mut seen: HashSet<(String, Version)> = HashSet::new();
    let mut answers = JoinSet::new();
    loop {
        let questions = match store.scan(Scan::prefix(QUESTIONS)).await {
            Ok(page) => page.entries,
            Err(error) => return tracing::debug!(%error, "a scripted person can read no more"),
        };
        for question in questions {
            if seen.insert((question.key.to_string(), question.version)) {
                answers.extend(approver.answer(&question, &plane, &clock));
            }
        }
        while answers.try_join_next().is_some() {}
        if changes.next().await.is_none() {
            return;
        }
    }
}

impl Approver {
    fn answer(
        &self,
        question: &Entry,
        plane: &ControlPlane,
        clock: &Arc<dyn Clock>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let request: ApprovalRequest = serde_json::from_slice(&question.value).ok()?;
        let mut say = self.script.lock().unwrap_or_else(PoisonError::into_inner).0.say(&request);
        let mut wait = Duration::ZERO;
        while let Say::After(more, then) = say {
            wait += more;
            say = *then;
        }
        let (approved, reason) = match say {
            Say::Yes => (true, String::new()),
            Say::No(reason) => (false, reason),
            Say::Nothing | Say::After(..) => return None,
        };
        let answer =
            Answer { approved, by: self.id.as_str().into(), role: "".into(), reason: reason.into(), note: "".into() };
        let principal = Principal::human(self.id.as_str()).for_tenant(request.tenant.clone());
        let (plane, clock) = (plane.clone(), clock.clone());
        Some(async move {
            clock.sleep_until(crate::job::job_after(clock.now(), wait)).await;
            while let Err(error) = plane.answer(&principal, &request.subject.id(), answer.clone()).await {
                // Somebody else was faster, the question has lapsed, or there is nobody left to tell.
                if !error.is_retryable() {
                    return tracing::debug!(%error, "an answer came too late");
                }
                clock.sleep_until(crate::job::job_after(clock.now(), Duration::from_millis(50))).await;
            }
        })
    }
}
