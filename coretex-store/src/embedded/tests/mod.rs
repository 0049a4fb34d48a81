//! What the embedded store must survive.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use coretex_core::ports::{
    Batch, Condition, Expected, Key, Op, OpResult, Receipt, Store, StoreError, StoreErrorKind, SystemClock,
};

use super::{EmbeddedStore, Options};
use crate::disk::{Disk, SimDisk};

mod conformance;
mod damage;
mod faults;
mod opening;
mod power;

const DIR: &str = "/data";

/// Segments and memtables so small that a short history rotates and folds many times.
fn tiny() -> Options {
    Options {
        segment_bytes: 6 << 10,
        checkpoint_bytes: 24 << 10,
        memory_bytes: 8 << 10,
        fill_ahead_bytes: 2 << 10,
        cache_bytes: 1 << 20,
        ..Options::new(DIR)
    }
}

async fn open(disk: &SimDisk, options: Options) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open_on(options, Arc::new(disk.clone()), Arc::new(SystemClock)).await
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A history that can be checked however far it got.
///
/// Each lane appends to its own stream; the same batch sets the lane's value to the new head and adds one to a
/// common counter. So of every state it can be said whether batches are whole, in order, and none is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct History {
    lanes: Vec<Lane>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lane {
    /// Steps that were acknowledged.
    acknowledged: u64,
    /// Steps that were begun.
    begun: u64,
    /// The largest version that was given or seen.
    version: u64,
    /// The largest trim that was acknowledged, as a number of removed events, and the largest begun.
    trimmed: u64,
    trim_begun: u64,
}

fn event(lane: usize, number: u64) -> Bytes {
    let size = (number * 37 + lane as u64 * 11) % 300;
    Bytes::from(format!("{lane}/{number}/{}", "e".repeat(size as usize)))
}

fn names(lane: usize) -> (Key, Key) {
    (Key::from(format!("streams/{lane}")), Key::from(format!("heads/{lane}")))
}

/// The batch that is step `number` of `lane`.
fn step(lane: usize, number: u64, trim: u64) -> Batch {
    let (stream, value) = names(lane);
    let mut batch = Batch::new().append(stream.clone(), number - 1, vec![event(lane, number)]);
    batch = batch.put(value, number.to_string(), Condition::Always).add("count", 1, None);
    // Values that come and go.
    batch = batch.put_view(format!("side/{lane}/{}", number % 7), number.to_string());
    if number.is_multiple_of(3) {
        batch = batch.delete(format!("side/{lane}/{}", (number + 1) % 7), Condition::Always);
    }
    if trim > 0 {
        batch = batch.trim(stream, trim + 1);
    }
    batch
}

impl History {
    fn new(lanes: usize) -> Self {
        Self { lanes: vec![Lane::default(); lanes] }
    }
}

/// Drives all lanes at once until each has made `steps` more, or the store refuses. Gives the first refusal.
async fn drive(store: &EmbeddedStore, history: &Mutex<History>, steps: u64, seed: u64) -> Option<StoreError> {
    let count = history.lock().unwrap().lanes.len();
    let lanes = (0..count).map(|lane| async move {
        let mut dice = Dice(seed ^ lane as u64);
        let mut left = steps;
        while left > 0 {
            let size = (1 + dice.below(3)).min(left);
            left -= size;
            let (first, batches) = {
                let mut history = history.lock().unwrap();
                let lane_state = &mut history.lanes[lane];
                let first = lane_state.begun + 1;
                let batches: Vec<Batch> = (first..first + size)
                    .map(|number| {
                        let trim = if dice.below(9) == 0 { dice.below(number) } else { 0 };
                        lane_state.trim_begun = lane_state.trim_begun.max(trim);
                        step(lane, number, trim)
                    })
                    .collect();
                lane_state.begun += size;
                (first, batches)
            };
            let trims: Vec<u64> = batches.iter().map(trim_of).collect();
            for (i, answer) in store.commit(batches).await.into_iter().enumerate() {
                let receipt: Receipt = match answer {
                    Ok(receipt) => receipt,
                    Err(error) => return Some(error),
                };
                let mut history = history.lock().unwrap();
                let lane_state = &mut history.lanes[lane];
                lane_state.acknowledged = first + i as u64;
                lane_state.trimmed = lane_state.trimmed.max(trims[i]);
                assert_eq!(receipt.results[0], OpResult::Appended(first + i as u64));
                let OpResult::Written(version) = receipt.results[1] else { panic!("{receipt:?}") };
                assert!(version.0 > lane_state.version, "versions grow");
                lane_state.version = version.0;
            }
        }
        None
    });
    futures_join(lanes).await.into_iter().flatten().next()
}

fn trim_of(batch: &Batch) -> u64 {
    batch
        .ops()
        .iter()
        .find_map(|op| if let Op::Trim { before, .. } = op { Some(before - 1) } else { None })
        .unwrap_or(0)
}

/// Runs all at once in this task.
async fn futures_join<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = work.map(|work| (Box::pin(work), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (work, result) in &mut waiting {
            if result.is_none() {
                match work.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

/// Checks everything that is stored against what was acknowledged and begun, and takes it as the new truth. An
/// error of the store is given back; a lie is a panic.
async fn verify(store: &EmbeddedStore, history: &mut History, at: &str) -> Result<(), StoreError> {
    verify_from(store, history, at, true).await
}

/// [`verify`] for a history that is driven on.
async fn verify_shared(store: &EmbeddedStore, shared: &Mutex<History>, at: &str) -> Result<(), StoreError> {
    let mut history = shared.lock().unwrap().clone();
    let result = verify(store, &mut history, at).await;
    *shared.lock().unwrap() = history;
    result
}

/// [`verify`]; with `all` false, acknowledged steps may be missing from the end.
async fn verify_from(store: &EmbeddedStore, history: &mut History, at: &str, all: bool) -> Result<(), StoreError> {
    let mut sum = 0;
    for (lane, state) in history.lanes.iter_mut().enumerate() {
        let (stream, value) = names(lane);
        let mut from = 1;
        let mut first = None;
        let mut head;
        loop {
            let page = store.read(&stream, from, 7).await?;
            head = page.head;
            if page.events.is_empty() {
                break;
            }
            assert!(page.first >= from, "{at}: lane {lane}");
            assert!(first.is_none() || page.first == from, "{at}: lane {lane} has a gap at {from}");
            first.get_or_insert(page.first);
            for (i, stored) in page.events.iter().enumerate() {
                assert_eq!(*stored, event(lane, page.first + i as u64), "{at}: lane {lane}, event of another step");
            }
            from = page.first + page.events.len() as u64;
        }
        assert!(head == 0 || from == head + 1 || first.is_none(), "{at}: lane {lane} ends at {from}, head {head}");
        let trimmed = first.map_or(head, |first| first - 1);
        assert!(trimmed <= state.trim_begun.max(state.trimmed), "{at}: lane {lane} lost events below {trimmed}");
        assert!(head <= state.begun, "{at}: lane {lane} has steps nobody made");
        if all {
            assert!(trimmed >= state.trimmed, "{at}: lane {lane}: a trim came undone");
            assert!(head >= state.acknowledged, "{at}: lane {lane} lost {}..={}", head + 1, state.acknowledged);
        }
        let entry = store.get(&value).await?;
        let stored = entry.as_ref().map_or(0, |entry| String::from_utf8_lossy(&entry.value).parse().unwrap());
        assert_eq!(stored, head, "{at}: lane {lane}: half of a batch");
        let version = entry.map_or(0, |entry| entry.version.0);
        assert!(!all || version >= state.version, "{at}: lane {lane}: the version fell");
        for slot in 0..7 {
            let expected = (1..=head).rev().find_map(|number| {
                if number % 7 == slot {
                    return Some(Some(number));
                }
                (number.is_multiple_of(3) && (number + 1) % 7 == slot).then_some(None)
            });
            let entry = store.get(&Key::from(format!("side/{lane}/{slot}"))).await?;
            let stored = entry.map(|entry| String::from_utf8_lossy(&entry.value).parse::<u64>().unwrap());
            assert_eq!(stored, expected.flatten(), "{at}: lane {lane}, slot {slot}, head {head}");
        }
        sum += head;
        *state = Lane { acknowledged: head, begun: head, version, trimmed, trim_begun: trimmed };
    }
    let count = store.get(&Key::from("count")).await?;
    let count = count.map_or(0, |entry| String::from_utf8_lossy(&entry.value).parse().unwrap());
    assert_eq!(sum, count, "{at}: the counter disagrees with the streams");
    Ok(())
}

fn put(key: &str, value: &str) -> Batch {
    Batch::new().put(key, Bytes::copy_from_slice(value.as_bytes()), Condition::Always)
}
