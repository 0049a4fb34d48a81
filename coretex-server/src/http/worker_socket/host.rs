//! What a connection works on: the control plane's bus and blobs, and what it knows of jobs.

use std::sync::Arc;

use coretex_core::{
    governance::Principal,
    job::JobId,
    ports::{Blobs, Bus},
    runtime::ControlPlane,
};

use super::rights::Rights;

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) rights: Rights,
    plane: Option<(ControlPlane, Principal)>,
}

impl Host {
    pub(super) fn of(plane: ControlPlane, principal: Principal) -> Self {
        let (bus, blobs) = (plane.bus(), plane.blobs());
        Self { bus, blobs, rights: Rights::Worker, plane: Some((plane, principal)) }
    }

    /// Without a control plane, and with every right.
    #[cfg(test)]
    pub(super) fn bare(bus: Arc<dyn Bus>, blobs: Arc<dyn Blobs>) -> Self {
        Self { bus, blobs, rights: Rights::All, plane: None }
    }

    /// Whether there is such a job and it has not ended. After a restart of the server a worker may still have one that this
    /// process has not handed out.
    pub(super) async fn is_open(&self, job: &str) -> bool {
        let (Some((plane, principal)), Ok(job)) = (&self.plane, JobId::parse(job)) else { return false };
        plane.job(principal, &job).await.is_ok_and(|view| !view.job.state.is_terminal())
    }

    /// Tells the control plane that a worker is connected from another process.
    pub(super) fn worker_joined(&self, worker: &str) {
        if let Some((plane, _)) = &self.plane {
            plane.worker_joined(worker);
        }
    }

    /// Tells the control plane that a worker will not finish what it had begun; gives the jobs that begin anew.
    pub(super) fn worker_lost(&self, worker: &str, reason: &str) -> Vec<JobId> {
        self.plane.as_ref().map_or_else(Vec::new, |(plane, _)| plane.worker_lost(worker, reason))
    }
}
