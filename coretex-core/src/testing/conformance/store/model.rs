//! A random history, applied to the adapter and to a model too simple to be wrong.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::ports::{Expected, Scan, WriteClass, counter_after};

/// Numbers from a seed (xorshift64*), so that a failing history can be replayed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone, Default)]
struct Model {
    values: BTreeMap<String, Value>,
    streams: BTreeMap<String, (u64, Vec<Bytes>)>,
}

/// The version is what the adapter gave; `None` when it has not told (after an addition).
#[derive(Clone)]
struct Value {
    bytes: Bytes,
    version: Option<Version>,
    expires: bool,
}

impl Model {
    fn holds(&self, key: &Key, condition: Condition) -> bool {
        match (condition, self.values.get(key.as_str())) {
            (Condition::Always, _) | (Condition::Absent, None) => true,
            (Condition::Version(wanted), Some(value)) => value.version == Some(wanted),
            _ => false,
        }
    }

    /// Applies what is legal and gives what the adapter should answer, versions apart.
    fn apply(&mut self, op: &Op) -> Result<OpResult, StoreErrorKind> {
        let conflict = Err(StoreErrorKind::Conflict);
        match op {
            Op::Require { key, condition } if self.holds(key, *condition) => Ok(OpResult::Done),
            Op::Put { key, value, condition, .. } if self.holds(key, *condition) => {
                let value = Value { bytes: value.clone(), version: None, expires: false };
                self.values.insert(key.to_string(), value);
                Ok(OpResult::Written(Version(0)))
            }
            Op::Delete { key, condition, .. } if self.holds(key, *condition) => {
                self.values.remove(key.as_str());
                Ok(OpResult::Done)
            }
            Op::Add { key, delta, ceiling } => {
                let old = self.values.get(key.as_str());
                let sum = counter_after(key, old.map(|value| &value.bytes[..]), *delta, *ceiling)
                    .map_err(|error| error.kind())?;
                let expires = old.is_some_and(|value| value.expires);
                self.values.insert(key.to_string(), Value { bytes: bytes(&sum.to_string()), version: None, expires });
                Ok(OpResult::Added(sum))
            }
            Op::Expire { key, after } => match self.values.get_mut(key.as_str()) {
                Some(_) if after.is_zero() => {
                    self.values.remove(key.as_str());
                    Ok(OpResult::Done)
                }
                Some(value) => {
                    value.expires = true;
                    Ok(OpResult::Done)
                }
                None => conflict,
            },
            Op::Append { stream, expected, events } => {
                let head = self.streams.get(stream.as_str()).map_or(0, |(trimmed, kept)| trimmed + kept.len() as u64);
                if *expected != Expected::Any && *expected != Expected::Head(head) {
                    return conflict;
                }
                self.streams.entry(stream.to_string()).or_default().1.extend(events.iter().cloned());
                Ok(OpResult::Appended(head + events.len() as u64))
            }
            Op::Trim { stream, before } => {
                if let Some((trimmed, kept)) = self.streams.get_mut(stream.as_str()) {
                    while *trimmed + 1 < *before && !kept.is_empty() {
                        kept.remove(0);
                        *trimmed += 1;
                    }
                }
                Ok(OpResult::Done)
            }
            _ => conflict,
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Vec<OpResult>, StoreErrorKind> {
        let mut next = self.clone();
        let results = batch.ops().iter().map(|op| next.apply(op)).collect::<Result<_, _>>()?;
        *self = next;
        Ok(results)
    }
}

fn key(dice: &mut Dice) -> Key {
    Key::from(["t/a", "t/b", "t/b/1", "t/b/2", "t/c", "t/ü", "u/a", "u/n"][dice.below(8) as usize])
}

fn op(dice: &mut Dice, model: &Model) -> Op {
    let key = key(dice);
    let condition = match dice.below(5) {
        0 => ABSENT,
        1 | 2 => match model.values.get(key.as_str()).and_then(|value| value.version) {
            Some(version) => Condition::Version(version),
            None => ABSENT,
        },
        _ => ALWAYS,
    };
    let class = if dice.below(2) == 0 { WriteClass::Exact } else { WriteClass::View };
    match dice.below(12) {
        0 => Op::Require { key, condition },
        1..=3 => Op::Put { key, value: bytes(&dice.below(1000).to_string()), condition, class },
        4 => Op::Delete { key, condition, class },
        5 | 6 => {
            Op::Add { key, delta: dice.below(200).cast_signed() - 60, ceiling: (dice.below(2) == 0).then_some(500) }
        }
        7 => Op::Expire { key, after: Duration::from_secs(if dice.below(4) == 0 { 0 } else { 86_400 }) },
        8 => Op::Trim { stream: key, before: dice.below(30) },
        _ => {
            let head = model.streams.get(key.as_str()).map_or(0, |(trimmed, kept)| trimmed + kept.len() as u64);
            let expected = match dice.below(8) {
                0 => Expected::Head(head + 1),
                1..=4 => Expected::Head(head),
                _ => Expected::Any,
            };
            let events = (0..=dice.below(3)).map(|_| bytes(&"e".repeat(dice.below(40) as usize))).collect();
            Op::Append { stream: key, expected, events }
        }
    }
}

/// A thousand random batches in random groups: every answer, value, version and stream agrees with the model.
pub async fn a_random_history_agrees_with_the_model(f: Fixture) {
    let started = f.store.now().await.unwrap();
    let seed = std::env::var("CORETEX_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(started.subsec_nanosecond().unsigned_abs()));
    println!("CORETEX_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let mut model = Model::default();
    let mut highest: BTreeMap<String, Version> = BTreeMap::new();
    for round in 0..300 {
        let group: Vec<Batch> = (0..=dice.below(6))
            .map(|_| {
                let mut batch = Batch::new();
                for _ in 0..dice.below(6) {
                    batch.push(op(&mut dice, &model));
                }
                batch
            })
            .collect();
        let answers = f.store.commit(group.clone()).await;
        assert_eq!(answers.len(), group.len());
        for (batch, answer) in group.iter().zip(answers) {
            let expected = model.commit(batch);
            let answer = answer.map(|receipt| receipt.results).map_err(|error| error.kind());
            if let (Ok(results), Ok(_)) = (&answer, &expected) {
                for (op, result) in batch.ops().iter().zip(results) {
                    let (Op::Put { key, .. }, OpResult::Written(version)) = (op, result) else { continue };
                    let last = highest.insert(key.to_string(), *version);
                    assert!(
                        last < Some(*version),
                        "seed {seed}, round {round}: {key} went from {last:?} to {version:?}"
                    );
                }
            }
            let plain = answer.map(|results| results.into_iter().map(without_version).collect());
            assert_eq!(plain, expected, "seed {seed}, round {round}: {batch:?}");
        }
        compare(&f, &mut model, &mut highest, &format!("seed {seed}, round {round}")).await;
    }
}

fn without_version(result: OpResult) -> OpResult {
    match result {
        OpResult::Written(_) => OpResult::Written(Version(0)),
        other => other,
    }
}

async fn compare(f: &Fixture, model: &mut Model, highest: &mut BTreeMap<String, Version>, at: &str) {
    let page = f.store.scan(Scan::prefix("")).await.unwrap();
    let stored: Vec<_> =
        page.entries.iter().map(|e| (e.key.as_str(), e.value.clone(), e.expires_at.is_some())).collect();
    let expected: Vec<_> = model.values.iter().map(|(k, v)| (k.as_str(), v.bytes.clone(), v.expires)).collect();
    assert_eq!(stored, expected, "{at}");
    let mut backwards = f.store.scan(Scan::prefix("").reverse()).await.unwrap().entries;
    backwards.reverse();
    assert_eq!(page.entries, backwards, "{at}: both directions show the same");
    for entry in page.entries {
        assert_eq!(f.store.get(&entry.key).await.unwrap().as_ref(), Some(&entry), "{at}: scan and get agree");
        let Some(value) = model.values.get_mut(entry.key.as_str()) else { continue };
        if let Some(version) = value.version {
            assert_eq!(entry.version, version, "{at}: {} changed its version without a write", entry.key);
        }
        value.version = Some(entry.version);
        let last = highest.insert(entry.key.to_string(), entry.version);
        assert!(last <= Some(entry.version), "{at}: the version of {} fell", entry.key);
    }
    for (stream, (trimmed, kept)) in &model.streams {
        let page = f.store.read(&Key::from(stream.as_str()), 1, 10_000).await.unwrap();
        assert_eq!(page.head, trimmed + kept.len() as u64, "{at}: head of {stream}");
        assert_eq!(&page.events, kept, "{at}: events of {stream}");
        if !kept.is_empty() {
            assert_eq!(page.first, trimmed + 1, "{at}: first event of {stream}");
        }
    }
}
