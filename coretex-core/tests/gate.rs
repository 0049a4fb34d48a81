//! The gate before every try: how far a human's yes reaches, and what happens when a policy kernel does not answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    job::{JobId, JobState, RunId, StepRunId, Topic},
    policy::{Decision, Outcome, PolicyRequest},
    ports::{PolicyEngine, PolicySnapshot, Verdict},
    runtime::{JobRequest, Options, PlaneError},
    testing::{FaultPlan, Reply, Say, TestPlane, TestPlaneBuilder},
    workflow::{Resolution, Run, RunStatus, TimelineEvent, WaitCause},
};
use futures::future::BoxFuture;
use serde_json::json;

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);
/// Three tries, ten seconds apart.
const RETRIED: &str = "
id: w
steps:
  a: {topic: job.a, retry: {max_retries: 2, initial_backoff_sec: 10, multiplier: 1.000001, jitter: 0}}
";

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// Asks for a human by `rule`, for `reason`.
#[derive(Clone, Debug)]
struct Rule(Decision);

impl Rule {
    fn new(snapshot: &str, rule: &str) -> Self {
        Self(Decision::new(Outcome::RequireApproval, rule, "a person decides", snapshot.into()))
    }
}

impl PolicyEngine for Rule {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        Arc::new(self.clone())
    }
}

impl PolicySnapshot for Rule {
    fn id(&self) -> &Arc<str> {
        &self.0.snapshot
    }
    fn governed(&self) -> bool {
        true
    }
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Verdict {
        Verdict::Decided(self.0.clone())
    }
}

/// A remote kernel: answers in turn, and for ever not at all where there is no answer.
#[derive(Clone, Debug, Default)]
struct Kernel(Arc<Mutex<(u32, VecDeque<Option<Outcome>>)>>);

impl Kernel {
    fn answering(answers: impl IntoIterator<Item = Option<Outcome>>) -> Self {
        Self(Arc::new(Mutex::new((0, answers.into_iter().collect()))))
    }

    fn asked(&self) -> u32 {
        self.0.lock().unwrap().0
    }
}

#[derive(Debug)]
struct Asks(Arc<str>);

impl PolicySnapshot for Asks {
    fn id(&self) -> &Arc<str> {
        &self.0
    }
    fn governed(&self) -> bool {
        true
    }
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Verdict {
        Verdict::Ask
    }
}

impl PolicyEngine for Kernel {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        Arc::new(Asks("remote".into()))
    }

    fn ask<'a>(&'a self, _: &'a PolicyRequest<'a>) -> BoxFuture<'a, Decision> {
        let answer = {
            let mut kernel = self.0.lock().unwrap();
            kernel.0 += 1;
            kernel.1.pop_front().flatten()
        };
        Box::pin(async move {
            match answer {
                Some(outcome) => Decision::new(outcome, "remote", "the kernel says so", "remote".into()),
                None => futures::future::pending().await,
            }
        })
    }
}

fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    options.executors = 2;
    change(&mut options);
    options
}

/// Lines of one type, with what they say.
async fn lines(plane: &TestPlane, run: &RunId, kind: &str) -> Result<Vec<TimelineEvent>, PlaneError> {
    Ok(plane.timeline(run).await?.into_iter().filter(|line| line.kind == kind).collect())
}

/// Why the step is asked about again, by its questions.
async fn questions(plane: &TestPlane, run: &RunId) -> Result<Vec<Option<String>>, PlaneError> {
    let lines = lines(plane, run, "step_approval_required").await?;
    Ok(lines.iter().map(|line| line.data.get("asked_again").map(|why| why.as_str().unwrap().to_owned())).collect())
}

fn attempts(run: &Run) -> u32 {
    run.step("a").unwrap().attempts
}

#[test]
fn one_yes_covers_the_tries_of_a_step() {
    let builder = TestPlane::builder()
        .workflow(RETRIED)
        .policy(Rule::new("p1", "humans"))
        .approver("ann", Say::Yes)
        .worker("job.a", [Reply::retryable("busy"), Reply::retryable("busy"), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), attempts(&end)), (RunStatus::Succeeded, 3));
        assert_eq!(questions(plane, &run).await?, [None], "asked once");
        let kept = lines(plane, &run, "step_approval_kept").await?;
        let told: Vec<_> = kept
            .iter()
            .map(|line| (line.job_id.clone().unwrap(), &line.data["by"], &line.data["given_to_attempt"]))
            .collect();
        let (ann, one) = (json!("ann"), json!(1));
        let job = |n: u32| JobId::of_step(&run, &StepRunId::parse("a").unwrap(), n).to_string();
        assert_eq!(told, [(job(2), &ann, &one), (job(3), &ann, &one)]);
        Ok(())
    });
}

#[test]
fn policy_that_says_the_same_in_a_new_snapshot_keeps_the_yes_and_one_that_does_not_asks_anew() {
    for (snapshot, rule, wanted) in
        [("p2", "humans", vec![None]), ("p2", "two-persons", vec![None, Some("terms_changed".to_owned())])]
    {
        let builder = TestPlane::builder()
            .workflow(RETRIED)
            .policy(Rule::new("p1", "humans"))
            .approver("ann", Say::Yes)
            .worker("job.a", [Reply::retryable("busy"), Reply::succeed(json!(1))]);
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            plane.settle().await;
            plane.set_policy(Rule::new(snapshot, rule));
            let end = plane.run_to_end(&run).await?;
            assert_eq!((end.status(), attempts(&end)), (RunStatus::Succeeded, 2));
            assert_eq!(questions(plane, &run).await?, wanted);
            Ok(())
        });
    }
}

#[test]
fn other_limits_are_other_terms() {
    let builder = TestPlane::builder()
        .workflow(RETRIED)
        .policy(Rule::new("p1", "humans"))
        .worker("job.a", [Reply::retryable("busy"), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.answer(&run, "a", "ann", true).await?;
        let mut loose = Rule::new("p1", "humans");
        loose.0.constraints =
            Some(Arc::new(serde_json::from_value(json!({"sandbox": {"network_allowlist": ["everywhere"]}})).unwrap()));
        plane.set_policy(loose);
        plane.advance(10 * SECOND).await;
        assert_eq!(plane.dispatched().len(), 1, "nothing goes under limits that nobody saw");
        let asked = plane.ask(async |p| p.approvals(plane.principal(), None, 0).await).await?.items.remove(0);
        assert_eq!(asked.asked_again.map(|why| why.as_str()), Some("terms_changed"));
        Ok(())
    });
}

#[test]
fn a_yes_is_no_yes_of_policy() {
    let builder = TestPlane::builder()
        .workflow(RETRIED)
        .policy(Rule::new("p1", "humans"))
        .approver("ann", Say::Yes)
        .worker("job.a", Reply::retryable("busy"));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        let mut never = Rule::new("p2", "never");
        never.0.outcome = Outcome::Deny;
        plane.set_policy(never);
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.failure().unwrap().code.as_ref(), "safety_denied");
        assert_eq!(plane.dispatched().len(), 1, "only the try that was allowed");
        Ok(())
    });
}

#[test]
fn a_yes_lapses() {
    let builder = TestPlane::builder()
        .options(options(|options| options.approval_ttl = 15 * SECOND))
        .workflow(RETRIED)
        .policy(Rule::new("p1", "humans"))
        .approver("ann", Say::Yes.after(SECOND))
        .worker("job.a", [Reply::retryable("busy"), Reply::retryable("busy"), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), attempts(&end)), (RunStatus::Succeeded, 3));
        assert_eq!(questions(plane, &run).await?, [None, Some("expired".to_owned())]);
        assert_eq!(lines(plane, &run, "step_approval_kept").await?.len(), 1, "the second try was in time");
        Ok(())
    });
}

#[test]
fn a_fresh_set_of_tries_needs_a_fresh_yes() {
    let parked =
        "id: w\nsteps:\n  a: {topic: job.a, retry: {max_retries: 1, initial_backoff_sec: 1, on_exhausted: park}}";
    let builder = TestPlane::builder()
        .workflow(parked)
        .policy(Rule::new("p1", "humans"))
        .approver("ann", Say::Yes)
        .worker("job.a", [Reply::retryable("busy"), Reply::retryable("busy"), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(5 * SECOND).await;
        let step = StepRunId::parse("a").unwrap();
        plane
            .ask(async |p| p.resolve_step(plane.principal(), &run, &step, Resolution::Retry { input: None }).await)
            .await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(questions(plane, &run).await?, [None, None], "asked for the first set, and for the second");
        Ok(())
    });
}

#[test]
fn a_crash_after_any_commit_neither_loses_the_yes_nor_asks_twice() {
    for commit in 1..12 {
        let faults = FaultPlan::new(commit).crash_after(commit).arm();
        let builder = TestPlane::builder()
            .workflow(RETRIED)
            .policy(Rule::new("p1", "humans"))
            .approver("ann", Say::Yes.after(SECOND))
            .worker("job.a", [Reply::retryable("busy"), Reply::succeed(json!(1))])
            .faults(&faults);
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!((end.status(), attempts(&end)), (RunStatus::Succeeded, 2), "crash after {commit}");
            assert_eq!(questions(plane, &run).await?, [None], "crash after {commit}");
            Ok(())
        });
    }
}

const KERNEL: &str = "id: w\nsteps:\n  a: {topic: job.a, timeout_sec: 200}";

fn asking(kernel: &Kernel) -> TestPlaneBuilder {
    TestPlane::builder().workflow(KERNEL).policy(kernel.clone()).worker("job.a", Reply::succeed(json!(1)))
}

/// How often the kernel was asked and when it is asked again, as `why` says it, in seconds.
async fn why(plane: &TestPlane, run: &RunId) -> Result<(u32, i64), PlaneError> {
    let waits = plane.ask(async |p| p.why(plane.principal(), run).await).await?;
    let Some(wait) = waits.iter().find(|wait| wait.step_id.is_some()) else { panic!("the step waits for something") };
    let WaitCause::Kernel { asked, until, since, .. } = &wait.cause else { panic!("{wait:?}") };
    Ok((*asked, until.duration_since(*since).as_secs()))
}

#[test]
fn a_silent_kernel_is_asked_again_with_patience_until_it_answers() {
    let kernel = Kernel::answering([None, None, Some(Outcome::Allow)]);
    tell(asking(&kernel), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        assert_eq!((kernel.asked(), why(plane, &run).await?), (1, (1, 30)));
        plane.advance(29 * SECOND).await;
        assert_eq!(kernel.asked(), 1);
        plane.advance(SECOND).await;
        assert_eq!((kernel.asked(), why(plane, &run).await?), (2, (2, 90)));
        assert!(plane.dispatched().is_empty(), "nothing goes without an answer");
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), kernel.asked(), plane.elapsed()), (RunStatus::Succeeded, 3, 90 * SECOND));
        Ok(())
    });
}

#[test]
fn a_kernel_that_never_answers_fails_the_job_at_its_deadline() {
    let kernel = Kernel::default();
    tell(asking(&kernel), async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.failure().unwrap().code.as_ref(), "policy_unanswered");
        // After 30 s, 60 s more, and the rest of its 200 s.
        assert_eq!((plane.elapsed(), kernel.asked()), (200 * SECOND, 3));
        assert!(plane.dispatched().is_empty());
        Ok(())
    });
}

#[test]
fn an_unanswered_question_survives_crashes_and_keeps_its_deadline() {
    let kernel = Kernel::default();
    tell(asking(&kernel), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(10 * SECOND).await;
        plane.crash_and_restart().await?;
        plane.settle().await;
        assert_eq!(
            (kernel.asked(), why(plane, &run).await?),
            (2, (1, 30)),
            "the same question, asked by the next life"
        );
        plane.advance(20 * SECOND).await;
        assert_eq!((kernel.asked(), why(plane, &run).await?), (3, (2, 90)));
        plane.crash().await;
        plane.advance(100 * SECOND).await;
        plane.restart().await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.failure().unwrap().code.as_ref(), "policy_unanswered");
        assert_eq!(plane.elapsed(), 200 * SECOND);
        Ok(())
    });
}

#[test]
fn a_question_about_a_submitted_job_is_bounded_too() {
    let kernel = Kernel::answering([None, Some(Outcome::Allow)]);
    tell(asking(&kernel), async |plane| {
        let request = JobRequest::new(Topic::parse_job("job.a")?, json!({})).timeout(100 * SECOND);
        let submit = async |name: &str| -> Result<JobId, PlaneError> {
            let request = request.clone().id(JobId::parse(name)?);
            plane.ask(async |p| p.submit_job(plane.principal(), request.clone()).await).await
        };
        let state = async |id: &JobId| plane.ask(async |p| p.job(plane.principal(), id).await).await;
        let answered = submit("answered").await?;
        plane.crash_and_restart().await?;
        plane.settle().await;
        assert_eq!(state(&answered).await?.job.state, JobState::Succeeded, "asked again after the crash");
        let silent = submit("silent").await?;
        plane.advance(99 * SECOND).await;
        assert_eq!(state(&silent).await?.job.state, JobState::Pending);
        plane.crash_and_restart().await?;
        plane.advance(SECOND).await;
        let job = state(&silent).await?.job;
        assert_eq!((job.state, &*job.failure.unwrap().code), (JobState::Failed, "policy_unanswered"));
        assert_eq!(plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await?.items.len(), 1);
        Ok(())
    });
}
