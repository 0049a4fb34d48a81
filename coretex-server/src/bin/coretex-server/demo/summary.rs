//! From evidence to a summary: counts, the error that stands out, what changed before it.

use std::collections::BTreeMap;

use coretex_worker::JobError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::workers::Incident;

/// What people read, and what is posted.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Summary {
    pub(super) note: String,
    pub(super) headline: String,
    pub(super) facts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Deploy {
    time: Timestamp,
    service: String,
    version: String,
    author: String,
    change: String,
}

#[derive(Debug, Default)]
struct Kind {
    count: usize,
    first: Option<Timestamp>,
}

#[derive(Debug)]
struct Sample {
    time: Timestamp,
    requests: f64,
    errors: f64,
    p95_ms: f64,
}

pub(super) fn of(incident: &Incident, evidence: &BTreeMap<String, String>) -> Result<Summary, JobError> {
    let text = |name: &str| evidence.get(name).map(String::as_str).unwrap_or_default();
    let kinds = errors(text("checkout.log"))?;
    let lines = text("checkout.log").lines().count();
    let samples = samples(text("metrics.csv"))?;
    let deploys: Vec<Deploy> = match text("deploys.json") {
        "" => Vec::new(),
        json => serde_json::from_str(json).map_err(|error| JobError::fatal("evidence_malformed", error))?,
    };
    let total: usize = kinds.values().map(|kind| kind.count).sum();
    let Some((top, found)) = kinds.iter().max_by_key(|(_, kind)| kind.count) else {
        return Err(JobError::fatal("evidence_empty", "the log has no error; widen its time range"));
    };
    let since = found.first.unwrap_or_default();
    let (before, after): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(|sample| sample.time < since);
    let mut facts = vec![
        format!("{top} is {} of {total} errors in {lines} log lines, since {}", found.count, clock(since)),
        format!("{} of requests fail, {} before", percent(&after), percent(&before)),
        format!("p95 went from {:.0} ms to {:.0} ms", worst(&before), worst(&after)),
    ];
    let suspect = deploys
        .iter()
        .filter(|deploy| deploy.service == incident.service && deploy.time <= since)
        .max_by_key(|deploy| deploy.time);
    if let Some(deploy) = suspect {
        let ahead = since.duration_since(deploy.time).as_secs();
        facts.push(format!(
            "{ahead} s earlier {} deployed {} {}: {}",
            deploy.author, deploy.service, deploy.version, deploy.change
        ));
    }
    let note = format!("{top}: {} of {total} errors", found.count);
    Ok(Summary { note, headline: format!("{} {}", incident.id, incident.title), facts })
}

/// Errors by kind. A line is `<time> <level> <service> <kind>: <text>`.
fn errors(log: &str) -> Result<BTreeMap<String, Kind>, JobError> {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.splitn(4, ' ');
        let (time, level, rest) = (words.next(), words.next(), words.nth(1));
        let (Some(time), Some("ERROR"), Some(rest)) = (time, level, rest) else { continue };
        let name = rest.split(':').next().unwrap_or(rest);
        let time: Timestamp = time.parse().map_err(|error| JobError::fatal("evidence_malformed", error))?;
        let kind = kinds.entry(name.to_owned()).or_default();
        kind.count += 1;
        kind.first = Some(kind.first.map_or(time, |first| first.min(time)));
    }
    Ok(kinds)
}

fn samples(table: &str) -> Result<Vec<Sample>, JobError> {
    let malformed = |line: &str| JobError::fatal("evidence_malformed", format!("`{line}` is no line of metrics"));
    let read = |line: &str| -> Option<Sample> {
        let mut cells = line.split(',');
        let time = cells.next()?.parse().ok()?;
        let mut number = || cells.next()?.parse().ok();
        Some(Sample { time, requests: number()?, errors: number()?, p95_ms: number()? })
    };
    table.lines().skip(1).map(|line| read(line).ok_or_else(|| malformed(line))).collect()
}

fn percent(samples: &[&Sample]) -> String {
    let requests: f64 = samples.iter().map(|sample| sample.requests).sum();
    let errors: f64 = samples.iter().map(|sample| sample.errors).sum();
    format!("{:.1} %", 100.0 * errors / requests.max(1.0))
}

fn worst(samples: &[&Sample]) -> f64 {
    samples.iter().map(|sample| sample.p95_ms).fold(0.0, f64::max)
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_stands_out_is_named_with_the_change_before_it() {
        let incident = serde_json::from_str(super::super::INCIDENT).unwrap();
        let evidence =
            super::super::EVIDENCE.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let summary = of(&incident, &evidence).unwrap();
        assert!(summary.facts[0].starts_with("PaymentTimeout is "), "{summary:?}");
        assert!(summary.facts[3].contains("pool of 4 instead of 64"), "{summary:?}");
    }
}
