//! The examples of `docs/guides/policy.md` decide what the page says. Documents above a table are one policy.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use coretex_core::policy::{JobMeta, Labels, PolicyRequest, RunFacts};
use coretex_policy::{Attribute, CompiledPolicy, Origin, PolicySet};
use serde_json::{Value, json};

const GUIDE: &str = include_str!("../../docs/guides/policy.md");

/// `# id (origin)` is the first line of a document.
fn add(set: PolicySet, text: &str) -> PolicySet {
    let head = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("# ")
        .unwrap_or_else(|| panic!("a document says whose it is: {text}"));
    let (id, origin) = head.split_once(" (").unwrap_or((head, "base)"));
    let origin = serde_json::from_value::<Origin>(json!(origin.trim_end_matches(')'))).unwrap();
    set.source(id, origin, text)
}

fn ask<T>(request: &Value, then: impl FnOnce(&PolicyRequest<'_>) -> T) -> T {
    const KNOWN: [&str; 8] = ["topic", "tenant", "risk_tags", "labels", "actor_type", "input", "facts", "now"];
    let fields = request.as_object().unwrap();
    assert!(fields.keys().all(|key| KNOWN.contains(&key.as_str())), "{request}");
    let meta: JobMeta = serde_json::from_value(json!({
        "risk_tags": request.get("risk_tags").cloned().unwrap_or(json!([])), "actor_type": request["actor_type"],
    }))
    .unwrap();
    let labels: Labels =
        request.get("labels").map(|labels| serde_json::from_value(labels.clone()).unwrap()).unwrap_or_default();
    let facts: Option<RunFacts> = request.get("facts").map(|facts| serde_json::from_value(facts.clone()).unwrap());
    let now = request["now"].as_str().unwrap_or("2026-11-24T12:00:00Z").parse().unwrap();
    then(&PolicyRequest {
        job_id: "run-1:step@1",
        topic: request["topic"].as_str().unwrap(),
        tenant: request["tenant"].as_str().unwrap_or("default"),
        principal_id: "ada",
        meta: &meta,
        labels: &labels,
        workflow_id: None,
        run_id: None,
        step_id: None,
        attempt: 1,
        input: request.get("input"),
        now: Some(now),
        facts: facts.as_ref(),
    })
}

fn policies() -> Vec<(CompiledPolicy, Vec<[String; 3]>)> {
    let mut found = Vec::new();
    let (mut set, mut rows, mut lines) = (PolicySet::new(), Vec::new(), GUIDE.lines());
    let mut done = |set: &mut PolicySet, rows: &mut Vec<_>| {
        if !rows.is_empty() {
            let policy = std::mem::take(set).compile().unwrap_or_else(|errors| panic!("{errors}"));
            found.push((policy, std::mem::take(rows)));
        }
    };
    while let Some(line) = lines.next() {
        if line == "```yaml" {
            done(&mut set, &mut rows);
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            set = add(set, &text.join("\n"));
        } else if line.starts_with("| `{") {
            let cells: Vec<_> = line
                .trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().trim_matches(['`', '|', ' ']).to_owned())
                .collect();
            rows.push([cells[0].clone(), cells[1].clone(), cells.get(2).cloned().unwrap_or_default()]);
        }
    }
    done(&mut set, &mut rows);
    found
}

#[test]
fn every_row_is_decided_as_the_guide_says() {
    let policies = policies();
    assert_eq!(policies.iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>(), [4, 4, 10, 3]);
    for (policy, rows) in policies {
        for [request, outcome, rule] in rows {
            let request: Value = serde_json::from_str(&request).unwrap_or_else(|error| panic!("{request}: {error}"));
            let why = ask(&request, |request| policy.explain(request));
            assert_eq!(why.decision.outcome.as_str(), outcome, "{request}\n{why}");
            assert_eq!(&*why.decision.rule_id, rule, "{request}\n{why}");
        }
    }
}

#[test]
fn the_smallest_change_is_the_one_that_the_guide_tells() {
    let (policy, _) = policies().pop().unwrap();
    let request = json!({"topic": "job.sre.scan", "actor_type": "service", "risk_tags": ["prod"]});
    let told = ask(&request, |request| policy.nearest_change(request, &Attribute::SUBMITTED));
    assert!(GUIDE.contains(&format!("job.sre.scan, service, prod: {told}\n")), "{told}");
}
