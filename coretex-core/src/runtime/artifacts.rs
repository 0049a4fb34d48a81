//! Artifacts of `storage` steps: kept, read and removed in the blob store, under the tenant that owns them.

use std::sync::Arc;

use serde_json::json;

use super::{
    keys::AggregateId,
    shared::{Reply, Shared, Work},
};
use crate::{
    job::{Failure, Output, StepRunId, TenantId},
    plane::Input,
    ports::{BlobError, BlobErrorKind, BlobKey},
    protocol::Pointer,
    value::Value,
    workflow::{RunInput, StorageOp},
};

/// What a `storage` step asks for.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) tenant: TenantId,
    pub(super) step: StepRunId,
    pub(super) attempt: u32,
    pub(super) op: StorageOp,
    pub(super) key: Arc<str>,
    pub(super) value: Option<Arc<Value>>,
}

/// Does what `artifact` asks, in the background, and tells its run. Doing it twice does the same.
pub(super) fn carry_out(shared: &Arc<Shared>, aggregate: &AggregateId, artifact: Artifact) {
    let (shared, aggregate) = (shared.clone(), aggregate.clone());
    let busy = shared.clock.busy();
    shared.clone().spawn(async move {
        let result = work(&shared, &artifact).await;
        let input = RunInput::Stored { step: artifact.step, attempt: artifact.attempt, result };
        drop(busy);
        // A control plane that is shutting down asks again when it is opened.
        let _closed = shared.send(aggregate, Work::Input(Input::Run(input)), Reply::Nobody).await;
    });
}

async fn work(shared: &Shared, artifact: &Artifact) -> Result<Output, Failure> {
    let pointer = Pointer::Artifact(format!("{}/{}", artifact.tenant, artifact.key));
    let key = pointer.key().unwrap_or_default();
    let key = BlobKey::parse(&key).map_err(|error| failed(&error))?;
    let value = match artifact.op {
        StorageOp::Put => {
            let value = artifact.value.clone().unwrap_or_default();
            let bytes = serde_json::to_vec(&*value)
                .map_err(|error| Failure::fatal("output_invalid", format!("the value is not JSON: {error}")))?;
            let entry = shared.blobs.put(&key, bytes.into()).await.map_err(|error| failed(&error))?;
            json!({"pointer": pointer.to_wire(), "sha256": hex(&entry.sha256), "size": entry.size})
        }
        StorageOp::Get => {
            let found = shared.blobs.get(&key).await.map_err(|error| failed(&error))?;
            let Some(bytes) = found else {
                return Err(Failure::fatal("artifact_not_found", format!("there is no artifact `{}`", artifact.key)));
            };
            if bytes.len() > shared.options.inline_bytes {
                let message = format!(
                    "artifact `{}` has {} bytes, more than the {} that a step may read; hand its pointer to a worker",
                    artifact.key,
                    bytes.len(),
                    shared.options.inline_bytes
                );
                return Err(Failure::fatal(crate::job::codes::PAYLOAD_TOO_LARGE, message));
            }
            serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into())
        }
        StorageOp::Delete => {
            shared.blobs.delete(&key).await.map_err(|error| failed(&error))?;
            Value::Null
        }
    };
    Ok(Output { value: Some(Arc::new(value)), ..Output::default() })
}

fn failed(error: &BlobError) -> Failure {
    match error.kind() {
        BlobErrorKind::Unavailable | BlobErrorKind::Full => Failure::retryable(error.code(), error.to_string()),
        _ => Failure::fatal(error.code(), error.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}
