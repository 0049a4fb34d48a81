//! Handlers: plain async functions whose arguments are taken from the job.

mod output;

use std::{fmt, sync::Arc};

use coretex_core::value::Value;
use futures::future::{self, BoxFuture};

pub use self::output::{IntoOutput, IntoResult, Output, RawOutput};
use crate::{
    extract::{FromJob, JobContext},
    job_error::JobError,
    runtime::pace::Pace,
};

/// What became of one job: its output, if it has one, or why not.
pub type HandlerResult = Result<Option<Arc<Value>>, JobError>;

/// A running handler.
pub type HandlerFuture = BoxFuture<'static, HandlerResult>;

/// An async function that does the jobs of a topic.
///
/// Implemented for every `Fn(A1, .., An) -> impl Future<Output = R> + Send` with up to eight arguments where each
/// argument implements [`FromJob`] and `R` implements [`IntoResult`]. Nothing implements it by hand.
///
/// An argument that is no extractor does not compile:
///
/// ```compile_fail,E0277
/// use coretex_worker::{JobError, Output, WorkerBuilder};
/// async fn bad(number: u32) -> Result<Output<u32>, JobError> { Ok(Output(number)) }
/// fn add(builder: WorkerBuilder<()>) { let _ = builder.handle("job.bad", bad); }
/// ```
///
/// Neither does an answer that is no result,
///
/// ```compile_fail,E0277
/// use coretex_worker::{Input, WorkerBuilder};
/// async fn bad(Input(number): Input<u32>) -> u32 { number }
/// fn add(builder: WorkerBuilder<()>) { let _ = builder.handle("job.bad", bad); }
/// ```
///
/// a function that is not async,
///
/// ```compile_fail,E0277
/// use coretex_worker::{Input, JobError, Output, WorkerBuilder};
/// fn bad(Input(number): Input<u32>) -> Result<Output<u32>, JobError> { Ok(Output(number)) }
/// fn add(builder: WorkerBuilder<()>) { let _ = builder.handle("job.bad", bad); }
/// ```
///
/// a future that cannot move between threads,
///
/// ```compile_fail,E0277
/// use coretex_worker::{JobError, Output, WorkerBuilder};
/// async fn bad() -> Result<Output<u32>, JobError> {
///     let shared = std::rc::Rc::new(1);
///     std::future::ready(()).await;
///     Ok(Output(*shared))
/// }
/// fn add(builder: WorkerBuilder<()>) { let _ = builder.handle("job.bad", bad); }
/// ```
///
/// or state that nobody gave:
///
/// ```compile_fail,E0277
/// use coretex_worker::{JobError, Output, State, Worker};
/// use coretex_core::ports::Bus;
/// async fn count(State(n): State<u32>) -> Result<Output<u32>, JobError> { Ok(Output(n)) }
/// fn build(bus: std::sync::Arc<dyn Bus>) {
///     let _ = Worker::builder(bus).handle("job.count", count).build(); // .with_state(7) is missing
/// }
/// ```
///
/// The same function with the state compiles:
///
/// ```no_run
/// use coretex_worker::{JobError, Output, State, Worker};
/// use coretex_core::ports::Bus;
/// async fn count(State(n): State<u32>) -> Result<Output<u32>, JobError> { Ok(Output(n)) }
/// fn build(bus: std::sync::Arc<dyn Bus>) {
///     let _ = Worker::builder(bus).handle("job.count", count).with_state(7_u32).build();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot handle jobs",
    label = "not a job handler",
    note = "a handler is an `async fn` with at most eight arguments, each an extractor (`Input<T>`, `State<S>`, \
            `Progress`, `Cancel`, `Deadline`, `JobContext`, `RawInput`)",
    note = "it returns `Result<Output<T>, JobError>` with `T: Serialize`, and its future is `Send`",
    note = "the state asked for by `State<T>` must be what `with_state` gives, or implement `FromRef` of it"
)]
pub trait Handler<Args, S>: Send + Sync + 'static {
    /// Takes the arguments from `job` and starts the function.
    fn call(&self, job: &JobContext, state: &S) -> HandlerFuture;
}

macro_rules! handler {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, unused_variables, reason = "one macro for all counts of arguments")]
        impl<F, Fut, R, S, $($arg,)*> Handler<($($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResult,
            $($arg: FromJob<S>,)*
        {
            fn call(&self, job: &JobContext, state: &S) -> HandlerFuture {
                $(let $arg = match <$arg as FromJob<S>>::from_job(job, state) {
                    Ok(argument) => argument,
                    Err(rejection) => return Box::pin(future::ready(Err(rejection.into()))),
                };)*
                let running = self($($arg),*);
                Box::pin(async move { running.await.into_result() })
            }
        }
    };
}

handler!();
handler!(A1);
handler!(A1 A2);
handler!(A1 A2 A3);
handler!(A1 A2 A3 A4);
handler!(A1 A2 A3 A4 A5);
handler!(A1 A2 A3 A4 A5 A6);
handler!(A1 A2 A3 A4 A5 A6 A7);
handler!(A1 A2 A3 A4 A5 A6 A7 A8);

/// A handler whose types are forgotten, and whose state is not yet known.
pub(crate) type Unbound<S> = Box<dyn FnOnce(Arc<S>) -> Bound + Send>;

/// A handler that only needs the job.
#[derive(Clone)]
pub(crate) struct Bound(Arc<BoundTo<Call>>);

type Call = dyn Fn(&JobContext) -> HandlerFuture + Send + Sync;

struct BoundTo<F: ?Sized> {
    pace: Pace,
    is_layered: bool,
    call: F,
}

impl Bound {
    pub(crate) fn call(&self, job: &JobContext) -> HandlerFuture {
        (self.0.call)(job)
    }

    /// Whether its jobs run in the task of whoever publishes them. What layers do there nobody knows: they may wait for
    /// timers, or take locks.
    pub(crate) fn is_quick(&self) -> bool {
        !self.0.is_layered && self.0.pace.is_quick()
    }

    /// A handler that is called through layers.
    pub(crate) fn layered(call: impl Fn(&JobContext) -> HandlerFuture + Send + Sync + 'static) -> Self {
        Self(Arc::new(BoundTo { pace: Pace::default(), is_layered: true, call }))
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.0.pace
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

pub(crate) fn unbound<H, Args, S>(handler: H) -> Unbound<S>
where
    H: Handler<Args, S>,
    S: Send + Sync + 'static,
{
    Box::new(move |state: Arc<S>| {
        let pace = Pace::default();
        Bound(Arc::new(BoundTo { pace, is_layered: false, call: move |job: &JobContext| handler.call(job, &state) }))
    })
}
