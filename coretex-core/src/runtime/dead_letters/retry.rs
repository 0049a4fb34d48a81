//! Trying a job again that was given up.
//!
//! A step that is parked on the job goes on in its run: it gets a fresh set of tries, the first of them now. In every
//! other case the log of the run is closed, or has gone another way, and the work is done by a job of its own that names
//! the workflow, the run and the step that it comes from. Policy judges either as it judges any job.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        ControlPlane, PlaneError, PlaneErrorKind,
        batch::encode,
        keys::{self, AggregateId},
        load,
        plane::commit_one,
        query::read,
        shared::{Shared, Work},
        start::check_input,
        submit,
        versions::MAX_NOTE,
    },
    groups::tidy,
    query::missing,
    record,
};
use crate::{
    governance::Principal,
    job::{DeadLetter, JobId, JobSpec, RunId, StepRunId},
    plane::{Input, Rejected},
    ports::{Batch, Condition, Version},
    value::Value,
    workflow::{Resolution, Run, RunInput, StepStatus, WaitsFor},
};

/// How long it is remembered what became of a letter that was tried again.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3_600);

/// How a letter shall be tried again: as it was, unless told.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RetryRequest {
    pub(super) input: Option<Arc<Value>>,
    pub(super) reason: String,
}

impl RetryRequest {
    /// As it was.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another input. A job of its own is then submitted on the authority of whoever asks, because the work is
    /// theirs; a step of a run keeps the run's.
    pub fn input(mut self, input: impl Into<Arc<Value>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Why, for the record; at most 1,024 bytes.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    pub(super) fn check(&self, shared: &Shared) -> Result<(), PlaneError> {
        if self.reason.len() > MAX_NOTE {
            let message = format!("a reason has at most {MAX_NOTE} bytes");
            return Err(PlaneError::new(PlaneErrorKind::Invalid, "note_too_long", message));
        }
        self.input.as_ref().map_or(Ok(()), |input| check_input(shared, input))
    }
}

/// Where the work goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryWay {
    /// In the run: another try of the step that was parked.
    Step,
    /// By a job of its own.
    Job,
}

/// What became of a letter that was tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// The letter as it was, the first input included.
    pub letter: DeadLetter,
    /// The job that does the work now.
    pub job: JobId,
    /// Where.
    pub way: RetryWay,
    /// Who asked.
    pub by: Arc<str>,
    /// When the letter was taken away.
    pub at: jiff::Timestamp,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: Arc<str>,
    /// The input that is used instead of the letter's.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
}

/// What can be done about a letter.
enum Way {
    /// The step waits for exactly this.
    Step(RunId, StepRunId),
    /// The step has had another try since: this one.
    Since(JobId),
    /// The step ended well since: there is nothing left to do.
    Done,
    /// A job of its own.
    Job,
}

impl ControlPlane {
    /// Tries a job that was given up once more, as it was; see [`retry_dead_letter_with`](Self::retry_dead_letter_with).
    ///
    /// # Errors
    /// As there.
    pub async fn retry_dead_letter(&self, principal: &Principal, job: &JobId) -> Result<JobId, PlaneError> {
        Ok(self.retry_dead_letter_with(principal, job, &RetryRequest::new()).await?.job)
    }

    /// Tries a job that was given up once more. A step that is parked on it goes on in its run; otherwise a new job does
    /// the work, with everything that the old one had: topic, metadata, labels, limits, the workflow, run and step that
    /// it comes from. Policy judges it again. The letter goes when the new job is there.
    ///
    /// Asked for again, also after its answer was lost, it is answered with the same job, for thirty days.
    ///
    /// # Errors
    /// When there is no such letter of the principal's tenant (`dead_letter_not_found`), it was tried again with another
    /// input (`dead_letter_retried`), the input does not match the step's `input_schema` (`step_data_invalid`) or is too
    /// large, or the store refuses.
    pub async fn retry_dead_letter_with(
        &self,
        principal: &Principal,
        job: &JobId,
        request: &RetryRequest,
    ) -> Result<Retried, PlaneError> {
        let shared = self.shared();
        request.check(shared)?;
        loop {
            let found = record::find(shared, job.as_str()).await?;
            let Some((letter, version)) = found.filter(|(letter, _)| letter.spec.tenant == principal.tenant) else {
                let before = self.retried_dead_letter(principal, job).await?;
                return if before.input == request.input {
                    Ok(before)
                } else {
                    Err(otherwise(&before.letter, &before.job))
                };
            };
            let run = match letter.spec.attempt_of() {
                Some(run) => load::read_run(shared, &AggregateId::Run(run.shared())).await?.map(|(run, _)| run),
                None => None,
            };
            let (new, way) = match way(&letter, run.as_ref()) {
                Way::Step(run, step) => {
                    let resolution = Resolution::Retry { input: request.input.clone() };
                    let input = RunInput::Resolve { step: step.clone(), by: principal.id.clone(), resolution };
                    let work = Work::Input(Input::Run(input));
                    match shared.call(AggregateId::Run(run.shared()), work).await {
                        Ok(_) => (JobId::of_step(&run, &step, letter.attempts + 1), RetryWay::Step),
                        // Somebody was faster: what is to be done now is seen anew.
                        Err(error) if error.code() == "step_not_waiting" => continue,
                        Err(error) => return Err(error),
                    }
                }
                Way::Since(job) => {
                    if !self.was_asked_for(principal, &letter, run.as_ref(), request).await? {
                        return Err(otherwise(&letter, &job));
                    }
                    (job, RetryWay::Step)
                }
                Way::Done => {
                    forget(shared, &letter, version, None).await?;
                    return Err(missing(job));
                }
                Way::Job => {
                    if let (Some(input), Some(run), Some(step)) = (&request.input, &run, &letter.spec.step) {
                        run.check_step_input(step, input).map_err(Rejected::Run)?;
                    }
                    let spec = alone(principal, &letter, request)?;
                    let submitted = submit::submit_spec(shared, spec).await;
                    (submitted.map_err(|error| edited_before(error, job))?, RetryWay::Job)
                }
            };
            let retried = retried(principal, &letter, new, way, request, shared);
            match forget(shared, &letter, version, Some(&retried)).await {
                Ok(()) => return Ok(retried),
                // Somebody else was faster with the same job, or the letter was deleted meanwhile.
                Err(error) if error.kind() == PlaneErrorKind::Conflict => {
                    let before = self.retried_dead_letter(principal, job).await;
                    return Ok(before.ok().filter(|before| before.job == retried.job).unwrap_or(retried));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the try that the step has had since works on what the request wants.
    async fn was_asked_for(
        &self,
        principal: &Principal,
        letter: &DeadLetter,
        run: Option<&Run>,
        request: &RetryRequest,
    ) -> Result<bool, PlaneError> {
        let (Some(run), Some(id), Some(step)) = (run, &letter.spec.run, &letter.spec.step) else { return Ok(false) };
        let wanted = request.input.as_ref().unwrap_or(&letter.spec.input);
        Ok(match self.step_input(principal, id, step).await? {
            Some(given) => run.is_given_for(step, &given, wanted),
            // Its events were pruned: nobody can tell.
            None => request.input.is_none(),
        })
    }

    /// What became of a letter that was tried again within the last thirty days.
    ///
    /// # Errors
    /// When there is none of the principal's tenant, or the store cannot be read.
    pub async fn retried_dead_letter(&self, principal: &Principal, job: &JobId) -> Result<Retried, PlaneError> {
        let entry = self.shared().store.get(&keys::dead_letter_retried(job.as_str())).await?;
        let retried: Option<Retried> = entry.map(|entry| read("a retried dead letter", &entry)).transpose()?;
        retried.filter(|retried| retried.letter.spec.tenant == principal.tenant).ok_or_else(|| missing(job))
    }

    /// Removes a dead letter. Its job, and a step that is parked on it, stay as they are.
    ///
    /// # Errors
    /// When there is none of the principal's tenant, or the store refuses.
    pub async fn delete_dead_letter(&self, principal: &Principal, job: &JobId) -> Result<(), PlaneError> {
        let found = record::find(self.shared(), job.as_str()).await?;
        let (letter, version) =
            found.filter(|(letter, _)| letter.spec.tenant == principal.tenant).ok_or_else(|| missing(job))?;
        match forget(self.shared(), &letter, version, None).await {
            Err(error) if error.kind() == PlaneErrorKind::Conflict => Err(missing(job)),
            done => done,
        }
    }
}

/// What an operator said of a parked step is done: unless it is that the step failed, its letter has no use any more. A
/// crash before this leaves a letter that says so when it is tried again.
pub(in crate::runtime) async fn settled_step(
    shared: &Shared,
    by: &Arc<str>,
    run: &RunId,
    job: &JobId,
    resolution: &Resolution,
) -> Result<(), PlaneError> {
    let Some((letter, version)) = record::find(shared, job.as_str()).await? else { return Ok(()) };
    let next = match (resolution, &letter.spec.step) {
        (Resolution::Fail { .. }, _) => return Ok(()),
        (Resolution::Retry { input }, Some(step)) => Some(Retried {
            job: JobId::of_step(run, step, letter.attempts + 1),
            letter: letter.clone(),
            way: RetryWay::Step,
            by: by.clone(),
            at: shared.now(),
            reason: "".into(),
            input: input.clone(),
        }),
        _ => None,
    };
    match forget(shared, &letter, version, next.as_ref()).await {
        Err(error) if error.kind() == PlaneErrorKind::Conflict => Ok(()),
        done => done,
    }
}

/// Takes a letter away, and notes what became of it. The group goes with its last letter.
async fn forget(
    shared: &Shared,
    letter: &DeadLetter,
    version: Version,
    retried: Option<&Retried>,
) -> Result<(), PlaneError> {
    let mut batch = Batch::new();
    record::forget(&mut batch, letter, version);
    if let Some(retried) = retried {
        let key = keys::dead_letter_retried(letter.spec.id.as_str());
        batch = batch.put(key.clone(), encode(retried)?, Condition::Always).expire(key, REMEMBERED);
    }
    commit_one(shared, batch).await?;
    tidy(shared, &format!("{}/{}", letter.spec.tenant, letter.fingerprint)).await
}

fn way(letter: &DeadLetter, run: Option<&Run>) -> Way {
    let spec = &letter.spec;
    let (Some(run), Some(id), Some(step)) = (run, spec.attempt_of(), &spec.step) else { return Way::Job };
    let Some(state) = run.step(step.as_str()) else { return Way::Job };
    // One that is pending was let go on, and waits for room.
    if state.attempts > letter.attempts || (state.status == StepStatus::Pending && !run.status().is_terminal()) {
        return Way::Since(JobId::of_step(id, step, letter.attempts + 1));
    }
    let waits = state.status == StepStatus::Waiting && state.waits_for == Some(WaitsFor::Operator);
    match state.status {
        _ if waits && !run.status().is_terminal() => Way::Step(id.clone(), step.clone()),
        StepStatus::Succeeded | StepStatus::Skipped => Way::Done,
        _ => Way::Job,
    }
}

/// The job that does the work of the letter by itself.
fn alone(principal: &Principal, letter: &DeadLetter, request: &RetryRequest) -> Result<JobSpec, PlaneError> {
    let job = letter.spec.id.as_str();
    // The same letter gives the same id: asked for twice, it is submitted once.
    let mark = keys::short_digest(format!("{job}/{}", letter.created_at.as_microsecond()).as_bytes());
    let mark = mark.get(..8).unwrap_or_default();
    // The id of a step's attempt is not free for others to use, and one that is tried again and again must not grow.
    let base: String = job.chars().map(|c| if matches!(c, '@' | ':' | '[' | ']') { '.' } else { c }).collect();
    let base = base.rsplit_once("-retry-").map_or(&*base, |(base, _)| base);
    let mut spec = JobSpec::clone(&letter.spec);
    spec.id = JobId::parse(&format!("{base}-retry-{mark}"))?;
    spec.attempt = 1;
    spec.trace_id = format!("dlq-retry-{job}").into();
    spec.labels.insert("retry", "true");
    spec.labels.insert("retry_of_job", job.to_owned());
    if let Some(input) = &request.input {
        spec.input = input.clone();
        spec.principal = principal.id.clone();
        spec.labels.insert("edited_by", principal.id.to_string());
    }
    Ok(spec)
}

fn retried(
    principal: &Principal,
    letter: &DeadLetter,
    job: JobId,
    way: RetryWay,
    request: &RetryRequest,
    shared: &Shared,
) -> Retried {
    Retried {
        letter: letter.clone(),
        job,
        way,
        by: principal.id.clone(),
        at: shared.now(),
        reason: request.reason.as_str().into(),
        input: request.input.clone(),
    }
}

/// A job under the letter's id that is another one was made by a try with another input.
fn edited_before(error: PlaneError, job: &JobId) -> PlaneError {
    if error.code() != "job_exists" {
        return error;
    }
    let message = format!("job `{job}` was tried again with another input");
    PlaneError::new(PlaneErrorKind::Conflict, "dead_letter_retried", message)
}

fn otherwise(letter: &DeadLetter, job: &JobId) -> PlaneError {
    let message =
        format!("job `{}` was tried again otherwise, as job `{job}`; look at what became of that", letter.spec.id);
    PlaneError::new(PlaneErrorKind::Conflict, "dead_letter_retried", message)
}
