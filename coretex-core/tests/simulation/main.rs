//! Random workflows, workers, people and faults, by seed. Every seed must keep every invariant of [`checks`].
//!
//! * `CORETEX_SEED=<n>` runs that seed alone, twice, and compares what it did.
//! * `CORETEX_SIM_SEEDS` (2,000; 200 without optimisation): so many seeds must be done, or the test fails.
//! * `CORETEX_SIM_SECONDS` (60): the time in which they must be done.
//! * `CORETEX_SIM_SOAK=1` goes on until the time is over.
//! * `CORETEX_SIM_START` (0): the first seed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

mod case;
mod checks;
mod flows;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Seeds whose events are compared over two runs: one in so many.
const COMPARED: u64 = 16;
/// Longest real time of one seed. The slowest takes a few milliseconds; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{name}` is `{text}`, not a number")),
        Err(_) => default,
    }
}

fn replay(seed: u64) -> String {
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    format!("replay it: CORETEX_SEED={seed} cargo test{release} -p coretex-core --test simulation -- --nocapture")
}

#[test]
fn random_histories_keep_every_invariant() {
    if let Ok(seed) = std::env::var("CORETEX_SEED") {
        let seed = seed.parse().unwrap();
        let first = world::run(seed, true);
        assert!(first == world::run(seed, false), "seed {seed} does not repeat itself");
        return;
    }
    let wanted = number("CORETEX_SIM_SEEDS", if cfg!(debug_assertions) { 200 } else { 2_000 });
    let budget = Duration::from_secs(number("CORETEX_SIM_SECONDS", 60));
    let soak = number("CORETEX_SIM_SOAK", 0) > 0;
    let start = number("CORETEX_SIM_START", 0);
    let began = Instant::now();
    let (next, done, over) = (AtomicU64::new(start), AtomicU64::new(0), AtomicBool::new(false));
    let failed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    let current: Vec<Mutex<Option<(u64, Instant)>>> = (0..threads).map(|_| Mutex::new(None)).collect();
    // Says nothing; it is closed when the last thread has ended.
    let (alive, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        for slot in &current {
            let work = || {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !soak && seed >= start + wanted {
                        break;
                    }
                    *slot.lock().unwrap() = Some((seed, Instant::now()));
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        let first = world::run(seed, false);
                        if seed % COMPARED == 0 {
                            assert!(first == world::run(seed, false), "seed {seed} does not repeat itself");
                        }
                    }));
                    *slot.lock().unwrap() = None;
                    if result.is_err() {
                        eprintln!("seed {seed} failed; {}", replay(seed));
                        failed.lock().unwrap().push(seed);
                        over.store(failed.lock().unwrap().len() >= 5, Ordering::Relaxed);
                    } else {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
                *slot.lock().unwrap() = None;
            };
            let alive = alive.clone();
            scope.spawn(move || {
                work();
                drop(alive);
            });
        }
        drop(alive);
        // The watch: what hangs is named instead of hanging the build.
        loop {
            let oldest = current.iter().filter_map(|slot| *slot.lock().unwrap()).min_by_key(|(_, since)| *since);
            if let Some((seed, since)) = oldest
                && since.elapsed() > PATIENCE
            {
                eprintln!("seed {seed} hangs; {}", replay(seed));
                std::process::exit(101);
            }
            let spent = began.elapsed() > budget;
            if spent {
                over.store(true, Ordering::Relaxed);
            }
            let hangs_at = oldest.map_or_else(Instant::now, |(_, since)| since) + PATIENCE;
            let look_at = if spent { hangs_at } else { hangs_at.min(began + budget) };
            let wait = look_at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            if ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    });
    let (done, took) = (done.into_inner(), began.elapsed().as_secs_f64());
    println!("simulation: {done} seeds from {start} on in {took:.1} s, {:.0} a second", done as f64 / took);
    let moves = world::MOVES.load(Ordering::Relaxed);
    println!("simulation: {moves} runs were moved onto another version");
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}; {}", failed.len(), replay(failed[0]));
    assert!(done >= wanted, "{done} seeds were done in {took:.0} s, fewer than the {wanted} asked for");
    assert!(moves > 0 || wanted < 100, "no run was ever moved onto another version");
}
