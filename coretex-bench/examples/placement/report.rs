//! What came of one strategy.

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) strategy: &'static str,
    pub(crate) seconds: f64,
    pub(crate) lost: usize,
    pub(crate) twice: usize,
    pub(crate) fenced: usize,
    pub(crate) lost_leases: usize,
    pub(crate) retried: usize,
    pub(crate) given_up: usize,
    pub(crate) outages: usize,
    pub(crate) loads: usize,
    pub(crate) cost: f64,
    /// Seconds from arrival to the first start, and to the result, by priority.
    waits: [Vec<f64>; 3],
    totals: [Vec<f64>; 3],
    busy: u64,
    slots: u64,
    /// Busy and all slots while jobs waited.
    pressed: (u64, u64),
    fairness: Vec<f64>,
}

impl Report {
    pub(crate) fn new(strategy: &'static str) -> Self {
        Self {
            strategy,
            seconds: 0.0,
            lost: 0,
            twice: 0,
            fenced: 0,
            lost_leases: 0,
            retried: 0,
            given_up: 0,
            outages: 0,
            loads: 0,
            cost: 0.0,
            waits: Default::default(),
            totals: Default::default(),
            busy: 0,
            slots: 0,
            pressed: (0, 0),
            fairness: Vec::new(),
        }
    }

    pub(crate) fn done(&mut self, priority: usize, waited: i64, total: i64) {
        for (list, value) in [(&mut self.waits, waited), (&mut self.totals, total)] {
            if let Some(list) = list.get_mut(priority) {
                list.push(value as f64 / 1e6);
            }
        }
    }

    pub(crate) fn sample(&mut self, busy: u32, slots: u32, waiting: usize) {
        self.busy += u64::from(busy);
        self.slots += u64::from(slots);
        if waiting > 0 {
            self.pressed.0 += u64::from(busy);
            self.pressed.1 += u64::from(slots);
        }
    }

    /// Jobs that each tenant was served in a window, of those that had some waiting all the time: Jain's index
    /// (Jain, Chiu and Hawe, 1984), 1 when all were served alike.
    pub(crate) fn window(&mut self, served: &[u32]) {
        let sum: f64 = served.iter().map(|n| f64::from(*n)).sum();
        // A window in which nothing of the kind was served says nothing about fairness.
        if served.len() < 2 || sum < 2.0 * served.len() as f64 {
            return;
        }
        let squares: f64 = served.iter().map(|n| f64::from(*n) * f64::from(*n)).sum();
        self.fairness.push(sum * sum / (served.len() as f64 * squares));
    }

    pub(crate) fn fairness(&self) -> (f64, usize) {
        let windows = self.fairness.len();
        (self.fairness.iter().sum::<f64>() / (windows as f64).max(1.0), windows)
    }

    pub(crate) fn utilisation(&self) -> f64 {
        self.busy as f64 / (self.slots as f64).max(1.0)
    }

    pub(crate) fn pressed(&self) -> f64 {
        self.pressed.0 as f64 / (self.pressed.1 as f64).max(1.0)
    }

    /// Seconds that so many of the jobs of a priority waited at most; of all jobs without one.
    pub(crate) fn wait(&self, part: f64, priority: Option<usize>) -> f64 {
        percentile(&self.waits, part, priority)
    }

    /// The same from arrival to result.
    pub(crate) fn total(&self, part: f64, priority: Option<usize>) -> f64 {
        percentile(&self.totals, part, priority)
    }

    pub(crate) fn header() -> String {
        format!(
            "{:<13} {:>7} {:>6} {:>8} {:>9} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>7} {:>6} {:>7}",
            "strategy",
            "virtual",
            "busy",
            "pressed",
            "fairness",
            "wait50",
            "wait95",
            "wait99",
            "total50",
            "total95",
            "crit.p99",
            "cost",
            "leases",
            "fenced"
        )
    }

    pub(crate) fn row(&self) -> String {
        let (fairness, windows) = self.fairness();
        format!(
            "{:<13} {:>5.0} s {:>4.0} % {:>6.1} % {:>5.3}/{:<3} {:>6.1} {:>6.1} {:>6.1} {:>8.1} {:>8.1} {:>8.2} {:>7.0} {:>6} {:>7}",
            self.strategy,
            self.seconds,
            self.utilisation() * 100.0,
            self.pressed() * 100.0,
            fairness,
            windows,
            self.wait(0.5, None),
            self.wait(0.95, None),
            self.wait(0.99, None),
            self.total(0.5, None),
            self.total(0.95, None),
            self.wait(0.99, Some(0)),
            self.cost,
            self.lost_leases,
            self.fenced,
        )
    }
}

fn percentile(lists: &[Vec<f64>; 3], part: f64, priority: Option<usize>) -> f64 {
    let wanted = |n: &usize| priority.is_none_or(|priority| priority == *n);
    let mut all: Vec<f64> =
        lists.iter().enumerate().filter(|(n, _)| wanted(n)).flat_map(|(_, list)| list).copied().collect();
    all.sort_by(f64::total_cmp);
    let at = (all.len() as f64 * part) as usize;
    all.get(at.min(all.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
