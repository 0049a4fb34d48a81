//! What happened, a line each, for a reader.

use std::fmt::Write;

use coretex_core::workflow::{Run, TimelineEvent};
use jiff::Timestamp;

use super::world::End;

/// The story of a run: how it ended, its steps, what else there was, and its timeline as `second kind step status`, with
/// the code, reason or choice that the line carries. Seconds count from `began`.
pub(crate) fn tell(run: &Run, end: &End, extra: &[String], timeline: &[TimelineEvent], began: Timestamp) -> String {
    let mut story = String::new();
    let last = timeline.last().map_or(began, |line| line.time);
    let mut head = format!("{} after {} s", end.status, since(began, last));
    if let Some(code) = &end.code {
        let _ = write!(head, ": {code}");
    }
    if let Some(step) = &end.failed_step {
        let _ = write!(head, " in {step}");
    }
    if let Some(failure) = run.undo_failure() {
        let _ = write!(head, ", undo: {}", failure.code);
    }
    if let Some(output) = &end.output {
        let _ = write!(head, ", output {output}");
    }
    let _ = writeln!(story, "{head}");
    let steps: Vec<String> = end
        .steps
        .iter()
        .map(|step| match (step.attempts, &step.output) {
            (0..=1, None) => format!("{} {}", step.id, step.status),
            (0..=1, Some(output)) => format!("{} {} {output}", step.id, step.status),
            (attempts, None) => format!("{} {} x{attempts}", step.id, step.status),
            (attempts, Some(output)) => format!("{} {} x{attempts} {output}", step.id, step.status),
        })
        .collect();
    let _ = writeln!(story, "{}", steps.join("; "));
    for line in extra {
        let _ = writeln!(story, "{line}");
    }
    for line in timeline {
        let _ = write!(story, "{} {}", since(began, line.time), line.kind);
        for word in [line.step_id.as_deref(), line.status.as_deref()].into_iter().flatten() {
            let _ = write!(story, " {word}");
        }
        for key in ["code", "reason", "action", "signal", "index", "items", "value", "rule"] {
            match line.data.get(key) {
                None => {}
                Some(serde_json::Value::String(text)) => {
                    let _ = write!(story, " {text}");
                }
                Some(other) => {
                    let _ = write!(story, " {other}");
                }
            }
        }
        if let Some(origin) = line.data.get("origin") {
            let text = |key: &str| origin.get(key).and_then(serde_json::Value::as_str);
            let _ = write!(story, " goes on from {}", text("run_id").unwrap_or_default());
            let _ = write!(story, " after event {}", origin["seq"]);
            let _ = text("step_id").map(|step| write!(story, " at {step}"));
        }
        if let Some(taken) = line.data.get("taken") {
            let _ = write!(story, " {taken}");
        }
        story.push('\n');
    }
    story
}

/// Seconds from `began` to `at`, as short as they can be said.
pub(crate) fn since(began: Timestamp, at: Timestamp) -> String {
    let millis = at.duration_since(began).as_millis();
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    let text = if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}") };
    if rest == 0 { text } else { text.trim_end_matches('0').to_owned() }
}
