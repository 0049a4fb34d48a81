//! One scenario, as it is written.

use std::collections::BTreeMap;

use coretex_core::value::document;
use serde::Deserialize;
use serde_json::{Value, json};

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it shows: a sentence.
    pub(crate) name: String,
    /// The workflow that is run; its id is `main` unless it says otherwise.
    pub(crate) workflow: Value,
    /// Others that are stored beside it.
    #[serde(default)]
    pub(crate) workflows: Vec<Value>,
    /// Another version of the workflow, onto which the run moves at `migrate`.
    #[serde(default)]
    pub(crate) next: Option<Value>,
    /// The input of the run.
    #[serde(default = "nothing")]
    pub(crate) input: Value,
    /// Whether it is a dry run.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// What workers do: by step run (`scan[2]`), by step, or by topic, whichever is found first, each in one run only
    /// (`r1/scan`) or in all; one reply, or one for each try. Who is not named succeeds with the id of the step run.
    #[serde(default)]
    pub(crate) workers: BTreeMap<String, Words>,
    /// What people answer, by step: `yes`, `no`, `after 5 yes`.
    #[serde(default)]
    pub(crate) people: BTreeMap<String, String>,
    /// What policy says, by step or topic: `allow`, `deny`, `approve`, `throttle 5` (for that many seconds), `retries 1`
    /// (at most).
    #[serde(default)]
    pub(crate) policy: BTreeMap<String, String>,
    /// Topics and their pools; every topic has one unless this is written.
    #[serde(default)]
    pub(crate) pools: BTreeMap<String, Value>,
    /// What is said or done at which second, see [`super::words::Say`].
    #[serde(default)]
    pub(crate) say: Vec<String>,
    /// Whether a crash leads to another end: because a worker that was told to stop is lost with the bus, and what it would
    /// have finished with it.
    #[serde(default)]
    pub(crate) races: bool,
    /// Its story.
    #[serde(default)]
    pub(crate) expect: String,
}

/// One, or one for each try.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    /// Always the same.
    One(String),
    /// By try; the last one goes on for ever.
    Many(Vec<String>),
}

impl Words {
    /// What is said at try `attempt`.
    pub(crate) fn at(&self, attempt: u32) -> &str {
        match self {
            Self::One(words) => words,
            Self::Many(words) => {
                let at = (attempt.max(1) as usize - 1).min(words.len() - 1);
                words.get(at).expect("a list of replies is not empty")
            }
        }
    }
}

fn nothing() -> Value {
    json!({})
}

impl Scenario {
    pub(crate) fn read(file: &str, text: &str) -> Self {
        // As a workflow is read: `no` and `n` are texts.
        let value = document::parse_yaml(file, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut scenario: Self =
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
        if let Some(workflow) = scenario.workflow.as_object_mut() {
            workflow.entry("id").or_insert("main".into());
        }
        scenario
    }

    /// The id of the workflow that is run.
    pub(crate) fn id(&self) -> &str {
        self.workflow.get("id").and_then(Value::as_str).expect("a workflow has an id")
    }
}
