//! Beyond one process: inputs and outputs by pointer.

use bytes::Bytes;
use coretex_core::{
    ports::{BlobKey, Blobs},
    protocol::{JobRequest, JobStatus},
};
use coretex_worker::{Input, JobError, Output};
use serde_json::{Value, json};

use crate::rig::{Ended, Rig, TOPIC, job, ms};

async fn double(Input(n): Input<u64>) -> Result<Output<u64>, JobError> {
    if n == 0 {
        return Err(JobError::retry_after("nothing yet", ms(1_500)));
    }
    Ok(Output(n * 2))
}

async fn put(rig: &Rig, key: &str, bytes: &'static [u8]) {
    rig.blobs.put(&BlobKey::parse(key).unwrap(), Bytes::from_static(bytes)).await.unwrap();
}

async fn stored(rig: &Rig, ended: &Ended) -> Option<Value> {
    assert_eq!(ended.output, None);
    let key = ended.result.result_ptr.strip_prefix("redis://")?;
    let bytes = rig.blobs.get(&BlobKey::parse(key).unwrap()).await.unwrap()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn inputs_and_outputs_travel_by_pointer() {
    let mut rig = Rig::wire().await;
    let _worker = rig.worker().handle(TOPIC, double).build().unwrap().start().await.unwrap();
    put(&rig, "ctx:r:s@1", b"21").await;
    rig.send(JobRequest { context_ptr: "redis://ctx:r:s@1".into(), ..job("r:s@1") }, json!(null)).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.result.result_ptr.as_str()), (JobStatus::Succeeded, "redis://res:r:s@1"));
    assert_eq!(stored(&rig, &ended).await, Some(json!(42)));
    put(&rig, "ctx:r:s@2", b"0").await;
    rig.send(JobRequest { context_ptr: "redis://ctx:r:s@2".into(), ..job("r:s@2") }, json!(null)).await;
    let ended = rig.result().await;
    assert_eq!(ended.status(), JobStatus::FailedRetryable);
    assert_eq!(stored(&rig, &ended).await, Some(json!({ "retry_after_ms": 1500 })));
}

#[tokio::test]
async fn an_input_that_cannot_be_read_is_answered_with_the_reason() {
    let mut rig = Rig::wire().await;
    let _worker = rig.worker().handle(TOPIC, double).build().unwrap().start().await.unwrap();
    put(&rig, "ctx:broken", b"{\"n\": ").await;
    let cases = [
        ("redis://ctx:broken", "input_malformed"),
        ("redis://ctx:absent", "input_missing"),
        ("redis://", "input_pointer_invalid"),
        ("s3://bucket/key", "input_pointer_unsupported"),
        ("", "input_invalid"),
    ];
    for (n, (pointer, code)) in cases.into_iter().enumerate() {
        rig.send(JobRequest { context_ptr: pointer.into(), ..job(&format!("r:s{n}@1")) }, json!(null)).await;
        let ended = rig.result().await;
        assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, code), "{pointer}");
    }
}

#[tokio::test]
async fn an_output_without_a_place_fails_the_job() {
    let mut rig = Rig::wire().await;
    let _worker = rig.worker().handle(TOPIC, || async { Output(1) }).build().unwrap().start().await.unwrap();
    rig.send(job("no such key!"), json!(null)).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "output_unwritable"));
}

#[tokio::test]
async fn a_large_output_goes_to_the_blobs_within_one_process_too() {
    let mut rig = Rig::new().await;
    let text = |Input(n): Input<usize>| async move { Output("x".repeat(n)) };
    let _worker = rig.worker().inline_output_bytes(1_000).handle(TOPIC, text).build().unwrap().start().await.unwrap();
    rig.send(job("r:small@1"), json!(900)).await;
    let ended = rig.result().await;
    assert_eq!((ended.output.is_some(), ended.result.result_ptr.as_str()), (true, ""));
    rig.send(job("r:large@1"), json!(1_100)).await;
    let ended = rig.result().await;
    assert_eq!(stored(&rig, &ended).await, Some(json!("x".repeat(1_100))));
}
