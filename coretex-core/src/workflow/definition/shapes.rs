//! What expressions may use, by where they stand, and what is known of its shape.

use std::sync::Arc;

use serde_json::json;

use super::layout::{Entry, Layout};
use crate::{
    value::{CompileOptions, Expr, Value},
    workflow::{StepSpec, StepType},
};

/// What expressions may use in each scope.
pub(super) struct Rooted {
    pub(super) plain: Arc<CompileOptions>,
    scopes: Vec<Arc<CompileOptions>>,
}

impl Rooted {
    /// `options` know the steps and the schemas. The scopes lie behind those that hold them.
    pub(super) fn new(options: CompileOptions, layout: &Layout<'_>) -> Self {
        let plain = options.with_roots(["input", "ctx", "steps"]).with_root_schema("run", &run_shape());
        let plain = Arc::new(plain.with_step_shape(&step_shape()));
        let mut scopes: Vec<Arc<CompileOptions>> = Vec::with_capacity(layout.scopes.len());
        for scope in &layout.scopes {
            let holder = scope.container.and_then(|holder| layout.entries.get(holder));
            let around = holder.and_then(|holder| scopes.get(holder.scope)).unwrap_or(&plain).clone();
            let own = match holder {
                Some(holder) if holder.holds_items => Arc::new(within_items(&around, holder.spec)),
                Some(holder) if holder.spec.kind == StepType::Loop => Arc::new(
                    CompileOptions::clone(&around).with_root("carry").with_root_schema("index", &index_shape()),
                ),
                _ => around,
            };
            scopes.push(own);
        }
        Self { plain, scopes }
    }

    /// What expressions in `scope` may use.
    pub(super) fn within(&self, scope: usize) -> &CompileOptions {
        self.scopes.get(scope).unwrap_or(&self.plain)
    }
}

fn within_items(around: &CompileOptions, spec: &StepSpec) -> CompileOptions {
    let options = around.clone().with_root_schema("index", &index_shape());
    match Expr::compile(&spec.for_each, around) {
        Ok(list) => options.with_items_of(&list, around),
        // It is told where the list stands.
        Err(_) => options.with_root("item"),
    }
}

fn index_shape() -> Value {
    json!({"type": "integer"})
}

fn error_shape() -> Value {
    closed(&json!({"code": {"type": "string"}, "message": {"type": "string"}}))
}

fn closed(properties: &Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// The shape of `steps.<id>`; outputs have schemas of their own.
fn step_shape() -> Value {
    let (text, count) = (json!({"type": "string"}), json!({"type": "integer"}));
    closed(&json!({
        "output": true, "result_ptr": text, "status": text, "attempts": count, "error": error_shape(),
        "total": count, "succeeded": count, "failed": count,
    }))
}

/// The shape of `run`.
fn run_shape() -> Value {
    let text = json!({"type": "string"});
    closed(&json!({
        "id": text, "tenant": text, "principal": text, "started_at": text, "dry_run": {"type": "boolean"},
        "status": text, "error": error_shape(),
    }))
}

/// What the output of a step is held to, as others see it.
pub(super) fn output_schema_of(entry: &Entry<'_>) -> Option<Value> {
    let spec = entry.spec;
    let schema = match spec.kind {
        StepType::Approval => {
            let text = json!({"type": "string"});
            closed(&json!({"approved": {"type": "boolean"}, "by": text, "role": text, "reason": text, "note": text}))
        }
        StepType::Switch => {
            let names = json!({"type": "array", "items": {"type": "string"}});
            closed(&json!({"cases": names, "taken": names}))
        }
        StepType::Condition => json!({"type": "boolean"}),
        StepType::Notify | StepType::Delay => return None,
        _ => spec.output_schema.clone()?,
    };
    if spec.for_each.is_empty() {
        return Some(schema);
    }
    // Items that may fail leave a null.
    (entry.holds_items && spec.on_item_error.is_none()).then(|| json!({"type": "array", "items": schema}))
}
