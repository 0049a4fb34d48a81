//! Which edges of the machines the scenarios and random runs walk: exactly those of `edges.txt`.
//!
//! An edge of the list that nobody walks is a hole in the tests; one that is walked and not on the list is a transition that
//! nobody thought of. `CORETEX_REWRITE=1` writes the list, for a reader to judge the difference.

use std::{collections::BTreeMap, sync::Arc};

use coretex_core::{
    testing::Rng,
    workflow::{RunInput, Workflow},
};

use super::{
    edges::walked,
    files, flows,
    walk::{Mood, Walk, World},
    world::{Trouble, play},
};

const DECLARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/edges.txt");
/// Random runs; enough to reach what is rare.
const SEEDS: u64 = 400;

#[test]
fn every_declared_edge_is_walked_and_no_other() {
    let mut reached: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for scenario in files::read_all().iter().flat_map(|file| &file.scenarios) {
        for (run, log) in play(scenario, Trouble::None).runs {
            for edge in walked(run.workflow(), &log) {
                reached.entry(edge).or_default().0 += 1;
            }
        }
    }
    // Half of them under a policy that allows everything, so that they come further.
    let worlds = [World::new(Mood::Wild), World::new(Mood::Calm)];
    for (seed, world) in (0..SEEDS).zip(worlds.iter().cycle()) {
        let mut rng = Rng::new(seed);
        let workflow = Arc::new(Workflow::from_value("flow", flows::workflow(0, &mut rng)).unwrap());
        let (mut walk, _) = Walk::start(&workflow, world, Mood::Wild, rng.below(8), false);
        let mut logs = Vec::new();
        let mut dice = rng.fork();
        walk.finish(&mut rng, |walk, _, _| {
            if dice.chance(50) {
                let mut stopped = walk.fork();
                stopped.feed(RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
                stopped.finish(&mut dice, |_, _, _| {});
                logs.push(stopped.log);
            }
        });
        logs.push(walk.log);
        for edge in logs.iter().flat_map(|log| walked(&workflow, log)) {
            reached.entry(edge).or_default().1 += 1;
        }
    }
    println!("{:>9} {:>6}  edge", "scenarios", "random");
    for (edge, (told, random)) in &reached {
        println!("{told:>9} {random:>6}  {edge}");
    }
    if std::env::var("CORETEX_REWRITE").is_ok_and(|value| value == "1") {
        let lines: String = reached.keys().map(|edge| format!("{edge}\n")).collect();
        std::fs::write(DECLARED, lines).unwrap();
        return;
    }
    let declared = std::fs::read_to_string(DECLARED).unwrap();
    let missing: Vec<&str> = declared.lines().filter(|edge| !reached.contains_key(*edge)).collect();
    let unknown: Vec<&String> = reached.keys().filter(|edge| !declared.lines().any(|line| line == *edge)).collect();
    assert!(missing.is_empty(), "declared and not walked: {missing:#?}");
    assert!(unknown.is_empty(), "walked and not declared: {unknown:#?}");
}
