//! Expressions on given data, without a server.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use coretex_core::value::{self, CompileOptions, document, json::canonical};
use serde_json::{Map, Value, json};

use crate::{args::Eval, call::read_file, print::pretty};

pub(crate) fn eval(eval: &Eval, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut scope = Map::new();
    let mut options = CompileOptions::new();
    let given = [("input", &eval.input), ("steps", &eval.steps), ("ctx", &eval.ctx), ("item", &eval.item)];
    for (name, text) in given {
        if let Some(text) = text {
            scope.insert(name.to_owned(), read(&format!("--{name}"), text)?);
        }
    }
    for root in &eval.root {
        let Some((name, text)) = root.split_once('=') else {
            bail!("--root is written NAME=JSON, not `{root}`");
        };
        options = options.with_root(name);
        scope.insert(name.to_owned(), read(&format!("--root {name}"), text)?);
    }
    match scope.get("steps") {
        Some(Value::Object(steps)) => options = options.with_steps(steps.keys().cloned()),
        Some(_) => bail!("--steps is a map of steps by their ids"),
        None => {}
    }
    if let Some(text) = &eval.input_schema {
        let schema = read("--input-schema", text)?;
        value::Schema::compile(&schema).context("--input-schema")?;
        options = options.with_input_schema(&schema);
    }
    let expr = match value::Expr::compile(&eval.expression, &options) {
        Ok(expr) => expr,
        Err(error) => {
            if as_json {
                let place = json!({"line": error.line(), "column": error.column()});
                pretty(
                    &json!({"error": {"code": error.code(), "message": error.reason(), "hint": error.hint(), "at": place}}),
                );
            }
            let hint = error.hint().map(|hint| format!("\n  {hint}")).unwrap_or_default();
            bail!("{}:{}: {}\n{}{hint}", error.line(), error.column(), error.reason(), indented(&error.excerpt()));
        }
    };
    for warning in expr.warnings() {
        eprintln!("warning: {warning}");
    }
    let trace = eval.trace.then(|| expr.trace(&scope));
    let result = expr.evaluate(&scope);
    if as_json {
        let mut shown = match &result {
            Ok(Some(value)) => json!({"value": value}),
            Ok(None) => json!({"missing": true}),
            Err(error) => {
                json!({"error": {"code": error.code(), "message": error.reason(), "at": {"column": error.column()}}})
            }
        };
        if let (Some(trace), Some(map)) = (&trace, shown.as_object_mut()) {
            map.insert("trace".to_owned(), serde_json::to_value(trace)?);
        }
        pretty(&shown);
    } else {
        // The trace begins with the value.
        match (&trace, &result) {
            (Some(trace), _) => print!("{trace}"),
            (None, Ok(Some(value))) => println!("{}", canonical(value)),
            (None, Ok(None)) => println!("missing"),
            (None, Err(_)) => {}
        }
    }
    match result {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => bail!("{error}"),
    }
}

fn indented(excerpt: &str) -> String {
    excerpt.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// JSON as given, or from the file after `@`.
fn read(flag: &str, given: &str) -> anyhow::Result<Value> {
    let parsed = match given.strip_prefix('@') {
        Some(file) => document::parse(file, &read_file(Path::new(file))?),
        None => document::parse(flag, given),
    };
    parsed.map_err(|error| anyhow::anyhow!("{error}"))
}
