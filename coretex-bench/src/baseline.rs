//! The throughput workloads beside a stored baseline: has a step become dearer?
//!
//! Compared are ratios to the raw limits of the same run, because absolute figures of a shared machine say little. Even
//! so they differ by a tenth or two from run to run; what is far from 1 is worth a look. Nothing fails on a time.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::{Args, Workload, measure};

/// What was measured when the baseline was taken.
const STORED: &str = include_str!("../baseline.json");
/// Longest time of one workload, many times what it takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A row of the table: workload, runs under way at once, the ratio over memory, the ratio over a disk.
const ROWS: [(Workload, usize, &str, &str); 3] = [
    (Workload::W1, 64, "steps_per_channel_hop", "runs_per_raw_append"),
    (Workload::W2, 64, "steps_per_channel_hop", "steps_per_raw_append"),
    (Workload::W3, 8, "steps_per_channel_hop", "steps_per_raw_append"),
];

/// Runs them over memory, and over the embedded store too when `args` names a directory; prints the table. Gives what was
/// measured in the form of the baseline.
pub(crate) async fn compare(args: &Args) -> anyhow::Result<Map<String, Value>> {
    let stored: Value = serde_json::from_str(STORED).context("baseline.json")?;
    let mut measured = Map::new();
    let mut lines = vec![format!("{:<10} {:<4} {:<24} {:>9} {:>9} {:>9}", "store", "", "ratio", "now", "baseline", "")];
    for store in ["memory", args.store.as_str()] {
        let on_disk = store != "memory";
        let name = if on_disk { "embedded" } else { "memory" };
        if measured.contains_key(name) {
            continue;
        }
        let mut ratios = Map::new();
        for (workload, concurrency, in_memory, on_a_disk) in ROWS {
            let ratio = if on_disk { on_a_disk } else { in_memory };
            let args = Args { workload, concurrency, store: store.to_owned(), ..args.clone() };
            let label = format!("{workload:?}");
            let figures = tokio::time::timeout(PATIENCE, measure(&args))
                .await
                .with_context(|| format!("{label} over {name} is not done after {PATIENCE:?}"))?
                .with_context(|| format!("{label} over {name}"))?;
            let now = figures.get(ratio).and_then(Value::as_f64).filter(|now| *now > 0.0);
            let now = now.with_context(|| format!("{label} over {name} finished nothing: {figures:?}"))?;
            let before = stored.pointer(&format!("/ratios/{name}/{label}")).and_then(Value::as_f64);
            let quotient = before.map_or_else(|| "-".to_owned(), |before| format!("x{:.2}", now / before));
            let before = before.map_or_else(|| "-".to_owned(), |before| format!("{before:.4}"));
            lines.push(format!("{name:<10} {label:<4} {ratio:<24} {now:>9.4} {before:>9} {quotient:>9}"));
            ratios.insert(label, now.into());
        }
        measured.insert(name.into(), ratios.into());
    }
    if !args.json {
        lines.iter().for_each(|line| println!("{line}"));
        let how = stored.get("measured").and_then(Value::as_str);
        println!("baseline: {}", how.unwrap_or("not said how it was measured"));
    }
    Ok(Map::from_iter([("ratios".to_owned(), Value::Object(measured))]))
}
