//! The record of a job that waits for a slot or has one, and the scheduler rebuilt from all of them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    job::{JobId, JobSpec, Lease},
    policy::Decision,
    ports::{Op, Scan, StoreError},
    runtime::{
        PlaneError, batch,
        keys::{self, PLACEMENTS},
        shared::Shared,
    },
    scheduler::{Ask, Routes},
    value::Value,
};

/// A job that waits, or has a lease where it names a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) pool: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<Arc<str>>,
    pub(super) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant_max: Option<u32>,
    /// The job; without its input, unless limits read it.
    pub(super) job: Arc<JobSpec>,
}

impl Record {
    pub(super) fn waiting(ask: &Ask, pool: &Arc<str>, since: Timestamp) -> Self {
        Self { pool: pool.clone(), worker: None, since, tenant_max: ask.tenant_max, job: ask.job.clone() }
    }

    pub(super) fn leased(ask: &Ask, lease: &Lease, since: Timestamp) -> Self {
        Self { worker: Some(lease.worker.clone()), ..Self::waiting(ask, &lease.pool, since) }
    }

    pub(super) fn put(&self) -> Result<Op, StoreError> {
        Ok(batch::put(keys::placement(self.job.id.as_str()), batch::encode(self)?))
    }

    fn ask(&self) -> Ask {
        Ask::of(self.job.clone()).with_tenant_max(self.tenant_max.unwrap_or(0))
    }
}

/// Takes the record of a job away.
pub(super) fn delete(job: &JobId) -> Op {
    batch::delete(keys::placement(job.as_str()))
}

/// What a job asks of the scheduler. It carries no input unless a limit reads it: what waits may wait long, and the record
/// of a slot should be small.
pub(super) fn ask(spec: &Arc<JobSpec>, decision: &Decision, routes: &Routes) -> Ask {
    let reads_input = routes.limits().iter().any(|rule| rule.reads_input());
    let spec = if reads_input || spec.input.is_null() {
        spec.clone()
    } else {
        Arc::new(JobSpec { input: Arc::new(Value::Null), item: None, ..JobSpec::clone(spec) })
    };
    let budgets = decision.constraints.as_ref().and_then(|constraints| constraints.budgets.as_ref());
    Ask::of(spec).with_tenant_max(budgets.map_or(0, |budgets| budgets.max_concurrent_jobs))
}

/// Rebuilds the scheduler from what is durable. Nothing is placed before all of it is back.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::runtime) async fn restore(shared: &Shared) -> Result<(), PlaneError> {
    let mut after = None;
    let mut count = 0;
    loop {
        let page = shared.store.scan(Scan::prefix(PLACEMENTS).after(after)).await?;
        let now = shared.now();
        for entry in &page.entries {
            match serde_json::from_slice::<Record>(&entry.value) {
                Ok(record) => {
                    let (ask, pool, since) = (record.ask(), &record.pool, record.since);
                    count += usize::from(shared.placement.step(now, |desk| match &record.worker {
                        Some(worker) => desk.scheduler.restore_lease(ask, pool, worker, since, now),
                        None => desk.scheduler.restore_waiting(ask, pool, since, now),
                    }));
                }
                // Its owner asks again when it is taken up.
                Err(error) => tracing::error!(key = %entry.key, %error, "the record of a slot cannot be read"),
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if count > 0 {
        shared.placement.turn_on();
        tracing::info!(count, "jobs that wait for slots or have them are back");
    }
    Ok(())
}
