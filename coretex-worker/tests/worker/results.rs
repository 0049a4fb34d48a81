//! What a handler gives and what the control plane hears.

use std::{sync::Arc, time::Duration};

use coretex_core::{
    ports::{BusErrorKind, Clock},
    protocol::{BusPacket, ErrorCode, Handshake, JobRequest, JobStatus},
};
use coretex_worker::{
    FromJob, FromRef, Input, JobContext, JobError, Output, Progress, RawInput, RawOutput, Rejection, State,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rig::{Rig, TOPIC, due_in, job, ms};

#[derive(Deserialize)]
struct Order {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    price: u64,
}

async fn total(Input(order): Input<Order>, State(tax): State<u64>) -> Result<Output<u64>, JobError> {
    Ok(Output(order.items.iter().map(|item| item.price + tax).sum()))
}

#[tokio::test]
async fn a_result_carries_output_trace_worker_and_time() {
    let mut rig = Rig::new().await;
    let clock = Arc::new(rig.clock.clone());
    let slow = |Input(n): Input<u64>, State(clock): State<Arc<dyn Clock>>| async move {
        clock.sleep_until(clock.now() + ms(70)).await;
        Output(n * 2)
    };
    let worker = rig.worker().handle(TOPIC, slow).with_state(clock as Arc<dyn Clock>).build().unwrap();
    let worker = worker.start().await.unwrap();
    rig.send(job("r:s@1"), json!(21)).await;
    rig.no_result().await;
    rig.clock.advance(ms(70)).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.output.as_ref()), (JobStatus::Succeeded, Some(&json!(42))));
    assert_eq!((ended.trace_id.as_str(), ended.sender_id.as_str()), ("trace-1", "w1"));
    assert_eq!((ended.result.job_id.as_str(), ended.result.worker_id.as_str()), ("r:s@1", "w1"));
    assert_eq!((ended.result.execution_ms, ended.code()), (70, ""));
    assert_eq!((worker.stats().started, worker.stats().succeeded, worker.stats().active), (1, 1, 0));
    // Acknowledged: it does not come back.
    rig.clock.advance(Duration::from_secs(300)).await;
    rig.no_result().await;
}

#[tokio::test]
async fn an_input_of_the_wrong_shape_is_refused_with_its_path() {
    let mut rig = Rig::new().await;
    let _worker = rig.worker().with_state(1_u64).handle(TOPIC, total).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@1"), json!({ "items": [{ "price": 1 }, { "price": "two" }] })).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "input_invalid"));
    assert_eq!(ended.result.error_code_enum, i32::from(ErrorCode::JobInvalidInput));
    assert!(ended.result.error_message.contains("`$.items[1].price`"), "{}", ended.result.error_message);
    rig.send(job("r:s@2"), json!([])).await;
    assert!(rig.result().await.result.error_message.contains("`$`"));
    rig.send(job("r:s@3"), json!({ "items": [{ "price": 1 }, { "price": 2 }] })).await;
    assert_eq!(rig.result().await.output, Some(json!(5)));
}

#[tokio::test]
async fn each_kind_of_error_has_its_status() {
    let mut rig = Rig::new().await;
    let fail = |Input(kind): Input<String>| async move {
        Err::<(), _>(match kind.as_str() {
            "retry" => JobError::retry("busy"),
            "later" => JobError::retry_after("busy", Duration::from_secs(90)).with_code("feed_busy"),
            "failed" => JobError::failed(std::io::Error::other("no idea")),
            "fatal" => JobError::fatal("order_void", "the order is void; place a new one").with_number(4711),
            _ => JobError::cancelled(),
        })
    };
    let _worker = rig.worker().handle(TOPIC, fail).build().unwrap().start().await.unwrap();
    let cases = [
        ("retry", JobStatus::FailedRetryable, "handler_failed", "busy", 0, None),
        ("later", JobStatus::FailedRetryable, "feed_busy", "busy", 0, Some(json!({ "retry_after_ms": 90_000 }))),
        ("failed", JobStatus::Failed, "handler_failed", "no idea", 0, None),
        ("fatal", JobStatus::FailedFatal, "order_void", "the order is void; place a new one", 4711, None),
        ("stop", JobStatus::Cancelled, "cancelled", "the job was cancelled", 0, None),
    ];
    for (kind, status, code, message, number, payload) in cases {
        rig.send(job(&format!("r:{kind}@1")), json!(kind)).await;
        let ended = rig.result().await;
        assert_eq!((ended.status(), ended.code(), ended.result.error_message.as_str()), (status, code, message));
        assert_eq!((ended.result.error_code_enum, ended.output), (number, payload));
    }
}

#[tokio::test]
async fn a_panicking_handler_fails_its_job_and_the_worker_lives_on() {
    let mut rig = Rig::new().await;
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("left behind");
        }
    }
    let handler = |Input(how): Input<String>, job: JobContext| {
        assert!(how != "at once", "before the first poll");
        async move {
            if how == "in drop" {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            assert!(how != "later", "after {}", job.job_id());
            Output(how)
        }
    };
    let worker = rig.worker().cancel_grace(ms(10)).handle(TOPIC, handler).build().unwrap().start().await.unwrap();
    let cases = [("at once", "before the first poll"), ("later", "after r:later@1"), ("in drop", "left behind")];
    for (how, text) in cases {
        rig.send(job(&format!("r:{how}@1")), json!(how)).await;
        if how == "in drop" {
            rig.cancel("r:in drop@1").await;
            rig.clock.advance(ms(10)).await;
        }
        let ended = rig.result().await;
        assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "worker_panicked"), "{how}");
        assert!(ended.result.error_message.contains(text), "{}", ended.result.error_message);
    }
    rig.send(job("r:s@1"), json!("fine")).await;
    assert_eq!(rig.result().await.output, Some(json!("fine")));
    assert_eq!((worker.stats().panicked, worker.stats().failed, worker.stats().succeeded), (3, 3, 1));
}

#[tokio::test]
async fn a_handler_knows_its_job() {
    let mut rig = Rig::new().await;
    struct Region(String);
    impl<S> FromJob<S> for Region {
        fn from_job(job: &JobContext, _: &S) -> Result<Self, Rejection> {
            let region = job.labels().get("region").cloned();
            region.map(Self).ok_or_else(|| Rejection::new("region_missing", "label the job with `region`"))
        }
    }
    struct App {
        name: &'static str,
    }
    #[derive(Clone)]
    struct Name(&'static str);
    impl FromRef<App> for Name {
        fn from_ref(app: &App) -> Self {
            Self(app.name)
        }
    }
    async fn tell(
        job: JobContext,
        Region(region): Region,
        RawInput(input): RawInput,
        State(Name(name)): State<Name>,
    ) -> RawOutput {
        RawOutput(Arc::new(json!({
            "run": job.run_id(), "step": job.step_id(), "attempt": job.attempt(), "delivery": job.delivery(),
            "topic": job.topic(), "tenant": job.tenant_id(), "trace": job.trace_id(), "worker": job.worker_id(),
            "region": region, "input": *input, "app": name,
        })))
    }
    let _worker =
        rig.worker().handle("job.>", tell).with_state(App { name: "shop" }).build().unwrap().start().await.unwrap();
    rig.send(job("r:s@3"), json!([1])).await;
    assert_eq!(
        rig.result().await.output,
        Some(json!({
            "run": "r", "step": "s", "attempt": 3, "delivery": 1, "topic": "job.test", "tenant": "acme",
            "trace": "trace-1", "worker": "w1", "region": "eu", "input": [1], "app": "shop",
        }))
    );
    rig.send(JobRequest { labels: Default::default(), ..job("r:s@4") }, json!(null)).await;
    assert_eq!(rig.result().await.code(), "region_missing");
}

#[tokio::test]
async fn a_filter_handles_every_topic_it_matches() {
    let mut rig = Rig::new().await;
    let _worker = rig
        .worker()
        .handle("job.a.*", || async { Output("filter") })
        .handle("job.b", || async { Output("topic") })
        .build()
        .unwrap()
        .start()
        .await
        .unwrap();
    for (topic, by) in [("job.a.x", "filter"), ("job.a.y", "filter"), ("job.b", "topic")] {
        rig.send(JobRequest { topic: topic.into(), ..job(&format!("r:{topic}@1")) }, json!(null)).await;
        assert_eq!(rig.result().await.output, Some(json!(by)));
    }
}

#[tokio::test]
async fn what_is_no_job_is_answered_where_possible_and_never_comes_back() {
    let mut rig = Rig::new().await;
    let worker = rig.worker().handle(TOPIC, || async { Output(1) }).build().unwrap().start().await.unwrap();
    rig.publish(TOPIC, rig.packet(Handshake::default()), None).await;
    rig.publish(TOPIC, BusPacket::default(), None).await;
    rig.send(job(""), json!(1)).await;
    rig.no_result().await;
    let old = BusPacket { protocol_version: 7, ..rig.packet(job("r:version@1")) };
    rig.publish(TOPIC, old, None).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "protocol_version_mismatch"));
    let elsewhere = JobRequest { topic: "job.other".into(), ..job("r:topic@1") };
    rig.publish("worker.w1.jobs", rig.packet(elsewhere), None).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "no_handler"));
    assert!(ended.result.error_message.contains("`job.other`"));
    rig.clock.advance(Duration::from_secs(300)).await;
    rig.no_result().await;
    assert_eq!((worker.stats().discarded, worker.stats().refused, worker.stats().started), (3, 2, 0));
    rig.send(job("r:s@1"), json!(null)).await;
    assert_eq!(rig.result().await.output, Some(json!(1)));
}

#[tokio::test]
async fn a_quick_job_sends_nothing_but_its_result_and_a_slow_one_is_announced() {
    let mut rig = Rig::new().await;
    let clock: Arc<dyn Clock> = Arc::new(rig.clock.clone());
    let sleep = |Input(millis): Input<u64>, State(clock): State<Arc<dyn Clock>>| async move {
        clock.sleep_until(clock.now() + ms(millis)).await;
    };
    let _worker = rig.worker().handle(TOPIC, sleep).with_state(clock).build().unwrap().start().await.unwrap();
    rig.send(job("r:quick@1"), json!(99)).await;
    rig.clock.advance(ms(1000)).await;
    assert_eq!(rig.result().await.output, None);
    assert!(rig.progress().await.is_empty());
    rig.send(job("r:slow@1"), json!(5_000)).await;
    rig.clock.advance(ms(99)).await;
    assert!(rig.progress().await.is_empty());
    rig.clock.advance(ms(1)).await;
    let seen = rig.progress().await;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].job_id.as_str(), seen[0].percent, seen[0].status), ("r:slow@1", 0, JobStatus::Running.into()));
    rig.clock.advance(ms(4_900)).await;
    rig.result().await;
    assert!(rig.progress().await.is_empty());
}

#[tokio::test]
async fn progress_is_coalesced_and_the_last_report_wins() {
    let mut rig = Rig::new().await;
    let clock: Arc<dyn Clock> = Arc::new(rig.clock.clone());
    let talk = |progress: Progress, State(clock): State<Arc<dyn Clock>>| async move {
        for percent in 0..=200 {
            progress.report(percent, format!("at {percent}")).await?;
        }
        clock.sleep_until(clock.now() + ms(400)).await;
        progress.report(100, "nearly").await?;
        Ok::<_, JobError>(Output(progress.report(100, "done").await.is_ok()))
    };
    let worker = rig.worker().progress_interval(ms(250)).handle(TOPIC, talk).with_state(clock).build().unwrap();
    let _worker = worker.start().await.unwrap();
    rig.send(job("r:s@1"), json!(null)).await;
    let said = |seen: Vec<coretex_core::protocol::JobProgress>| -> Vec<(i32, String)> {
        seen.into_iter().map(|progress| (progress.percent, progress.message)).collect()
    };
    assert_eq!(said(rig.progress().await), [(0, "at 0".to_owned())]);
    rig.clock.advance(ms(250)).await;
    assert_eq!(said(rig.progress().await), [(100, "at 200".to_owned())]);
    rig.clock.advance(ms(1_000)).await;
    // The result says more than the report that was still waiting.
    assert!(rig.progress().await.is_empty());
    assert_eq!(rig.result().await.output, Some(json!(true)));
}

#[tokio::test]
async fn a_result_that_the_bus_does_not_take_is_sent_again_and_the_job_is_kept() {
    use std::sync::atomic::Ordering;
    let mut rig = Rig::new().await;
    let worker = rig.worker().ack_wait(ms(300)).handle(TOPIC, || async { Output(1) }).build().unwrap();
    let worker = worker.start().await.unwrap();
    rig.bus.refuse_results.store(5, Ordering::SeqCst);
    rig.send(job("r:s@1"), json!(null)).await;
    rig.no_result().await;
    rig.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(rig.result().await.output, Some(json!(1)));
    rig.clock.advance(Duration::from_secs(5)).await;
    rig.no_result().await;
    let stats = worker.stats();
    assert_eq!((stats.started, stats.publish_retries, stats.repeated), (1, 5, 0));
}

#[tokio::test]
async fn a_result_that_the_bus_will_never_take_becomes_a_plain_failure() {
    use std::sync::atomic::Ordering;
    let mut rig = Rig::with(true, BusErrorKind::Invalid).await;
    let _worker = rig.worker().handle(TOPIC, || async { Output(1) }).build().unwrap().start().await.unwrap();
    rig.bus.refuse_results.store(1, Ordering::SeqCst);
    rig.send(job("r:s@1"), json!(null)).await;
    let ended = rig.result().await;
    assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, "result_unpublishable"));
}

#[tokio::test]
async fn a_deadline_asks_first_and_drops_later() {
    let mut rig = Rig::new().await;
    let obey = |cancel: coretex_worker::Cancel, deadline: coretex_worker::Deadline| async move {
        assert_eq!(deadline.remaining(), Some(ms(200)));
        cancel.cancelled().await;
        assert_eq!(deadline.remaining(), Some(Duration::ZERO));
        Err::<(), _>(JobError::retry("interrupted"))
    };
    let worker = rig
        .worker()
        .cancel_grace(ms(50))
        .handle(TOPIC, obey)
        .handle("job.deaf", std::future::pending::<Output<()>>)
        .handle("job.late", |cancel: coretex_worker::Cancel| async move {
            cancel.cancelled().await;
            Output(Value::from("made it"))
        })
        .build()
        .unwrap();
    let worker = worker.start().await.unwrap();
    rig.send(due_in(200, job("r:obey@1")), json!(null)).await;
    rig.clock.advance(ms(199)).await;
    rig.no_result().await;
    rig.clock.advance(ms(1)).await;
    let ended = rig.result().await;
    assert_eq!(
        (ended.status(), ended.code(), ended.result.execution_ms),
        (JobStatus::Failed, "deadline_exceeded", 200)
    );
    assert_eq!(ended.result.error_code_enum, i32::from(ErrorCode::JobTimeout));
    rig.send(due_in(200, JobRequest { topic: "job.deaf".into(), ..job("r:deaf@1") }), json!(null)).await;
    rig.clock.advance(ms(249)).await;
    rig.no_result().await;
    rig.clock.advance(ms(10)).await;
    assert_eq!(rig.result().await.code(), "deadline_exceeded");
    // Work that was done is done.
    rig.send(due_in(200, JobRequest { topic: "job.late".into(), ..job("r:late@1") }), json!(null)).await;
    rig.clock.advance(ms(210)).await;
    assert_eq!(rig.result().await.output, Some(json!("made it")));
    assert_eq!(worker.stats().active, 0);
}

#[tokio::test]
async fn a_job_that_comes_after_its_deadline_does_not_start() {
    let mut rig = Rig::new().await;
    let handler = || async { panic!("must not run") as () };
    let _worker = rig.worker().handle(TOPIC, handler).build().unwrap().start().await.unwrap();
    let packet = rig.packet(due_in(200, job("r:s@1")));
    rig.clock.advance(ms(200)).await;
    rig.publish(TOPIC, packet, None).await;
    assert_eq!(rig.result().await.code(), "deadline_exceeded");
}
