//! Properties of the pure rooms, over random graphs and inputs. A failure names its seed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

use std::{sync::Arc, time::Duration};

use coretex_core::{
    job::{Answer, Facts, JobId, JobInput, JobResult, JobStatusReport, Output, RunId, StepRunId},
    policy::{Outcome, fixed},
    ports::{PolicyEngine, PolicySnapshot},
    scheduler::Routes,
    testing::Rng,
    workflow::{Run, RunEffect, RunInput, StartRun, StepStatus, StoredEvent, Workflow, decide, start},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const SEEDS: u64 = 400;

struct World {
    policy: Arc<dyn PolicySnapshot>,
    routes: Routes,
}

impl World {
    fn new() -> Self {
        Self { policy: fixed(Outcome::Allow).snapshot(), routes: Routes::open() }
    }

    fn facts(&self, micros: i64) -> Facts<'_> {
        Facts {
            now: Timestamp::from_microsecond(1_893_456_000_000_000 + micros).unwrap(),
            seed: 7,
            policy: &*self.policy,
            routes: &self.routes,
            default_job_timeout: Duration::from_secs(9_000),
            stop_grace: Duration::from_secs(10),
            payload_limits: coretex_core::value::Limits::default(),
            gate: Default::default(),
            bounds: Default::default(),
            outputs: None,
        }
    }
}

/// Graphs whose end does not depend on the order of results: nobody fails, nobody reads what they do not wait for.
fn graph(rng: &mut Rng) -> Arc<Workflow> {
    let mut steps = Map::new();
    for n in 0..2 + rng.below(10) {
        let deps: Vec<String> = (0..n).filter(|_| rng.chance(300)).map(|dep| format!("s{dep:02}")).collect();
        let mut step = match rng.below(10) {
            0 => json!({"type": "condition", "condition": "input.n > 2"}),
            1 => json!({"type": "approval"}),
            2 => json!({"type": "notify"}),
            _ => json!({"topic": "job.a"}),
        };
        if rng.chance(200) && step.get("type").is_none() {
            step["condition"] = match deps.first() {
                Some(dep) => json!(format!("steps.{dep}.status == \"succeeded\"")),
                None => json!("input.n > 2"),
            };
        }
        step["depends_on"] = json!(deps);
        steps.insert(format!("s{n:02}"), step);
    }
    Arc::new(Workflow::from_value("graph", json!({"id": "g", "steps": steps})).unwrap())
}

fn begin(workflow: &Arc<Workflow>, world: &World) -> (Run, Vec<RunEffect>) {
    let start_run = StartRun::new(RunId::parse("run").unwrap(), Arc::new(json!({"n": 3})), "test".into());
    let transition = start(workflow, start_run, &world.facts(0)).unwrap();
    let mut run = Run::new(workflow.clone());
    run.replay(&transition.events);
    (run, transition.effects)
}

fn finished(job: &JobId) -> RunInput {
    let output = Output { value: Some(Arc::new(json!({"of": job.as_str()}))), ..Output::default() };
    let result =
        JobResult { job: job.clone(), worker: "w".into(), status: JobStatusReport::Succeeded(output), execution_ms: 1 };
    RunInput::Job { job: job.clone(), input: JobInput::Finished { result, fenced: true } }
}

fn answer() -> Answer {
    Answer { approved: true, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() }
}

/// What may happen next, by what the run waits for.
fn due(run: &Run) -> Vec<RunInput> {
    let mut inputs = Vec::new();
    for (id, step) in run.steps().filter(|(_, step)| !step.status.is_terminal()) {
        match (step.status, &step.job) {
            (StepStatus::Running, Some(job)) => inputs.push(finished(&job.id)),
            (StepStatus::Running, None) => inputs.push(RunInput::Notified { step: id }),
            (StepStatus::Waiting, _) => {
                inputs.push(RunInput::Answer { step: id, answer: answer() });
            }
            _ => {}
        }
    }
    inputs
}

/// Plays a run to its end in an order of the dice, with repeats; every decision is checked.
fn play(workflow: &Arc<Workflow>, world: &World, rng: &mut Rng, seed: u64) -> Run {
    let (mut run, _) = begin(workflow, world);
    let mut past: Vec<RunInput> = Vec::new();
    for turn in 1..10_000 {
        let next = due(&run);
        let Some(mut input) = rng.pick(&next).cloned() else { return run };
        if rng.chance(250) {
            input = rng.pick(&past).cloned().unwrap_or(input);
        }
        past.push(input.clone());
        let facts = world.facts(turn * 1_000);
        let before = run.clone();
        let decided = decide(&run, input.clone(), &facts);
        assert_eq!(decided, decide(&run, input.clone(), &facts), "seed {seed}: equal arguments, unequal answers");
        match decided {
            Ok(transition) => {
                let ended = run.status().is_terminal();
                assert!(!ended || transition.is_empty(), "seed {seed}: something happens after the end");
                run.replay(&transition.events);
            }
            // Only an answer that nobody waits for.
            Err(_) => assert!(matches!(input, RunInput::Answer { .. }), "seed {seed}: {input:?}"),
        }
        // A legal input again, at once: it changes nothing.
        match decide(&run, input, &facts) {
            Ok(again) => assert!(again.is_empty(), "seed {seed}: a repeat led to {again:?}"),
            Err(_) => assert!(before.head() <= run.head()),
        }
    }
    panic!("seed {seed}: the run does not end");
}

#[test]
fn the_order_of_results_and_their_repeats_do_not_change_the_end() {
    let world = World::new();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let workflow = graph(&mut rng);
        let ends: Vec<Vec<(String, StepStatus, Option<Value>)>> = (0..4)
            .map(|_| {
                let run = play(&workflow, &world, &mut rng, seed);
                assert_eq!(run.status().as_str(), "succeeded", "seed {seed}");
                let value = |step: &coretex_core::workflow::StepRun| {
                    step.output.as_ref().and_then(|output| output.value.as_deref().cloned())
                };
                run.steps().map(|(id, step)| (id.to_string(), step.status, value(step))).collect()
            })
            .collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {ends:#?}");
    }
}

#[test]
fn events_read_back_from_their_text_fold_to_the_same_state() {
    let world = World::new();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let workflow = graph(&mut rng);
        let (mut run, _) = begin(&workflow, &world);
        let mut log: Vec<Vec<u8>> = Vec::new();
        let mut turn = 0;
        while let Some(input) = rng.pick(&due(&run)).cloned() {
            turn += 1;
            // Now and then somebody fails, tires or gives up.
            let input = match (rng.below(12), input) {
                (0, RunInput::Job { job, .. }) => {
                    RunInput::Job { job, input: JobInput::Cancel { by: "ann".into(), reason: "enough".into() } }
                }
                (1, _) => RunInput::Tick,
                (2, _) if turn > 6 => RunInput::Cancel { by: "ann".into(), reason: "enough".into() },
                (_, input) => input,
            };
            let transition = decide(&run, input, &world.facts(turn * 1_000)).unwrap();
            log.extend(transition.events.iter().map(|event| serde_json::to_vec(event).unwrap()));
            run.replay(&transition.events);
            if run.status().is_terminal() {
                break;
            }
        }
        let (mut again, _) = begin(&workflow, &world);
        for bytes in &log {
            again.apply(&serde_json::from_slice::<StoredEvent>(bytes).unwrap());
        }
        assert!(again == run, "seed {seed}: {again:#?}\n{run:#?}");
        assert_eq!(again.to_snapshot().unwrap(), run.to_snapshot().unwrap(), "seed {seed}");
    }
}

#[test]
fn inputs_that_are_not_legal_leave_the_state_as_it_is() {
    let world = World::new();
    let step = |id: &str| StepRunId::parse(id).unwrap();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let workflow = graph(&mut rng);
        let (mut run, _) = begin(&workflow, &world);
        for turn in 0..8 {
            for input in [
                finished(&JobId::parse("run:nobody@1").unwrap()),
                finished(&JobId::parse("run:s00@9").unwrap()),
                finished(&JobId::parse("other").unwrap()),
                RunInput::Answer { step: step("nobody"), answer: answer() },
                RunInput::Notified { step: step("nobody") },
                RunInput::Job { job: JobId::parse("run:nobody@1").unwrap(), input: JobInput::Answered(answer()) },
                RunInput::Tick,
            ] {
                if let Ok(transition) = decide(&run, input.clone(), &world.facts(turn)) {
                    assert!(transition.is_empty(), "seed {seed}: {input:?} led to {transition:?}");
                }
            }
            let Some(input) = rng.pick(&due(&run)).cloned() else { break };
            run.replay(&decide(&run, input, &world.facts(turn)).unwrap().events);
        }
    }
}

#[test]
fn a_decision_equals_the_fold_of_its_events() {
    // What a transition announces as dispatched is dispatched in the folded state, and nothing else is.
    let world = World::new();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let workflow = graph(&mut rng);
        let (mut run, mut effects) = begin(&workflow, &world);
        let mut announced = 0;
        for turn in 1..1_000 {
            for effect in &effects {
                if let RunEffect::Job(coretex_core::job::Effect::Dispatch { spec, .. }) = effect {
                    let (folded, job) = run.job(&spec.id).unwrap_or_else(|| panic!("seed {seed}: {:?}", spec.id));
                    assert_eq!((&folded, job.state.is_in_flight()), (spec, true), "seed {seed}");
                    announced += 1;
                }
            }
            let Some(input) = rng.pick(&due(&run)).cloned() else { break };
            let transition = decide(&run, input, &world.facts(turn)).unwrap();
            run.replay(&transition.events);
            effects = transition.effects;
        }
        let dispatched = run.steps().filter(|(_, step)| step.job.is_some()).count();
        assert_eq!(announced, dispatched, "seed {seed}");
    }
}

#[test]
fn every_terminal_state_of_a_job_absorbs_every_repeat() {
    let world = World::new();
    let workflow = Arc::new(Workflow::parse("one", "id: g\nsteps:\n  a: {topic: job.a}\n  b: {topic: job.a}").unwrap());
    let job = JobId::parse("run:a@1").unwrap();
    let to_job = |input| RunInput::Job { job: job.clone(), input };
    let cancel = || to_job(JobInput::Cancel { by: "ann".into(), reason: "enough".into() });
    for end in [finished(&job), cancel()] {
        let (mut run, _) = begin(&workflow, &world);
        run.replay(&decide(&run, end, &world.facts(1)).unwrap().events);
        let ended = run.clone();
        for input in
            [finished(&job), to_job(JobInput::Started { worker: "w".into() }), to_job(JobInput::Tick), cancel()]
        {
            let again = decide(&run, input, &world.facts(2)).unwrap();
            assert!(again.is_empty(), "{again:?}");
        }
        assert!(run == ended);
    }
}
