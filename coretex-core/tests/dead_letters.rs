//! Jobs given up: found, grouped, tried again, forgotten; told on a `TestPlane`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    governance::Principal,
    job::{DeadLetter, Fingerprint, JobId, JobState, RunId, StepRunId, Topic, WorkflowId},
    policy::Outcome,
    ports::Scan,
    runtime::{
        ControlPlane, DeadLetterQuery, JobRequest, PlaneError, PlaneErrorKind, RetryRequest, RetryWay, StartRequest,
        TimeRange,
    },
    testing::{FaultPlan, Reply, ScriptedJob, TestPlane, TestPlaneBuilder, policy_fn},
    workflow::{Resolution, RunStatus},
};
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// Fails with the code that the input names; succeeds without one.
fn obedient(job: &ScriptedJob) -> Reply {
    match job.input.get("fail").and_then(Value::as_str) {
        Some(code) => Reply::fatal(code),
        None => Reply::succeed((*job.input).clone()),
    }
}

const PARKS: &str = "
id: w
steps:
  a:
    topic: job.a
    input: { fail: '${input.fail}' }
    input_schema: { type: object, properties: { fail: { type: string }, n: { type: integer } } }
    retry: { max_retries: 0, on_exhausted: park }
    meta: { risk_tags: [write], capability: mend }
  b: { topic: job.b, depends_on: [a], input: { got: '${steps.a.output}' } }
";

const FAILS: &str = "
id: f
steps:
  a:
    topic: job.a
    input: { fail: '${input.fail}' }
    input_schema: { type: object, properties: { fail: { type: string } }, additionalProperties: false }
    meta: { risk_tags: [write], capability: mend }
";

fn plane() -> TestPlaneBuilder {
    TestPlane::builder().workflow(PARKS).workflow(FAILS).worker("job.>", obedient)
}

async fn find(plane: &TestPlane, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, PlaneError> {
    Ok(plane.ask(async |p| p.find_dead_letters(plane.principal(), query).await).await?.items)
}

async fn all(plane: &TestPlane) -> Result<Vec<DeadLetter>, PlaneError> {
    find(plane, &DeadLetterQuery::default()).await
}

fn ids(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.spec.id.as_str()).collect()
}

async fn submit(plane: &TestPlane, id: &str, topic: &str, code: &str) -> Result<JobId, PlaneError> {
    let request =
        JobRequest::new(Topic::parse_job(topic)?, json!({"fail": code})).id(JobId::parse(id)?).label("x", "1");
    plane.ask(async |p| p.submit_job(plane.principal(), request.clone()).await).await
}

async fn start(plane: &TestPlane, workflow: &str, run: &str, code: &str) -> Result<RunId, PlaneError> {
    let request = StartRequest::new(WorkflowId::parse(workflow)?, json!({"fail": code})).run_id(RunId::parse(run)?);
    let run = plane.ask(async |p| p.start(plane.principal(), request.clone()).await).await?;
    plane.advance(SECOND).await;
    Ok(run)
}

async fn retry(
    plane: &TestPlane,
    job: &str,
    request: RetryRequest,
) -> Result<coretex_core::runtime::Retried, PlaneError> {
    let job = JobId::parse(job)?;
    let told = plane.ask(async |p| p.retry_dead_letter_with(plane.principal(), &job, &request).await).await?;
    plane.live_through(SECOND).await?;
    Ok(told)
}

async fn keys(plane: &TestPlane) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix("dlq").limit(10_000)).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[test]
fn a_letter_holds_what_the_job_was_and_what_policy_said() {
    let builder = plane().policy(policy_fn("p1", |request| match request.topic {
        "job.banned" => Outcome::Deny,
        _ => Outcome::Allow,
    }));
    tell(builder, async |plane| {
        start(plane, "f", "run-1", "broken").await?;
        submit(plane, "lone", "job.banned", "no").await?;
        let letters = all(plane).await?;
        let [denied, failed] = letters.as_slice() else { panic!("{letters:?}") };
        assert_eq!((denied.state, &*denied.failure.code), (JobState::Denied, "safety_denied"));
        let decision = denied.decision.as_ref().unwrap();
        assert_eq!((decision.outcome, &*decision.snapshot), (Outcome::Deny, "p1"));
        assert_eq!(
            (failed.state, failed.last_state, &*failed.failure.code),
            (JobState::Failed, JobState::Dispatched, "broken")
        );
        assert_eq!(failed.decision.as_ref().unwrap().outcome, Outcome::Allow);
        assert_eq!((failed.pool.as_deref(), failed.worker.as_deref()), (Some("default"), Some("worker-1")));
        assert_eq!(failed.spec.meta.capability.as_deref(), Some("mend"));
        assert_eq!(failed.spec.run.as_ref().map(RunId::as_str), Some("run-1"));
        Ok(())
    });
}

#[test]
fn letters_are_found_by_every_filter_and_page_by_page() {
    tell(plane(), async |plane| {
        for n in 0..12 {
            let (topic, code) = (["job.a", "job.b"][n % 2], ["one", "two", "three"][n % 3]);
            submit(plane, &format!("j-{n}"), topic, code).await?;
            plane.advance(SECOND).await;
        }
        start(plane, "f", "run-1", "one").await?;
        let letters = all(plane).await?;
        assert_eq!(letters.len(), 13);
        assert!(letters.windows(2).all(|pair| pair[0].created_at >= pair[1].created_at), "newest first");
        let query = DeadLetterQuery::default;
        let topic = Topic::parse_job("job.a")?;
        let by_code = DeadLetterQuery { code: Some("one".into()), ..query() };
        assert_eq!(ids(&find(plane, &by_code).await?), ["run-1:a@1", "j-9", "j-6", "j-3", "j-0"]);
        let both = DeadLetterQuery { topic: Some(topic), ..by_code.clone() };
        assert_eq!(ids(&find(plane, &both).await?), ["run-1:a@1", "j-6", "j-0"]);
        let of_run = DeadLetterQuery { run: Some(RunId::parse("run-1")?), ..query() };
        assert_eq!(ids(&find(plane, &of_run).await?), ["run-1:a@1"]);
        let of_workflow = DeadLetterQuery { workflow: Some(WorkflowId::parse("f")?), ..query() };
        assert_eq!(ids(&find(plane, &of_workflow).await?), ["run-1:a@1"]);
        let fingerprint = letters.last().unwrap().fingerprint.clone();
        let of_kind = DeadLetterQuery { fingerprint: Some(fingerprint), ..query() };
        assert_eq!(ids(&find(plane, &of_kind).await?), ["run-1:a@1", "j-6", "j-0"]);
        assert!(
            find(plane, &DeadLetterQuery { fingerprint: Some(Fingerprint::named("no")), ..query() }).await?.is_empty()
        );
        let created = TimeRange { from: Some(letters[5].created_at), until: Some(letters[3].created_at) };
        let then = find(plane, &DeadLetterQuery { created, ..query() }).await?;
        assert_eq!(then, letters[3..=5]);

        // Letters that come and go between two pages are neither repeated nor do they hide others.
        let mut page = DeadLetterQuery { limit: 3, ..query() };
        let mut seen = Vec::new();
        loop {
            let found = plane.ask(async |p| p.find_dead_letters(plane.principal(), &page).await).await?;
            for letter in &found.items {
                let job = &letter.spec.id;
                plane.ask(async |p| p.delete_dead_letter(plane.principal(), job).await).await?;
            }
            submit(plane, &format!("late-{}", seen.len()), "job.a", "one").await?;
            seen.extend(found.items);
            page.cursor = found.next;
            if page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(ids(&seen), ids(&letters));
        let stranger = Principal::service("x").for_tenant("other".parse()?);
        let theirs = plane.ask(async |p| p.find_dead_letters(&stranger, &query()).await).await?;
        assert!(theirs.items.is_empty());
        let odd = DeadLetterQuery { cursor: Some("odd".into()), ..query() };
        assert_eq!(find(plane, &odd).await.unwrap_err().code(), "cursor_invalid");
        Ok(())
    });
}

#[test]
fn a_group_counts_its_letters_and_goes_with_the_last() {
    tell(plane(), async |plane| {
        for n in 0..5 {
            submit(plane, &format!("j-{n}"), "job.a", "one").await?;
            plane.advance(SECOND).await;
        }
        submit(plane, "k-1", "job.a", "two").await?;
        plane.advance(SECOND).await;
        let letters = all(plane).await?;
        let groups = async || plane.ask(async |p| p.dead_letter_groups(plane.principal(), None, 0).await).await;
        let found = groups().await?.items;
        assert_eq!(found.len(), 2);
        let one = found.iter().find(|group| group.code == "one").unwrap();
        assert_eq!((one.count, one.topic.as_str(), &one.fingerprint), (5, "job.a", &letters[1].fingerprint));
        assert_eq!((one.first_seen, one.last_seen), (letters[5].created_at, letters[1].created_at));
        let examples: Vec<&str> = one.examples.iter().map(JobId::as_str).collect();
        assert_eq!(examples, ["j-4", "j-3", "j-2"]);

        let query = DeadLetterQuery { code: Some("one".into()), limit: 2, ..DeadLetterQuery::default() };
        let told = plane.ask(async |p| p.count_dead_letters(plane.principal(), &query).await).await?;
        assert_eq!((told.count, told.more), (5, false));
        assert_eq!(told.by_fingerprint[one.fingerprint.as_str()], 5);
        let mut rest = query.clone();
        let mut removed = BTreeSet::new();
        loop {
            let page = plane.ask(async |p| p.delete_dead_letters(plane.principal(), &rest, false).await).await?;
            assert!(page.items.len() <= 2);
            removed.extend(page.items.iter().map(ToString::to_string));
            rest.cursor = page.next;
            if rest.cursor.is_none() {
                break;
            }
        }
        assert_eq!(removed.len(), 5);
        let left = groups().await?.items;
        assert_eq!((left.len(), left[0].code.as_str(), left[0].count), (1, "two", 1));
        let job = JobId::parse("k-1")?;
        plane.ask(async |p| p.delete_dead_letter(plane.principal(), &job).await).await?;
        let again = plane.ask(async |p| p.delete_dead_letter(plane.principal(), &job).await).await;
        assert_eq!(again.unwrap_err().code(), "dead_letter_not_found");
        assert_eq!(keys(plane).await, Vec::<String>::new(), "nothing is left behind");
        Ok(())
    });
}

#[test]
fn a_step_that_is_parked_goes_on_in_its_run_with_another_input() {
    tell(plane(), async |plane| {
        let run = start(plane, "w", "run-1", "broken").await?;
        assert_eq!(ids(&all(plane).await?), ["run-1:a@1"]);
        let refused = retry(plane, "run-1:a@1", RetryRequest::new().input(json!({"n": "many"}))).await.unwrap_err();
        assert_eq!((refused.code(), refused.kind()), ("step_data_invalid", PlaneErrorKind::Invalid));
        let edited = RetryRequest::new().input(json!({"n": 7})).reason("a typo");
        let told = retry(plane, "run-1:a@1", edited.clone()).await?;
        assert_eq!((told.job.as_str(), told.way, &*told.by), ("run-1:a@2", RetryWay::Step, "test"));
        assert_eq!(
            (&*told.letter.spec.input, told.input.as_deref()),
            (&json!({"fail": "broken"}), Some(&json!({"n": 7})))
        );
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        assert_eq!(end.step("b").unwrap().input.as_deref(), Some(&json!({"got": {"n": 7}})));
        assert!(all(plane).await?.is_empty());
        let line = plane.timeline(&run).await?.into_iter().find(|line| line.kind == "step_resolved").unwrap();
        assert_eq!((&line.data["by"], &line.data["edited"]), (&json!("test"), &json!(true)));

        // The answer may have been lost: it is the same again, and stands for this input.
        assert_eq!(retry(plane, "run-1:a@1", edited).await?, told);
        let other = retry(plane, "run-1:a@1", RetryRequest::new().input(json!({"n": 8}))).await.unwrap_err();
        assert_eq!(other.code(), "dead_letter_retried");
        let kept = plane.ask(async |p| p.retried_dead_letter(plane.principal(), &told.letter.spec.id).await).await?;
        assert_eq!((&kept, &*kept.reason), (&told, "a typo"));
        plane.advance(Duration::from_secs(31 * 24 * 3_600)).await;
        let gone = retry(plane, "run-1:a@1", RetryRequest::new()).await.unwrap_err();
        assert_eq!(gone.code(), "dead_letter_not_found");
        Ok(())
    });
}

#[test]
fn a_step_of_a_run_that_has_ended_is_done_by_a_job_that_is_judged_as_the_step_was() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = asked.clone();
    let builder = plane().policy(policy_fn("p", move |request| {
        let ids = [request.workflow_id, request.run_id, request.step_id].map(|id| id.unwrap_or_default().to_owned());
        note.lock().unwrap().push((ids, request.principal_id.to_owned(), request.meta.clone()));
        Outcome::Allow
    }));
    tell(builder, async |plane| {
        let run = start(plane, "f", "run-1", "broken").await?;
        assert_eq!(plane.run_state(&run).await?.status(), RunStatus::Failed);
        let told = retry(plane, "run-1:a@1", RetryRequest::new()).await?;
        assert_eq!(told.way, RetryWay::Job);
        assert!(told.job.as_str().starts_with("run-1.a.1-retry-"), "{}", told.job);
        let asked = asked.lock().unwrap().clone();
        let [first, second] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(first, second);
        assert_eq!(first.0, ["f", "run-1", "a"]);
        let again = all(plane).await?;
        assert_eq!(ids(&again), [told.job.as_str()], "it failed again, as a letter of its own");
        assert_eq!(again[0].spec.labels["retry_of_job"], "run-1:a@1");
        assert_eq!(again[0].spec.run, Some(run.clone()));

        // Tried again and again, an id does not grow; an edited try is on the editor's authority.
        let refused = retry(plane, again[0].spec.id.as_str(), RetryRequest::new().input(json!({"n": 1}))).await;
        assert!(refused.is_ok(), "a job of its own has no schema: {refused:?}");
        let third = refused?;
        assert_eq!(third.job.as_str().len(), told.job.as_str().len());
        let view = plane.ask(async |p| p.job(plane.principal(), &third.job).await).await?;
        assert_eq!((view.job.state, &view.spec.labels["edited_by"]), (JobState::Succeeded, &"test".to_owned()));
        assert_eq!(view.spec.meta.risk_tags, ["write"]);
        assert!(all(plane).await?.is_empty());
        assert_eq!(plane.run_state(&run).await?.status(), RunStatus::Failed, "the log of an ended run is closed");
        Ok(())
    });
}

#[test]
fn an_edited_input_is_judged_by_the_schema_of_the_step_that_failed() {
    tell(plane(), async |plane| {
        start(plane, "f", "run-1", "broken").await?;
        let refused = retry(plane, "run-1:a@1", RetryRequest::new().input(json!({"odd": 1}))).await.unwrap_err();
        assert_eq!(refused.code(), "step_data_invalid");
        let large = "x".repeat(2 << 20);
        let refused = retry(plane, "run-1:a@1", RetryRequest::new().input(json!({"fail": large}))).await.unwrap_err();
        assert_eq!(refused.code(), "payload_too_large");
        let long = RetryRequest::new().reason("x".repeat(2_000));
        assert_eq!(retry(plane, "run-1:a@1", long).await.unwrap_err().code(), "note_too_long");
        let told = retry(plane, "run-1:a@1", RetryRequest::new().input(json!({}))).await?;
        let view = plane.ask(async |p| p.job(plane.principal(), &told.job).await).await?;
        assert_eq!(view.job.state, JobState::Succeeded);
        Ok(())
    });
}

#[test]
fn what_an_operator_settles_takes_the_letter_along() {
    tell(plane(), async |plane| {
        for (run, resolution, left) in [
            ("run-1", Resolution::Skip, 0),
            ("run-2", Resolution::Complete { output: Arc::new(json!(1)) }, 0),
            ("run-3", Resolution::Retry { input: None }, 1),
            ("run-4", Resolution::Fail { reason: "no".into() }, 2),
        ] {
            let run = start(plane, "w", run, "broken").await?;
            let step = StepRunId::parse("a")?;
            plane.ask(async |p| p.resolve_step(plane.principal(), &run, &step, resolution.clone()).await).await?;
            plane.advance(SECOND).await;
            assert_eq!(all(plane).await?.len(), left, "{run}");
        }
        // The third failed once more, so the letter is that of its second try.
        assert_eq!(ids(&all(plane).await?), ["run-4:a@1", "run-3:a@2"]);
        let before = retry(plane, "run-3:a@1", RetryRequest::new()).await?;
        assert_eq!((before.job.as_str(), before.way), ("run-3:a@2", RetryWay::Step));
        Ok(())
    });
}

#[test]
fn many_are_tried_again_page_by_page_and_new_failures_are_not_met() {
    tell(plane(), async |plane| {
        for n in 0..7 {
            submit(plane, &format!("j-{n}"), "job.a", "one").await?;
        }
        start(plane, "w", "run-1", "one").await?;
        let refused = plane
            .ask(async |p| p.retry_dead_letters(plane.principal(), &DeadLetterQuery::default(), false, "").await)
            .await;
        assert_eq!(refused.unwrap_err().code(), "dead_letter_query_empty");
        let mut query = DeadLetterQuery { code: Some("one".into()), limit: 3, ..DeadLetterQuery::default() };
        let mut retried = Vec::new();
        loop {
            let page =
                plane.ask(async |p| p.retry_dead_letters(plane.principal(), &query, false, "again").await).await?;
            plane.advance(SECOND).await;
            retried.extend(page.items);
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        let jobs: BTreeSet<String> = retried.iter().map(|outcome| outcome.job_id.to_string()).collect();
        assert_eq!((retried.len(), jobs.len()), (8, 8));
        assert!(retried.iter().all(|outcome| outcome.retried_as.is_some() && outcome.code.is_none()), "{retried:?}");
        let of_run = retried.iter().find(|outcome| outcome.job_id.as_str() == "run-1:a@1").unwrap();
        assert_eq!(of_run.way, Some(RetryWay::Step));
        let left = all(plane).await?;
        assert_eq!(left.len(), 8, "all failed again: {:?}", ids(&left));
        assert!(left.iter().all(|letter| !jobs.contains(letter.spec.id.as_str())));
        Ok(())
    });
}

#[test]
fn a_retry_that_a_crash_cuts_short_anywhere_is_done_once() {
    for (workflow, edit) in [("w", Some(json!({"n": 1}))), ("f", None), ("f", Some(json!({})))] {
        let mut crashed = 0;
        for at in 1..8 {
            let faults = FaultPlan::new(at).crash_after(at).arm();
            let builder = plane().faults(&faults);
            tell(builder, async |plane| {
                faults.rest();
                start(plane, workflow, "run-1", "broken").await?;
                faults.resume();
                let mut request = RetryRequest::new();
                if let Some(edit) = &edit {
                    request = request.input(edit.clone());
                }
                let told = retry(plane, "run-1:a@1", request.clone()).await?;
                faults.rest();
                plane.live_through(60 * SECOND).await?;
                assert_eq!(retry(plane, "run-1:a@1", request).await?.job, told.job);
                let view = plane.ask(async |p| p.job(plane.principal(), &told.job).await).await?;
                let wanted = if edit.is_some() { JobState::Succeeded } else { JobState::Failed };
                assert_eq!(view.job.state, wanted, "{workflow} {at}");
                let letters = all(plane).await?;
                assert!(letters.iter().all(|letter| letter.spec.id == told.job), "{:?}", ids(&letters));
                assert_eq!(letters.len(), usize::from(edit.is_none()));
                Ok(())
            });
            crashed += usize::from(faults.counts().crashes > 0);
        }
        assert!(crashed >= 2, "hardly ever crashed: {crashed}");
    }
}

#[test]
fn of_many_who_retry_and_delete_one_letter_the_count_goes_down_once() {
    tell(plane(), async |plane| {
        submit(plane, "j-1", "job.a", "one").await?;
        submit(plane, "j-2", "job.a", "one").await?;
        plane.advance(SECOND).await;
        let job = JobId::parse("j-1")?;
        let control: ControlPlane = plane.plane()?;
        let me = plane.principal();
        let (first, second, third) = plane
            .drive(async {
                futures::join!(
                    control.delete_dead_letter(me, &job),
                    control.delete_dead_letter(me, &job),
                    control.delete_dead_letter(me, &job)
                )
            })
            .await;
        let done = [first, second, third].iter().filter(|told| told.is_ok()).count();
        assert_eq!(done, 1);
        let groups = plane.ask(async |p| p.dead_letter_groups(me, None, 0).await).await?;
        assert_eq!((groups.items.len(), groups.items[0].count), (1, 1));
        Ok(())
    });
}
