//! Triggers of a workflow: many events, few runs. The rules as written, and compiled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Problem, Workflow,
    concurrency::{KeyError, compile_key, render_key},
};
use crate::{
    trigger::{Gather, Rule},
    value::{CompileOptions, Template, Value},
};

/// Longest window, in seconds: a week. What waits longer is a schedule's business.
const MAX_SECONDS: i64 = 7 * 24 * 3600;
/// Most events of one run.
const MAX_ITEMS: u32 = 1_000;

/// A trigger as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerSpec {
    /// `debounce` or `batch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A template over `input`; events with equal keys go together. All of them when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `debounce`: starts the run when no event has come for so many seconds. `batch`: so many seconds after the first.
    pub window_sec: i64,
    /// `debounce`: starts it so many seconds after the first event at the latest; ten windows when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait_sec: Option<i64>,
    /// `debounce`: which event's input the run gets, `last` or `first`; `last` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub keep: String,
    /// `batch`: starts the run as soon as so many events have come, 1 to 1,000; 100 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u32>,
}

/// A compiled trigger.
#[derive(Debug)]
pub struct Trigger {
    key: Option<Template>,
    rule: Rule,
}

/// Checks and compiles the field; every problem is added to `problems`.
pub(super) fn compile(
    specs: &BTreeMap<String, TriggerSpec>,
    options: &CompileOptions,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Trigger> {
    let mut triggers = BTreeMap::new();
    for (name, spec) in specs {
        let mut found = Vec::new();
        let path = format!("triggers.{name}");
        let trigger = Compiler { path: &path, problems: &mut found }.trigger(name, spec, options);
        if found.is_empty() {
            triggers.extend(trigger.map(|trigger| (name.clone(), trigger)));
        }
        problems.append(&mut found);
    }
    triggers
}

struct Compiler<'a> {
    path: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Compiler<'_> {
    fn problem(&mut self, code: &'static str, field: &str, message: impl Into<String>, help: impl Into<String>) {
        let path = format!("{}{field}", self.path);
        self.problems.push(Problem { code, path, message: message.into(), help: help.into() });
    }

    fn seconds(&mut self, field: &str, seconds: i64) -> Duration {
        if !(1..=MAX_SECONDS).contains(&seconds) {
            let message = format!("{seconds} seconds are out of range");
            self.problem("out_of_range", field, message, format!("use 1 to {MAX_SECONDS}"));
        }
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
    }

    fn trigger(&mut self, name: &str, spec: &TriggerSpec, options: &CompileOptions) -> Option<Trigger> {
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            let message = "a trigger's name has 1 to 64 letters, digits, `-` and `_`";
            self.problem("id_invalid", "", message, "choose another name");
        }
        let key = compile_key(&format!("{}.key", self.path), &spec.key, options).unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        });
        let window = self.seconds(".window_sec", spec.window_sec);
        let gather = match spec.kind.as_str() {
            "debounce" => {
                let max_wait = match spec.max_wait_sec {
                    Some(seconds) => self.seconds(".max_wait_sec", seconds),
                    None => window.saturating_mul(10),
                };
                let keep_first = match spec.keep.as_str() {
                    "" | "last" => false,
                    "first" => true,
                    other => {
                        let message = format!("`{other}` is not an event to keep");
                        self.problem("trigger_invalid", ".keep", message, "use `last` or `first`");
                        false
                    }
                };
                Gather::Debounce { max_wait, keep_first }
            }
            "batch" => {
                let max_items = spec.max_items.unwrap_or(100);
                if !(1..=MAX_ITEMS).contains(&max_items) {
                    let message = format!("{max_items} is out of range");
                    self.problem("out_of_range", ".max_items", message, format!("use 1 to {MAX_ITEMS}"));
                }
                Gather::Batch { max_items }
            }
            other => {
                let message = format!("`{other}` is not a type of trigger");
                self.problem("trigger_invalid", ".type", message, "use `debounce` or `batch`");
                return None;
            }
        };
        let of_debounce = [("max_wait_sec", spec.max_wait_sec.is_some()), ("keep", !spec.keep.is_empty())];
        let of_batch = [("max_items", spec.max_items.is_some())];
        let foreign = if matches!(gather, Gather::Batch { .. }) { &of_debounce[..] } else { &of_batch[..] };
        for (field, _) in foreign.iter().filter(|(_, is_set)| *is_set) {
            let message = format!("a trigger of type `{}` has no `{field}`", spec.kind);
            self.problem("trigger_invalid", &format!(".{field}"), message, "remove it");
        }
        Some(Trigger { key, rule: Rule { window, gather } })
    }
}

impl Trigger {
    /// What it makes of events.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The key that the event with `input` goes under.
    pub(crate) fn key(&self, input: &Value) -> Result<Arc<str>, KeyError> {
        self.key.as_ref().map_or_else(|| Ok("".into()), |template| render_key(template, input))
    }
}

impl Workflow {
    /// The trigger `name`.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<&Trigger> {
        self.triggers.get(name)
    }
}
