//! The words of replies, answers and sayings.

use std::{sync::Arc, time::Duration};

use coretex_core::{testing::Reply, workflow::Resolution};
use serde_json::Value;

/// Reads a reply: `ok`, `ok <json>`, `echo` (the job's input), `retry <code>`, `fatal <code>`, `never`, `cancelled`,
/// `until_cancelled`, `garbage`; before it `after <seconds>`, `late <seconds>` (after the job's deadline), `twice`,
/// `progress`.
pub(crate) fn reply(words: &str, own: &Value, input: &Value) -> Reply {
    let (word, rest) = split(words);
    match word {
        "ok" if rest.is_empty() => Reply::Succeed(own.clone()),
        "ok" => Reply::Succeed(json(rest)),
        "echo" => Reply::Succeed(input.clone()),
        "retry" => Reply::retryable(rest),
        "fatal" => Reply::fatal(rest),
        "never" => Reply::Never,
        "cancelled" => Reply::Cancelled,
        "until_cancelled" => Reply::UntilCancelled,
        "garbage" => Reply::Garbage,
        "twice" => reply(rest, own, input).twice(),
        "progress" => reply(rest, own, input).with_progress(),
        "after" => {
            let (wait, rest) = split(rest);
            reply(rest, own, input).after(seconds(wait))
        }
        "late" => {
            let (wait, rest) = split(rest);
            reply(rest, own, input).late(seconds(wait))
        }
        _ => panic!("`{words}` is no reply"),
    }
}

/// Reads an answer: how long it takes, and whether it is a yes.
pub(crate) fn answer(words: &str) -> (Duration, bool) {
    match split(words) {
        ("yes", "") => (Duration::ZERO, true),
        ("no", "") => (Duration::ZERO, false),
        ("after", rest) => {
            let (wait, rest) = split(rest);
            (seconds(wait), answer(rest).1)
        }
        _ => panic!("`{words}` is no answer"),
    }
}

/// What is said or done to a run.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// `signal <name> [<json>]`.
    Signal(String, Value),
    /// `input <step> <json>`.
    Input(String, Value),
    /// `resolve <step> retry`, `skip`, `fail`, `complete <json>`.
    Resolve(String, Resolution),
    /// `answer <step> yes` or `no`.
    Answer(String, bool),
    /// `cancel`.
    Cancel,
    /// `migrate`: onto `next`, which is stored first.
    Migrate,
    /// `crash`: as `kill -9`, and a start.
    Crash,
    /// `restart`: in order.
    Restart,
    /// `rerun`, see [`Again`].
    Rerun(Again),
}

/// `rerun [of <run>] [from <step>] [at <event>[:<step>]] [fresh] [dry] [with <json>]`: a run that goes on from the run that
/// is spoken to, or from `of`. What is said later is said to the new one. The first run is `r`, those that go on are `r1`,
/// `r2`, and so on. An event is named by its kind and step, the first such of the timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Again {
    pub(crate) of: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) at: Option<String>,
    pub(crate) fresh: bool,
    pub(crate) dry: bool,
    pub(crate) input: Option<Value>,
}

impl Again {
    fn read(mut words: &str) -> Self {
        let mut again = Self::default();
        while !words.is_empty() {
            let (word, rest) = split(words);
            let (next, behind) = split(rest);
            let named = || Some(next.to_owned());
            match word {
                "of" => again.of = named(),
                "from" => again.from = named(),
                "at" => again.at = named(),
                "with" => {
                    again.input = Some(json(rest));
                    return again;
                }
                "fresh" => again.fresh = true,
                "dry" => again.dry = true,
                _ => panic!("`{word}` is no word of a rerun"),
            }
            words = if matches!(word, "fresh" | "dry") { rest } else { behind };
        }
        again
    }
}

impl Say {
    /// Reads `<second> <words>`.
    pub(crate) fn read(line: &str) -> (Duration, Self) {
        let (at, rest) = split(line);
        let (word, rest) = split(rest);
        let (first, more) = split(rest);
        let say = match word {
            "signal" => Self::Signal(first.to_owned(), if more.is_empty() { Value::Null } else { json(more) }),
            "input" => Self::Input(first.to_owned(), json(more)),
            "resolve" => Self::Resolve(first.to_owned(), resolution(more)),
            "answer" => Self::Answer(first.to_owned(), more == "yes"),
            "cancel" => Self::Cancel,
            "migrate" => Self::Migrate,
            "crash" => Self::Crash,
            "restart" => Self::Restart,
            "rerun" => Self::Rerun(Again::read(rest)),
            _ => panic!("`{line}` cannot be said"),
        };
        (seconds(at), say)
    }
}

fn resolution(words: &str) -> Resolution {
    match split(words) {
        ("retry", _) => Resolution::Retry { input: None },
        ("skip", _) => Resolution::Skip,
        ("fail", reason) => Resolution::Fail { reason: reason.into() },
        ("complete", output) => Resolution::Complete { output: Arc::new(json(output)) },
        _ => panic!("`{words}` resolves nothing"),
    }
}

pub(crate) fn split(words: &str) -> (&str, &str) {
    let (first, rest) = words.trim().split_once(' ').unwrap_or((words.trim(), ""));
    (first, rest.trim())
}

pub(crate) fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().unwrap_or_else(|_| panic!("`{text}` is no number of seconds")))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}
