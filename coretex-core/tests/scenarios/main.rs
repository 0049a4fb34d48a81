//! The engine, told as a table: workflows as people write them, what the world does, and the story that comes of it.
//!
//! `cases/*.yaml` hold the scenarios, each a YAML document that ends with what is expected of it (`expect`). The form is
//! described in [`scenario`], the words of replies in [`words`]. Each scenario is played three times:
//!
//! * as it is: its story must be the expected one, line by line;
//! * with a crash after every commit, and with every message doubled: it must end in the same state.
//!
//! `CORETEX_REWRITE=1` writes what happened into the files instead of comparing it; what changed is then for `git diff` and
//! a reader. `CORETEX_SCENARIO=<part of a name>` plays only those.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

mod coverage;
#[path = "../support/edges.rs"]
mod edges;
mod files;
#[path = "../simulation/flows.rs"]
mod flows;
mod guide;
mod scenario;
mod story;
#[path = "../support/walk.rs"]
mod walk;
mod words;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

use self::{
    scenario::Scenario,
    world::{Trouble, play},
};

/// Plays all scenarios on all processors; every failure is told, not only the first.
fn each(scenarios: &[Scenario], check: impl Fn(&Scenario) + Sync) {
    let next = Mutex::new(scenarios.iter());
    let failed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = next.lock().unwrap().next() else { return };
                    if catch_unwind(AssertUnwindSafe(|| check(scenario))).is_err() {
                        failed.lock().unwrap().push(scenario.name.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), scenarios.len());
}

#[test]
fn every_scenario_ends_as_it_is_told() {
    let rewrite = std::env::var("CORETEX_REWRITE").is_ok_and(|value| value == "1");
    let files = files::read();
    if rewrite {
        for file in files {
            let stories: Vec<String> =
                file.scenarios.iter().map(|scenario| play(scenario, Trouble::None).story).collect();
            files::rewrite(&file, &stories);
        }
        return;
    }
    let scenarios: Vec<Scenario> = files.into_iter().flat_map(|file| file.scenarios).collect();
    each(&scenarios, |scenario| {
        let story = play(scenario, Trouble::None).story;
        let expected = scenario.expect.trim();
        assert!(story.trim() == expected, "`{}`\n--- expected\n{expected}\n--- what happened\n{story}", scenario.name);
    });
}

/// What does not hang on time ends the same whatever goes wrong between.
fn ends_the_same(trouble: Trouble) {
    let scenarios: Vec<Scenario> = files::read().into_iter().flat_map(|file| file.scenarios).collect();
    each(&scenarios, |scenario| {
        let plain = play(scenario, Trouble::None);
        let other = play(scenario, trouble);
        assert!(
            plain.end == other.end || (scenario.races && trouble == Trouble::Crashes),
            "`{}` with {trouble:?}\n--- without\n{}\n--- with\n{}",
            scenario.name,
            plain.story,
            other.story
        );
    });
}

#[test]
fn a_crash_after_every_commit_changes_no_end() {
    ends_the_same(Trouble::Crashes);
}

#[test]
fn doubled_messages_change_no_end() {
    ends_the_same(Trouble::Doubles);
}

#[test]
fn there_are_enough_of_them_and_no_two_have_one_name() {
    let mut names: Vec<String> =
        files::read_all().iter().flat_map(|file| file.scenarios.iter().map(|scenario| scenario.name.clone())).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two scenarios have one name");
    assert!(count >= 150, "{count} scenarios");
}
