//! What a builder refuses.

use std::{sync::Arc, time::Duration};

use coretex_core::ports::memory::MemoryBus;
use coretex_worker::{BuildError, Output, Worker, WorkerBuilder};

use crate::rig::Rig;

async fn one() -> Output<u32> {
    Output(1)
}

#[tokio::test]
async fn a_builder_names_what_is_wrong() {
    type Change = fn(WorkerBuilder<()>) -> WorkerBuilder<()>;
    let rig = Rig::new().await;
    let cases: Vec<(Change, &str, &str)> = vec![
        (|b| b, "worker_no_handler", "add one with `handle(topic, function)`"),
        (
            |b| b.handle("job.a", one).handle("job.a", one),
            "worker_topic_twice",
            "`job.a` and `job.a` match the same jobs",
        ),
        (
            |b| b.handle("job.a", one).handle("job.*", one),
            "worker_topic_twice",
            "`job.a` and `job.*` match the same jobs",
        ),
        (|b| b.handle("job.*.b", one).handle("job.a.>", one), "worker_topic_twice", "`job.*.b` and `job.a.>`"),
        (|b| b.handle("job..a", one), "worker_topic_invalid", "topic `job..a` is not legal"),
        (|b| b.handle("sys.job.submit", one), "worker_topic_invalid", "use `job.<name>`"),
        (|b| b.handle(">", one), "worker_topic_invalid", "topic `>` is not legal"),
        (|b| b.handle("job.a", one).id("a.b"), "worker_id_invalid", "worker id `a.b` is not legal"),
        (|b| b.handle("job.a", one).id("a b"), "worker_id_invalid", "worker id `a b` is not legal"),
        (
            |b| b.handle("job.a", one).max_parallel(0),
            "worker_max_parallel_invalid",
            "max_parallel is 0; use 1 to 65536",
        ),
        (
            |b| b.handle("job.a", one).ack_wait(Duration::ZERO),
            "worker_interval_too_short",
            "ack_wait is shorter than 10 ms; use a longer one",
        ),
    ];
    for (change, code, text) in cases {
        let error = change(rig.worker()).build().unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_bus_that_leaves_the_process_needs_blobs() {
    let rig = Rig::wire().await;
    let error = Worker::builder(rig.bus.clone()).handle("job.a", one).build().unwrap_err();
    assert_eq!(error, BuildError::BlobsMissing { bus: "test" });
    let apart =
        rig.worker().handle("job.a", one).handle("job.a.*", one).handle("job.b.>", one).handle("job.a.b.c", one);
    assert!(apart.build().is_ok());
}

#[tokio::test]
async fn a_worker_says_what_it_is() {
    let bus = Arc::new(MemoryBus::new(Arc::new(coretex_core::ports::SystemClock)));
    let worker = Worker::builder(bus).handle("job.b", one).handle("job.a", one).build().unwrap();
    assert!(worker.id().starts_with("worker-"), "{}", worker.id());
    assert_eq!(worker.topics(), ["job.a", "job.b"]);
    assert!(format!("{worker:?}").contains("job.b"));
}
