//! What one durable step costs: the measurement behind ADR 0003.
//!
//! 64 tasks append one event of 400 bytes each, wait until it is durable, and go on; one writer thread commits what
//! has gathered. The same harness drives the raw file, redb alone, a journal with redb as a materialised view behind
//! it, and the store that was built; raw limits are taken in the same run, because only ratios travel.
//!
//! ```text
//! cargo bench -p coretex-store --features testing --bench engines -- [seconds] [directory]
//! ```
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring program stops at the first surprise"
)]

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;

use coretex_core::ports::{Batch, Condition, Key, Store, SystemClock, memory::MemoryStore};
use coretex_store::disk::{Disk, DiskFile, DiskLock, Fault, RealDisk, RedbFile, SimDisk};
use coretex_store::embedded::{EmbeddedStore, Options};
use redb::{Database, TableDefinition};
use tokio::sync::oneshot;

const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
const CHUNKS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("chunks");
const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
const TASKS: usize = 64;
const RUNS_PER_TASK: u64 = 50;
const EVENT: usize = 400;
const SNAPSHOT: usize = 1024;
const CHECKPOINT: usize = 16 << 20;

/// One step: a stream, the number of the event, the event.
type Step = (Arc<str>, u64, Bytes);

trait Engine: Send + 'static {
    /// Makes a group durable.
    fn commit(&mut self, group: &[Step]) -> io::Result<()>;
}

/// Counts what reaches the disk.
#[derive(Clone, Debug)]
struct Counted {
    disk: Arc<dyn Disk>,
    syncs: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Counted {
    fn new(disk: impl Disk) -> Self {
        Self { disk: Arc::new(disk), syncs: Arc::default(), bytes: Arc::default() }
    }
}

impl Disk for Counted {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        Ok(Box::new(CountedFile { file, syncs: self.syncs.clone(), bytes: self.bytes.clone() }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn DiskFile>,
    syncs: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl DiskFile for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(out, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }
}

/// The limit: append the bytes and sync. With `ahead`, the file is filled with zeros in pieces of that size before
/// it is needed, so that a sync need not change the length.
struct Raw {
    file: Box<dyn DiskFile>,
    end: u64,
    filled: u64,
    ahead: u64,
    buffer: Vec<u8>,
}

impl Raw {
    fn new(disk: &dyn Disk, dir: &Path, ahead: u64) -> Self {
        let file = disk.open(&dir.join("raw"), true).unwrap();
        Self { file, end: 0, filled: 0, ahead, buffer: vec![] }
    }

    fn append(&mut self) -> io::Result<()> {
        let end = self.end + self.buffer.len() as u64;
        if self.ahead > 0 && end > self.filled {
            let zeros = vec![0; self.ahead as usize];
            while end > self.filled {
                self.file.write_at(&zeros, self.filled)?;
                self.filled += self.ahead;
            }
        }
        self.file.write_at(&self.buffer, self.end)?;
        self.end = end;
        self.buffer.clear();
        self.file.sync_data()
    }
}

impl Engine for Raw {
    fn commit(&mut self, group: &[Step]) -> io::Result<()> {
        for (_, _, event) in group {
            self.buffer.extend_from_slice(event);
        }
        self.append()
    }
}

/// redb alone: every event a row; snapshots of the touched runs every 50 ms in the same transaction.
struct RedbAlone {
    db: Database,
    touched: HashMap<Arc<str>, u64>,
    last: Instant,
}

fn open_redb(disk: &dyn Disk, dir: &Path) -> io::Result<Database> {
    let file = disk.open(&dir.join("base.redb"), true)?;
    let db = Database::builder().set_cache_size(64 << 20).create_with_backend(RedbFile::new(file));
    let db = db.map_err(io::Error::other)?;
    disk.sync_dir(dir)?;
    Ok(db)
}

impl RedbAlone {
    fn new(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        Ok(Self { db: open_redb(disk, dir)?, touched: HashMap::new(), last: Instant::now() })
    }
}

impl Engine for RedbAlone {
    fn commit(&mut self, group: &[Step]) -> io::Result<()> {
        let other = io::Error::other::<redb::Error>;
        let txn = self.db.begin_write().map_err(|error| other(error.into()))?;
        {
            let mut events = txn.open_table(EVENTS).map_err(|error| other(error.into()))?;
            for (run, seq, event) in group {
                events.insert((&**run, *seq), &event[..]).map_err(|error| other(error.into()))?;
                self.touched.insert(run.clone(), *seq);
            }
            if self.last.elapsed() > Duration::from_millis(50) {
                self.last = Instant::now();
                let mut snapshots = txn.open_table(SNAPSHOTS).map_err(|error| other(error.into()))?;
                for (run, _) in self.touched.drain() {
                    snapshots.insert(&*run, &[7; SNAPSHOT][..]).map_err(|error| other(error.into()))?;
                }
            }
        }
        txn.commit().map_err(|error| other(error.into()))
    }
}

/// The number of the first event of each run, and the events since.
type Gathered = HashMap<Arc<str>, (u64, Vec<Bytes>)>;

/// The sketch that was measured before the store was built: checksummed groups in a journal, events gathered in
/// memory, every 16 MiB written to redb as one chunk per run by another thread.
struct Journal {
    raw: Raw,
    memory: Gathered,
    size: usize,
    checkpoints: Option<mpsc::SyncSender<Gathered>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    fn new(disk: &dyn Disk, dir: &Path) -> Self {
        let db = open_redb(disk, dir).unwrap();
        let (checkpoints, jobs) = mpsc::sync_channel::<Gathered>(0);
        let thread = thread::spawn(move || {
            for frozen in jobs {
                let txn = db.begin_write().unwrap();
                {
                    let mut chunks = txn.open_table(CHUNKS).unwrap();
                    let mut snapshots = txn.open_table(SNAPSHOTS).unwrap();
                    let mut runs: Vec<_> = frozen.into_iter().collect();
                    runs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                    for (run, (first, events)) in runs {
                        let mut chunk = Vec::with_capacity(events.len() * (EVENT + 4));
                        for event in events {
                            chunk.extend_from_slice(&(event.len() as u32).to_le_bytes());
                            chunk.extend_from_slice(&event);
                        }
                        chunks.insert((&*run, first), &chunk[..]).unwrap();
                        snapshots.insert(&*run, &[7; SNAPSHOT][..]).unwrap();
                    }
                }
                txn.commit().unwrap();
            }
        });
        let raw = Raw::new(disk, dir, 0);
        Self { raw, memory: HashMap::new(), size: 0, checkpoints: Some(checkpoints), thread: Some(thread) }
    }
}

impl Engine for Journal {
    fn commit(&mut self, group: &[Step]) -> io::Result<()> {
        let buffer = &mut self.raw.buffer;
        buffer.extend_from_slice(&[0; 16]);
        for (run, seq, event) in group {
            buffer.extend_from_slice(&(run.len() as u16).to_le_bytes());
            buffer.extend_from_slice(run.as_bytes());
            buffer.extend_from_slice(&seq.to_le_bytes());
            buffer.extend_from_slice(&(event.len() as u32).to_le_bytes());
            buffer.extend_from_slice(event);
        }
        let sum = crc32fast::hash(&buffer[16..]);
        let len = buffer.len() as u32;
        buffer[..4].copy_from_slice(&len.to_le_bytes());
        buffer[4..8].copy_from_slice(&sum.to_le_bytes());
        self.raw.append()?;
        for (run, seq, event) in group {
            self.size += event.len() + 64;
            let events = self.memory.entry(run.clone()).or_insert_with(|| (*seq, vec![]));
            events.1.push(Bytes::copy_from_slice(event));
        }
        if self.size > CHECKPOINT {
            self.size = 0;
            self.checkpoints.as_ref().unwrap().send(std::mem::take(&mut self.memory)).unwrap();
        }
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.checkpoints.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// User and system time of this process, from the kernel's own accounting (ticks of 10 ms).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((field(11) + field(12)) * 10)
}

struct Line {
    steps: u64,
    elapsed: Duration,
    cpu: Duration,
    syncs: u64,
    bytes: u64,
    p50: Duration,
    p99: Duration,
}

impl Line {
    fn rate(&self) -> f64 {
        self.steps as f64 / self.elapsed.as_secs_f64()
    }

    fn print(&self, name: &str, raw: f64) {
        println!(
            "{name:<34} {:>8.0} steps/s {:>5.2} of raw {:>6.2} cpu us/step {:>6.0} syncs/s {:>5.1} steps/sync p50 {:>6.2} ms p99 {:>6.2} ms {:>5.0} B/step",
            self.rate(),
            self.rate() / raw,
            self.cpu.as_secs_f64() * 1e6 / self.steps as f64,
            self.syncs as f64 / self.elapsed.as_secs_f64(),
            self.steps as f64 / self.syncs.max(1) as f64,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.bytes as f64 / self.steps as f64,
        );
    }
}

/// Runs 64 tasks for `time` with `step`, which makes one event durable.
fn measure<F, Fut>(time: Duration, counted: &Counted, step: F) -> Line
where
    F: Fn(Arc<str>, u64, Bytes) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (cpu_before, syncs, bytes) =
        (cpu(), counted.syncs.load(Ordering::Relaxed), counted.bytes.load(Ordering::Relaxed));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (step, stop) = (step.clone(), stop.clone());
            runtime.spawn(async move {
                let mut latencies = vec![];
                let mut seqs = [0u64; RUNS_PER_TASK as usize];
                let names: Vec<Arc<str>> =
                    (0..RUNS_PER_TASK).map(|run| Arc::from(format!("runs/0192f3a1-{task:04}-{run:08}"))).collect();
                let mut i = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let run = i % names.len();
                    i += 1;
                    // A fresh buffer per step, as a serialiser makes it.
                    let event = Bytes::from(vec![b'e'; EVENT]);
                    let start = Instant::now();
                    step(names[run].clone(), seqs[run], event).await;
                    latencies.push(start.elapsed());
                    seqs[run] += 1;
                }
                latencies
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<Duration> = runtime.block_on(async {
        let mut all = vec![];
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Line {
        steps: latencies.len() as u64,
        elapsed,
        cpu: cpu() - cpu_before,
        syncs: counted.syncs.load(Ordering::Relaxed) - syncs,
        bytes: counted.bytes.load(Ordering::Relaxed) - bytes,
        p50: at(0.5),
        p99: at(0.99),
    }
}

/// The harness around an engine: a bounded channel, one writer thread, one answer per step.
fn measure_engine(time: Duration, counted: &Counted, mut engine: impl Engine) -> Line {
    let (sender, receiver) = mpsc::sync_channel::<(Step, oneshot::Sender<()>)>(4096);
    let writer = thread::spawn(move || {
        let (mut group, mut waiting) = (vec![], vec![]);
        while let Ok((step, answer)) = receiver.recv() {
            group.push(step);
            waiting.push(answer);
            while let Ok((step, answer)) = receiver.try_recv() {
                group.push(step);
                waiting.push(answer);
            }
            engine.commit(&group).unwrap();
            group.clear();
            for answer in waiting.drain(..) {
                let _ = answer.send(());
            }
        }
        engine
    });
    let line = measure(time, counted, move |run, seq, event| {
        let sender = sender.clone();
        async move {
            let (answer, done) = oneshot::channel();
            sender.send(((run, seq, event), answer)).unwrap();
            done.await.unwrap();
        }
    });
    drop(writer.join().unwrap());
    line
}

/// Through the port, as the runtime uses it.
fn measure_store(time: Duration, counted: &Counted, store: Arc<dyn Store>) -> Line {
    measure(time, counted, move |run, seq, event| {
        let store = store.clone();
        async move {
            let batch = Batch::new().append(Key::new(run), seq, vec![event]);
            store.commit(vec![batch]).await.remove(0).unwrap();
        }
    })
}

/// Appends to redb alone on a simulated disk, cuts the power, and counts what was acknowledged and lost.
fn power_cuts_on_redb(cuts: u64) -> (u64, u64) {
    let (mut acknowledged, mut lost) = (0, 0);
    for seed in 0..cuts {
        let disk = SimDisk::new(seed);
        let dir = Path::new("/data");
        drop(RedbAlone::new(&disk, dir).unwrap());
        disk.fault_at(disk.stats().ops + 1 + seed * 7 % 300, Fault::PowerCut);
        let mut acked = 0;
        if let Ok(mut engine) = RedbAlone::new(&disk, dir) {
            for seq in 0.. {
                let group: Vec<Step> = (0..8).map(|i| (format!("r{i}").into(), seq, vec![1; EVENT].into())).collect();
                if engine.commit(&group).is_err() {
                    break;
                }
                acked = seq + 1;
            }
        }
        disk.restart();
        let db = open_redb(&disk, dir).expect("the file opens after every cut");
        let found = match db.begin_write().unwrap().open_table(EVENTS) {
            Ok(events) => redb::ReadableTableMetadata::len(&events).unwrap(),
            Err(error) => panic!("{error}"),
        };
        acknowledged += acked * 8;
        lost += (acked * 8).saturating_sub(found);
    }
    (acknowledged, lost)
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let time = Duration::from_secs_f64(args.next().and_then(|text| text.parse().ok()).unwrap_or(3.0));
    let root = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let fresh = |name: &str| {
        let dir = root.join(format!("coretex-engines-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    };
    let counted = Counted::new(RealDisk);

    let dir = fresh("sync");
    for ahead in [0, 1 << 20] {
        let _ = std::fs::remove_file(dir.join("raw"));
        let mut raw = Raw::new(&counted, &dir, ahead);
        let (mut times, begin) = (vec![], Instant::now());
        while begin.elapsed() < time / 2 {
            raw.buffer.extend_from_slice(&[5; 4096]);
            let start = Instant::now();
            raw.append().unwrap();
            times.push(start.elapsed());
        }
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        times.sort_unstable();
        println!(
            "4 KiB append + fdatasync, filled ahead {ahead:>7}: {rate:>6.0}/s, p50 {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }

    let dir = fresh("raw");
    let raw = measure_engine(time, &counted, Raw::new(&counted, &dir, 0));
    let limit = raw.rate();
    raw.print("raw appends", limit);
    let dir2 = fresh("raw-ahead");
    measure_engine(time, &counted, Raw::new(&counted, &dir2, 1 << 20)).print("raw appends, zero-filled ahead", limit);
    let dir3 = fresh("redb");
    measure_engine(time, &counted, RedbAlone::new(&counted, &dir3).unwrap()).print("redb alone", limit);
    let dir4 = fresh("journal");
    measure_engine(time, &counted, Journal::new(&counted, &dir4)).print("journal sketch + redb behind", limit);

    let dir5 = fresh("store");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let options = Options::new(&dir5);
    let opened = EmbeddedStore::open_on(options, Arc::new(counted.clone()), Arc::new(SystemClock));
    let store = runtime.block_on(opened).unwrap();
    measure_store(time, &counted, Arc::new(store.clone())).print("embedded store", limit);
    runtime.block_on(store.close()).unwrap();
    measure_store(time, &counted, Arc::new(MemoryStore::new(Arc::new(SystemClock)))).print("memory store", limit);

    runtime.block_on(async {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let keys: Vec<Key> = (0..10_000).map(|key| Key::from(format!("runs/{key:08}"))).collect();
        let value = Bytes::from_static(&[b'v'; 200]);
        let (begin, mut count) = (Instant::now(), 0u64);
        while begin.elapsed() < time / 2 {
            for key in &keys {
                let batch = Batch::new().put(key.clone(), value.clone(), Condition::Always);
                store.commit(vec![batch]).await.remove(0).unwrap();
                count += 1;
            }
        }
        println!("memory store, one task, one put a batch: {:.0}/s", count as f64 / begin.elapsed().as_secs_f64());
    });

    let (acknowledged, lost) = power_cuts_on_redb(60);
    println!("redb alone, 60 simulated power cuts: {acknowledged} events acknowledged, {lost} lost");
    for dir in [dir, dir2, dir3, dir4, dir5, root.join(format!("coretex-engines-{}-sync", std::process::id()))] {
        let _ = std::fs::remove_dir_all(dir);
    }
}
