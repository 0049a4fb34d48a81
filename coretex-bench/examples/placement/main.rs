//! Every placement strategy on the same trace: 200 workers, 100,000 jobs, workers that crash and freeze, in virtual time.
//!
//! ```text
//! cargo run --release -p coretex-bench --example placement -- [--seed N] [--jobs N] [--svg FILE]
//! ```
//!
//! Prints a table; `--svg` writes the plot of `docs/performance.md`. The figures are those of the seed, not of the machine.

mod plot;
mod report;
mod sim;
mod trace;

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, ensure};
use coretex_core::scheduler::StrategyKind;

use self::{report::Report, trace::Trace};

fn main() -> anyhow::Result<()> {
    let (mut seed, mut jobs, mut svg) = (1_u64, 100_000_usize, None::<PathBuf>);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("give a value after `{argument}`"));
        match argument.as_str() {
            "--seed" => seed = value()?.parse()?,
            "--jobs" => jobs = value()?.parse()?,
            "--svg" => svg = Some(value()?.into()),
            other => anyhow::bail!("`{other}` is unknown; known are `--seed`, `--jobs`, `--svg`"),
        }
    }
    let trace = Trace::new(seed, jobs);
    println!("{jobs} jobs of {} tenants on {} workers, seed {seed}", trace::TENANTS, trace.workers.len());
    println!("{}", Report::header());
    let mut reports = Vec::new();
    for kind in StrategyKind::ALL {
        let start = Instant::now();
        let report = sim::run(&trace, kind)?;
        ensure!(report.lost == 0, "{}: {} jobs are lost", kind.name(), report.lost);
        ensure!(report.twice == 0, "{}: {} results are accepted twice", kind.name(), report.twice);
        println!("{}   {:.1} s", report.row(), start.elapsed().as_secs_f64());
        reports.push(report);
    }
    if let Some(path) = svg {
        std::fs::write(&path, plot::draw(&reports)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
