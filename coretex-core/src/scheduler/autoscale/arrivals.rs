//! How fast jobs arrive, and how that changes.

/// Length of a bucket, in microseconds.
const BUCKET: i64 = 10_000_000;
/// Smoothing of the level and of the trend.
const ALPHA: f64 = 0.3;
const BETA: f64 = 0.1;
/// Empty buckets after which everything is forgotten: by then the level is below a thousandth.
const FORGET: i64 = 30;

/// Arrivals by Holt's linear smoothing (Holt, 1957): a level and a trend, brought forward every ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Arrivals {
    bucket: i64,
    count: u32,
    /// Jobs in a bucket.
    level: f64,
    trend: f64,
    begun: bool,
}

impl Arrivals {
    /// A job arrives.
    pub(crate) fn arrive(&mut self, now: i64) {
        self.roll(now);
        self.count = self.count.saturating_add(1);
    }

    /// Jobs a second now and `horizon` microseconds from now; never below zero.
    pub(crate) fn rates(&self, now: i64, horizon: i64) -> (f64, f64) {
        let mut copy = *self;
        copy.roll(now);
        let (length, steps) = (BUCKET as f64 / 1e6, horizon as f64 / BUCKET as f64);
        let now = (copy.level / length).max(0.0);
        // A trend goes on no further than it has come: the prediction is at most twice what is.
        let then = ((copy.level + copy.trend * steps) / length).clamp(0.0, now * 2.0);
        (now, then)
    }

    fn roll(&mut self, now: i64) {
        let bucket = now.div_euclid(BUCKET);
        if !self.begun {
            *self = Self { bucket, begun: true, ..Self::default() };
            return;
        }
        if bucket - self.bucket > FORGET {
            *self = Self { bucket, begun: true, ..Self::default() };
            return;
        }
        while self.bucket < bucket {
            let before = self.level;
            self.level = ALPHA * f64::from(self.count) + (1.0 - ALPHA) * (self.level + self.trend);
            self.trend = BETA * (self.level - before) + (1.0 - BETA) * self.trend;
            self.level = self.level.max(0.0);
            self.count = 0;
            self.bucket += 1;
        }
    }
}
