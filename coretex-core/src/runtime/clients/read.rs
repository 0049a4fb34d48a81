//! What a client's packet asks for, once it is found to be in order.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{PlaneError, PlaneErrorKind, Shared};
use crate::{
    governance::Principal,
    job::{JobId, Priority, Topic},
    policy::{ActorType, JobMeta},
    ports::{BlobError, BlobErrorKind, BlobKey, Message},
    protocol::{
        self, Budget, ContextHints, DispatchIdentity, IdentityBinding, JobCancel, JobMetadata, JobPriority, Payload,
        Pointer,
        envelope::{Mode, validate},
        subjects,
    },
    runtime::JobRequest,
};

/// Most bytes of a name that a packet gives: a trace, a memory, an adapter.
const MAX_NAME: usize = 512;
/// Most bytes of a reason for stopping a job.
const MAX_REASON: usize = 4_096;

/// Something that a client asks for.
pub(super) enum Asked {
    /// A job to do.
    Submit(Box<JobRequest>),
    /// A job to stop.
    Cancel { job: JobId, reason: String },
}

/// Reads `message`.
///
/// # Errors
/// When it breaks the protocol, claims another authority, asks for what is not carried out, or its input cannot be had.
pub(super) async fn read(
    shared: &Shared,
    principal: &Principal,
    subject: &str,
    message: &Message,
) -> Result<Asked, PlaneError> {
    let packet = &message.packet;
    validate(packet, Mode::Tolerant).map_err(|broken| wrong(broken.code(), broken.to_string()))?;
    binding(principal, "identity", packet.identity.as_ref())?;
    match &packet.payload {
        Some(Payload::JobRequest(request)) if subject == subjects::JOB_SUBMIT => {
            authority(principal, request)?;
            carried_out(request)?;
            named("trace_id", &packet.trace_id)?;
            let input = input(shared, request, message).await?;
            let request = job_request(request, &packet.trace_id, input)?;
            Ok(Asked::Submit(Box::new(request)))
        }
        Some(Payload::JobCancel(cancel)) if subject == subjects::JOB_CANCEL => read_cancel(principal, cancel),
        _ => Err(wrong("packet_unexpected", format!("`{subject}` takes no packet of this kind"))),
    }
}

fn wrong(code: &'static str, message: impl Into<String>) -> PlaneError {
    PlaneError::new(PlaneErrorKind::Invalid, code, message)
}

/// What the packet says of whose it is must agree with the authority on which it is carried out.
fn authority(principal: &Principal, request: &protocol::JobRequest) -> Result<(), PlaneError> {
    let meta_tenant = request.meta.as_ref().map_or("", |meta| &meta.tenant_id);
    let env = |name: &str| request.env.get(name).map_or("", String::as_str);
    for (place, tenant) in [
        ("tenant_id", request.tenant_id.as_str()),
        ("meta.tenant_id", meta_tenant),
        ("env.tenant_id", env("tenant_id")),
    ] {
        same_tenant(principal, place, tenant)?;
    }
    for (place, id) in [("principal_id", request.principal_id.as_str()), ("env.principal_id", env("principal_id"))] {
        same_principal(principal, place, id)?;
    }
    binding(principal, "job_request.identity", request.identity.as_ref())
}

fn binding(principal: &Principal, place: &str, identity: Option<&IdentityBinding>) -> Result<(), PlaneError> {
    let Some(identity) = identity else { return Ok(()) };
    same_tenant(principal, &format!("{place}.tenant_id"), &identity.tenant_id)?;
    same_principal(principal, &format!("{place}.principal_id"), &identity.principal_id)?;
    unsupported(!identity.actor_id.is_empty() || !identity.delegation_id.is_empty(), "a delegation")
}

fn same_tenant(principal: &Principal, place: &str, tenant: &str) -> Result<(), PlaneError> {
    if tenant.is_empty() || tenant == principal.tenant.as_str() {
        return Ok(());
    }
    let message = format!("`{place}` names another tenant than `{}`, for which the bus is served", principal.tenant);
    Err(wrong("tenant_mismatch", message))
}

fn same_principal(principal: &Principal, place: &str, id: &str) -> Result<(), PlaneError> {
    if id.is_empty() || *id == *principal.id {
        return Ok(());
    }
    let message =
        format!("`{place}` names another principal than `{}`, on whose authority the bus is served", principal.id);
    Err(wrong("principal_mismatch", message))
}

/// Fields that mean something, and that a job of this version cannot hold.
fn carried_out(request: &protocol::JobRequest) -> Result<(), PlaneError> {
    let limits = |budget: &Budget| Budget { deadline_ms: 0, ..*budget };
    unsupported(request.env.keys().any(|name| name != "tenant_id" && name != "principal_id"), "`env`")?;
    unsupported(!request.parent_job_id.is_empty(), "`parent_job_id`")?;
    unsupported(!request.workflow_id.is_empty() || request.step_index != 0, "`workflow_id` and `step_index`")?;
    unsupported(request.context_hints.as_ref().is_some_and(|it| *it != ContextHints::default()), "`context_hints`")?;
    unsupported(request.budget.as_ref().is_some_and(|it| limits(it) != Budget::default()), "a budget of tokens")?;
    unsupported(request.compensation.is_some(), "`compensation`")?;
    unsupported(request.dispatch.as_ref().is_some_and(|it| *it != DispatchIdentity::default()), "`dispatch`")?;
    unsupported(request.context_ref.is_some(), "`context_ref`")
}

fn unsupported(is_there: bool, what: &str) -> Result<(), PlaneError> {
    if !is_there {
        return Ok(());
    }
    Err(wrong("not_supported", format!("{what} of a job on the bus is not carried out by this version; leave it out")))
}

fn named(place: &str, name: &str) -> Result<(), PlaneError> {
    if name.len() <= MAX_NAME && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(wrong("field_invalid", format!("`{place}` has more than {MAX_NAME} bytes, or control characters")))
}

/// The input: what travels beside the packet, or what the client wrote for this very job. Other blobs are not read on its
/// word.
async fn input(shared: &Shared, request: &protocol::JobRequest, message: &Message) -> Result<Arc<Value>, PlaneError> {
    if let Some(payload) = &message.payload {
        return Ok(payload.0.clone());
    }
    if request.context_ptr.is_empty() {
        return Ok(Arc::default());
    }
    let own = Pointer::from_wire(&request.context_ptr).ok();
    let own = own.filter(|pointer| matches!(pointer, Pointer::Context(id) if *id == request.job_id));
    let Some(key) = own.and_then(|pointer| BlobKey::parse(&pointer.key()?).ok()) else {
        let message = "`context_ptr` is not `redis://ctx:<job id>` of this job";
        return Err(wrong("input_pointer_unsupported", message));
    };
    let missing = || wrong("input_missing", format!("there is nothing at `{key}`; write the input before the job"));
    let size = shared.blobs.head(&key).await.map_err(unread)?.ok_or_else(missing)?.size;
    if size > shared.options.max_input_bytes as u64 {
        let message = format!("the input has {size} bytes; at most {} are allowed", shared.options.max_input_bytes);
        return Err(wrong("payload_too_large", message));
    }
    let bytes = shared.blobs.get(&key).await.map_err(unread)?.ok_or_else(missing)?;
    let input = serde_json::from_slice(&bytes);
    input.map(Arc::new).map_err(|error| wrong("input_unreadable", format!("the input at `{key}` is no JSON: {error}")))
}

/// Bytes that are damaged are not read by trying again.
fn unread(error: BlobError) -> PlaneError {
    match error.kind() {
        BlobErrorKind::Unavailable | BlobErrorKind::Full => error.into(),
        _ => wrong("input_unreadable", error.to_string()),
    }
}

fn job_request(request: &protocol::JobRequest, trace_id: &str, input: Arc<Value>) -> Result<JobRequest, PlaneError> {
    named("memory_id", &request.memory_id)?;
    named("adapter_id", &request.adapter_id)?;
    let priority = match JobPriority::try_from(request.priority) {
        Ok(JobPriority::Interactive) => Priority::Interactive,
        Ok(JobPriority::Critical) => Priority::Critical,
        Ok(_) => Priority::Batch,
        Err(_) => return Err(wrong("value_unknown", "`job_request.priority` must be 0 to 3")),
    };
    let mut asked = JobRequest::new(Topic::parse_job(&request.topic)?, input)
        .id(JobId::parse(&request.job_id)?)
        .priority(priority)
        .meta(request.meta.as_ref().map_or_else(|| Ok(JobMeta::default()), meta)?);
    asked.labels.clone_from(&request.labels);
    for (text, field) in [(&request.memory_id, &mut asked.memory_id), (&request.adapter_id, &mut asked.adapter_id)] {
        *field = filled(text).map(Into::into);
    }
    asked.trace_id = filled(trace_id).map(Into::into);
    let deadline = request.budget.as_ref().map_or(0, |budget| budget.deadline_ms);
    asked.timeout = u64::try_from(deadline).ok().filter(|time| *time > 0).map(Duration::from_millis);
    Ok(asked)
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn meta(meta: &JobMetadata) -> Result<JobMeta, PlaneError> {
    let actor_type = match meta.actor_type {
        0 => None,
        1 => Some(ActorType::Human),
        2 => Some(ActorType::Service),
        _ => return Err(wrong("value_unknown", "`job_request.meta.actor_type` must be 0 to 2")),
    };
    Ok(JobMeta {
        actor_id: filled(&meta.actor_id),
        actor_type,
        idempotency_key: filled(&meta.idempotency_key),
        pack_id: filled(&meta.pack_id),
        capability: filled(&meta.capability),
        risk_tags: meta.risk_tags.clone(),
        requires: meta.requires.clone(),
        labels: meta.labels.clone(),
    })
}

fn read_cancel(principal: &Principal, cancel: &JobCancel) -> Result<Asked, PlaneError> {
    binding(principal, "job_cancel.identity", cancel.identity.as_ref())?;
    unsupported(cancel.dispatch.as_ref().is_some_and(|it| *it != DispatchIdentity::default()), "`dispatch`")?;
    named("requested_by", &cancel.requested_by)?;
    if cancel.reason.len() > MAX_REASON {
        return Err(wrong("field_invalid", format!("`reason` has more than {MAX_REASON} bytes")));
    }
    // Who asks is their word; on whose authority it happens is ours.
    let reason = match cancel.reason.as_str() {
        "" => format!("asked by `{}`", cancel.requested_by),
        reason => format!("{reason} (asked by `{}`)", cancel.requested_by),
    };
    Ok(Asked::Cancel { job: JobId::parse(&cancel.job_id)?, reason })
}
