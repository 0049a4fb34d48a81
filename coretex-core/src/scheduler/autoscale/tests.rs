use std::time::Duration;

use super::*;

const SECOND: i64 = 1_000_000;

fn seen(backlog: usize, running: u32, workers: u32) -> PoolNow {
    PoolNow { backlog, running, slots: workers * 2, workers }
}

#[test]
fn desired_workers_follow_the_rule() {
    let rule = ScaleRule { slots: 2, max_workers: 50, ..ScaleRule::default() };
    for (name, seen, arrivals, seconds, expected) in [
        ("nothing at all", seen(0, 0, 0), 0.0, 1.0, 0),
        ("one job from zero", seen(1, 0, 0), 0.0, 1.0, 1),
        ("8 slots busy at 80 %: 5 workers of 2", seen(0, 4, 3), 8.0, 1.0, 5),
        ("600 jobs of 2 s in 60 s: 20 slots, 12.5 workers", seen(600, 0, 0), 0.0, 2.0, 13),
        ("both", seen(600, 4, 3), 8.0, 2.0, 23),
        ("what runs is not taken away", seen(0, 20, 10), 0.0, 1.0, 10),
    ] {
        assert_eq!(need(seen, arrivals, seconds, &rule), expected, "{name}");
    }
}

#[test]
fn a_pool_grows_at_once_and_shrinks_when_fewer_have_done_for_long() {
    let rule = ScaleRule { min_workers: 1, max_workers: 10, ..ScaleRule::default() };
    let mut meter = Meter::default();
    let mut desired = |second: i64, running: u32| meter.read("p", seen(0, running, 8), &rule, second * SECOND).desired;
    assert_eq!(desired(0, 4), 2);
    assert_eq!(desired(10, 16), 8, "at once");
    assert_eq!(desired(20, 12), 8);
    assert_eq!(desired(309, 2), 8, "for five minutes after it was needed");
    assert_eq!(desired(311, 2), 6, "then what was needed since");
    assert_eq!(desired(321, 2), 1);
    assert_eq!(desired(700, 0), 1, "never below the least");
    assert_eq!(desired(701, 40), 10, "never above the most");
}

#[test]
fn arrivals_are_predicted_by_their_trend_and_no_further_than_twice() {
    let mut arrivals = Arrivals::default();
    for bucket in 0..60 {
        for _ in 0..bucket * 10 {
            arrivals.arrive(bucket * 10 * SECOND);
        }
    }
    let (now, then) = arrivals.rates(600 * SECOND, 60 * SECOND);
    assert!((45.0..60.0).contains(&now), "about 59 a second: {now}");
    assert!(then > now + 3.0 && then <= 2.0 * now, "it grows by one each ten seconds: {now}, {then}");
    let (later, predicted) = arrivals.rates(620 * SECOND, 60 * SECOND);
    assert!(later < now && predicted < then, "silence counts");
    assert_eq!(arrivals.rates(10_000 * SECOND, 60 * SECOND), (0.0, 0.0));
}

#[test]
fn wait_percentiles_are_within_a_bucket_and_forget() {
    let mut waits = Waits::default();
    assert_eq!(waits.percentiles([0.5], 0), [0]);
    for millis in 1..=1_000_i64 {
        waits.observe(millis * 1_000, 0);
    }
    let exact = [500_000, 950_000, 990_000];
    for (found, exact) in waits.percentiles([0.5, 0.95, 0.99], SECOND).into_iter().zip(exact) {
        assert!((exact..exact * 5 / 4).contains(&found), "{found} for {exact}");
    }
    waits.observe(i64::MAX, SECOND);
    assert_ne!(waits.percentiles([0.5], 599 * SECOND), [0]);
    assert_eq!(waits.percentiles([0.5, 1.0], 601 * SECOND), [0, 0], "after ten minutes");
}

#[test]
fn signals_say_what_is_there() {
    let mut meter = Meter::default();
    meter.took(Duration::from_millis(500));
    meter.waited(2 * SECOND, 0);
    (0..100).for_each(|_| meter.arrived(5 * SECOND));
    let signals = meter.read("p", seen(7, 3, 2), &ScaleRule::default(), 11 * SECOND);
    assert_eq!((signals.backlog, signals.running, signals.slots, signals.workers), (7, 3, 4, 2));
    assert_eq!((signals.utilisation, signals.job_seconds), (0.75, 0.5));
    assert!(signals.arrivals > 1.0 && signals.wait_p50 >= 2.0 && signals.desired >= 2, "{signals:?}");
    assert_eq!(meter.read("p", seen(1, 0, 0), &ScaleRule::default(), 12 * SECOND).utilisation, 1.0);
}
