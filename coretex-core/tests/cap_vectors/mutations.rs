//! Random damage to the vectors: nothing panics, and what still decodes keeps its promises.
//!
//! `CAP_SEED=<number>` repeats a run; the seed is printed.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use coretex_core::protocol::{
    canonical::{self, schema::BUS_PACKET},
    envelope::{Envelope, Mode, RawJobRequest, Received},
    pointer::Pointer,
    signing::{self, production},
    wire::fields,
};

use crate::support::{bytes, rows};

const ROUNDS: usize = 60_000;
const TIME: Duration = Duration::from_secs(8);

/// A small generator (splitmix64), enough to choose damage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random, corpus: &[Vec<u8>]) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = random.next() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.next() as u8),
            3 => bytes.truncate(at),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                // A piece of another message, often a whole field.
                let other = &corpus[random.below(corpus.len())];
                let piece = fields(other).filter_map(Result::ok).nth(random.below(8)).map_or(&other[..0], |f| f.raw);
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let end = (at + random.below(16)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

fn exercise(bytes: &[u8], envelope: &Envelope) {
    if let Ok(encoded) = canonical::encode(&BUS_PACKET, bytes) {
        assert_eq!(canonical::encode(&BUS_PACKET, &encoded).unwrap(), encoded, "canonical bytes are stable");
    }
    let _ = canonical::has_unknown_fields(&BUS_PACKET, bytes);
    let _ = production::extract(bytes);
    if let Ok(split) = signing::split(bytes) {
        assert!(split.unsigned().len() <= bytes.len());
    }
    if let Ok(job) = RawJobRequest::decode(bytes.to_vec())
        && let Ok(edited) = job.edit(|job| job.topic.push('x'))
    {
        let again = RawJobRequest::decode(edited.raw().clone()).unwrap();
        assert_eq!(again.request(), edited.request(), "stored bytes say what was judged");
    }
    let Ok(received) = Received::decode(bytes.to_vec()) else {
        return;
    };
    let strict = received.validate(Mode::Strict);
    let tolerant = received.validate(Mode::Tolerant);
    assert!(strict.is_err() || tolerant.is_ok(), "tolerant accepts what strict does: {tolerant:?}");
    if let Err(broken) = tolerant {
        assert!(!broken.to_string().is_empty() && !broken.code().is_empty());
    }
    let _ = (received.unknown_payload(), signing::trust_digest(&received), format!("{:?}", received.packet()));
    let Some(job) = received.job_request() else {
        return;
    };
    let _ = Pointer::from_wire(&job.request().context_ptr);
    if let Ok(sent) = envelope.wrap(&job) {
        let again = Received::decode(sent).unwrap();
        assert_eq!(again.packet().job_request(), Some(job.request()), "the worker sees the job that was judged");
    }
}

#[test]
fn damaged_packets_never_panic_and_keep_their_promises() {
    let seed = std::env::var("CAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("cap"));
    eprintln!("CAP_SEED={seed}");
    let envelope = Envelope::new("trace-1", "sender-1", "2026-01-01T00:00:00Z".parse().unwrap());
    let mut corpus = Vec::new();
    for file in [
        "messages.json",
        "packets.json",
        "validation.json",
        "malformed.json",
        "signed.json",
        "trust.json",
        "production.json",
    ] {
        corpus.extend(rows(file, "vectors").iter().map(bytes).filter(|bytes| bytes.len() < 8192));
    }
    for bytes in &corpus {
        exercise(bytes, &envelope);
    }
    let mut random = Random(seed);
    let end = Instant::now() + TIME;
    for round in 0..ROUNDS {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        damage(&mut bytes, &mut random, &corpus);
        let run = std::panic::catch_unwind(|| exercise(&bytes, &envelope));
        if run.is_err() {
            panic!("CAP_SEED={seed} round {round}: {}", hex::encode(&bytes));
        }
        if Instant::now() > end {
            break;
        }
    }
}
