//! Plays one seed and checks what came of it.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use coretex_core::{
    job::{JobId, RunId, StepRunId, Topic, WorkflowId},
    runtime::{JobRequest, MigrationOutcome, MigrationRequest, PlaneError, PlaneErrorKind, RerunRequest, StartRequest},
    testing::{Rng, TestPlane},
    workflow::{Resolution, Run, Workflow},
};
use serde_json::{Value, json};

use super::{
    case::{self, Case},
    checks,
    flows::TOPICS,
};

/// Moves of runs onto another version, of all seeds.
pub(super) static MOVES: AtomicU64 = AtomicU64::new(0);

/// What a seed did: all streams and records, and how often it published. Equal for equal seeds.
#[derive(PartialEq)]
pub(super) struct Trace {
    store: Vec<String>,
    published: usize,
}

/// What was acknowledged, and what readers saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) runs: BTreeSet<RunId>,
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) states: Vec<Run>,
    /// The workflows as they were stored last.
    versions: Vec<Value>,
    /// Versions stored after the first.
    stored: u64,
}

pub(super) fn run(seed: u64, talk: bool) -> Trace {
    let case = Case::of(seed);
    if talk {
        for workflow in &case.workflows {
            println!("{}", serde_json::to_string_pretty(workflow).unwrap());
        }
        println!("{:?}", case.plan);
    }
    let faults = case.plan.clone().arm();
    let mut builder = TestPlane::builder()
        .seed(seed)
        .faults(&faults)
        .worker("job.>", case::worker(case.worker.clone()))
        .approver("ann", case::person(case.people.clone()))
        .policy(case::policy(case.policy.clone()))
        .job_timeout(Duration::from_secs(90));
    for workflow in &case.workflows {
        builder = builder.workflow(workflow.to_string());
    }
    builder
        .run(async |plane| {
            let mut seen = Seen { versions: case.workflows.clone(), ..Seen::default() };
            if let Err(error) = play(plane, &case, &mut seen).await {
                panic!("seed {seed}: {error}\n{}", checks::story(plane, &seen).await);
            }
            let store = checks::at_the_end(plane, &seen).await;
            if talk {
                println!("{}", checks::story(plane, &seen).await);
                println!("{:?}", faults.counts());
            }
            Trace { store, published: plane.published(">").len() }
        })
        .unwrap()
}

async fn play(plane: &TestPlane, case: &Case, seen: &mut Seen) -> Result<(), PlaneError> {
    let mut rng = case.story.clone();
    for n in 0..1 + rng.below(3) {
        let workflow = format!("w{}", rng.below(case.workflows.len() as u64));
        let mut request =
            StartRequest::new(WorkflowId::parse(&workflow)?, json!({"n": rng.below(8)})).label("n", n.to_string());
        let id = RunId::parse(&format!("run-{n}"))?;
        let keyed = rng.chance(300);
        if keyed {
            request = request.idempotency_key(format!("key-{}", rng.below(2)));
        }
        request = request.run_id(id.clone());
        let run = match plane.start_with(request.clone()).await {
            Ok(run) => run,
            // The key stands for another start, which is there.
            Err(error) if keyed && error.code() == "idempotency_key_reused" => {
                assert!(!seen.runs.is_empty(), "a key that nobody used");
                continue;
            }
            Err(error) => return Err(error),
        };
        assert_eq!(run, id, "every start that is taken is told apart by its label");
        seen.runs.insert(run.clone());
        if rng.chance(300) {
            // A repeat finds the same run, also when it has ended.
            if rng.chance(300) {
                plane.advance(Duration::from_secs(1_000)).await;
            }
            assert_eq!(plane.start_with(request).await?, run, "a repeat starts nothing new");
        }
        disturb(plane, &mut rng, seen).await?;
    }
    for n in 0..rng.below(3) {
        let topic = Topic::parse_job(rng.pick(&TOPICS).unwrap())?;
        let id = JobId::parse(&format!("job-{n}"))?;
        let mut request = JobRequest::new(topic, json!({"n": n})).id(id.clone());
        if rng.chance(500) {
            request = request.timeout(Duration::from_secs(1 + rng.below(60)));
        }
        plane.ask(async |plane_| plane_.submit_job(plane.principal(), request.clone()).await).await?;
        seen.jobs.insert(id);
        disturb(plane, &mut rng, seen).await?;
    }
    for _ in 0..rng.below(4) {
        disturb(plane, &mut rng, seen).await?;
        look(plane, seen).await?;
    }
    for run in seen.runs.clone() {
        let end = plane.run_to_end(&run).await?;
        assert!(end.status().is_terminal());
        seen.states.push(end);
    }
    for id in &seen.jobs {
        let mut patience = 0;
        while !plane.ask(async |plane_| plane_.job(plane.principal(), id).await).await?.job.state.is_terminal() {
            patience += 1;
            assert!(patience < 2_000, "job `{id}` does not end");
            plane.advance(Duration::from_secs(30)).await;
            if plane.plane()?.store().now().await.is_err() {
                plane.crash_and_restart().await?;
            }
        }
    }
    // Whoever still has something to say says it to runs that have ended.
    plane.advance(Duration::from_secs(4_000)).await;
    plane.faults().rest();
    plane.crash_and_restart().await?;
    plane.advance(Duration::from_secs(10)).await;
    Ok(())
}

/// Something from outside: time, crashes, cancels, nonsense.
async fn disturb(plane: &TestPlane, rng: &mut Rng, seen: &mut Seen) -> Result<(), PlaneError> {
    match rng.below(14) {
        0 => plane.crash_and_restart().await?,
        1 if plane.faults().counts().crashes == 0 => {
            // An orderly end needs a store that works.
            plane.faults().rest();
            plane.restart().await?;
            plane.faults().resume();
        }
        2 => {
            let runs: Vec<&RunId> = seen.runs.iter().collect();
            if let Some(run) = rng.pick(&runs) {
                plane.ask(async |p| p.cancel_run(plane.principal(), run, "changed my mind").await).await?;
            }
        }
        3 => {
            let jobs: Vec<&JobId> = seen.jobs.iter().collect();
            if let Some(job) = rng.pick(&jobs) {
                plane.ask(async |p| p.cancel_job(plane.principal(), job, "changed my mind").await).await?;
            }
        }
        4 => {
            // An answer that nobody may wait for.
            let runs: Vec<&RunId> = seen.runs.iter().collect();
            if let Some(run) = rng.pick(&runs) {
                let step = format!("s{}", rng.below(5));
                match plane.answer(run, &step, "eve", rng.chance(500)).await {
                    Err(error) if !matches!(error.kind(), PlaneErrorKind::Conflict | PlaneErrorKind::NotFound) => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        5 => go_on(plane, rng, seen).await?,
        6 => talk(plane, rng, seen).await?,
        7 => plane.settle().await,
        8 | 9 => migrate(plane, rng, seen).await?,
        _ => plane.advance(Duration::from_millis(rng.below(60_000))).await,
    }
    checks::while_under_way(plane, seen).await;
    Ok(())
}

/// A run that goes on from another one: from a step of it, or from an event, or from where it stopped.
async fn go_on(plane: &TestPlane, rng: &mut Rng, seen: &mut Seen) -> Result<(), PlaneError> {
    let runs: Vec<&RunId> = seen.runs.iter().collect();
    let Some(old) = rng.pick(&runs).map(|run| (*run).clone()).filter(|_| seen.runs.len() < 6) else { return Ok(()) };
    let state = plane.run_state(&old).await?;
    let mut request = RerunRequest::new().run_id(RunId::parse(&format!("again-{}", seen.runs.len()))?);
    match rng.below(3) {
        0 => {
            let steps: Vec<StepRunId> = state.steps().map(|(id, _)| id).collect();
            request = request.from_step(rng.pick(&steps).cloned().unwrap());
        }
        1 => request = request.at_event(1 + rng.below(state.head())),
        _ => {}
    }
    match plane.ask(async |p| p.rerun(plane.principal(), &old, request.clone()).await).await {
        Ok(new) => {
            seen.runs.insert(new);
            Ok(())
        }
        // The step waits for one that did not end well, or the same was asked before a crash that is not remembered.
        Err(error) if matches!(error.kind(), PlaneErrorKind::Conflict | PlaneErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A next version of a workflow, and a run that shall go on under the last of its own. Versions differ in their name, a
/// step that comes, or how long a step may take; whether the run can move is the engine's to say.
async fn migrate(plane: &TestPlane, rng: &mut Rng, seen: &mut Seen) -> Result<(), PlaneError> {
    seen.stored += 1;
    let at = usize::try_from(rng.below(seen.versions.len() as u64)).unwrap_or(0);
    let mut next = seen.versions[at].clone();
    next["name"] = format!("version {}", seen.stored).into();
    let steps = next["steps"].as_object_mut().unwrap();
    let ids: Vec<String> = steps.keys().cloned().collect();
    match rng.below(3) {
        0 => {
            let after: Vec<&String> = ids.iter().filter(|_| rng.chance(300)).collect();
            steps
                .insert(format!("n{}", seen.stored), json!({"topic": rng.pick(&TOPICS).unwrap(), "depends_on": after}));
        }
        1 => {
            if let Some(step) = rng.pick(&ids).and_then(|id| steps.get_mut(id)).filter(|step| step["topic"].is_string())
            {
                step["timeout_sec"] = json!(1 + rng.below(60));
            }
        }
        _ => {}
    }
    let me = plane.principal();
    if Workflow::from_value("next", next.clone()).is_ok() {
        let version = || Workflow::from_value("next", next.clone()).unwrap();
        plane.ask(async |p| p.store_workflow(me, version(), None).await).await?;
        seen.versions[at] = next;
    }
    let runs: Vec<&RunId> = seen.runs.iter().collect();
    let Some(run) = rng.pick(&runs) else { return Ok(()) };
    match plane.ask(async |p| p.migrate_run(me, run, &MigrationRequest::new()).await).await {
        Ok(moved) => {
            assert_eq!(moved.outcome, MigrationOutcome::Moved);
            Ok(())
        }
        // Something is in the way, which the run's own state says.
        Err(error) if error.kind() == PlaneErrorKind::Conflict => Ok(()),
        Err(error) => Err(error),
    }
}

/// Signals, data and an operator's word, for steps that may or may not wait for them.
async fn talk(plane: &TestPlane, rng: &mut Rng, seen: &Seen) -> Result<(), PlaneError> {
    let runs: Vec<&RunId> = seen.runs.iter().collect();
    let Some(run) = rng.pick(&runs) else { return Ok(()) };
    let state = plane.run_state(run).await?;
    let waiting: Vec<StepRunId> =
        state.steps().filter(|(_, step)| step.waits_for.is_some()).map(|(id, _)| id).collect();
    let step = rng.pick(&waiting).cloned().unwrap_or(StepRunId::parse("s0")?);
    let me = plane.principal();
    let said = match rng.below(3) {
        0 => {
            let (name, id) = (format!("go-{}", rng.below(2)), format!("id-{}", rng.below(3)));
            plane.ask(async |p| p.signal(me, run, &name, Some(&id), json!({"n": 1})).await).await
        }
        1 => plane.ask(async |p| p.provide_input(me, run, &step, json!({"n": 2})).await).await,
        _ => {
            let resolution = match rng.below(4) {
                0 => Resolution::Retry { input: None },
                1 => Resolution::Complete { output: Arc::new(json!({"n": 5})) },
                2 => Resolution::Skip,
                _ => Resolution::Fail { reason: "the dice say so".into() },
            };
            plane.ask(async |p| p.resolve_step(me, run, &step, resolution.clone()).await).await
        }
    };
    match said {
        Err(error)
            if !matches!(
                error.kind(),
                PlaneErrorKind::Conflict | PlaneErrorKind::NotFound | PlaneErrorKind::Invalid
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Notes what readers see.
async fn look(plane: &TestPlane, seen: &mut Seen) -> Result<(), PlaneError> {
    for run in &seen.runs {
        seen.states.push(plane.run_state(run).await?);
    }
    Ok(())
}

/// The store of a test, whole.
pub(super) fn store(plane: &TestPlane) -> Arc<dyn coretex_core::ports::Store> {
    plane.store()
}
