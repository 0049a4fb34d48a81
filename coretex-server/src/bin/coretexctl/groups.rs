//! Runs with groups of steps, shortened to what a person looks for: a group is a line with counts; of its items and
//! iterations those are shown that failed or wait for somebody.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::{
    call::number,
    print::{Table, text},
};

/// Items or iterations of one group that are shown in full.
const SHOWN: usize = 10;

/// A run and its steps.
pub(crate) fn describe(run: &Value) {
    println!("run        {}", text(run, "id"));
    println!("workflow   {}", text(run, "workflow_id"));
    let dry = if text(run, "dry_run") == "true" { " (dry run)" } else { "" };
    let phase = match text(run, "phase") {
        phase if phase.is_empty() => phase,
        phase => format!(", {phase}"),
    };
    println!("status     {}{phase}{dry}", text(run, "status"));
    let origin = text(run, "rerun_of");
    if !origin.is_empty() {
        let step = text(run, "rerun_step");
        println!("rerun of   {origin}{}", if step.is_empty() { step } else { format!(" from {step}") });
    }
    println!("started    {}", text(run, "started_at"));
    let ended = text(run, "completed_at");
    if !ended.is_empty() {
        println!("ended      {ended}");
    }
    if let Some(error) = run.get("error").filter(|error| !error.is_null()) {
        println!("error      {} ({})", text(error, "message"), text(error, "code"));
    }
    println!();
    let mut table = Table::new(["STEP", "STATUS", "TRIES", "ITEMS", "ERROR"]);
    for step in in_order(run.get("steps")) {
        add(&mut table, step, 0);
    }
    table.print("no steps");
}

/// The step runs of a map in the order of their ids, where 10 comes behind 9.
fn in_order(steps: Option<&Value>) -> Vec<&Value> {
    let mut steps: Vec<&Value> = steps.and_then(Value::as_object).into_iter().flat_map(|map| map.values()).collect();
    steps.sort_by_cached_key(|step| {
        let id = text(step, "step_id");
        (indices(&id), id)
    });
    steps
}

fn add(table: &mut Table, step: &Value, depth: usize) {
    let id = text(step, "step_id");
    let error = step.get("error").map(|error| text(error, "message")).unwrap_or_default();
    let indent = "  ".repeat(depth);
    let status = match step.get("waits_for") {
        Some(waits) if text(step, "status") == "waiting" => format!("waiting for {}", text(waits, "for")),
        _ => text(step, "status"),
    };
    let children = in_order(step.get("children"));
    // The branches of a parallel group are steps like others; items and iterations have an index more.
    let (branches, blocks): (Vec<&Value>, Vec<&Value>) =
        children.into_iter().partition(|child| indices(&text(child, "step_id")).len() == indices(&id).len());
    let counts = step.get("group").filter(|_| branches.is_empty()).map(counts).unwrap_or_default();
    table.row([format!("{indent}{id}"), status, text(step, "attempts"), counts, error]);
    for branch in branches {
        add(table, branch, depth + 1);
    }
    let notable: Vec<&Value> = blocks.into_iter().filter(|block| is_notable(block)).collect();
    for block in notable.iter().take(SHOWN) {
        add(table, block, depth + 1);
    }
    if let Some(more) = notable.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let indent = "  ".repeat(depth + 1);
        table.row([format!("{indent}… and {more} more"), String::new(), String::new(), String::new(), String::new()]);
    }
}

/// How far a group has come, as `990/1000, 10 failed`.
fn counts(group: &Value) -> String {
    let count = |member| number(group, member);
    let mut text = format!("{}/{}", count("succeeded"), count("total"));
    for (name, value) in [("failed", count("failed")), ("active", count("active"))] {
        if value > 0 {
            text.push_str(&format!(", {value} {name}"));
        }
    }
    text
}

/// Whether a person wants to see it: it failed or waits for somebody, or something in it does.
fn is_notable(step: &Value) -> bool {
    matches!(text(step, "status").as_str(), "failed" | "timed_out" | "waiting")
        || step.get("children").and_then(Value::as_object).is_some_and(|children| children.values().any(is_notable))
}

/// The indices of a step run's id: `scan[2][0]` has 2 and 0.
fn indices(id: &str) -> Vec<u64> {
    id.split('[').skip(1).filter_map(|part| part.strip_suffix(']')?.parse().ok()).collect()
}

/// Leaves out of a live timeline what the many items of a group do as a matter of course, and says how far they have
/// come.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Groups with many items, by the id of the step that holds them.
    large: BTreeMap<String, Progress>,
    /// The indices that the items of those groups begin with.
    inside: HashSet<Vec<u64>>,
}

#[derive(Debug)]
struct Progress {
    total: u64,
    ended: u64,
    failed: u64,
}

impl Folder {
    /// Whether an event has a line of its own. A step in an item of a group with more than 10 items has one only where
    /// something is not as it should be, or somebody must act. Steps of a small group beside a large one may be taken
    /// for steps of that: an id does not say in which group it is.
    pub(crate) fn shows(&self, event: &Value) -> bool {
        let id = text(event, "step_id");
        let indices = indices(&id);
        let is_inside = (0..indices.len()).any(|len| indices.get(..len).is_some_and(|head| self.inside.contains(head)));
        let is_late = |index: u64| index >= SHOWN as u64;
        let is_block = text(event, "type") == "step_block_started"
            && (self.large.contains_key(&id)
                || event.get("data").and_then(|data| data.get("index")?.as_u64()).is_some_and(is_late));
        // How many iterations a loop will have is not known before: the first are shown.
        !(is_inside || is_block || indices.iter().copied().any(is_late)) || is_event_notable(event)
    }

    /// Takes an event into account; now and then a line says how far its group has come.
    pub(crate) fn progress(&mut self, event: &Value) -> Option<String> {
        let id = text(event, "step_id");
        let kind = text(event, "type");
        if kind == "step_group_started" {
            let items = event.get("data").map_or(0, |data| number(data, "items"));
            let total = u64::try_from(items).unwrap_or(0);
            if total > SHOWN as u64 {
                self.inside.insert(indices(&id));
                self.large.insert(id, Progress { total, ended: 0, failed: 0 });
            }
            return None;
        }
        let failed = match kind.as_str() {
            "step_completed"
            | "step_skipped"
            | "step_input_provided"
            | "step_signal_taken"
            | "step_approved"
            | "step_condition_evaluated" => 0,
            "step_failed" | "step_timed_out" | "step_output_invalid" | "step_cancelled" | "step_rejected" => 1,
            _ => return None,
        };
        let (holder, _) = id.rsplit_once('[')?;
        let group = self.large.get_mut(holder)?;
        (group.ended, group.failed) = (group.ended + 1, group.failed + failed);
        let tenth = group.total.div_ceil(10);
        if group.ended % tenth != 0 && group.ended != group.total {
            return None;
        }
        let failed = if group.failed > 0 { format!(", {} failed", group.failed) } else { String::new() };
        Some(format!("      {:<12}  {holder:<16}  {:<22}  {} of {} ended{failed}", "", "", group.ended, group.total))
    }
}

fn is_event_notable(event: &Value) -> bool {
    let kind = text(event, "type");
    let is_bad = matches!(
        kind.as_str(),
        "step_failed" | "step_timed_out" | "step_output_invalid" | "step_denied" | "step_rejected" | "step_parked"
    );
    is_bad
        || matches!(
            kind.as_str(),
            "step_approval_required"
                | "step_waiting"
                | "step_input_requested"
                | "step_signal_awaited"
                | "step_resolved"
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_large_group_is_told_by_tenths_and_by_what_fails() {
        let mut folder = Folder::default();
        let mut lines = Vec::new();
        let mut take = |kind: &str, step: &str, data: Value| {
            let event = json!({"type": kind, "step_id": step, "data": data});
            if folder.shows(&event) {
                lines.push(format!("{kind} {step}"));
            }
            lines.extend(folder.progress(&event).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
        };
        take("step_group_started", "scan", json!({"items": 1000}));
        for n in 0..1000 {
            take("step_block_started", "scan", json!({"index": n}));
            take("step_dispatched", &format!("scan[{n}]"), json!({}));
        }
        for n in 0..1000 {
            let kind = if n == 500 { "step_failed" } else { "step_completed" };
            take(kind, &format!("scan[{n}]"), json!({}));
        }
        take("step_completed", "scan", json!({}));
        take("step_dispatched", "after", json!({}));
        assert_eq!(lines.len(), 14, "{lines:#?}");
        assert!(lines.contains(&"step_failed scan[500]".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"scan 1000 of 1000 ended, 1 failed".to_owned()), "{lines:#?}");
        assert_eq!(lines.last().map(String::as_str), Some("step_dispatched after"));
    }

    #[test]
    fn the_first_iterations_of_a_loop_are_shown_and_later_ones_when_something_is_wrong() {
        let folder = Folder::default();
        let shows = |kind: &str, step: &str| folder.shows(&json!({"type": kind, "step_id": step}));
        assert!(shows("step_dispatched", "poll[9]") && !shows("step_dispatched", "poll[10]"));
        assert!(shows("step_parked", "poll[10]") && shows("step_input_requested", "poll[10]"));
    }

    #[test]
    fn items_come_in_the_order_of_their_numbers() {
        let steps =
            json!({"a[10]": {"step_id": "a[10]"}, "a[9]": {"step_id": "a[9]"}, "a[9][1]": {"step_id": "a[9][1]"}});
        let order: Vec<String> = in_order(Some(&steps)).into_iter().map(|step| text(step, "step_id")).collect();
        assert_eq!(order, ["a[9]", "a[9][1]", "a[10]"]);
    }
}
