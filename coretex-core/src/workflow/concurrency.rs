//! How many runs of a workflow may be under way at once: the rule as written, compiled, and a run's claim under it.
//!
//! A run that is under such a rule carries its [`Slot`]: the key that it rendered when it was started, and the rule as it
//! was then. It holds one of the places under the key from the batch that lets it begin to the batch that ends it.
//! Which runs hold places is the store's business; this room only says what a run claims.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Problem, Run, Workflow};
use crate::{
    job::WorkflowId,
    value::{CompileOptions, Node, Scope, Template, Value},
};

/// Longest key, in bytes.
const MAX_KEY: usize = 200;
/// Most places under one key: what a list of their holders can still show.
const MAX_LIMIT: u32 = 10_000;

/// The field `concurrency` of a workflow, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConcurrencySpec {
    /// A template over `input`; runs with equal keys share the places. The workflow's id when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Places under one key, 1 to 10,000; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What happens to a start that finds no place; `queue` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// What happens to a start that finds no place under its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConcurrencyPolicy {
    /// It waits: the more urgent first, then in the order of their starts.
    #[default]
    Queue,
    /// It is refused.
    Reject,
    /// The run that has held a place for longest is cancelled for it.
    CancelOldest,
    /// The youngest of those that wait is cancelled for it; where nobody waits, the youngest that holds a place.
    CancelNewest,
    /// It is answered with the run that has held a place for longest.
    Singleton,
}

impl ConcurrencyPolicy {
    const ALL: [Self; 5] = [Self::Queue, Self::Reject, Self::CancelOldest, Self::CancelNewest, Self::Singleton];

    /// The name as written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Reject => "reject",
            Self::CancelOldest => "cancel_oldest",
            Self::CancelNewest => "cancel_newest",
            Self::Singleton => "singleton",
        }
    }
}

/// A compiled rule.
#[derive(Debug)]
pub struct Concurrency {
    key: Option<Template>,
    limit: u32,
    policy: ConcurrencyPolicy,
}

/// A run's claim to one of the places under a key of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The key.
    pub key: Arc<str>,
    /// Places under it, as far as this run is concerned.
    pub limit: u32,
    /// What happens when there is none.
    pub policy: ConcurrencyPolicy,
}

/// What a run has of the places under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it is under no rule, has not begun, or has ended.
    None,
    /// It waits for one.
    Waits,
    /// It holds one.
    Holds,
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key's template sees.
struct InputScope<'a>(&'a Value);

impl Scope for InputScope<'_> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        (name == "input").then_some(Node::Json(self.0))
    }
}

/// Compiles a key's template, which sees nothing but `input`; `None` when it is not written.
pub(super) fn compile_key(path: &str, text: &str, options: &CompileOptions) -> Result<Option<Template>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let options = options.clone().with_roots(["input"]);
    Template::compile(&Value::String(text.to_owned()), &options).map(Some).map_err(|error| Problem {
        code: error.code(),
        path: path.to_owned(),
        message: error.to_string(),
        help: "correct the template; it sees `input`".into(),
    })
}

/// Renders a key over `input`: a text, number or boolean.
pub(super) fn render_key(template: &Template, input: &Value) -> Result<Arc<str>, KeyError> {
    let key = match template.render(&InputScope(input)) {
        Ok(Some(Value::String(text))) => text,
        Ok(Some(value @ (Value::Number(_) | Value::Bool(_)))) => value.to_string(),
        Ok(_) => return Err(KeyError("it gives no text, number or boolean for this input".into())),
        Err(error) => return Err(KeyError(error.to_string())),
    };
    if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
        let message = format!("it gives {} bytes; a key has 1 to {MAX_KEY} and no control characters", key.len());
        return Err(KeyError(message));
    }
    Ok(key.into())
}

/// Checks and compiles the field; every problem is added to `problems`.
pub(super) fn compile(
    spec: Option<&ConcurrencySpec>,
    options: &CompileOptions,
    problems: &mut Vec<Problem>,
) -> Option<Concurrency> {
    let spec = spec?;
    let before = problems.len();
    let limit = spec.limit.unwrap_or(1);
    if !(1..=MAX_LIMIT).contains(&limit) {
        problems.push(Problem {
            code: "out_of_range",
            path: "concurrency.limit".into(),
            message: format!("{limit} is out of range"),
            help: format!("use 1 to {MAX_LIMIT}"),
        });
    }
    let named = |policy: &ConcurrencyPolicy| policy.as_str() == spec.policy;
    let policy = match ConcurrencyPolicy::ALL.into_iter().find(named) {
        None if spec.policy.is_empty() => ConcurrencyPolicy::default(),
        Some(policy) => policy,
        None => {
            problems.push(Problem {
                code: "concurrency_policy_unknown",
                path: "concurrency.policy".into(),
                message: format!("there is no policy `{}`", spec.policy),
                help: format!("use one of {}", ConcurrencyPolicy::ALL.map(ConcurrencyPolicy::as_str).join(", ")),
            });
            ConcurrencyPolicy::default()
        }
    };
    let key = compile_key("concurrency.key", &spec.key, options).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    (problems.len() == before).then_some(Concurrency { key, limit, policy })
}

impl Concurrency {
    /// What a run of `workflow` with `input` claims.
    pub(crate) fn slot(&self, workflow: &WorkflowId, input: &Value) -> Result<Slot, KeyError> {
        let key = match &self.key {
            Some(template) => render_key(template, input)?,
            None => workflow.shared(),
        };
        Ok(Slot { key, limit: self.limit, policy: self.policy })
    }
}

impl Workflow {
    /// How many of its runs may be under way at once; `None` when that is not limited.
    #[must_use]
    pub const fn concurrency(&self) -> Option<&Concurrency> {
        self.concurrency.as_ref()
    }
}

impl Run {
    /// What it claims under its workflow's rule.
    #[must_use]
    pub fn slot(&self) -> Option<&Slot> {
        self.core.info.as_ref()?.slot.as_ref()
    }

    /// What it has of that now.
    #[must_use]
    pub fn claim(&self) -> Claim {
        match (self.slot(), self.core.queued) {
            _ if self.core.status.is_terminal() => Claim::None,
            (None, _) => Claim::None,
            (Some(_), true) => Claim::Waits,
            (Some(_), false) => Claim::Holds,
        }
    }
}

#[cfg(test)]
mod tests;
