//! Typed workers for coretex.
//!
//! A worker takes jobs of the topics it serves from a bus, runs an async function for each, and says how it ended.
//! The function takes what it needs as arguments and returns its output; everything else is done around it.
//!
//! ```
//! use std::sync::Arc;
//! use coretex_core::ports::{Bus, Message, Payload, Subscribe, SystemClock, memory::MemoryBus};
//! use coretex_core::protocol::{BusPacket, JobRequest};
//! use coretex_worker::{Input, JobError, Output, Progress, State, Worker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Incident { service: String }
//!
//! #[derive(Serialize)]
//! struct Summary { text: String }
//!
//! #[derive(Clone)]
//! struct Runbooks(Arc<str>);
//!
//! async fn enrich(
//!     Input(incident): Input<Incident>,
//!     State(runbooks): State<Runbooks>,
//!     progress: Progress,
//! ) -> Result<Output<Summary>, JobError> {
//!     progress.report(10, "fetching evidence").await?;
//!     if incident.service.is_empty() {
//!         return Err(JobError::fatal("service_missing", "name the service that is down"));
//!     }
//!     Ok(Output(Summary { text: format!("{}: see {}", incident.service, runbooks.0) }))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
//! let mut results = bus.subscribe(Subscribe::group("sys.job.result", "example")).await?;
//!
//! let worker = Worker::builder(bus.clone())
//!     .pool("incident")
//!     .handle("job.incident.enrich", enrich)
//!     .with_state(Runbooks("runbooks/".into()))
//!     .build()?
//!     .start()
//!     .await?;
//!
//! // The control plane does this:
//! let request = JobRequest { job_id: "run-1:enrich@1".into(), topic: "job.incident.enrich".into(), ..Default::default() };
//! let packet = BusPacket { protocol_version: 1, payload: Some(request.into()), ..Default::default() };
//! let input = Payload(Arc::new(serde_json::json!({ "service": "checkout" })));
//! bus.publish(Message::new("job.incident.enrich", packet).with_payload(Some(input))).await?;
//!
//! let result = results.next().await.ok_or("the bus was closed")?;
//! result.ack().await?;
//! let output = result.message.payload.ok_or("no output")?;
//! assert_eq!(*output.0, serde_json::json!({ "text": "checkout: see runbooks/" }));
//!
//! worker.drain().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What a handler takes and gives
//!
//! | argument | is |
//! |---|---|
//! | [`Input<T>`] | the input, decoded; a wrong shape ends the job with `input_invalid` and the path of the field |
//! | [`RawInput`] | the input as JSON, shared |
//! | [`State<S>`] | the worker's state, or a part of it ([`FromRef`]) |
//! | [`Progress`] | tells how far the job is |
//! | [`Cancel`] | tells when to stop, and why |
//! | [`Deadline`] | until when, and how long that is |
//! | [`JobContext`] | ids, attempt, tenant, labels, meta, trace |
//! | your own | implement [`FromJob`] |
//!
//! It returns `Result<`[`Output<T>`](Output)`, `[`JobError`]`>`; [`RawOutput`] is JSON without a copy, `()` is no output.
//!
//! # How a job ends
//!
//! | what happened | status | code |
//! |---|---|---|
//! | `Ok` | `SUCCEEDED` | |
//! | [`JobError::retry`], [`JobError::retry_after`] | `FAILED_RETRYABLE` | `handler_failed` or your own |
//! | [`JobError::snooze`] | `FAILED_RETRYABLE`, and none of the step's tries | `snoozed` |
//! | [`JobError::failed`] | `FAILED` | `handler_failed` or your own |
//! | [`JobError::fatal`] | `FAILED_FATAL` | your own |
//! | [`JobError::cancelled`], or any error after a cancel | `CANCELLED` | `cancelled` |
//! | the handler panicked | `FAILED_FATAL` | `worker_panicked` |
//! | the deadline passed | `FAILED` (error number `JOB_TIMEOUT`) | `deadline_exceeded` |
//! | the input could not be read | `FAILED_FATAL` | `input_invalid`, `input_missing`, `input_malformed`, `input_unreadable`, `input_unreachable`, `input_pointer_invalid`, `input_pointer_unsupported` |
//! | the input's store did not answer | `FAILED_RETRYABLE` | `input_unavailable` |
//! | the output could not be handed over | `FAILED_FATAL`, `FAILED_RETRYABLE` | `output_invalid`, `output_unwritable`, `result_unpublishable`; `output_unavailable` |
//! | no handler for the topic | `FAILED_FATAL` | `no_handler` |
//! | another protocol version | `FAILED_FATAL` | `protocol_version_mismatch` |
//! | the worker stopped first | none: the job is given back | |
//! | the same, for a job sent to this worker alone | `FAILED_RETRYABLE` | `worker_stopped` |
//!
//! A handler that returns `Ok` after it was asked to stop has done the work, and says so. The others do not.
//!
//! # Layers
//!
//! [`WorkerBuilder::layer`] puts a [`tower`](https://docs.rs/tower) layer around every handler, and
//! [`WorkerBuilder::handle_layered`] around one: timeouts, limits, spans, whatever implements
//! `tower_layer::Layer<`[`JobService`]`>`. Handlers without layers know nothing of it, and cost nothing for it.
//!
//! # What can be relied on
//!
//! * A delivery is taken only when a slot is free, and acknowledged only when the bus has accepted the result. A
//!   worker that dies loses nothing: what it held is delivered again.
//! * A job that is delivered again while it runs here is not started twice; one that ended here lately is answered
//!   with the same result. A job that was cancelled before it came does not start. These memories are bounded and
//!   end with the process: a handler with effects still needs to tolerate a second attempt.
//! * A handler that is asked to stop has `cancel_grace` to end; then it is dropped at its next await. Nothing can
//!   stop a handler that never awaits: give long computations to `tokio::task::spawn_blocking` and look at
//!   [`Cancel`] now and then.
//! * Each job runs in a task of its own, so handlers run in parallel on the threads of the runtime. A quick job
//!   arms no timer and sends nothing but its result.

//!
//! # In another process
//!
//! With the feature `ws`, `Worker::connect("ws://host:port")` takes the place of `Worker::builder(bus)`: the worker is
//! connected to a server's worker endpoint by one WebSocket and needs no broker and no blob store of its own. Everything
//! else is the same. It connects again whenever the connection breaks; a job that runs goes on meanwhile, and what it
//! results in is sent when the server is back.

mod builder;
#[cfg(feature = "ws")]
mod connect;
#[cfg(feature = "endpoint")]
pub mod endpoint;
mod extract;
mod handler;
mod job_error;
mod layer;
mod runtime;

pub use builder::{BuildError, Given, MAX_PARALLEL, NoState, StateSource, WorkerBuilder};
pub use extract::{Cancel, CancelReason, Deadline, FromJob, FromRef, Input, JobContext, Progress, RawInput, State};
pub use handler::{Handler, HandlerFuture, HandlerResult, IntoOutput, IntoResult, Output, RawOutput};
pub use job_error::{JobError, JobErrorKind, MAX_MESSAGE_BYTES, RETRY_AFTER_KEY, Rejection, SNOOZED};
pub use layer::{JobLayer, JobService};
pub use runtime::{RunningWorker, Worker, WorkerError, WorkerStats};
