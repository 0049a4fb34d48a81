//! What happens, whoever places: jobs, workers, crashes. Made once from a seed.

/// Tenants; the first sends as much as the last fifty.
pub(crate) const TENANTS: usize = 50;
/// Kinds of work and how much a job of each needs, in seconds on a worker of speed 1.
pub(crate) const TOPICS: [(&str, f64); 3] = [("job.llm.big", 7.0), ("job.llm.small", 1.5), ("job.tool.call", 0.8)];
/// What loading an adapter adds, in seconds.
pub(crate) const ADAPTER_LOAD: f64 = 2.0;

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Above 0, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Exponential, with this mean.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    /// Log-normal, with mean 1.
    fn spread(&mut self) -> f64 {
        const SIGMA: f64 = 0.6;
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (SIGMA * normal - SIGMA * SIGMA / 2.0).exp()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TraceJob {
    /// Seconds from the beginning.
    pub(crate) at: f64,
    pub(crate) topic: usize,
    pub(crate) tenant: usize,
    /// 0 critical, 1 interactive, 2 batch.
    pub(crate) priority: usize,
    /// Seconds of work on a worker of speed 1.
    pub(crate) work: f64,
    pub(crate) adapter: Option<usize>,
    /// How often it fails by itself before it succeeds.
    pub(crate) failures: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct TraceWorker {
    pub(crate) slots: u32,
    /// How fast it is, by topic.
    pub(crate) speed: [f64; TOPICS.len()],
    /// What a second costs.
    pub(crate) price: f64,
    /// When it stops, for how long, and whether it only freezes: its results then come late.
    pub(crate) outages: Vec<(f64, f64, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) jobs: Vec<TraceJob>,
    pub(crate) workers: Vec<TraceWorker>,
}

impl Trace {
    pub(crate) fn new(seed: u64, jobs: usize) -> Self {
        let mut random = Random::new(seed);
        let workers: Vec<TraceWorker> = (0..200).map(|n| worker(n, &mut random)).collect();
        // Slots times speed, by the time that an average job takes.
        let mix = [0.2, 0.4, 0.4];
        let seconds = |worker: &TraceWorker| -> f64 {
            TOPICS.iter().zip(mix).zip(worker.speed).map(|(((_, work), part), speed)| part * work / speed).sum()
        };
        let capacity: f64 = workers.iter().map(|worker| f64::from(worker.slots) / seconds(worker)).sum();
        let mut at = 0.0;
        let jobs = (0..jobs)
            .map(|n| {
                // From 45 % to 97 % of what all workers can do, and back, three times; some are always down.
                let phase = n as f64 / jobs as f64 * 3.0 * std::f64::consts::TAU;
                at += random.wait(1.0 / (capacity * (0.71 - 0.26 * phase.cos())));
                job(at, &mut random)
            })
            .collect();
        Self { jobs, workers }
    }
}

fn job(at: f64, random: &mut Random) -> TraceJob {
    let pick = random.unit();
    let topic = usize::from(pick >= 0.2) + usize::from(pick >= 0.6);
    let (_, work) = TOPICS.get(topic).copied().unwrap_or(("", 1.0));
    // Of every two jobs one is of one of eight tenants.
    let tenant = if random.unit() < 0.5 { random.below(8) } else { random.below(TENANTS) };
    let pick = random.unit();
    TraceJob {
        at,
        topic,
        tenant,
        priority: usize::from(pick >= 0.1) + usize::from(pick >= 0.35),
        work: work * random.spread(),
        adapter: (topic < 2 && random.unit() < 0.5).then(|| random.below(40)),
        failures: u32::from(random.unit() < 0.02),
    }
}

fn worker(n: usize, random: &mut Random) -> TraceWorker {
    // A third is fast and dear, a third is cheap and slow; half of each is good at large models only.
    let (speed, price) = [(2.0, 4.0), (1.0, 1.5), (0.5, 0.5)].get(n % 3).copied().unwrap_or((1.0, 1.0));
    let lean = if n.is_multiple_of(2) { [1.5, 0.8, 0.7] } else { [0.6, 1.1, 1.2] };
    let mut outages = Vec::new();
    let mut at = random.wait(600.0);
    while at < 3_000.0 {
        let length = 20.0 + random.wait(60.0);
        outages.push((at, length, random.unit() < 0.4));
        at += length + 30.0 + random.wait(600.0);
    }
    TraceWorker { slots: 1 + random.below(4) as u32, speed: lean.map(|lean| lean * speed), price, outages }
}
