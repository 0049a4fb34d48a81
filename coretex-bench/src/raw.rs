//! What the machine can do without us, measured in the same process at the same time.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// User and system time of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold blanks: count behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|n| fields.get(*n)?.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

/// Messages per second through a bounded tokio channel between two tasks.
pub(crate) async fn channel_hops(window: Duration) -> f64 {
    let (sender, mut receiver) = mpsc::channel::<u64>(1_024);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let producer = tokio::spawn(async move {
        let mut n = 0;
        while !flag.load(Ordering::Relaxed) && sender.send(n).await.is_ok() {
            n += 1;
        }
    });
    let start = now();
    let consumer = tokio::spawn(async move {
        let mut count = 0_u64;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        count
    });
    tokio::time::sleep(window).await;
    stop.store(true, Ordering::Relaxed);
    // The producer ends by the flag; a panic there would show as a low count.
    let _ended = producer.await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = consumer.await.unwrap_or(0) as f64;
    count / start.elapsed().as_secs_f64()
}

/// Median and 99th percentile of appending 4 KiB and making it durable, in microseconds.
pub(crate) fn sync_latency(dir: &Path, window: Duration) -> anyhow::Result<(f64, f64)> {
    let path = dir.join("raw-sync.tmp");
    let mut file = File::create(&path)?;
    let block = [7_u8; 4096];
    let mut took = Vec::new();
    let start = now();
    while start.elapsed() < window {
        let one = now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(one.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(&path)?;
    took.sort_by(f64::total_cmp);
    Ok((percentile(&took, 0.5), percentile(&took, 0.99)))
}

/// 400-byte appends per second of `writers` tasks that each wait for their own, through one thread that writes and
/// syncs everything waiting at once: the least that a durable step can cost.
pub(crate) async fn grouped_appends(dir: &Path, writers: usize, window: Duration) -> anyhow::Result<f64> {
    type Append = (Vec<u8>, oneshot::Sender<()>);
    let path = dir.join("raw-append.tmp");
    let mut file = File::create(&path)?;
    let (sender, mut waiting) = mpsc::channel::<Append>(1_024);
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let mut group = Vec::new();
        while waiting.blocking_recv_many(&mut group, 1_024) > 0 {
            let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
            file.write_all(&bytes)?;
            file.sync_data()?;
            for (_, done) in group.drain(..) {
                // A task that has ended does not mind.
                let _gone = done.send(());
            }
        }
        Ok(())
    });
    let count = Arc::new(AtomicU64::new(0));
    let start = now();
    let mut tasks = Vec::new();
    for _ in 0..writers {
        let (sender, count) = (sender.clone(), count.clone());
        tasks.push(tokio::spawn(async move {
            while start.elapsed() < window {
                let (done, wait) = oneshot::channel();
                if sender.send((vec![7; 400], done)).await.is_err() || wait.await.is_err() {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    drop(sender);
    for task in tasks {
        task.await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    tokio::task::spawn_blocking(move || writer.join()).await?.map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    std::fs::remove_file(&path)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = count.load(Ordering::Relaxed) as f64;
    Ok(count / seconds)
}

pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() as f64 - 1.0).max(0.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}
