//! The machine: what an input means for an attempt.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Answer, ApprovalGrant, ApprovalRequest, Asking, Facts, Failure, GateLimits, Job, JobEvent, JobId, JobResult,
    JobSpec, JobState, JobStatusReport, Subject, codes,
};
use crate::{
    policy::{Decision, Outcome},
    ports::Verdict,
};

/// What happened to an attempt, or is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub enum JobInput {
    /// A worker answered. `fenced` when the answer is tied to this attempt by its id or assigned worker.
    Finished {
        /// The answer.
        result: JobResult,
        /// Whether it is tied to this attempt.
        fenced: bool,
    },
    /// A worker said that it works on it.
    Started {
        /// Which.
        worker: Arc<str>,
    },
    /// A human answered.
    Answered(Answer),
    /// The remote kernel answered.
    Judged(Decision),
    /// Time has passed; `now` is among the facts.
    Tick,
    /// It shall stop, at once: a worker that has it is told, and what it answers does not count.
    Cancel {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// It shall stop in order: a worker that has it is told, and may say until then how it ended.
    Stop {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// When it counts as cancelled without an answer.
        until: jiff::Timestamp,
    },
    /// The bus refused it for good.
    Undeliverable(Failure),
}

impl JobInput {
    const fn name(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "a result",
            Self::Started { .. } => "a start signal",
            Self::Answered(_) => "an approval",
            Self::Judged(_) => "a policy answer",
            Self::Tick => "a tick",
            Self::Cancel { .. } => "a cancel",
            Self::Stop { .. } => "a stop",
            Self::Undeliverable(_) => "a delivery failure",
        }
    }
}

/// Something to do outside, once the events are durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Hand the job to the bus.
    Dispatch {
        /// The job.
        spec: Arc<JobSpec>,
        /// When it is given up.
        deadline_at: jiff::Timestamp,
        /// The decision that permits it.
        decision: Arc<Decision>,
    },
    /// Tell workers to stop it.
    Cancel {
        /// The job.
        job: JobId,
        /// Its trace.
        trace_id: Arc<str>,
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Tell clients how a job ended that no worker answered for.
    Report {
        /// The job.
        job: JobId,
        /// Its trace.
        trace_id: Arc<str>,
        /// How it ended.
        state: JobState,
        /// Why.
        failure: Failure,
    },
    /// Tell operators on the bus of a job that was given up.
    ReportDeadLetter {
        /// The job.
        job: JobId,
        /// Its trace.
        trace_id: Arc<str>,
        /// How it ended.
        state: JobState,
        /// Why.
        failure: Failure,
    },
    /// Ask the remote kernel.
    AskPolicy {
        /// The job.
        spec: Arc<JobSpec>,
        /// When an answer comes too late: it is asked again.
        until: jiff::Timestamp,
    },
}

/// Events to store, questions that open or close with them, and effects to run after.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Moves {
    /// Facts to store, in order.
    pub events: Vec<JobEvent>,
    /// Things to do once they are durable.
    pub effects: Vec<Effect>,
    /// A question that now waits for a human.
    pub opened: Option<Box<ApprovalRequest>>,
    /// The question that waited no longer does.
    pub closed: bool,
}

/// An input that is not legal in the state the job is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job `{job}` is {} and cannot take {input}", state.as_str())]
pub struct Rejected {
    /// The job.
    pub job: JobId,
    /// The state it is in.
    pub state: JobState,
    input: &'static str,
}

/// Where the machine gets the job from when it needs it. Most inputs are results, which need none, and a step's job
/// is put together from the workflow and the run.
pub trait SpecSource {
    /// The job.
    fn spec(&self) -> Arc<JobSpec>;
}

impl SpecSource for Arc<JobSpec> {
    fn spec(&self) -> Arc<JobSpec> {
        self.clone()
    }
}

/// Starts an attempt: asks policy, and if it may go, routes it. `grant` is a yes to an earlier try. Pure.
pub fn open(spec: &Arc<JobSpec>, grant: Option<&ApprovalGrant>, facts: &Facts<'_>) -> Moves {
    let mut moves = Moves::default();
    gate(spec, grant, None, facts, &mut moves);
    moves
}

/// Decides what `input` means for `job`. Pure: equal arguments give equal moves.
///
/// # Errors
/// [`Rejected`] when the input is not legal in the job's state. Repeats and late arrivals are legal and change
/// nothing.
pub fn decide(job: &Job, spec: &dyn SpecSource, input: JobInput, facts: &Facts<'_>) -> Result<Moves, Rejected> {
    use JobState::{ApprovalRequired, Dispatched, Pending, Running, Scheduled};
    let mut moves = Moves::default();
    match (job.state, input) {
        (Dispatched | Running, JobInput::Finished { result, fenced }) => settle(result, fenced, &mut moves),
        (Dispatched, JobInput::Started { worker }) => moves.events.push(JobEvent::Started { worker }),
        (Dispatched | Running, JobInput::Tick) if is_due(job, facts) && job.stop.is_some() => {
            lapse(job, &spec.spec(), &mut moves);
        }
        (Dispatched | Running, JobInput::Stop { by, reason, until }) if job.stop.is_none() => {
            // The worker has no longer than it had.
            let until = job.due_at.map_or(until, |deadline| until.min(deadline));
            moves.effects.push(cancel_effect(&spec.spec(), by.clone(), reason.clone()));
            moves.events.push(JobEvent::StopRequested { by, reason, until });
        }
        (Dispatched | Running, JobInput::Tick) if is_due(job, facts) => time_out(&spec.spec(), facts, &mut moves),
        (Dispatched | Running, JobInput::Cancel { by, reason }) => {
            let spec = spec.spec();
            moves.effects.push(cancel_effect(&spec, by.clone(), reason.clone()));
            cancel(&spec, by, reason, &mut moves);
        }
        (Dispatched, JobInput::Undeliverable(failure)) => {
            fail(&spec.spec(), failure, &mut moves);
        }
        // One that is put off by policy has had its answer: another is a repeat.
        (Pending, JobInput::Judged(decision)) if job.is_asking() => {
            proceed(&spec.spec(), job.grant.as_deref(), Arc::new(decision), facts, &mut moves)
        }
        (Pending, JobInput::Tick) if is_due(job, facts) => {
            gate(&spec.spec(), job.grant.as_deref(), job.asking, facts, &mut moves);
        }
        (ApprovalRequired, JobInput::Answered(answer)) => {
            moves.closed = true;
            answered(job, &spec.spec(), answer, facts, &mut moves);
        }
        (Pending | Scheduled, JobInput::Cancel { by, reason } | JobInput::Stop { by, reason, .. }) => {
            cancel(&spec.spec(), by, reason, &mut moves);
        }
        (ApprovalRequired, JobInput::Cancel { by, reason } | JobInput::Stop { by, reason, .. }) => {
            moves.closed = true;
            cancel(&spec.spec(), by, reason, &mut moves);
        }
        // Delivery is at least once: what repeats or comes late changes nothing.
        (state, JobInput::Answered(_)) => {
            return Err(Rejected { job: job.id.clone(), state, input: "an approval" });
        }
        (state, _) if state.is_terminal() => {}
        (_, JobInput::Tick | JobInput::Stop { .. })
        | (Running, JobInput::Started { .. } | JobInput::Undeliverable(_)) => {}
        (Pending | ApprovalRequired | Scheduled | Dispatched | Running, JobInput::Judged(_)) => {}
        (state, input) => return Err(Rejected { job: job.id.clone(), state, input: input.name() }),
    }
    Ok(moves)
}

fn is_due(job: &Job, facts: &Facts<'_>) -> bool {
    job.due_at.is_some_and(|due| due <= facts.now)
}

fn gate(
    spec: &Arc<JobSpec>,
    grant: Option<&ApprovalGrant>,
    asking: Option<Asking>,
    facts: &Facts<'_>,
    moves: &mut Moves,
) {
    match facts.policy.evaluate(&spec.question().at(facts.now)) {
        Verdict::Decided(decision) => proceed(spec, grant, Arc::new(decision), facts, moves),
        Verdict::Ask => ask(spec, asking, facts, moves),
    }
}

/// Asks the remote kernel, once more if it did not answer: within the time that the job may take, and patiently, because
/// one that is away must not be flooded when it comes back.
fn ask(spec: &Arc<JobSpec>, asking: Option<Asking>, facts: &Facts<'_>, moves: &mut Moves) {
    let (since, times) = asking.map_or((facts.now, 0), |asking| (asking.since, asking.times));
    let deadline_at = job_after(since, spec.timeout.unwrap_or(facts.default_job_timeout));
    if times > 0 && deadline_at <= facts.now {
        let message = format!("the policy kernel was asked {times} times since {since} and did not answer");
        return fail(spec, Failure::retryable(codes::POLICY_UNANSWERED, message), moves);
    }
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX).clamp(1, GateLimits::LONGEST_ASK);
    let until = job_after(facts.now, facts.gate.ask_timeout.saturating_mul(factor)).min(deadline_at);
    moves.events.push(JobEvent::Asked { decision: None, until: Some(until) });
    moves.effects.push(Effect::AskPolicy { spec: spec.clone(), until });
}

fn proceed(
    spec: &Arc<JobSpec>,
    grant: Option<&ApprovalGrant>,
    decision: Arc<Decision>,
    facts: &Facts<'_>,
    moves: &mut Moves,
) {
    match decision.outcome {
        Outcome::Allow | Outcome::AllowWithConstraints => dispatch(spec, decision, facts, moves),
        Outcome::RequireApproval => {
            let hash: Arc<str> = spec.hash().into();
            let again = match grant.map(|grant| (grant, grant.covers(&hash, &decision, facts.now))) {
                Some((grant, Ok(()))) => {
                    if grant.attempt != spec.attempt {
                        let (by, given_at, given_to) = (grant.answer.by.clone(), grant.at, grant.attempt);
                        moves.events.push(JobEvent::Covered { by, given_at, given_to });
                    }
                    return dispatch(spec, decision, facts, moves);
                }
                Some((_, Err(lapse))) => Some(lapse),
                None => None,
            };
            moves.opened = Some(Box::new(ApprovalRequest {
                subject: Subject::Job { job_id: spec.id.clone() },
                tenant: spec.tenant.clone(),
                workflow_id: spec.workflow.clone(),
                title: decision.reason.clone(),
                input: spec.input.clone(),
                decision: Some(Decision::clone(&decision)),
                hash: Some(hash.clone()),
                spec: Some(spec.clone()),
                asked_again: again,
                requested_at: facts.now,
                expires_at: None,
            }));
            moves.events.push(JobEvent::ApprovalRequired { decision, hash, again });
        }
        Outcome::Deny => {
            let reason = if decision.reason.is_empty() { "denied by policy".into() } else { decision.reason.clone() };
            let failure = Failure::fatal(codes::SAFETY_DENIED, reason);
            moves.effects.push(report(spec, JobState::Denied, failure.clone()));
            moves.events.push(JobEvent::Denied { decision: Some(decision), failure });
        }
        Outcome::Throttle => {
            let wait = decision.retry_after.unwrap_or(Duration::from_secs(5)).max(Duration::from_millis(100));
            let until = job_after(facts.now, wait);
            moves.events.push(JobEvent::Throttled { decision, until });
        }
    }
}

fn dispatch(spec: &Arc<JobSpec>, decision: Arc<Decision>, facts: &Facts<'_>, moves: &mut Moves) {
    match facts.routes.route(&spec.topic, &spec.meta.requires) {
        Ok(pool) => {
            let timeout = facts.routes.attempt_timeout(spec).unwrap_or(facts.default_job_timeout);
            let limit = decision.constraints.as_ref().and_then(|c| c.budgets.as_ref()).map_or(0, |b| b.max_runtime_ms);
            let timeout = if limit > 0 { timeout.min(Duration::from_millis(limit)) } else { timeout };
            let deadline_at = job_after(facts.now, timeout);
            moves.effects.push(Effect::Dispatch { spec: spec.clone(), deadline_at, decision: decision.clone() });
            moves.events.push(JobEvent::Dispatched { decision, pool, deadline_at });
        }
        Err(no_route) => fail(spec, Failure::fatal(codes::NO_POOL_MAPPING, no_route.to_string()), moves),
    }
}

fn answered(job: &Job, spec: &Arc<JobSpec>, answer: Answer, facts: &Facts<'_>, moves: &mut Moves) {
    if !answer.approved {
        let why = if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
        let failure = Failure::fatal(codes::APPROVAL_REJECTED, format!("rejected by `{}`{why}", answer.by));
        moves.effects.push(report(spec, JobState::Denied, failure.clone()));
        moves.events.push(JobEvent::Denied { decision: None, failure });
        return;
    }
    // What was shown, not what is asked now. A question without these was never asked: its yes covers nothing.
    let shown = job.decision.as_ref();
    let grant = Arc::new(ApprovalGrant {
        answer,
        at: facts.now,
        attempt: job.attempt,
        hash: job.hash.clone().unwrap_or_default(),
        terms: shown.map(|decision| decision.terms().into()).unwrap_or_default(),
        snapshot: shown.map(|decision| decision.snapshot.clone()).unwrap_or_default(),
        expires_at: job_after(facts.now, facts.gate.approval_ttl),
    });
    moves.events.push(JobEvent::Approved { grant: grant.clone() });
    // Policy is asked again: what it denies today is not run because it was only doubtful yesterday.
    gate(spec, Some(&grant), None, facts, moves);
}

fn settle(result: JobResult, fenced: bool, moves: &mut Moves) {
    let JobResult { worker, status, execution_ms, .. } = result;
    moves.events.push(match status {
        JobStatusReport::Succeeded(output) => JobEvent::Succeeded { worker, execution_ms, output, unfenced: !fenced },
        JobStatusReport::Failed(failure) => {
            JobEvent::Failed { worker: Some(worker), execution_ms, failure, unfenced: !fenced }
        }
        JobStatusReport::Cancelled => JobEvent::Cancelled { by: worker, reason: "cancelled by the worker".into() },
    });
}

fn time_out(spec: &Arc<JobSpec>, facts: &Facts<'_>, moves: &mut Moves) {
    let failure = Failure::retryable(codes::TIMEOUT, format!("no result by {}", facts.now));
    moves.effects.push(cancel_effect(spec, "coretex".into(), "timeout".into()));
    moves.effects.push(report(spec, JobState::Timeout, failure.clone()));
    moves.events.push(JobEvent::TimedOut { failure });
}

/// The worker did not say in time that it stopped.
fn lapse(job: &Job, spec: &Arc<JobSpec>, moves: &mut Moves) {
    let (by, reason) = match &job.stop {
        Some(stop) => (stop.by.clone(), stop.reason.clone()),
        None => ("coretex".into(), "stopped".into()),
    };
    cancel(spec, by, reason, moves);
}

fn cancel(spec: &Arc<JobSpec>, by: Arc<str>, reason: Arc<str>, moves: &mut Moves) {
    moves.effects.push(report(spec, JobState::Cancelled, Failure::fatal(codes::CANCELLED, reason.clone())));
    moves.events.push(JobEvent::Cancelled { by, reason });
}

fn fail(spec: &Arc<JobSpec>, failure: Failure, moves: &mut Moves) {
    moves.effects.push(report(spec, JobState::Failed, failure.clone()));
    moves.events.push(JobEvent::Failed { worker: None, execution_ms: 0, failure, unfenced: false });
}

fn report(spec: &JobSpec, state: JobState, failure: Failure) -> Effect {
    Effect::Report { job: spec.id.clone(), trace_id: spec.trace_id.clone(), state, failure }
}

fn cancel_effect(spec: &JobSpec, by: Arc<str>, reason: Arc<str>) -> Effect {
    Effect::Cancel { job: spec.id.clone(), trace_id: spec.trace_id.clone(), by, reason }
}

/// `now + wait`, or the end of time, in whole microseconds.
pub(crate) fn job_after(now: jiff::Timestamp, wait: Duration) -> jiff::Timestamp {
    jiff::SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .map_or(jiff::Timestamp::MAX, whole_micros)
}

/// `at`, rounded up to whole microseconds: the time of a decision has no finer parts, so a deadline that had some would
/// not be due yet when its timer fires.
pub(crate) fn whole_micros(at: jiff::Timestamp) -> jiff::Timestamp {
    let whole = jiff::Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
    if whole < at { whole.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(whole) } else { whole }
}
