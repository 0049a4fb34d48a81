//! Random definitions: every kind of step, legal by construction.

use coretex_core::testing::Rng;
use serde_json::{Map, Value, json};

/// The topics of their jobs.
pub(crate) const TOPICS: [&str; 3] = ["job.a", "job.b", "job.c.d"];

/// The definition `w<number>`. That of number 0 may carry out runs of `w1`, and of `nowhere`.
pub(crate) fn workflow(number: u64, rng: &mut Rng) -> Value {
    let most = if rng.chance(100) { 14 } else { 6 };
    let count = 1 + rng.below(most);
    let mut steps = scope("s", count, 0, rng);
    // A run of the first workflow may carry out runs of the second; never the other way round.
    if number == 0 && rng.chance(150) {
        let step = steps.values_mut().next_back().and_then(Value::as_object_mut);
        if let Some(step) = step.filter(|step| step.contains_key("topic") && !step.contains_key("for_each")) {
            for field in ["topic", "timeout_sec", "output_schema"] {
                step.remove(field);
            }
            step.insert("type".into(), "subworkflow".into());
            step.insert("workflow".into(), if rng.chance(900) { "w1".into() } else { "nowhere".into() });
        }
    }
    let mut workflow = json!({"id": format!("w{number}"), "steps": steps});
    if rng.chance(200) {
        workflow["finally"] = Value::Object(scope("f", 1 + rng.below(2), 3, rng));
    }
    if rng.chance(200) {
        workflow["output"] =
            if rng.chance(900) { json!({"a": "${steps.s0.output}"}) } else { "${input.missing + 1}".into() };
    }
    // Nobody is sure to signal, to give data, or to let a parked step go on.
    let text = workflow.to_string();
    let waits = ["\"signal\"", "\"input\",", "\"park\"", "subworkflow"].iter().any(|word| text.contains(word));
    if waits || rng.chance(200) {
        workflow["timeout_sec"] = json!(20 + rng.below(600));
        if !waits && rng.chance(300) {
            workflow["timeout_counts"] = "active".into();
        }
    }
    workflow
}

/// Steps that may wait for each other; `depth` bounds the groups in groups.
fn scope(name: &str, count: u64, depth: u32, rng: &mut Rng) -> Map<String, Value> {
    let mut steps = Map::new();
    for n in 0..count {
        let mut step = step(&format!("{name}{n}"), n, depth, rng);
        let mut deps: Vec<String> = Vec::new();
        for dep in 0..n {
            if rng.chance(if n < 3 { 500 } else { 250 }) {
                deps.push(format!("{name}{dep}"));
            }
        }
        step.insert("depends_on".into(), json!(deps));
        // A gate or an input may read what it waits for, and now and then what it does not.
        let other = if rng.chance(900) { deps.first().cloned() } else { Some(format!("{name}{}", rng.below(count))) };
        let other = other.filter(|other| *other != format!("{name}{n}"));
        decorate(&mut step, n, other.as_deref(), rng);
        steps.insert(format!("{name}{n}"), step.into());
    }
    branch(&mut steps, name, count, rng);
    steps
}

/// Switches and handlers among the steps of a scope: they lead to later steps only, so that nothing waits for itself.
fn branch(steps: &mut Map<String, Value>, name: &str, count: u64, rng: &mut Rng) {
    for n in 0..count.saturating_sub(1) {
        let later = format!("{name}{}", n + 1 + rng.below(count - n - 1));
        let other = format!("{name}{}", n + 1 + rng.below(count - n - 1));
        let Some(step) = steps.get_mut(&format!("{name}{n}")).and_then(Value::as_object_mut) else { continue };
        if step.get("type") == Some(&json!("condition")) && rng.chance(400) {
            let when = step.remove("condition").unwrap_or_default();
            step.insert("type".into(), "switch".into());
            step.insert(
                "cases".into(),
                json!([{"when": when, "then": [later]}, {"when": "input.n < 3", "then": [other]}]),
            );
            if rng.chance(300) {
                step.insert("match".into(), "all".into());
            }
            if rng.chance(500) {
                step.insert("default".into(), json!([other]));
            }
        } else if rng.chance(120) {
            step.insert("on_error".into(), later.into());
        } else if rng.chance(120) {
            step.insert("continue_on_error".into(), true.into());
        }
    }
}

fn step(name: &str, n: u64, depth: u32, rng: &mut Rng) -> Map<String, Value> {
    if depth < 2 && rng.chance(130) {
        return group(name, depth, rng);
    }
    let step = match rng.below(120) {
        100..=103 => json!({"type": "transform", "output": {"n": "${input.n}"}}),
        104..=107 => {
            json!({"type": "signal", "signal": format!("go-{}", rng.below(2)), "timeout_sec": 30 + rng.below(900)})
        }
        108..=111 => json!({"type": "input", "timeout_sec": 30 + rng.below(900), "output_schema": {"type": "object"}}),
        112..=119 => {
            let op = ["put", "get", "delete"][rng.below(3) as usize];
            let mut storage = json!({"op": op, "key": format!("k{}", rng.below(3))});
            if op == "put" {
                storage["value"] = "${input}".into();
            }
            json!({"type": "storage", "storage": storage, "retry": {"max_retries": rng.below(2)}})
        }
        0..=59 => {
            let topic = rng.pick(&TOPICS).unwrap();
            let mut step = json!({"topic": topic, "timeout_sec": 5 + rng.below(100)});
            if rng.chance(600) {
                step["retry"] = json!({
                    "max_retries": rng.below(4),
                    "initial_backoff_sec": rng.below(40) as f64 / 8.0,
                    "max_backoff_sec": rng.below(20),
                    "multiplier": 1.0 + rng.below(20) as f64 / 10.0,
                });
                if depth == 0 && rng.chance(100) {
                    step["retry"]["on_exhausted"] = "park".into();
                }
                if rng.chance(100) {
                    step["retry"]["non_retryable"] = json!(["timeout"]);
                }
            }
            if rng.chance(200) {
                step["compensate"] = json!({
                    "topic": rng.pick(&TOPICS).unwrap(), "timeout_sec": 5 + rng.below(30), "retry": {"max_retries": rng.below(3)},
                });
            }
            if rng.chance(100) {
                step["for_each"] = if rng.chance(950) { "[1, input.n, 'c', 4]".into() } else { "input.n".into() };
                step["max_parallel"] = json!(rng.below(4));
                step["on_item_error"] = match rng.below(4) {
                    0 => "fail_fast".into(),
                    1 => "collect".into(),
                    2 => json!({"tolerate": 1}),
                    _ => json!({"tolerate": "30%"}),
                };
            }
            step
        }
        60..=70 => json!({"type": "delay", "delay_sec": 1 + rng.below(200)}),
        71..=80 => json!({"type": "condition", "condition": condition(None, rng)}),
        81..=90 => json!({"type": "approval", "timeout_sec": 30 + rng.below(3_000)}),
        _ => json!({"type": "notify", "input": {"message": format!("from s{n}"), "level": "WARN"}}),
    };
    match step {
        Value::Object(step) => step,
        _ => Map::new(),
    }
}

/// Steps that no other one waits for: at least so many.
fn branches(steps: &Map<String, Value>) -> u64 {
    let names = |value: &Value| -> Vec<String> {
        let listed = value["depends_on"].as_array().into_iter().flatten().chain([&value["on_error"]]);
        listed.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let named: Vec<String> = steps.values().flat_map(names).collect();
    let ends = steps.iter().filter(|(name, step)| !named.contains(name) && step["type"] != "switch");
    ends.count() as u64
}

/// A group of steps, perhaps once for each of some items.
fn group(name: &str, depth: u32, rng: &mut Rng) -> Map<String, Value> {
    let inner = scope(&format!("{name}x"), 1 + rng.below(3), depth + 1, rng);
    let mut group = if rng.chance(600) {
        let join = match (rng.below(4), branches(&inner)) {
            (0, _) => json!("all"),
            (1, 1..) => json!("any"),
            (3, branches @ 1..) => json!(1 + rng.below(branches)),
            _ => json!("settled"),
        };
        json!({"type": "parallel", "join": join, "steps": inner})
    } else {
        let mut group = json!({"type": "loop", "max_iterations": 1 + rng.below(3), "steps": inner});
        match rng.below(3) {
            0 => group["while"] = "index < 2".into(),
            1 => group["until"] = format!("steps.{name}x0.status == 'succeeded'").into(),
            _ => {}
        }
        if rng.chance(400) {
            group["carry"] = 0.into();
            group["next"] = if rng.chance(900) { "${carry + 1}".into() } else { "${input.missing + 1}".into() };
        }
        group
    };
    if rng.chance(300) {
        group["for_each"] = "[input.n, 2]".into();
        group["max_parallel"] = json!(rng.below(3));
    } else if rng.chance(150) {
        group["timeout_sec"] = json!(5 + rng.below(60));
    }
    group.as_object().cloned().unwrap_or_default()
}

fn decorate(step: &mut Map<String, Value>, n: u64, other: Option<&str>, rng: &mut Rng) {
    if step.get("type") != Some(&json!("condition")) && rng.chance(200) {
        step.insert("condition".into(), condition(other, rng).into());
    }
    if rng.chance(300) {
        step.insert("output_path".into(), format!("out.s{}", n % 3).into());
    }
    if step.contains_key("topic") && rng.chance(400) {
        let input = match (other, rng.below(12)) {
            (_, 0) => json!({"bad": "${input.missing + 1}"}),
            (Some(other), _) => json!({"n": "${input.n}", "prev": format!("${{steps.{other}.output}}")}),
            (None, _) => json!({"n": "${input.n}", "ctx": "${ctx.out}"}),
        };
        step.insert("input".into(), input);
    }
    if step.contains_key("topic") && rng.chance(60) {
        step.insert("output_schema".into(), json!({"type": "object", "required": ["n"]}));
    }
}

fn condition(other: Option<&str>, rng: &mut Rng) -> String {
    match (rng.below(12), other) {
        (0, _) => "input.missing + 1 == 2".into(),
        (1..=4, Some(other)) => format!("steps.{other}.status == \"succeeded\""),
        (5, Some(other)) => format!("has(steps.{other}.output.n)"),
        _ => format!("input.n > {}", rng.below(6)),
    }
}
