//! Clients on the bus: packets as the published SDK writes them become jobs and cancels, and what is not in order is
//! refused with a reason.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use coretex_core::{
    governance::Principal,
    job::{JobId, JobState, TenantId, Topic},
    policy::Outcome,
    ports::{BlobKey, Clock, Message, Payload},
    protocol::{
        Budget, BusPacket, JobCancel, JobMetadata, JobRequest, JobResult, JobStatus, envelope::Received, subjects,
    },
    runtime::{JobRequest as Submission, JobView, Options, PlaneError},
    testing::{FaultPlan, Reply, TestPlane, TestPlaneBuilder, policy_fn},
};
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// A plane that serves clients on the authority of `gateway`.
fn serving() -> TestPlaneBuilder {
    let mut options = Options::default();
    options.executors = 2;
    options.max_input_bytes = 1_000;
    options.bus_clients = Some(Principal::service("gateway"));
    TestPlane::builder().options(options).worker("job.a", Reply::succeed(json!({"ok": true})))
}

/// The packets of a file of golden vectors, by name.
fn vectors(file: &str) -> Vec<(String, BusPacket)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cap-vectors").join(file);
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |row: &Value| row.get("hex").map(|text| hex::decode(text.as_str().unwrap()).unwrap());
    let rows = file["vectors"].as_array().unwrap().iter();
    let packets = rows.filter_map(|row| {
        let packet = Received::decode(bytes(row)?).ok()?.into_packet();
        Some((row["name"].as_str().unwrap().to_owned(), packet))
    });
    packets.collect()
}

fn vector(file: &str, name: &str) -> BusPacket {
    vectors(file).into_iter().find(|(found, _)| found == name).unwrap().1
}

/// Writes `packet` as a client does, and reads it as an adapter of a broker does.
fn over_the_wire(packet: &BusPacket) -> BusPacket {
    Received::decode(packet.to_wire()).unwrap().into_packet()
}

fn request(change: impl FnOnce(&mut JobRequest)) -> JobRequest {
    let mut request = JobRequest { job_id: "job-1".into(), topic: "job.a".into(), ..JobRequest::default() };
    change(&mut request);
    request
}

async fn send(plane: &TestPlane, subject: &str, packet: BusPacket) -> Told {
    plane.plane()?.bus().publish(Message::new(subject, packet)).await?;
    plane.settle().await;
    Ok(())
}

async fn submit(plane: &TestPlane, request: JobRequest) -> Told {
    let now = plane.clock().now();
    let packet = over_the_wire(&BusPacket::new("trace-1", "client-1", now, request));
    send(plane, subjects::JOB_SUBMIT, packet).await
}

async fn job(plane: &TestPlane, id: &str) -> Option<JobView> {
    let id = JobId::parse(id).ok()?;
    plane.ask(async |p| p.job(plane.principal(), &id).await).await.ok()
}

fn refused(plane: &TestPlane) -> Vec<(&'static str, u64)> {
    plane.plane().unwrap().refused_messages().into_iter().collect()
}

/// What the control plane announced about jobs on `subject`.
fn announced(plane: &TestPlane, subject: &str) -> Vec<JobResult> {
    let own = plane.published(subject).into_iter().filter(|message| message.packet.sender_id == "coretex");
    own.filter_map(|message| message.packet.job_result().cloned()).collect()
}

#[test]
fn nobody_is_served_unless_the_host_says_so() {
    tell(TestPlane::builder().worker("job.a", Reply::succeed(json!({}))), async |plane| {
        send(plane, subjects::JOB_SUBMIT, vector("validation.json", "ok")).await?;
        send(plane, subjects::JOB_CANCEL, vector("packets.json", "sdk/cancel")).await?;
        assert!(job(plane, "job-1").await.is_none() && plane.dispatched().is_empty());
        assert!(refused(plane).is_empty(), "nobody read them");
        Ok(())
    });
}

#[test]
fn a_packet_of_the_sdk_becomes_one_job_however_often_it_comes() {
    tell(serving(), async |plane| {
        for _ in 0..3 {
            send(plane, subjects::JOB_SUBMIT, vector("validation.json", "ok")).await?;
        }
        let view = job(plane, "job-1").await.unwrap();
        assert_eq!(
            (view.job.state, &*view.spec.principal, &*view.spec.trace_id),
            (JobState::Succeeded, "gateway", "trace-1")
        );
        assert_eq!(plane.dispatched().len(), 1);
        plane.crash_and_restart().await?;
        send(plane, subjects::JOB_SUBMIT, vector("validation.json", "ok")).await?;
        assert_eq!((plane.dispatched().len(), refused(plane)), (1, vec![]));
        Ok(())
    });
}

#[test]
fn everything_that_a_request_may_say_reaches_policy_and_worker() {
    let seen = policy_fn("p", |request| {
        let fits = request.meta.risk_tags == ["pii"] && request.labels.get("team").is_some_and(|team| team == "red");
        if fits && request.principal_id == "gateway" { Outcome::Allow } else { Outcome::Deny }
    });
    tell(serving().policy(seen), async |plane| {
        let said = request(|request| {
            request.priority = 3;
            request.memory_id = "repo:a/b".into();
            request.adapter_id = "gpt".into();
            request.tenant_id = "default".into();
            request.principal_id = "gateway".into();
            request.labels.insert("team".into(), "red".into());
            request.budget = Some(Budget { deadline_ms: 5_000, ..Budget::default() });
            request.meta = Some(JobMetadata {
                tenant_id: "default".into(),
                actor_id: "ada".into(),
                actor_type: 1,
                risk_tags: vec!["pii".into()],
                ..JobMetadata::default()
            });
        });
        submit(plane, said.clone()).await?;
        let sent = plane.dispatched().remove(0);
        assert_eq!(
            (sent.priority, &sent.memory_id, &sent.adapter_id, sent.budget, &sent.labels),
            (3, &said.memory_id, &said.adapter_id, said.budget, &said.labels)
        );
        assert_eq!(sent.meta.unwrap().actor_id, "ada");
        Ok(())
    });
}

#[test]
fn every_vector_is_served_or_refused_by_name_and_the_listener_lives_on() {
    tell(serving(), async |plane| {
        let pages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let total = || refused(plane).iter().map(|(_, count)| count).sum::<u64>();
        let mut rows = 0;
        for file in ["validation.json", "packets.json"] {
            for (name, packet) in vectors(file) {
                rows += 1;
                let before = total();
                let own = packet.job_request().map(|request| request.job_id.clone()).unwrap_or_default();
                send(plane, subjects::JOB_SUBMIT, packet.clone()).await?;
                assert!(
                    total() == before + 1 || job(plane, &own).await.is_some(),
                    "{name} was neither served nor refused"
                );
                if packet.job_cancel().is_none() {
                    let before = total();
                    send(plane, subjects::JOB_CANCEL, packet).await?;
                    assert_eq!(total(), before + 1, "{name} is no cancel");
                }
            }
        }
        let told = total();
        plane.advance(3_600 * SECOND).await;
        assert_eq!(total(), told, "nothing comes again");
        assert!(rows > 100 && told > 150, "{rows} rows, {told} refusals");
        for (code, _) in refused(plane) {
            assert!(pages.join(format!("{code}.md")).exists(), "{code} has no page");
        }
        submit(plane, request(|request| request.job_id = "after".into())).await?;
        assert_eq!(job(plane, "after").await.unwrap().job.state, JobState::Succeeded);
        Ok(())
    });
}

#[test]
fn what_is_claimed_or_cannot_be_carried_out_is_refused_and_the_client_is_told() {
    type Refusal = (&'static str, fn(&mut JobRequest));
    let refusals: [Refusal; 9] = [
        ("tenant_mismatch", |request| request.tenant_id = "other".into()),
        ("tenant_mismatch", |request| drop(request.env.insert("tenant_id".into(), "other".into()))),
        ("principal_mismatch", |request| request.principal_id = "root".into()),
        ("not_supported", |request| request.workflow_id = "trusted-workflow".into()),
        ("not_supported", |request| drop(request.env.insert("LD_PRELOAD".into(), "x".into()))),
        ("not_supported", |request| request.budget = Some(Budget { max_total_tokens: 5, ..Budget::default() })),
        ("id_invalid", |request| request.topic = "sys.job.result".into()),
        ("input_pointer_unsupported", |request| request.context_ptr = "redis://ctx:another".into()),
        ("input_missing", |request| request.context_ptr = "redis://ctx:job-1".into()),
    ];
    for (code, change) in refusals {
        tell(serving(), async |plane| {
            submit(plane, request(change)).await?;
            assert_eq!(refused(plane), [(code, 1)]);
            assert!(job(plane, "job-1").await.is_none() && plane.dispatched().is_empty(), "{code}");
            let told = announced(plane, subjects::JOB_RESULT);
            let told: Vec<_> =
                told.iter().map(|result| (&*result.job_id, result.status, &*result.error_code)).collect();
            assert_eq!(told, [("job-1", JobStatus::Failed.into(), code)]);
            submit(plane, request(|_| {})).await?;
            assert_eq!(job(plane, "job-1").await.unwrap().job.state, JobState::Succeeded, "the id is still free");
            Ok(())
        });
    }
}

#[test]
fn a_job_of_somebody_is_never_told_to_have_failed_by_a_refusal() {
    tell(serving().worker("job.slow", Reply::succeed(json!({})).after(60 * SECOND)), async |plane| {
        submit(plane, request(|request| request.topic = "job.slow".into())).await?;
        submit(plane, request(|request| request.topic = "job.a".into())).await?;
        submit(plane, request(|request| request.tenant_id = "other".into())).await?;
        submit(plane, request(|request| request.job_id = "run:step@1".into())).await?;
        assert_eq!(refused(plane), [("id_invalid", 1), ("job_exists", 1), ("tenant_mismatch", 1)]);
        assert_eq!(announced(plane, subjects::JOB_RESULT), []);
        plane.advance(60 * SECOND).await;
        assert_eq!(job(plane, "job-1").await.unwrap().job.state, JobState::Succeeded);
        Ok(())
    });
}

#[test]
fn the_input_is_what_the_client_wrote_for_the_job_or_sent_beside_it() {
    tell(serving(), async |plane| {
        let blobs = plane.plane()?.blobs();
        let write =
            async |key: &str, text: &str| blobs.put(&BlobKey::parse(key).unwrap(), text.to_owned().into()).await;
        write("ctx:by-pointer", "{\"n\": 1}").await.unwrap();
        write("ctx:no-json", "{").await.unwrap();
        write("ctx:large", &format!("\"{}\"", "x".repeat(1_000))).await.unwrap();
        for id in ["by-pointer", "no-json", "large"] {
            submit(
                plane,
                request(|request| {
                    request.job_id = id.into();
                    request.context_ptr = format!("redis://ctx:{id}");
                }),
            )
            .await?;
        }
        assert_eq!(*job(plane, "by-pointer").await.unwrap().spec.input, json!({"n": 1}));
        assert_eq!(refused(plane), [("input_unreadable", 1), ("payload_too_large", 1)]);
        let beside = BusPacket::new("", "client-1", plane.clock().now(), request(|_| {}));
        let message = Message::new(subjects::JOB_SUBMIT, beside).with_payload(Some(Payload(Arc::new(json!({"n": 2})))));
        plane.plane()?.bus().publish(message).await?;
        plane.settle().await;
        let view = job(plane, "job-1").await.unwrap();
        assert_eq!((&*view.spec.input, &*view.spec.trace_id), (&json!({"n": 2}), "job-1"));
        Ok(())
    });
}

#[test]
fn a_cancel_stops_the_job_also_when_it_overtakes_the_submission() {
    for cancel_first in [false, true] {
        let held = policy_fn("p", |_| Outcome::RequireApproval);
        tell(serving().policy(held), async |plane| {
            let (submit, cancel) = (vector("validation.json", "ok"), vector("packets.json", "sdk/cancel"));
            let mut messages = [(subjects::JOB_SUBMIT, submit), (subjects::JOB_CANCEL, cancel)];
            if cancel_first {
                messages.reverse();
            }
            for (subject, packet) in messages {
                send(plane, subject, packet).await?;
            }
            plane.advance(SECOND).await;
            let job = job(plane, "job-1").await.unwrap().job;
            assert_eq!((job.state, &*job.failure.unwrap().message), (JobState::Cancelled, "why (asked by `alice`)"));
            assert_eq!(refused(plane), []);
            Ok(())
        });
    }
}

#[test]
fn a_cancel_of_what_is_not_there_or_not_theirs_is_refused_after_a_while() {
    tell(serving(), async |plane| {
        let other = Principal::service("other").for_tenant(TenantId::parse("other").unwrap());
        plane.set_policy(policy_fn("p", |_| Outcome::RequireApproval));
        let theirs = Submission::new(Topic::parse_job("job.a")?, json!({})).id(JobId::parse("job-1")?);
        plane.ask(async |p| p.submit_job(&other, theirs.clone()).await).await?;
        for id in ["job-1", "nowhere"] {
            let cancel = JobCancel { job_id: id.into(), requested_by: "mallory".into(), ..JobCancel::default() };
            send(plane, subjects::JOB_CANCEL, BusPacket::new("t", "client-1", plane.clock().now(), cancel)).await?;
        }
        plane.advance(60 * SECOND).await;
        assert_eq!(refused(plane), [("job_not_found", 2)]);
        let id = JobId::parse("job-1")?;
        let view = plane.ask(async |p| p.job(&other, &id).await).await?;
        assert_eq!(view.job.state, JobState::ApprovalRequired);
        Ok(())
    });
}

#[test]
fn a_store_that_is_away_for_a_while_costs_no_submission() {
    for seed in 0..20 {
        let faults =
            FaultPlan::new(seed).unavailable_before(400).unavailable_after(400).unreadable(300).at_most(60).arm();
        tell(serving().seed(seed).faults(&faults), async |plane| {
            for n in 0..10 {
                submit(plane, request(|request| request.job_id = format!("j{n}"))).await?;
            }
            plane.advance(600 * SECOND).await;
            for n in 0..10 {
                let state = job(plane, &format!("j{n}")).await.map(|view| view.job.state);
                assert_eq!(state, Some(JobState::Succeeded), "seed {seed}, job {n}");
            }
            assert_eq!(refused(plane), [], "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn jobs_given_up_are_announced_after_any_crash() {
    for commit in 1..4 {
        let faults = FaultPlan::new(commit).crash_after(commit).arm();
        let denying = policy_fn("p", |_| Outcome::Deny);
        let workflow = "id: w\nsteps:\n  a: {topic: job.a}";
        tell(serving().workflow(workflow).policy(denying).faults(&faults), async |plane| {
            let run = plane.start("w", json!({})).await?;
            plane.run_to_end(&run).await?;
            plane.live_through(SECOND).await?;
            let letters = announced(plane, subjects::JOB_DLQ);
            assert!(!letters.is_empty() && letters.len() <= 2, "crash after {commit}: {}", letters.len());
            for letter in letters {
                assert_eq!((&*letter.job_id, letter.status), (&*format!("{run}:a@1"), JobStatus::Denied.into()));
                assert_eq!(letter.error_code, "safety_denied");
            }
            let outbox = plane.store().scan(coretex_core::ports::Scan::prefix("outbox/")).await.unwrap();
            assert!(outbox.entries.is_empty(), "crash after {commit}");
            Ok(())
        });
    }
}
