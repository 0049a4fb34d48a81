//! Layers of `tower` around handlers.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use coretex_core::value::Value;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    extract::JobContext,
    handler::{Bound, HandlerFuture},
    job_error::JobError,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A handler as layers see it: a service of jobs. Cloning shares the handler. It is always ready; how much runs at once is
/// decided before, by the worker's slots.
#[derive(Clone)]
pub struct JobService(Bound);

impl fmt::Debug for JobService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobService")
    }
}

impl Service<JobContext> for JobService {
    type Response = Option<Arc<Value>>;
    type Error = JobError;
    type Future = HandlerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: JobContext) -> HandlerFuture {
        self.0.call(&job)
    }
}

/// A layer that can stand around a handler. Implemented for every `tower_layer::Layer<JobService>` whose service takes a
/// [`JobContext`], gives what handlers give, and can be cloned; nothing implements it by hand.
#[diagnostic::on_unimplemented(
    message = "this is no layer for job handlers",
    note = "a layer is a `tower_layer::Layer<JobService>` whose service is `Clone + Send + 'static`",
    note = "the service is a `Service<JobContext, Response = Option<Arc<Value>>>`; its error becomes a boxed error"
)]
pub trait JobLayer: sealed::Sealed + Send + 'static {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "nobody outside calls it")]
    fn wrap(&self, handler: Bound) -> Bound;
}

mod sealed {
    pub trait Sealed {}
    impl<L: tower_layer::Layer<super::JobService>> Sealed for L {}
}

impl<L> JobLayer for L
where
    L: Layer<JobService> + Send + 'static,
    L::Service: Service<JobContext, Response = Option<Arc<Value>>> + Clone + Send + 'static,
    <L::Service as Service<JobContext>>::Error: Into<BoxError>,
    <L::Service as Service<JobContext>>::Future: Send + 'static,
{
    #[expect(private_interfaces, reason = "nobody outside calls it")]
    fn wrap(&self, handler: Bound) -> Bound {
        // A service is called by one at a time, and need not be `Sync`: every job gets a clone.
        let service = Mutex::new(self.layer(JobService(handler)));
        Bound::layered(move |job| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let job = job.clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await.map_err(outcome)?;
                service.call(job).await.map_err(outcome)
            })
        })
    }
}

/// What the handler said, where it comes through; otherwise the layer's own error, which another try may not meet.
fn outcome(error: impl Into<BoxError>) -> JobError {
    match error.into().downcast::<JobError>() {
        Ok(said) => *said,
        Err(other) => JobError::retry(other).with_code("layer_failed"),
    }
}
