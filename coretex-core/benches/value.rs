//! What reading a run's data costs: compiling and evaluating paths, conditions and templates.
//!
//! `cargo bench -p coretex-core --bench value`

use std::hint::black_box;
use std::time::Instant;

use coretex_core::value::{CompileOptions, Expr, Schema, Template, Value, document};
use serde_json::json;

/// Prints the best of several rounds, in nanoseconds per operation.
fn measure<T>(name: &str, mut operation: impl FnMut() -> T) {
    let mut best = f64::MAX;
    let mut count = 1_u32;
    for _ in 0..12 {
        let start = Instant::now();
        for _ in 0..count {
            black_box(operation());
        }
        let elapsed = start.elapsed();
        best = best.min(elapsed.as_secs_f64() * 1e9 / f64::from(count));
        if elapsed.as_millis() < 20 {
            count = count.saturating_mul(4);
        }
    }
    println!("{name:<52} {best:>12.0} ns");
}

/// 100 items and 21 steps, about 15 KB.
fn scope() -> Value {
    let items: Vec<Value> = (0..100)
        .map(|n| json!({"id": n, "name": format!("item number {n}"), "price": f64::from(n) * 1.5, "tags": ["a", "b"]}))
        .collect();
    let steps: serde_json::Map<String, Value> = (0..21)
        .map(|n| {
            (
                format!("step-{n}"),
                json!({"status": "succeeded", "output": {"x": n, "url": "https://example.org/some/where"}}),
            )
        })
        .collect();
    json!({"input": {"name": "report", "count": 10, "items": items}, "ctx": {"region": "eu"}, "steps": steps})
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scope = scope();
    let steps: Vec<String> = (0..21).map(|n| format!("step-{n}")).collect();
    let options = CompileOptions::new().with_steps(steps);
    for (name, text) in [
        ("path", "steps.step-7.output.x"),
        ("condition, one comparison", "steps.step-7.output.x > 3"),
        ("condition, typical", "steps.step-7.output.x > 3 && input.name == 'report' || !input.missing"),
        ("filter and map over 100 items", "input.items.filter(i, i.price > 30.0).map(i, i.name)"),
        ("exists over 100 items, last", "input.items.exists(i, i.id == 99)"),
    ] {
        let expr = Expr::compile(text, &options)?;
        measure(&format!("compile {name}"), || Expr::compile(text, &options));
        measure(&format!("evaluate {name}"), || expr.evaluate(&scope));
        measure(&format!("evaluate_bool {name}"), || expr.evaluate_bool(&scope));
    }

    let source = json!({
        "url": "${steps.step-3.output.url}", "title": "${input.name} (${input.count})", "limit": "${input.count}",
        "optional": "${input.missing}", "options": {"mode": "fast", "retries": [1, 2, 3], "deep": {"a": "b"}}
    });
    let template = Template::compile(&source, &options)?;
    measure("compile template, 5 expressions", || Template::compile(&source, &options));
    measure("render template, 5 expressions", || template.render(&scope));
    let fixed = json!({"options": {"mode": "fast", "retries": [1, 2, 3], "deep": {"a": "b"}}});
    let fixed = Template::compile(&fixed, &options)?;
    measure("render static template, shared", || fixed.render_shared(&scope));
    let whole = Template::compile(&json!("${input}"), &options)?;
    measure("render `${input}`, 10 KB", || whole.render(&scope));

    let schema = json!({"type": "object", "required": ["name", "items"], "properties": {
        "name": {"type": "string", "minLength": 1}, "count": {"type": "integer"},
        "items": {"type": "array", "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}
    }});
    let input = scope.get("input").unwrap_or(&Value::Null);
    let compiled = Schema::compile(&schema)?;
    measure("compile schema", || Schema::compile(&schema));
    measure("validate input, 100 items", || compiled.validate(input));

    let yaml: String = (0..50)
        .map(|n| {
            format!("- id: step-{n}\n  topic: job.demo.run\n  depends_on: [a, b]\n  input:\n    x: ${{input.x}}\n")
        })
        .collect();
    let json = document::parse("w.yaml", &yaml)?.to_string();
    measure("parse YAML, 50 steps", || document::parse("w.yaml", &yaml));
    measure("parse JSON, 50 steps", || document::parse("w.json", &json));
    Ok(())
}
