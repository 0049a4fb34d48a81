//! Properties of moves onto another version, over random definitions, random edits of what was not reached and random
//! points of rest. A failure names its seed; `CORETEX_SEED=<n>` plays that one alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

#[path = "simulation/flows.rs"]
mod flows;
#[expect(dead_code, reason = "nothing is tried on a copy of a run here")]
#[path = "support/walk.rs"]
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use coretex_core::{
    testing::Rng,
    workflow::{Phase, RefusalReason, Run, RunInput, RunStatus, StepStatus, StoredEvent, Workflow},
};
use serde_json::{Map, Value, json};

use self::walk::{Mood, Walk, World};

/// Seeds played for each property, and the time for it.
fn each(property: &str, check: impl Fn(&mut Rng)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("CORETEX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORETEX_SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 400 } else { 4_000 }),
    };
    let (began, mut done) = (Instant::now(), 0);
    for seed in seeds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut Rng::new(seed))));
        assert!(played.is_ok(), "{property}: seed {seed} failed; play it alone with CORETEX_SEED={seed}");
        done += 1;
        if began.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    println!("{property}: {done} seeds in {:.1} s", began.elapsed().as_secs_f64());
}

fn compiled(value: &Value) -> Arc<Workflow> {
    Arc::new(Workflow::from_value("flow", value.clone()).unwrap_or_else(|error| panic!("{error}\n{value:#}")))
}

/// Folds `log` from the beginning, each event under the definition that held.
fn replayed(definitions: &[Arc<Workflow>], log: &[StoredEvent]) -> Run {
    let mut run = Run::new(definitions[0].clone());
    for event in log {
        let event: StoredEvent = serde_json::from_slice(&serde_json::to_vec(event).unwrap()).unwrap();
        match event.event.migrates_to() {
            None => run.apply(&event),
            Some(digest) => {
                let to = definitions.iter().find(|definition| definition.digest() == digest).unwrap();
                assert!(run.apply_under(&event, to.clone()));
            }
        }
    }
    run
}

/// The state without what a move counts: its event, its time, the definitions.
fn shape(run: &Run) -> Value {
    let mut shape: Value = serde_json::from_slice(&run.to_snapshot().unwrap()).unwrap();
    for field in ["digest", "head"] {
        shape.as_object_mut().unwrap().remove(field);
    }
    for field in ["seq", "past", "updated_at"] {
        shape["core"].as_object_mut().unwrap().remove(field);
    }
    shape
}

#[test]
fn a_move_onto_the_same_steps_changes_nothing_but_the_definition() {
    let world = World::new(Mood::Wild);
    let moves = std::cell::Cell::new(0);
    each("a_move_onto_the_same_steps", |rng| {
        let mut text = flows::workflow(0, rng);
        let mut definitions = vec![compiled(&text)];
        let (mut walk, _) = Walk::start(&definitions[0], &world, Mood::Wild, rng.below(8), false);
        let mut dice = rng.fork();
        for _ in 0..20_000 {
            if walk.run.status().is_terminal() {
                break;
            }
            let before = walk.run.clone();
            text["name"] = format!("name {}", definitions.len()).into();
            let to = compiled(&text);
            let refusals = before.migration_refusals(&to, walk.now);
            let reasons: BTreeSet<RefusalReason> = refusals.iter().map(|refusal| refusal.code).collect();
            // Nothing differs, so nothing but what is under way can be in the way.
            let expected: &[RefusalReason] = match before.phase() {
                Phase::Forward => &[RefusalReason::StepUnderWay],
                _ => &[RefusalReason::RunEnding],
            };
            assert!(reasons.iter().all(|reason| expected.contains(reason)), "{refusals:#?}");
            if refusals.is_empty() && dice.chance(400) {
                assert!(walk.migrate(&to));
                definitions.push(to);
                assert_eq!(shape(&walk.run), shape(&before));
                assert_eq!(walk.run.next_due(), before.next_due());
                assert_eq!(walk.run.wake(), before.wake());
                moves.set(moves.get() + 1);
            }
            let Some(input) = walk.next(rng) else { break };
            walk.feed(input);
        }
        assert!(walk.run.status().is_terminal(), "it ends");
        assert!(replayed(&definitions, &walk.log) == walk.run, "the log folds to the state");
    });
    println!("{} moves", moves.get());
    assert!(moves.get() > 0 || std::env::var_os("CORETEX_SEED").is_some());
}

/// Definitions whose end hangs on nobody's being first; steps at the top are `s0`, `s1`, …
fn calm(rng: &mut Rng) -> Value {
    let count = 2 + rng.below(6);
    let steps = calm_scope("s", count, 0, rng);
    json!({"id": "calm", "steps": steps, "output": {"ctx": "${ctx}"}})
}

fn calm_scope(name: &str, count: u64, depth: u32, rng: &mut Rng) -> Map<String, Value> {
    let mut steps = Map::new();
    for n in 0..count {
        let id = format!("{name}{n}");
        let deps: Vec<String> = (0..n).filter(|_| rng.chance(400)).map(|dep| format!("{name}{dep}")).collect();
        let mut step = calm_step(&id, depth, rng);
        if let Some(dep) = deps.first()
            && rng.chance(250)
            && step["type"] != "condition"
        {
            step["condition"] = format!("steps.{dep}.output != 0").into();
        }
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
        1 | 2 => json!({"type": "approval"}),
        3 => json!({"type": "transform", "output": {"n": "${input.n}"}}),
        4 => json!({"type": "input"}),
        5 => json!({"type": "signal"}),
        6 => json!({"type": "storage", "storage": {"op": "put", "key": "k", "value": 1}}),
        7 => json!({"type": "delay", "delay_sec": 1 + rng.below(50)}),
        8 => json!({"type": "subworkflow", "workflow": "other"}),
        9..11 => json!({"topic": "job.a", "compensate": {"topic": "job.undo"}}),
        11 => json!({"topic": "job.a", "for_each": "[1, input.n, 3]", "max_parallel": rng.below(3)}),
        12 | 13 => {
            let inner = calm_scope(&format!("{id}x"), 1 + rng.below(3), depth + 1, rng);
            let mut group = json!({"type": "parallel", "join": "all", "steps": inner});
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

/// Changes a part of `workflow` that `run` has not reached, by the dice; the count names what is added.
fn edit(workflow: &mut Value, run: &Run, count: usize, rng: &mut Rng) {
    // What a run has come to shows in its state: it began, waits, or has ended.
    let is_reached = |id: &str| {
        run.steps().any(|(step, state)| {
            step.step() == id && (state.status != StepStatus::Pending || state.attempts > 0 || state.due_at.is_some())
        })
    };
    let steps = workflow["steps"].as_object_mut().unwrap();
    let ids: Vec<String> = steps.keys().cloned().collect();
    let free: Vec<String> = ids.iter().filter(|id| !is_reached(id)).cloned().collect();
    match rng.below(6) {
        // Something comes that waits for some of the others, and that one may wait for it which was not reached.
        0 | 1 => {
            let id = format!("new{count}");
            let deps: Vec<&String> = ids.iter().filter(|_| rng.chance(300)).collect();
            let mut step = calm_step(&id, 0, rng);
            step["depends_on"] = json!(deps);
            let behind: Vec<&String> = free.iter().filter(|free| !leads(steps, free, &deps)).collect();
            if let Some(behind) = rng.pick(&behind)
                && steps[behind.as_str()]["type"] != "switch"
            {
                steps[behind.as_str()]["depends_on"].as_array_mut().unwrap().push(json!(id));
            }
            steps.insert(id, step);
        }
        // One goes that nobody waits for.
        2 => {
            let text = |step: &Value| step.to_string();
            let unused =
                |id: &&String| !steps.iter().any(|(other, step)| other != *id && text(step).contains(id.as_str()));
            if let Some(id) = rng.pick(&free.iter().filter(unused).collect::<Vec<_>>())
                && steps.len() > 1
            {
                steps.remove(id.as_str());
            }
        }
        // One does something else.
        3 => {
            if let Some(id) = rng.pick(&free)
                && steps[id]["type"] != "switch"
            {
                let deps = steps[id]["depends_on"].clone();
                steps[id] = calm_step(&format!("{id}v{count}"), 0, rng);
                steps[id]["depends_on"] = deps;
            }
        }
        // Something comes into a group: into one that was not reached, or where nothing of it has ended.
        4 => {
            let is_group = |id: &&String| steps[id.as_str()].get("steps").is_some();
            if let Some(id) = rng.pick(&ids.iter().filter(is_group).collect::<Vec<_>>()) {
                let inner = format!("inner{count}");
                let step = calm_step(&inner, 2, rng);
                steps[id.as_str()]["steps"][inner] = step;
            }
        }
        _ => {
            workflow["finally"] = json!({"last": {"topic": "job.a"}});
            workflow["output"] = json!({"ctx": "${ctx}", "n": "${input.n}"});
        }
    }
}

/// Whether one of `to` is `from`, or waits for it in the end.
fn leads(steps: &Map<String, Value>, from: &str, to: &[&String]) -> bool {
    to.iter().any(|id| {
        let before: Vec<String> = before(steps, id);
        id.as_str() == from || leads(steps, from, &before.iter().collect::<Vec<_>>())
    })
}

/// What leads to a step: what it waits for, and the switches that may choose it.
fn before(steps: &Map<String, Value>, id: &str) -> Vec<String> {
    let deps = steps.get(id).and_then(|step| step["depends_on"].as_array());
    let deps = deps.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let chooses = |step: &Value| {
        step["type"] == "switch"
            && (step["cases"].to_string() + &step["default"].to_string()).contains(&format!("\"{id}\""))
    };
    deps.chain(steps.iter().filter(|(_, step)| chooses(step)).map(|(id, _)| id.clone())).collect()
}

/// Lets workers, the bus and the blobs do what they have: what is left waits at rest.
fn to_rest(walk: &mut Walk<'_>, rng: &mut Rng) {
    for _ in 0..10_000 {
        if walk.run.status().is_terminal() || walk.run.wake() != coretex_core::workflow::Wake::Hot {
            return;
        }
        let Some(input) = walk.next(rng) else { return };
        if matches!(input, RunInput::Job { .. } | RunInput::Notified { .. } | RunInput::Stored { .. }) {
            walk.feed(input);
        }
    }
    panic!("it does not come to rest");
}

/// How a run ended: its state and output, and each step with what it made.
type End = (RunStatus, Option<Value>, BTreeMap<String, (StepStatus, Option<Value>)>);

fn end_of(run: &Run) -> End {
    let value = |step: &coretex_core::workflow::StepRun| {
        step.output.as_ref().and_then(|output| output.value.as_deref().cloned())
    };
    let steps = run.steps().map(|(id, step)| (id.to_string(), (step.status, value(step)))).collect();
    (run.status(), run.output().map(|output| Value::clone(output)), steps)
}

#[test]
fn a_run_that_moves_ends_as_one_that_was_on_the_version_from_the_beginning() {
    let world = World::new(Mood::Calm);
    let counts = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    each("a_run_that_moves", |rng| {
        let mut text = calm(rng);
        let mut definitions = vec![compiled(&text)];
        let n = rng.below(6);
        let (mut walk, _) = Walk::start(&definitions[0], &world, Mood::Calm, n, false);
        for count in 0.. {
            for _ in 0..rng.below(6) {
                if let Some(input) = walk.next(rng) {
                    walk.feed(input);
                }
            }
            to_rest(&mut walk, rng);
            if walk.run.status().is_terminal() || count == 12 {
                break;
            }
            let mut next = text.clone();
            edit(&mut next, &walk.run, count, rng);
            let to = compiled(&next);
            if definitions.contains(&to) {
                continue;
            }
            let refusals = walk.run.migration_refusals(&to, walk.now);
            let moved = walk.migrate(&to);
            assert_eq!(moved, refusals.is_empty(), "the preview says the same as the decision");
            let late = |reason: RefusalReason| reason == RefusalReason::StepAddedTooLate;
            assert!(refusals.iter().all(|refusal| late(refusal.code)), "{refusals:#?}\n{text:#}\n{next:#}");
            *counts.borrow_mut().entry(if moved { "moved" } else { "too late" }.to_owned()).or_default() += 1;
            if moved {
                text = next;
                definitions.push(to);
                assert!(replayed(&definitions, &walk.log) == walk.run, "the log folds to the state");
                let snapshot = walk.run.to_snapshot().unwrap();
                assert!(Run::from_snapshot(walk.run.workflow().clone(), &snapshot).unwrap() == walk.run);
            }
        }
        walk.finish(rng, |_, _, _| {});
        let last = definitions.last().unwrap();
        assert!(walk.run.workflow() == last || **walk.run.workflow() == **last);
        let (mut other, _) = Walk::start(last, &world, Mood::Calm, n, false);
        other.finish(rng, |_, _, _| {});
        let (moved, whole) = (end_of(&walk.run), end_of(&other.run));
        let differ: Vec<_> = moved.2.iter().filter(|(id, step)| whole.2.get(*id) != Some(step)).collect();
        assert!(moved == whole, "{:?} {:?} {differ:#?}\n{:#}", moved.0, whole.0, json!(last.spec()));
        assert!(replayed(&definitions, &walk.log) == walk.run, "the log folds to the state");
    });
    println!("{:?}", counts.borrow());
    let moved = counts.borrow().get("moved").copied().unwrap_or(0);
    assert!(moved > 0 || std::env::var_os("CORETEX_SEED").is_some());
}
