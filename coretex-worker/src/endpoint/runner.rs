//! What a kind of endpoint is: a runner, what it enforces, and the main part of its answer.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use coretex_core::value::Template;
use futures::future::{self, BoxFuture};

use super::{
    admit::Offer,
    answer::{self, Answer},
    call::Call,
    redact::Redactor,
    secret::{SecretRef, Secrets},
    template::{JobScope, Vault},
};
use crate::{
    extract::JobContext,
    handler::HandlerResult,
    job_error::{JobError, JobErrorKind},
};

/// Does the jobs of one endpoint. The document's templates are compiled in it.
pub(crate) trait Runner: fmt::Debug + Send + Sync + 'static {
    /// Does one job. It ends by itself when `call` has to stop, and leaves nothing behind however it ends: also when
    /// the future is dropped.
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, JobError>>;

    /// Before the first job: removes what a crashed worker left.
    fn prepare(&self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(future::ready(Ok(())))
    }
}

/// One endpoint, ready for jobs.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) offer: Offer,
    pub(crate) output: Template,
    pub(crate) references: BTreeMap<String, SecretRef>,
    pub(crate) secrets: Secrets,
    pub(crate) grace: Duration,
}

impl Endpoint {
    /// The handler of the endpoint's topics.
    pub(crate) async fn handle(self: Arc<Self>, job: JobContext) -> HandlerResult {
        let limits = self.offer.admit(&job)?;
        let vault = self.vault().await?;
        let scope = JobScope::new(&job, vault);
        let call = Call::new(job, scope, limits, self.grace);
        match self.runner.run(&call).await {
            Ok(answer) => answer::output(&call, answer, &self.output).map_err(|error| redacted(error, &call.redactor)),
            Err(error) => Err(redacted(error, &call.redactor)),
        }
    }

    async fn vault(&self) -> Result<Vault, JobError> {
        let mut values = BTreeMap::new();
        for (name, reference) in &self.references {
            let secret = self.secrets.resolve(reference).await.map_err(|error| {
                let kind = if error.is_retryable() { JobErrorKind::Retryable } else { JobErrorKind::Fatal };
                JobError::new(kind, error.code(), error.to_string())
            })?;
            values.insert(name.clone(), secret);
        }
        Ok(Vault::new(values))
    }
}

/// The error without secrets, and without a source that could hold one.
fn redacted(error: JobError, redactor: &Redactor) -> JobError {
    error.map_message(|text| redactor.text(text))
}
