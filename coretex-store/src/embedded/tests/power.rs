//! Loss of power at any moment: while writing, folding, removing segments, and while recovering from the last one.

use std::collections::BTreeMap;

use super::*;
use crate::disk::Fault;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Each seed is one disk that loses power several times. `CORETEX_CUTS` says how many cuts are wanted (at least),
/// `CORETEX_CUT_SECONDS` how long that may take, `CORETEX_SEED` runs that seed alone. The seed fixes the history and what the disk does; which thread comes first is left to the machine, so a rare failure
/// may need several runs of its seed.
#[test]
fn everything_acknowledged_survives_power_cuts() {
    let wanted = number("CORETEX_CUTS", 400);
    let only = std::env::var("CORETEX_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let first = only.unwrap_or(1);
    let (mut cuts, mut acknowledged, mut seed) = (0, 0, first);
    let mut hits = BTreeMap::new();
    // A budget, so that a slow machine fails with a count instead of holding everybody up.
    let budget = std::time::Duration::from_secs(number("CORETEX_CUT_SECONDS", 300));
    let begun = std::time::Instant::now();
    while cuts < wanted && begun.elapsed() < budget && (only.is_none() || seed == first) {
        let (more, steps) = one_disk(seed, &mut hits);
        cuts += more;
        acknowledged += steps;
        seed += 1;
    }
    println!("seeds {first} to {}: {cuts} power cuts, {acknowledged} acknowledged batches, none lost", seed - 1);
    println!("hit: {hits:#?}");
    assert!(only.is_some() || cuts >= wanted, "only {cuts} of {wanted} cuts were made");
    // Appending, rotating and removing segments, folding, and recovering were all hit.
    let hit = |phase: &str, whats: &[&str], on: &str| -> u64 {
        whats.iter().filter_map(|what| hits.get(&format!("{phase}: {what} {on}"))).sum()
    };
    for (phase, whats, on) in [
        ("at work", &["write", "sync"][..], "journal"),
        ("at work", &["create", "remove", "sync_dir", "set_len"], "journal"),
        ("at work", &["write", "sync"], "/data/base.redb"),
        ("opening", &["write", "sync"], "/data/base.redb"),
    ] {
        assert!(cuts < 400 || hit(phase, whats, on) > 0, "no cut hit {whats:?} on {on} while {phase}");
    }
}

/// Which phase and operation a cut hit; the name of a journal file does not matter.
fn place(disk: &SimDisk, opened: bool) -> String {
    let hit = disk.last_fault().unwrap_or_default();
    let hit = match hit.split_once(" /data/journal") {
        Some((what, _)) => format!("{what} journal"),
        None => hit,
    };
    format!("{}: {hit}", if opened { "at work" } else { "opening" })
}

fn one_disk(seed: u64, hits: &mut BTreeMap<String, u64>) -> (u64, u64) {
    const CUTS: u64 = 10;
    let disk = SimDisk::new(seed);
    let mut dice = Dice(seed);
    let mut history = History::new(5);
    let mut acknowledged = 0;
    let mut cuts = 0;
    while cuts < CUTS {
        let at = format!("CORETEX_SEED={seed}, cut {cuts}");
        // Now and then so soon that it hits the recovery from the last one; the first one even hits creation.
        let ahead = if dice.below(3) == 0 { 1 + dice.below(40) } else { 1 + dice.below(900) };
        disk.fault_at(disk.stats().ops + ahead, Fault::PowerCut);
        let mut opened = false;
        run(async {
            let store = match open(&disk, tiny()).await {
                Ok(store) => store,
                Err(error) => {
                    assert!(!disk.is_powered(), "{at}: it does not open: {error}");
                    return;
                }
            };
            opened = disk.is_powered();
            if let Err(error) = verify(&store, &mut history, &at).await {
                assert!(!disk.is_powered(), "{at}: it cannot be read: {error}");
                return;
            }
            let before: u64 = history.lanes.iter().map(|lane| lane.acknowledged).sum();
            let shared = Mutex::new(std::mem::take(&mut history));
            let refused = drive(&store, &shared, 60, dice.next()).await;
            if refused.is_none() && dice.below(2) == 0 {
                // The cut may come while it closes, or not at all.
                let _ = store.close().await;
            }
            history = shared.into_inner().unwrap();
            acknowledged += history.lanes.iter().map(|lane| lane.acknowledged).sum::<u64>() - before;
            if let Some(error) = refused {
                assert!(!disk.is_powered(), "{at}: refused while the power was on: {error}");
                assert_eq!(
                    error.kind(),
                    if error.is_outcome_unknown() { StoreErrorKind::Unavailable } else { StoreErrorKind::Closed }
                );
            }
        });
        // A cut between two operations is made, too, but not counted.
        if !disk.is_powered() {
            *hits.entry(place(&disk, opened)).or_insert(0) += 1;
            cuts += 1;
        }
        disk.clear_faults();
        disk.cut_power();
        disk.restart();
    }
    run(async {
        let at = format!("CORETEX_SEED={seed}, at the end");
        let store = open(&disk, tiny()).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        verify(&store, &mut history, &at).await.unwrap();
        store.close().await.unwrap();
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let report = super::super::check::check_on(Path::new(DIR), &disk).unwrap();
        assert!(report.is_sound() && !report.torn, "{at}: {report:?}");
    });
    (cuts, acknowledged)
}
