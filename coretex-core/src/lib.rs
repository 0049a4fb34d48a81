//! Durable workflows, jobs, policy gate and scheduler as an embeddable library.
//!
//! A host hands a [`ControlPlane`](runtime::ControlPlane) its workflows and connects workers to its bus. The control
//! plane decides every job by policy before it goes out, records every decision before it acts on it, and goes on
//! after a crash where it was.
//!
//! ```
//! use std::sync::Arc;
//!
//! use coretex_core::{
//!     governance::Principal,
//!     policy::{Outcome, fixed},
//!     ports::{Bus, Message, Payload, Subscribe},
//!     protocol::{BusPacket, JobResult, JobStatus},
//!     runtime::{ControlPlane, StartRequest},
//!     workflow::Workflow,
//! };
//! use serde_json::json;
//!
//! const GREET: &str = "
//! id: greet
//! steps:
//!   hello: { topic: job.greet.hello }
//!   shout: { topic: job.greet.shout, depends_on: [hello], input: { text: '${steps.hello.output.text}!' } }
//! ";
//!
//! /// Stands in for a worker. Yours is built with the crate `coretex-worker`.
//! async fn work(bus: Arc<dyn Bus>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let mut jobs = bus.subscribe(Subscribe::group("job.greet.*", "greeters")).await?;
//!     while let Some(job) = jobs.next().await {
//!         let (Some(request), Some(input)) = (job.message.packet.job_request(), &job.message.payload) else { continue };
//!         let output = match request.topic.as_str() {
//!             "job.greet.hello" => json!({ "text": format!("hello {}", input.0["name"].as_str().unwrap_or("you")) }),
//!             _ => json!({ "text": input.0["text"].as_str().unwrap_or_default().to_uppercase() }),
//!         };
//!         let result = JobResult { job_id: request.job_id.clone(), status: JobStatus::Succeeded as i32, ..Default::default() };
//!         let packet = BusPacket { protocol_version: 1, sender_id: "worker-1".into(), payload: Some(result.into()), ..Default::default() };
//!         bus.publish(Message::new("sys.job.result", packet).with_payload(Some(Payload(Arc::new(output))))).await?;
//!         job.ack().await?;
//!     }
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = ControlPlane::builder(fixed(Outcome::Allow)).start().await?; // in memory: not durable
//! let worker = tokio::spawn(work(plane.bus()));
//!
//! let ada = Principal::human("ada");
//! let greet = plane.put_workflow(&ada, Workflow::parse("greet.yaml", GREET)?).await?;
//! let run = plane.start(&ada, StartRequest::new(greet.id().clone(), json!({ "name": "Ada" }))).await?;
//!
//! let end = plane.wait(&ada, &run).await?;
//! let shout = end.step("shout").and_then(|step| step.output.as_ref()?.value.clone());
//! assert_eq!(shout.as_deref(), Some(&json!({ "text": "HELLO ADA!" })));
//!
//! // Every fact is in the timeline; the jobs say that no rules stood behind their decisions.
//! let timeline = plane.timeline(&ada, &run, 1, 100).await?;
//! let dispatched = timeline.iter().find(|line| line.kind == "step_dispatched").ok_or("no dispatch")?;
//! assert_eq!(dispatched.data["ungoverned"], true);
//!
//! plane.shutdown().await?;
//! # worker.await?.map_err(|error| error.to_string())?;
//! # Ok(())
//! # }
//! ```
//!
//! What the example leaves out is one line each on the [builder](runtime::Builder): `store` with a durable store (the
//! crate `coretex-store`), a policy with rules (`coretex-policy`), `routes` that map topics to pools. Tests of your own
//! workflows run on [`TestPlane`](testing::TestPlane): scripted workers and people, virtual time, planned crashes.
//!
//! # One way for every change
//!
//! ```text
//! input: start, result, answer, timer, cancel, policy's answer
//!   -> plane::advance(state, input, facts) -> Transition: events, records, effects      decide: pure
//!   -> one atomic, durable batch                                                       commit
//!   -> dispatch, publish, answer the caller                                            act
//! ```
//!
//! What is decided is a function of state, input and [facts](job::Facts); time, randomness, policy and routes arrive as
//! arguments. State is the fold of the stored events. Effects may repeat after a crash, and inputs absorb repeats:
//! delivery is at least once, effects on state exactly once.
//!
//! # Rooms
//!
//! | room | holds |
//! |---|---|
//! | [`workflow`] | definitions, their checks, the run machine, the timeline |
//! | [`job`] | the job machine, approvals, dead letters, identities |
//! | [`plane`] | the pure composition of both |
//! | [`schedule`] | when the clock starts a workflow; cron, time zones, overlapping and missed times |
//! | [`trigger`] | events that are gathered until they start one run |
//! | [`scheduler`] | topics, pools, workers, queues, limits: which worker gets which job |
//! | [`policy`] | request, decision, constraints; a fixed policy |
//! | [`governance`] | principals, references to secrets |
//! | [`value`] | JSON values, expressions, templates, schemas, limits |
//! | [`protocol`] | CAP v2 messages, envelope, subjects, signatures |
//! | [`ports`] | the traits that adapters implement, and their in-memory form |
//! | [`runtime`] | [`ControlPlane`](runtime::ControlPlane): the only room that awaits |
//! | [`testing`] | virtual time, [`TestPlane`](testing::TestPlane), faults, the suites that adapters run |
//!
//! # Features
//!
//! | feature | unlocks |
//! |---|---|
//! | `engine` (default) | the domain and the runtime; without it the crate is protocol, ports, policy types and plain values, which is what adapters and workers need |
//! | `conformance` | the suites that every adapter of a port runs |

// Helpers of the tests that see only the public API are used by tests in here too.
#[cfg(test)]
extern crate self as coretex_core;

#[cfg(feature = "engine")]
pub mod governance;
#[cfg(feature = "engine")]
pub mod job;
#[cfg(feature = "engine")]
pub mod plane;
pub mod policy;
pub mod ports;
pub mod protocol;
#[cfg(feature = "engine")]
pub mod runtime;
#[cfg(feature = "engine")]
pub mod schedule;
#[cfg(feature = "engine")]
pub mod scheduler;
#[cfg(any(test, feature = "engine", feature = "conformance"))]
pub mod testing;
#[cfg(feature = "engine")]
pub mod trigger;
pub mod value;
#[cfg(feature = "engine")]
pub mod workflow;
