//! Sending a job on in a fresh envelope, with everything it carries that this version does not know.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;

use super::DecodeError;
use crate::protocol::{
    BusPacket, JobRequest, PROTOCOL_VERSION, WireTimestamp,
    canonical::{self, Described as _},
    wire::{WireError, put_bytes},
};

/// A job request together with the bytes it came in.
///
/// Unknown fields live in the bytes only. [`edit`](Self::edit) changes known fields and keeps the rest; store
/// [`raw`](Self::raw), not the decoded form, where a job has to survive until it is dispatched.
#[derive(Debug, Clone)]
pub struct RawJobRequest {
    request: JobRequest,
    raw: Bytes,
    /// The bytes were written here from `request` and are canonical.
    settled: bool,
}

impl RawJobRequest {
    /// Reads a request from bytes of its own, such as stored ones.
    ///
    /// # Errors
    /// The bytes are no job request.
    pub fn decode(raw: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let raw = raw.into();
        let request = JobRequest::decode(raw.clone())?;
        Ok(Self { request, raw, settled: false })
    }

    pub(super) fn from_parts(request: JobRequest, raw: Bytes) -> Self {
        Self { request, raw, settled: false }
    }

    /// The decoded request.
    #[must_use]
    pub fn request(&self) -> &JobRequest {
        &self.request
    }

    /// Its bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// A copy with known fields changed and unknown fields kept at every depth; its bytes are canonical.
    ///
    /// A message inside that the change removes takes its unknown fields along; one that it replaces keeps those of
    /// the old one.
    ///
    /// # Errors
    /// The received bytes nest too deeply or break the wire format inside an unknown field.
    pub fn edit(&self, change: impl FnOnce(&mut JobRequest)) -> Result<Self, WireError> {
        let mut request = self.request.clone();
        change(&mut request);
        let raw = settle(&request, &self.raw)?.into();
        Ok(Self { request, raw, settled: true })
    }
}

/// The canonical bytes of `request` with the unknown fields of `received`.
fn settle(request: &JobRequest, received: &[u8]) -> Result<Vec<u8>, WireError> {
    canonical::with_unknown_fields_of(JobRequest::TYPE, &request.encode_to_vec(), received)
}

impl From<JobRequest> for RawJobRequest {
    fn from(request: JobRequest) -> Self {
        let raw = request.encode_to_vec().into();
        Self { request, raw, settled: false }
    }
}

/// The outside of a packet that carries a job on: what the control plane says about itself.
///
/// ```
/// use coretex_core::protocol::{JobRequest, envelope::{Envelope, RawJobRequest, Received}};
///
/// let job = JobRequest { job_id: "job-1".into(), topic: "job.mail".into(), ..JobRequest::default() };
/// let stored = RawJobRequest::from(job);
/// let envelope = Envelope::new("trace-1", "scheduler-1", "2026-01-01T00:00:00Z".parse()?);
/// let edited = stored.edit(|job| job.context_ptr = "redis://ctx:job-1".into())?;
/// let packet = Received::decode(envelope.wrap(&edited)?)?;
/// assert_eq!(packet.packet().job_request().map(|job| job.context_ptr.as_str()), Some("redis://ctx:job-1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The trace of the submitted packet; make one up if that was empty.
    pub trace_id: String,
    /// The stable id of the control plane.
    pub sender_id: String,
    /// Now.
    pub created_at: Timestamp,
}

impl Envelope {
    /// An envelope of the current protocol version.
    #[must_use]
    pub fn new(trace_id: impl Into<String>, sender_id: impl Into<String>, created_at: Timestamp) -> Self {
        Self { trace_id: trace_id.into(), sender_id: sender_id.into(), created_at }
    }

    /// The canonical packet that carries `job`, unknown fields included, ready to publish or to sign.
    ///
    /// Known fields are written as [`RawJobRequest::request`] has them: whatever a decoder may think of odd bytes in
    /// the received form, workers see the job that was judged here.
    ///
    /// # Errors
    /// The bytes of the job nest too deeply or break the wire format.
    pub fn wrap(&self, job: &RawJobRequest) -> Result<Bytes, WireError> {
        let packet = BusPacket {
            trace_id: self.trace_id.clone(),
            sender_id: self.sender_id.clone(),
            created_at: Some(WireTimestamp::from(self.created_at)),
            protocol_version: PROTOCOL_VERSION,
            ..BusPacket::default()
        };
        let mut bytes = packet.encode_to_vec();
        if job.settled {
            put_bytes(&mut bytes, 10, &job.raw);
        } else {
            put_bytes(&mut bytes, 10, &settle(&job.request, &job.raw)?);
        }
        Ok(bytes.into())
    }
}
