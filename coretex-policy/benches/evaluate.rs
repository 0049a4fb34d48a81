//! How long a decision takes, beside a plain linear scan over the same rules in the same run, and how long it
//! takes to read and compile them. `cargo bench -p coretex-policy`.
//!
//! Rule shape: tenant, two topic globs, capability, one of two risk tags, actor type, one label.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench"
)]

#[path = "../tests/oracle/naive.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod naive;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hint::black_box,
    time::{Duration, Instant},
};

use coretex_core::policy::{ActorType, JobMeta, Labels, PolicyRequest};
use coretex_policy::{CompiledPolicy, Origin, PolicySet};

fn rules(count: usize) -> String {
    let mut out = "version: bench\nrules:\n".to_owned();
    for n in 0..count {
        let (tenant, team, capability) = (n % 50, n % 200, n % 40);
        write!(
            out,
            "  - id: rule-{n}\n    reason: rule {n} says so\n    decision: {}\n    match:\n      \
             tenants: [tenant-{tenant}]\n      topics: ['job.team{team}.*', 'job.shared{n}.*.read']\n      \
             capabilities: [cap.{capability}]\n      risk_tags: [risk-{}, write]\n      actor_types: [service]\n      \
             labels: {{ env: env-{} }}\n",
            ["allow", "require_approval", "deny", "throttle"][n % 4],
            n % 7,
            n % 3,
        )
        .unwrap();
    }
    out
}

struct Ask {
    topic: String,
    tenant: String,
    meta: JobMeta,
    labels: Labels,
}

impl Ask {
    /// What rule `n` is about.
    fn like(n: usize) -> Self {
        Self {
            topic: format!("job.team{}.scan.deep", n % 200),
            tenant: format!("Tenant-{}", n % 50),
            meta: JobMeta {
                capability: Some(format!("cap.{}", n % 40)),
                actor_id: Some("bot".into()),
                actor_type: Some(ActorType::Service),
                pack_id: Some("pack".into()),
                risk_tags: vec!["network".into(), "write".into()],
                requires: vec!["git".into()],
                ..JobMeta::default()
            },
            labels: BTreeMap::from([
                ("env".to_owned(), format!("env-{}", n % 3)),
                ("owner".to_owned(), "sre".to_owned()),
            ])
            .into(),
        }
    }

    fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            job_id: "run:step@1",
            topic: &self.topic,
            tenant: &self.tenant,
            principal_id: "p",
            meta: &self.meta,
            labels: &self.labels,
            workflow_id: None,
            run_id: None,
            step_id: None,
            attempt: 1,
            input: None,
            now: None,
            facts: None,
        }
    }
}

/// Median and 99th percentile of batches, per call.
fn measure(budget: Duration, mut call: impl FnMut()) -> (f64, f64) {
    let begin = Instant::now();
    call();
    let batch = (20_000 / begin.elapsed().as_nanos().max(1)).clamp(1, 100);
    let mut times = Vec::new();
    let end = Instant::now() + budget;
    while Instant::now() < end || times.len() < 20 {
        let begin = Instant::now();
        for _ in 0..batch {
            call();
        }
        times.push(begin.elapsed().as_nanos() as f64 / batch as f64);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn row(name: &str, (p50, p99): (f64, f64)) {
    println!("  {name:<34} p50 {:>10.3} us   p99 {:>10.3} us", p50 / 1e3, p99 / 1e3);
}

fn main() {
    let budget = Duration::from_millis(400);
    for count in [10, 1_000, 10_000] {
        let text = rules(count);
        let begin = Instant::now();
        let set = PolicySet::new().source("bench", Origin::Base, &text);
        let read = begin.elapsed();
        let begin = Instant::now();
        let policy: CompiledPolicy = set.compile().unwrap();
        let compiled = begin.elapsed();
        println!("{count} rules, {} KiB: read {read:.1?}, compile {compiled:.1?}", text.len() / 1024);

        let mut miss = Ask::like(count - 1);
        miss.labels.insert("env", "elsewhere");
        let mut stranger = Ask::like(count - 1);
        stranger.tenant = "nobody".into();
        stranger.topic = "job.unknown.thing".into();
        let mut last = Ask::like(count - 1);
        last.topic = format!("job.shared{}.scan.read", count - 1);
        let asks = [("last rule matches", last), ("miss at the label", miss), ("miss at once", stranger)];
        for (name, ask) in &asks {
            let request = ask.request();
            let indexed = policy.decide(&request);
            let naive = naive::decide(policy.bundles(), &request);
            assert_eq!(naive.rule, &*indexed.rule_id, "{name}");
            row(&format!("indexed, {name}"), measure(budget, || drop(black_box(policy.decide(black_box(&request))))));
            row(
                &format!("naive,   {name}"),
                measure(budget, || {
                    black_box(naive::decide(policy.bundles(), black_box(&request)));
                }),
            );
        }
        let begin = Instant::now();
        let mut decided = 0_u64;
        while begin.elapsed() < budget {
            for (_, ask) in &asks {
                for _ in 0..100 {
                    black_box(policy.decide(black_box(&ask.request())));
                    decided += 1;
                }
            }
        }
        println!("  {:.0} decisions/s on one core, the three in turn", decided as f64 / begin.elapsed().as_secs_f64());
    }
}
