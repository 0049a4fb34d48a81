//! Random bundles and random requests: the compiled evaluation says what a plain linear one says, and so does the
//! explanation.
//!
//! * `CORETEX_POLICY_CASES` (100,000; 3,000 without optimisation): so many decisions must be compared, or the test fails.
//! * `CORETEX_POLICY_SECONDS` (120): the time in which they must be.
//! * `CORETEX_SEED=<n>`: that seed alone.
//!
//! A failure prints its seed, and the smallest rules and request that still fail.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

#[allow(dead_code, reason = "shared with the bench")]
mod naive;
mod random;

use std::time::{Duration, Instant};

use coretex_policy::{Bundle, CompiledPolicy, Origin, PolicySet};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// Rule sets of a seed, and most requests asked of each.
const SETS: u32 = 20;
const REQUESTS: usize = 80;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{name}` is `{text}`, not a number")),
        Err(_) => default,
    }
}

fn compile(documents: &[String]) -> CompiledPolicy {
    let origins = [Origin::Base, Origin::SecOps, Origin::SecOps];
    let bundles = documents.iter().enumerate().zip(origins).map(|((n, text), origin)| {
        Bundle::parse(format!("b{n}"), origin, text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    });
    bundles.collect::<PolicySet>().compile().unwrap()
}

/// How many decisions were compared.
fn run(seed: u64) -> u64 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig { cases: SETS, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy =
        (prop::collection::vec(random::document(), 1..4), prop::collection::vec(random::ask(), REQUESTS / 2..REQUESTS));
    let compared = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |(documents, asks)| {
        let policy = compile(&documents);
        for ask in &asks {
            let request = ask.request();
            let decision = policy.decide(&request);
            let expected = naive::decide(policy.bundles(), &request);
            let budgets = decision.constraints.as_ref().and_then(|limits| limits.budgets.as_ref());
            let said = naive::Said {
                outcome: decision.outcome,
                rule: if decision.rule_id.starts_with("tenant:") { "" } else { &decision.rule_id },
                wait: decision.retry_after,
                retries: budgets.map_or(0, |budgets| budgets.max_retries),
            };
            prop_assert_eq!(said, expected, "{:?}\n{}", ask, policy.explain(&request));
            prop_assert_eq!(&policy.explain(&request).decision, &decision);
            compared.set(compared.get() + 1);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!(
            "seed {seed}: {error}\nagain: CORETEX_SEED={seed} cargo test -p coretex-policy --test oracle -- --nocapture"
        );
    }
    compared.get()
}

#[test]
fn the_compiled_policy_decides_as_the_plain_one() {
    if let Ok(seed) = std::env::var("CORETEX_SEED") {
        println!("seed {seed}: {} decisions", run(seed.parse().unwrap()));
        return;
    }
    let wanted = number("CORETEX_POLICY_CASES", if cfg!(debug_assertions) { 3_000 } else { 100_000 });
    let end = Instant::now() + Duration::from_secs(number("CORETEX_POLICY_SECONDS", 120));
    let (mut seed, mut done) = (0, 0);
    while done < wanted {
        assert!(Instant::now() < end, "only {done} of {wanted} decisions were compared in time (seeds 0..{seed})");
        done += run(seed);
        seed += 1;
    }
    println!("{done} decisions compared, seeds 0..{seed}");
}
