//! How long jobs waited, as percentiles of the last five to ten minutes.

/// Buckets for each doubling: the error of a percentile is below a fifth.
const PER_OCTAVE: u32 = 4;
/// From a millisecond to longer than any wait bound.
const BUCKETS: usize = 33 * PER_OCTAVE as usize;
/// Length of a window, in microseconds.
const WINDOW: i64 = 300_000_000;

/// A histogram with buckets that grow by a factor, in a window and the one before.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    since: i64,
    now: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
}

impl Default for Waits {
    fn default() -> Self {
        Self { since: i64::MIN, now: Box::new([0; BUCKETS]), before: Box::new([0; BUCKETS]) }
    }
}

impl Waits {
    /// A job waited so long, in microseconds.
    pub(crate) fn observe(&mut self, waited: i64, now: i64) {
        self.roll(now);
        if let Some(count) = self.now.get_mut(bucket(waited)) {
            *count = count.saturating_add(1);
        }
    }

    /// The waits that the given parts of the jobs did not exceed, in microseconds; zero without jobs.
    pub(crate) fn percentiles<const N: usize>(&self, parts: [f64; N], now: i64) -> [i64; N] {
        let mut copy = self.clone();
        copy.roll(now);
        let counts = || copy.now.iter().zip(copy.before.iter()).map(|(a, b)| u64::from(*a) + u64::from(*b));
        let total: u64 = counts().sum();
        parts.map(|part| {
            let wanted = (total as f64 * part).ceil();
            let mut seen = 0.0;
            for (n, count) in counts().enumerate() {
                let count = count as f64;
                seen += count;
                if count > 0.0 && seen >= wanted {
                    return upper(n);
                }
            }
            0
        })
    }

    fn roll(&mut self, now: i64) {
        if self.since == i64::MIN {
            self.since = now;
        }
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.fill(0);
        if passed >= 2 * WINDOW {
            self.before.fill(0);
        }
        self.since = now;
    }
}

/// The bucket of a wait: 0 for less than a millisecond.
fn bucket(waited: i64) -> usize {
    let millis = u64::try_from(waited / 1_000).unwrap_or(0);
    let Some(octave) = millis.checked_ilog2() else { return 0 };
    // The two bits below the highest tell the quarter.
    let quarter = if octave >= 2 { (millis >> (octave - 2)) & 3 } else { (millis << (2 - octave)) & 3 };
    let n = u64::from(octave * PER_OCTAVE) + quarter + 1;
    usize::try_from(n).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest wait of a bucket, in microseconds.
fn upper(bucket: usize) -> i64 {
    let Some(n) = bucket.checked_sub(1) else { return 0 };
    let (octave, quarter) = (n / PER_OCTAVE as usize, n % PER_OCTAVE as usize);
    let base = 1_i64 << octave.min(40);
    let quarter = i64::try_from(quarter).unwrap_or(0);
    base.saturating_mul(1_000).saturating_mul(5 + quarter) / 4
}
