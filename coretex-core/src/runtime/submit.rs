//! Submitting jobs and stopping them, for callers and for clients on the bus.

use std::sync::Arc;

use super::{
    JobRequest, JobView, PlaneError, PlaneErrorKind,
    inbound::aggregate_of,
    inputs,
    keys::AggregateId,
    load,
    outbound::job_input,
    shared::{Shared, Work},
    start::check_input,
};
use crate::{
    governance::Principal,
    job::{JobId, JobInput, JobSpec, Topic},
};

/// Submits a job; see [`ControlPlane::submit_job`](super::ControlPlane::submit_job).
pub(super) async fn submit(shared: &Shared, principal: &Principal, request: JobRequest) -> Result<JobId, PlaneError> {
    submit_spec(shared, spec(shared, principal, request)?).await
}

/// The job that `request` describes.
pub(super) fn spec(shared: &Shared, principal: &Principal, request: JobRequest) -> Result<JobSpec, PlaneError> {
    check_input(shared, &request.input)?;
    let id = match request.id {
        Some(id) if !is_free(&id) => {
            let message = format!("job id `{id}` holds `:`, `@` or `[`, which the ids of steps' jobs are made with");
            return Err(PlaneError::new(PlaneErrorKind::Invalid, "id_invalid", message));
        }
        Some(id) => id,
        None => JobId::parse(&shared.ids.uuid().to_string())?,
    };
    let topic = Topic::parse_job(request.topic.as_str())?;
    Ok(JobSpec {
        attempt: 1,
        topic,
        tenant: principal.tenant.clone(),
        team: request.team,
        principal: principal.id.clone(),
        meta: Arc::new(request.meta),
        labels: request.labels.into(),
        priority: request.priority,
        memory_id: request.memory_id.unwrap_or_else(|| format!("mem:{id}").into()),
        adapter_id: request.adapter_id,
        trace_id: request.trace_id.unwrap_or_else(|| id.shared()),
        workflow: None,
        run: None,
        step: None,
        item: None,
        index: None,
        timeout: request.timeout,
        input: request.input,
        id,
    })
}

/// Submits exactly this job.
pub(super) async fn submit_spec(shared: &Shared, spec: JobSpec) -> Result<JobId, PlaneError> {
    let id = spec.id.clone();
    shared.call(AggregateId::Job(id.shared()), Work::Submit(Arc::new(spec))).await?;
    Ok(id)
}

/// Whether clients may give the id: the ids of steps' jobs are made with these.
pub(super) fn is_free(id: &JobId) -> bool {
    !id.as_str().contains([':', '@', '['])
}

/// The durable state of a job, whoever owns it; `None` when there is none.
pub(super) async fn find(shared: &Shared, id: &JobId) -> Result<Option<JobView>, PlaneError> {
    let (aggregate, _) = aggregate_of(id);
    match &aggregate {
        AggregateId::Run(_) => {
            let Some((run, _)) = load::read_run(shared, &aggregate).await? else { return Ok(None) };
            let Some((spec, job)) = run.job(id) else { return Ok(None) };
            Ok(Some(JobView { spec: inputs::with_input(shared, &run, spec).await?, job }))
        }
        AggregateId::Job(_) => {
            let record = load::read_job(shared, &aggregate).await?;
            Ok(record.map(|record| JobView { spec: record.spec, job: record.job }))
        }
    }
}

/// A job of the principal's tenant.
pub(super) async fn job(shared: &Shared, principal: &Principal, id: &JobId) -> Result<JobView, PlaneError> {
    let view = find(shared, id).await?.filter(|view| view.spec.tenant == principal.tenant);
    view.ok_or_else(|| PlaneError::not_found("job", id.as_str()))
}

/// Stops a job of the principal's tenant.
pub(super) async fn cancel(shared: &Shared, principal: &Principal, id: &JobId, reason: &str) -> Result<(), PlaneError> {
    let (aggregate, work) = cancelling(shared, principal, id, reason).await?;
    shared.call(aggregate, work).await.map(drop)
}

/// What stops a job of the principal's tenant.
pub(super) async fn cancelling(
    shared: &Shared,
    principal: &Principal,
    id: &JobId,
    reason: &str,
) -> Result<(AggregateId, Work), PlaneError> {
    job(shared, principal, id).await?;
    let (aggregate, _) = aggregate_of(id);
    let cancel = JobInput::Cancel { by: principal.id.clone(), reason: reason.into() };
    let input = job_input(&aggregate, id, cancel);
    Ok((aggregate, Work::Input(input)))
}
