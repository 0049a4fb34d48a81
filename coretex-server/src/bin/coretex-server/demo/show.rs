//! What the demo prints: one line per thing that happened.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use coretex_core::{
    job::RunId,
    value::Value,
    workflow::{Run, RunView, TimelineEvent},
};
use jiff::Timestamp;

use crate::{
    key::Key,
    terminal::{Paint, ctl, say},
};

#[derive(Debug)]
pub(super) struct Show {
    paint: Paint,
    /// When the run began, once that is known.
    began: Mutex<Option<Timestamp>>,
}

impl Show {
    pub(super) fn new() -> Self {
        Self { paint: Paint::detect(), began: Mutex::default() }
    }

    pub(super) fn header(&self, data: &Path) {
        let paint = self.paint;
        say("");
        say(&format!("  {}", paint.bold("coretex demo: an incident is enriched, and a human decides what is posted")));
        say("");
        say(&format!("  workflow   incident-enricher   {}", paint.dim("fetch > summarise > approve > post")));
        say(&format!("  policy     safety.yaml         {}", paint.dim("nothing runs that no rule allows")));
        say(&format!(
            "  state      {:<19} {}",
            data.display(),
            paint.dim("durable: kill this at any time, start it again")
        ));
    }

    pub(super) fn run(&self, id: &RunId, resumed: Option<&Run>) {
        match resumed {
            Some(run) => {
                let ended = run.steps().filter(|(_, step)| step.status.is_terminal()).count();
                let left = format!("found unfinished, {ended} of {} steps done: goes on", run.steps().count());
                say(&format!("  run        {id}   {}", self.paint.yellow(&left)));
            }
            None => say(&format!("  run        {id}   new")),
        }
        say("");
    }

    /// One line for `event`, dim when it is from before this process.
    pub(super) fn event(&self, event: &TimelineEvent, run: &Run, past: bool) {
        let Some((mark, step, text)) = line(event, run) else { return };
        let began = *self.began.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(event.time);
        let text = format!("  {:>8}  {mark} {step:<10} {text}", since(began, event.time));
        let paint = self.paint;
        say(&match mark {
            _ if past => paint.dim(&text),
            "+" => paint.green(&text),
            "!" => paint.red(&text),
            "?" => paint.yellow(&text),
            _ => text,
        });
    }

    /// What the human decides on.
    pub(super) fn summary(&self, run: &Run) {
        let view = RunView::of(run);
        let summary = view.as_ref().and_then(|view| view.steps.get("summarise")?.output.as_ref());
        say("");
        self.body(summary.unwrap_or(&Value::Null));
        say("");
    }

    fn body(&self, summary: &Value) {
        let headline = summary.get("headline").and_then(Value::as_str).unwrap_or_default();
        say(&format!("      {}", self.paint.bold(headline)));
        for fact in summary.get("facts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            say(&format!("      - {fact}"));
        }
    }

    pub(super) fn how_to_answer(&self, run: &RunId, step: &str, address: SocketAddr, key: &Key) {
        say("  Nobody sits at this terminal. Within a minute, answer from another one:");
        say("");
        // A key that was given is the caller's to know, and nobody else's.
        let key = if key.made { format!(" CORETEX_API_KEY={}", key.text) } else { String::new() };
        say(&format!("    export CORETEX_SERVER=http://{address}{key}"));
        say(&format!("    {} approval approve {run}:{step}", ctl()));
        say("");
        say("  or start the demo again with --approve.");
    }

    pub(super) fn nobody_answered(&self) {
        say("");
        say("  Nobody answered; the question stays. Start the demo again to answer it, or with --approve.");
    }

    pub(super) fn stopped(&self) {
        say("");
        say("  Stopped. Start the demo again and it goes on from here.");
    }

    pub(super) fn rejected(&self) {
        say("");
        say("  You said no, so nothing was posted.");
    }

    /// What the webhook got.
    pub(super) fn posted(&self, received: &Value) {
        say("");
        say("  The webhook received, once:");
        say("");
        self.body(received.get("summary").unwrap_or(&Value::Null));
    }

    pub(super) fn look_further(&self, run: &RunId, data: &Path) {
        let paint = self.paint;
        let ctl = ctl();
        let server = server();
        let data = data.display();
        say("");
        say(&format!("  {}", paint.bold("Look further")));
        say(&format!(
            "    {server} dev --demo-workers --data-dir {data}   {}",
            paint.dim("# prints address and key to export")
        ));
        say(&format!("    {ctl} run timeline {run}"));
        say(&format!("    {ctl} run start incident-enricher --input examples/incident-enricher/incident.json"));
        say(&format!("    files: examples/incident-enricher, {data}/webhook.jsonl"));
        say("");
    }
}

/// How this program is called.
fn server() -> String {
    let here: PathBuf = std::env::current_exe().unwrap_or_default();
    if here.components().any(|part| part.as_os_str() == "target") {
        "cargo run --release --".to_owned()
    } else {
        "coretex-server".to_owned()
    }
}

/// A mark, what it is about, and a text; `None` for what needs no line.
fn line(event: &TimelineEvent, run: &Run) -> Option<(&'static str, String, String)> {
    let step = event.step_id.clone().unwrap_or_else(|| "run".to_owned());
    let message = || event.message.clone().unwrap_or_default();
    let data = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mark, text) = match event.kind.as_str() {
        "run_status" if event.seq == 1 => (".", "started".to_owned()),
        "run_status" => match event.status.as_deref() {
            Some("succeeded") => ("+", "succeeded".to_owned()),
            status => ("!", format!("{} {}", status.unwrap_or_default(), message()).trim().to_owned()),
        },
        "step_scheduled" => {
            (".", format!("{} by {}", data("decision").to_lowercase().replace('_', " "), data("rule_id")))
        }
        "step_dispatched" => (">", format!("to {} of pool {}", data("worker_id"), data("pool"))),
        "step_attempted" => match event.data.get("attempt").and_then(Value::as_u64) {
            Some(attempt @ 2..) => (">", format!("attempt {attempt}")),
            _ => return None,
        },
        "step_waiting" => ("?", "waits for a human".to_owned()),
        "step_approved" => ("+", format!("yes, by {}", data("by"))),
        "step_rejected" => ("!", format!("no, by {}", data("by"))),
        "step_completed" => {
            let view = RunView::of(run)?;
            let note = view.steps.get(&step)?.output.as_ref()?.get("note")?.as_str()?.to_owned();
            if note.is_empty() {
                return None;
            }
            ("+", note)
        }
        "step_retry_scheduled" => (">", format!("tried again soon: {}", message())),
        "step_failed" | "step_timed_out" | "step_denied" | "step_output_invalid" => ("!", message()),
        _ => return None,
    };
    Some((mark, step, text))
}

/// `1.204 s`, `3 m 12 s`, `2 h 05 m`.
fn since(began: Timestamp, at: Timestamp) -> String {
    let passed = at.duration_since(began);
    let seconds = passed.as_secs().max(0);
    match seconds {
        0..60 => format!("{:.2} s", passed.as_secs_f64().max(0.0)),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}
