use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    job::{TenantId, WorkflowId},
    testing::Rng,
};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_893_456_000 + seconds).unwrap()
}

fn bucket() -> Bucket {
    let workflow = WorkflowId::parse("w").unwrap();
    Bucket::new(TenantId::default(), workflow, "t".into(), "k".into(), "me".into(), "1".into())
}

fn batch(max_items: u32) -> Rule {
    Rule { window: 10 * SECOND, gather: Gather::Batch { max_items } }
}

fn debounce(keep_first: bool) -> Rule {
    Rule { window: 10 * SECOND, gather: Gather::Debounce { max_wait: 25 * SECOND, keep_first } }
}

fn event(bucket: &mut Bucket, rule: &Rule, weight: u64, now: i64) -> Place {
    let input = BucketInput::Event { rule: rule.clone(), by: "me".into(), weight };
    let (next, place) = decide(bucket, input, at(now)).unwrap();
    *bucket = next;
    place.unwrap()
}

fn take(bucket: &mut Bucket, input: BucketInput, now: i64) {
    *bucket = decide(bucket, input, at(now)).unwrap().0;
}

#[test]
fn debounced_events_start_a_window_after_the_last() {
    let mut bucket = bucket();
    for (now, due) in [(0, 10), (8, 18), (16, 25), (24, 25)] {
        let place = event(&mut bucket, &debounce(false), 1, now);
        assert_eq!((place.generation, place.first_at, place.number), (0, at(0), Some(0)), "the last is kept");
        assert_eq!(bucket.wake(), Some(at(due)), "never later than the longest wait");
    }
    take(&mut bucket, BucketInput::Tick, 24);
    assert!(bucket.firing.is_empty());
    take(&mut bucket, BucketInput::Tick, 25);
    assert_eq!((bucket.firing[0].count, bucket.gathering.is_none()), (4, true));
    // The next one begins anew.
    assert_eq!(event(&mut bucket, &debounce(false), 1, 26).generation, 1);
}

#[test]
fn the_first_event_is_kept_where_that_is_asked() {
    let mut bucket = bucket();
    assert_eq!(event(&mut bucket, &debounce(true), 1, 0).number, Some(0));
    assert_eq!(event(&mut bucket, &debounce(true), 1, 1).number, None);
}

#[test]
fn a_batch_is_complete_when_it_is_full_or_old() {
    let mut bucket = bucket();
    let numbers: Vec<_> = (0..3).map(|now| event(&mut bucket, &batch(3), 1, now).number.unwrap()).collect();
    assert_eq!((numbers, bucket.firing[0].count), (vec![0, 1, 2], 3));
    assert_eq!(event(&mut bucket, &batch(3), 1, 5).generation, 1);
    assert_eq!(event(&mut bucket, &batch(3), 1, 9).first_at, at(5));
    // An event that comes when the batch is over goes to the next, although nobody has looked.
    assert_eq!(event(&mut bucket, &batch(3), 1, 15).generation, 2);
    assert_eq!(bucket.firing.iter().map(|firing| firing.count).collect::<Vec<_>>(), [3, 2]);
    take(&mut bucket, BucketInput::Flush, 15);
    assert_eq!((bucket.firing.len(), bucket.wake()), (3, Some(at(2))));
}

#[test]
fn what_one_run_cannot_be_given_goes_to_two() {
    let mut bucket = bucket();
    let places: Vec<_> =
        [400_000, 500_000, 400_000].map(|weight| event(&mut bucket, &batch(9), weight, 0).generation).into();
    assert_eq!(places, [0, 0, 1]);
    // So does what another kind of rule gathered.
    assert_eq!(event(&mut bucket, &debounce(false), 1, 0).generation, 2);
    assert_eq!(bucket.firing.iter().map(|firing| firing.is_batch).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn a_refused_run_is_tried_again_ever_later_and_holds_nobody_up() {
    let mut bucket = bucket();
    event(&mut bucket, &batch(1), 1, 0);
    let mut now = 0;
    for wait in [1, 2, 4, 8] {
        let refusal = Some(("run_input_invalid".into(), "no".into()));
        take(&mut bucket, BucketInput::Fired { generation: 0, refusal }, now);
        assert_eq!(bucket.wake(), Some(at(now + wait)));
        now += wait;
    }
    assert_eq!((bucket.firing[0].tries, bucket.firing[0].code.as_deref()), (4, Some("run_input_invalid")));
    event(&mut bucket, &batch(1), 1, now);
    take(&mut bucket, BucketInput::Fired { generation: 1, refusal: None }, now);
    take(&mut bucket, BucketInput::Fired { generation: 0, refusal: None }, now);
    assert!(bucket.is_empty() && bucket.wake().is_none());
    for n in 0..100 {
        event(&mut bucket, &batch(1), 1, n);
    }
    let input = BucketInput::Event { rule: batch(1), by: "me".into(), weight: 1 };
    assert_eq!(decide(&bucket, input, at(100)), Err(Backlog));
}

/// Every event is part of exactly one run, and no run has more than it may.
#[test]
fn no_event_is_lost_or_doubled() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let rule =
            if seed % 2 == 0 { batch(1 + u32::try_from(rng.below(5)).unwrap()) } else { debounce(seed % 3 == 0) };
        let (mut bucket, mut now, mut sent) = (bucket(), at(0), 0_u32);
        let mut ids = BTreeMap::new();
        let mut fired = 0;
        for _ in 0..200 {
            now += SignedDuration::from_secs(i64::try_from(rng.below(4)).unwrap());
            match rng.below(6) {
                0..3 => {
                    let input = BucketInput::Event { rule: rule.clone(), by: "me".into(), weight: 1_000 };
                    let Ok((next, place)) = decide(&bucket, input, now) else { continue };
                    let place = place.unwrap();
                    bucket = next;
                    sent += 1;
                    let id = bucket.run_id(place.generation, place.first_at).unwrap();
                    let known = ids.entry(place.generation).or_insert_with(|| id.clone());
                    assert_eq!(*known, id, "seed {seed}: one run for a generation");
                }
                3 => bucket = decide(&bucket, BucketInput::Tick, now).unwrap().0,
                4 if rng.chance(100) => bucket = decide(&bucket, BucketInput::Flush, now).unwrap().0,
                _ => {
                    if let Some(firing) = bucket.firing.front().cloned() {
                        assert_eq!(bucket.run_id(firing.generation, firing.first_at).unwrap(), ids[&firing.generation]);
                        fired += firing.count;
                        let input = BucketInput::Fired { generation: firing.generation, refusal: None };
                        bucket = decide(&bucket, input, now).unwrap().0;
                    }
                }
            }
            let open = bucket.gathering.as_ref().map_or(0, |gathering| gathering.count);
            assert_eq!(
                fired + open + bucket.firing.iter().map(|firing| firing.count).sum::<u32>(),
                sent,
                "seed {seed}"
            );
            if let Gather::Batch { max_items } = rule.gather {
                assert!(bucket.firing.iter().all(|firing| firing.count <= max_items), "seed {seed}");
            }
        }
    }
}
