//! Properties of the run machine over random definitions with all kinds of steps. A failure names its seed.
//!
//! * `CORETEX_SEED=<n>` plays that seed alone.
//! * `CORETEX_SIM_SEEDS` (2,000; 300 without optimisation): so many seeds are played.
//! * `CORETEX_SIM_SECONDS` (60): the time for each property; the seeds done until then are printed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

#[path = "simulation/flows.rs"]
mod flows;
#[path = "support/walk.rs"]
mod walk;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use coretex_core::{
    job::{JobInput, StepRunId},
    testing::Rng,
    workflow::{
        ChildEnd, Origin, Run, RunEffect, RunEvent, RunInput, RunStatus, StartRun, StepStatus, StoredEvent, WaitsFor,
        Workflow,
    },
};
use serde_json::{Map, Value, json};

use self::walk::{Mood, Walk, World};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{name}` is `{text}`, not a number")))
}

/// Checks `property` for every seed, as long as there is time.
fn each(property: &str, check: impl Fn(u64, &mut Rng)) {
    let seeds = match number("CORETEX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORETEX_SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 300 } else { 2_000 }),
    };
    let budget = Duration::from_secs(number("CORETEX_SIM_SECONDS").unwrap_or(60));
    let (began, mut done) = (Instant::now(), 0);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed, &mut Rng::new(seed)))) {
            eprintln!(
                "seed {seed} failed; replay it: CORETEX_SEED={seed} cargo test -p coretex-core --test engine_properties {property}"
            );
            resume_unwind(panic);
        }
        done += 1;
        if began.elapsed() > budget {
            break;
        }
    }
    println!("{property}: {done} seeds in {:.1} s", began.elapsed().as_secs_f64());
    assert!(done > 0);
}

fn wild(rng: &mut Rng) -> Arc<Workflow> {
    let value = flows::workflow(0, rng);
    Arc::new(Workflow::from_value("flow", value.clone()).unwrap_or_else(|error| panic!("{error}\n{value:#}")))
}

/// Definitions whose end hangs on nobody's being first: nobody fails, no group stops at the first that is done, and
/// nobody reads what they do not wait for.
fn calm(rng: &mut Rng) -> Arc<Workflow> {
    let steps = calm_scope("s", 2 + rng.below(6), 0, rng);
    let mut workflow =
        json!({"id": "calm", "steps": steps, "output": {"first": "${steps.s0.output}", "ctx": "${ctx}"}});
    if rng.chance(300) {
        workflow["finally"] = Value::Object(calm_scope("f", 1 + rng.below(2), 2, rng));
    }
    Arc::new(Workflow::from_value("calm", workflow.clone()).unwrap_or_else(|error| panic!("{error}\n{workflow:#}")))
}

fn calm_scope(name: &str, count: u64, depth: u32, rng: &mut Rng) -> Map<String, Value> {
    let mut steps = Map::new();
    for n in 0..count {
        let id = format!("{name}{n}");
        let deps: Vec<String> = (0..n).filter(|_| rng.chance(350)).map(|dep| format!("{name}{dep}")).collect();
        let mut step = calm_step(&id, depth, rng);
        if let Some(dep) = deps.first() {
            if rng.chance(250) && step["type"] != "condition" {
                step["condition"] = format!("steps.{dep}.status == 'succeeded'").into();
            }
            if rng.chance(300) && step.get("topic").is_some() {
                step["input"] = json!({"n": "${input.n}", "before": format!("${{steps.{dep}.output}}")});
            }
        }
        // Of items and iterations the last writes, which is not for the order to say.
        if depth == 0 && rng.chance(200) {
            step["output_path"] = format!("by.{id}").into();
        }
        step["depends_on"] = json!(deps);
        steps.insert(id, step);
    }
    if count > 2 && rng.chance(300) {
        let (first, last) = (format!("{name}0"), format!("{name}{}", count - 1));
        let cases = json!([{"when": "input.n > 2", "then": [last]}]);
        steps.insert(first, json!({"type": "switch", "cases": cases, "default": [format!("{name}1")]}));
    }
    steps
}

fn calm_step(id: &str, depth: u32, rng: &mut Rng) -> Value {
    match rng.below(if depth < 2 { 15 } else { 11 }) {
        0 => json!({"type": "condition", "condition": "input.n > 2"}),
        1 => json!({"type": "approval"}),
        2 => json!({"type": "notify", "input": {"message": id}}),
        3 => json!({"type": "transform", "output": {"n": "${input.n}"}}),
        4 => json!({"type": "input"}),
        5 => json!({"type": "signal"}),
        6 => json!({"type": "storage", "storage": {"op": "put", "key": "k", "value": 1}}),
        7 => json!({"type": "delay", "delay_sec": 1 + rng.below(50)}),
        8 => json!({"type": "subworkflow", "workflow": "other"}),
        9..11 => json!({"topic": "job.a", "compensate": {"topic": "job.undo"}}),
        11 => json!({"topic": "job.a", "for_each": "[1, input.n, 3]", "max_parallel": rng.below(3)}),
        12 => {
            let join = if rng.chance(500) { "all" } else { "settled" };
            let inner = calm_scope(&format!("{id}x"), 1 + rng.below(3), depth + 1, rng);
            let mut group = json!({"type": "parallel", "join": join, "steps": inner});
            if rng.chance(300) {
                group["for_each"] = "[1, 2]".into();
            }
            group
        }
        _ => {
            let inner = calm_scope(&format!("{id}x"), 1 + rng.below(2), depth + 1, rng);
            json!({"type": "loop", "max_iterations": 1 + rng.below(3), "carry": 0, "next": "${carry + 1}", "steps": inner})
        }
    }
}

/// The state without when it came about, and in which order step runs were made.
/// How a run ended, and each of its steps with what it made.
type End = (RunStatus, Option<Value>, Vec<(String, StepStatus, Option<Value>)>);

fn end_of(run: &Run) -> End {
    let value = |step: &coretex_core::workflow::StepRun| {
        step.output.as_ref().and_then(|output| output.value.as_deref().cloned())
    };
    let mut steps: Vec<_> = run.steps().map(|(id, step)| (id.to_string(), step.status, value(step))).collect();
    steps.sort_by(|a, b| a.0.cmp(&b.0));
    (run.status(), run.output().map(|output| Value::clone(output)), steps)
}

#[test]
fn the_order_of_results_does_not_change_the_end_where_nobody_fails() {
    let world = World::new(Mood::Calm);
    each("the_order_of_results", |_, rng| {
        let workflow = calm(rng);
        let n = rng.below(6);
        let mut ends = (0..4).map(|_| {
            let (mut walk, _) = Walk::start(&workflow, &world, Mood::Calm, n, false);
            walk.finish(rng, |_, _, _| {});
            end_of(&walk.run)
        });
        let first = ends.next().unwrap();
        assert_eq!(first.0, RunStatus::Succeeded, "{first:#?}");
        for end in ends {
            let differ: Vec<_> = first.2.iter().zip(&end.2).filter(|(a, b)| a != b).collect();
            assert!(end == first, "{:?} {:?} {differ:?}\n{}", first.1, end.1, json!(workflow.spec()));
        }
    });
}

#[test]
fn events_after_any_snapshot_lead_to_the_same_state() {
    let world = World::new(Mood::Wild);
    each("events_after_any_snapshot", |_, rng| {
        let workflow = wild(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        let mut snapshots = vec![(walk.log.len(), walk.run.to_snapshot().unwrap())];
        walk.finish(rng, |walk, _, _| snapshots.push((walk.log.len(), walk.run.to_snapshot().unwrap())));
        let stored: Vec<Vec<u8>> = walk.log.iter().map(|event| serde_json::to_vec(event).unwrap()).collect();
        for (head, snapshot) in snapshots {
            let mut again = Run::from_snapshot(workflow.clone(), &snapshot).unwrap();
            for event in &stored[head..] {
                again.apply(&serde_json::from_slice(event).unwrap());
            }
            assert!(again == walk.run, "from event {head} on: {again:#?}\n{:#?}", walk.run);
            assert_eq!(again.next_due(), walk.run.next_due());
        }
    });
}

#[test]
fn repeats_change_nothing() {
    let world = World::new(Mood::Wild);
    each("repeats_change_nothing", |_, rng| {
        let workflow = wild(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        let mut past: Vec<RunInput> = Vec::new();
        let mut dice = rng.fork();
        walk.finish(rng, |walk, input, _| {
            past.push(input.clone());
            let old = dice.pick(&past).cloned();
            for repeat in [Some(input.clone()), old.filter(fenced)].into_iter().flatten() {
                // Legal or refused: a repeat leads nowhere.
                let again = walk.decide(repeat.clone());
                assert!(again.is_none_or(|again| again.is_empty()), "{repeat:?}");
            }
        });
    });
}

fn cancel() -> RunInput {
    RunInput::Cancel { by: "ann".into(), reason: "enough".into() }
}

fn halt() -> RunInput {
    RunInput::Halt { by: "ann".into(), reason: "enough".into() }
}

/// Whether an input names the try, the run or the identity that it is about, so that it is known however late it comes.
fn fenced(input: &RunInput) -> bool {
    !matches!(
        input,
        RunInput::Cancel { .. }
            | RunInput::Halt { .. }
            | RunInput::Resolve { .. }
            | RunInput::Answer { .. }
            | RunInput::Tick
            | RunInput::Job { input: JobInput::Judged(_), .. }
    )
}

#[test]
fn a_cancel_ends_a_run_from_wherever_it_is() {
    let world = World::new(Mood::Wild);
    each("a_cancel_ends_a_run", |_, rng| {
        let workflow = wild(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        let mut dice = rng.fork();
        walk.finish(rng, |walk, _, _| {
            if walk.run.status().is_terminal() || !dice.chance(300) {
                return;
            }
            for input in [cancel(), halt()] {
                let mut other = walk.fork();
                let begins = other.log.len();
                other.feed(input.clone());
                other.finish(&mut dice, |_, _, _| {});
                let open: Vec<_> = other.run.steps().filter(|(_, step)| !step.status.is_terminal()).collect();
                assert!(open.is_empty(), "{open:#?}");
                let turns = |stored: &&StoredEvent| {
                    matches!(stored.event, RunEvent::RunCompensating { .. } | RunEvent::RunFinalizing { .. })
                };
                let turned = other.log.iter().skip(begins).find(turns);
                assert!(turned.is_none() || matches!(input, RunInput::Cancel { .. }), "{turned:?} after a halt");
            }
        });
    });
}

#[test]
fn a_run_that_has_not_ended_can_be_woken_and_one_that_has_is_closed() {
    let world = World::new(Mood::Wild);
    each("a_run_that_has_not_ended", |_, rng| {
        let workflow = wild(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        walk.finish(rng, |walk, _, _| {
            use coretex_core::workflow::Wake;
            let busy = walk.run.steps().any(|(_, step)| {
                !step.status.is_terminal()
                    && (matches!(step.waits_for, Some(WaitsFor::Alert | WaitsFor::Artifact { .. }))
                        || (step.status == StepStatus::Running
                            && step.job.as_ref().is_some_and(|job| job.state.is_in_flight())))
            });
            match walk.run.wake() {
                Wake::Never => assert!(walk.run.status().is_terminal()),
                Wake::Hot => assert!(!walk.run.status().is_terminal()),
                Wake::Slot => panic!("no rule of concurrency is written"),
                Wake::At(_) | Wake::Human => assert!(!busy, "somebody will answer, and nobody would be told of it"),
            }
        });
        let before = walk.run.clone();
        for input in [RunInput::Tick, cancel(), halt()] {
            assert!(walk.feed(input).is_some_and(|transition| transition.is_empty()));
        }
        assert!(walk.run == before);
    });
}

#[test]
fn a_dry_run_has_no_effects_and_ends_by_itself() {
    for mood in [Mood::Calm, Mood::Wild] {
        let world = World::new(mood);
        each("a_dry_run", |_, rng| {
            let workflow = wild(rng);
            let (mut walk, mut transition) = Walk::start(&workflow, &world, mood, rng.below(8), true);
            loop {
                let outside: Vec<_> =
                    transition.effects.iter().filter(|effect| !matches!(effect, RunEffect::Child(_))).collect();
                assert!(outside.is_empty() && transition.records.is_empty(), "{transition:#?}");
                if walk.run.status().is_terminal() {
                    break;
                }
                // A subworkflow is a dry run of its own, which ends by itself too.
                let child = walk.run.steps().find_map(|(id, step)| match &step.waits_for {
                    Some(WaitsFor::Child { run }) => Some((id, step.attempts, run.clone())),
                    _ => None,
                });
                let Some((step, attempt, run)) = child else { panic!("it waits for somebody: {:#?}", walk.run) };
                let end = ChildEnd { run, status: RunStatus::Succeeded, output: None, failure: None };
                transition = walk.feed(RunInput::Child { step, attempt, end }).unwrap();
            }
        });
    }
}

/// A run that goes on from `walk` as it was after a random event, perhaps from a random step that had begun, with the
/// state that it took over; `None` where the step is no place to begin.
fn go_on<'a>(walk: &Walk<'_>, world: &'a World, mood: Mood, rng: &mut Rng) -> Option<(Walk<'a>, Run)> {
    let workflow = walk.run.workflow();
    let fold = |events: &[coretex_core::workflow::StoredEvent]| {
        let mut run = Run::new(workflow.clone());
        run.replay(events);
        run
    };
    let old = fold(&walk.log[..1 + rng.below(walk.log.len() as u64) as usize]);
    let begun: Vec<StepRunId> = old.steps().map(|(id, _)| id).collect();
    let from = if rng.chance(500) { rng.pick(&begun).cloned() } else { None };
    let state = Arc::new(old.restore_from(from.as_ref()).ok()?);
    let id = old.id().unwrap().clone();
    let origin = Arc::new(Origin { run: id.clone(), at: old.head(), step: from });
    let begin = StartRun { restored: Some((origin, Some(state))), ..StartRun::new(id, old.input(), "test".into()) };
    let (again, _) = Walk::begin(workflow, world, mood, begin);
    let taken_over = fold(&again.log[..2]);
    Some((again, taken_over))
}

#[test]
fn a_run_that_goes_on_from_another_ends_and_keeps_nothing_made_of_what_is_made_again() {
    let world = World::new(Mood::Wild);
    each("a_run_that_goes_on_from_another_ends", |_, rng| {
        let workflow = wild(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        walk.finish(rng, |_, _, _| {});
        for _ in 0..4 {
            let Some((mut again, taken_over)) = go_on(&walk, &world, Mood::Wild, rng) else { continue };
            let ended = |id: &str| taken_over.step(id).is_some_and(|step| step.status.is_terminal());
            for (id, step) in &workflow.spec().steps {
                let missing: Vec<_> = step.depends_on.iter().filter(|dep| !ended(dep)).collect();
                assert!(!ended(id) || missing.is_empty(), "`{id}` is kept, and {missing:?} run anew");
            }
            let kept: Vec<StepRunId> =
                taken_over.steps().filter(|(_, step)| step.status.is_terminal()).map(|(id, _)| id).collect();
            again.finish(rng, |_, _, _| {});
            let touched = |id: &StepRunId| again.log[2..].iter().any(|event| event.event.step() == Some(id));
            assert!(!kept.iter().any(touched), "what is kept is not touched");
            assert!(again.run.steps().all(|(_, step)| step.status.is_terminal()));
        }
    });
}

#[test]
fn a_run_that_goes_on_from_another_ends_as_that_one_where_nobody_fails() {
    let world = World::new(Mood::Calm);
    each("a_run_that_goes_on_from_another_ends_as_that_one", |_, rng| {
        let workflow = calm(rng);
        let (mut walk, _) = Walk::start(&workflow, &world, Mood::Calm, rng.below(6), false);
        walk.finish(rng, |_, _, _| {});
        for _ in 0..4 {
            let Some((mut again, _)) = go_on(&walk, &world, Mood::Calm, rng) else { continue };
            again.finish(rng, |_, _, _| {});
            let (end, other) = (end_of(&walk.run), end_of(&again.run));
            let differ: Vec<_> = end.2.iter().zip(&other.2).filter(|(a, b)| a != b).collect();
            assert!(end == other, "{:?} {:?} {differ:?}\n{}", end.1, other.1, json!(workflow.spec()));
        }
    });
}
