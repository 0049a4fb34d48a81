//! The promise: moving one message through the memory bus (publish, receive, acknowledge) costs well under a
//! microsecond of CPU, so that a step, which needs two, is never limited by it.
//!
//! Beside it runs a bounded tokio channel, which neither routes nor redelivers: the floor. Run with
//! `cargo bench -p coretex-core --bench bus`; `CORETEX_BENCH_MESSAGES` sets the number of messages.
#![expect(clippy::unwrap_used, reason = "a measurement stops at the first thing that goes wrong")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coretex_core::{
    ports::{Bus, Message, Subscribe, SystemClock, memory::MemoryBus},
    protocol::BusPacket,
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

fn message(subject: &Arc<str>, packet: &Arc<BusPacket>) -> Message {
    Message { subject: subject.clone(), packet: packet.clone().into(), payload: None }
}

fn parts() -> (Arc<str>, Arc<BusPacket>) {
    (Arc::from("job.bench.step"), Arc::new(BusPacket { trace_id: "bench".into(), ..Default::default() }))
}

fn report(name: &str, messages: u64, took: Duration, cpu: Duration) {
    let wall = took.as_nanos() as f64 / messages as f64;
    let cpu = cpu.as_nanos() as f64 / messages as f64;
    println!("{name:<44} {:>7.2} M/s  {wall:>7.0} ns wall  {cpu:>7.0} ns CPU", 1_000.0 / wall);
}

/// CPU time of this process, from the kernel where it tells; zero elsewhere.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks() + ticks()) * 10)
}

fn measure(name: &str, messages: u64, runtime: &runtime::Runtime, work: impl Future<Output = ()>) {
    let (start, cpu_start) = (Instant::now(), cpu());
    runtime.block_on(work);
    report(name, messages, start.elapsed(), cpu().saturating_sub(cpu_start));
}

/// One message at a time, in one task: nobody waits, nobody is woken.
async fn bus_in_turn(messages: u64) {
    let bus = MemoryBus::new(Arc::new(SystemClock));
    let (subject, packet) = parts();
    let mut member = bus.subscribe(Subscribe::group("job.bench.step", "workers")).await.unwrap();
    for _ in 0..messages {
        bus.try_publish(message(&subject, &packet)).unwrap();
        member.next().await.unwrap().ack_now();
    }
}

async fn channel_in_turn(messages: u64) {
    let (sender, mut receiver) = mpsc::channel(65_536);
    let (subject, packet) = parts();
    for _ in 0..messages {
        sender.try_send(message(&subject, &packet)).unwrap();
        receiver.recv().await.unwrap();
    }
}

/// Publishers and members in tasks of their own, all on one subject and in one group.
async fn bus_many(messages: u64, tasks: u64) {
    let bus = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let messages = messages / tasks * tasks;
    let seen = Arc::new(AtomicU64::new(0));
    let (done, all_done) = oneshot::channel();
    let done = Arc::new(Mutex::new(Some(done)));
    for _ in 0..tasks {
        let mut member = bus.subscribe(Subscribe::group("job.bench.step", "workers")).await.unwrap();
        let (seen, done) = (seen.clone(), done.clone());
        tokio::spawn(async move {
            while let Some(delivery) = member.next().await {
                delivery.ack_now();
                if seen.fetch_add(1, Ordering::Relaxed) + 1 == messages {
                    done.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            }
        });
    }
    for _ in 0..tasks {
        let bus = bus.clone();
        tokio::spawn(async move {
            let (subject, packet) = parts();
            for _ in 0..messages / tasks {
                let mut next = message(&subject, &packet);
                while let Err(back) = bus.try_publish(next) {
                    next = back;
                    tokio::task::yield_now().await;
                }
                tokio::task::consume_budget().await;
            }
        });
    }
    all_done.await.unwrap();
    bus.close().await.unwrap();
}

async fn channel_many(messages: u64, tasks: u64) {
    let (sender, receiver) = mpsc::channel::<Message>(65_536);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let members: Vec<_> = (0..tasks)
        .map(|_| {
            let receiver = receiver.clone();
            // The channel has one receiver, so many readers must take turns.
            tokio::spawn(async move { while receiver.lock().await.recv().await.is_some() {} })
        })
        .collect();
    spread(sender, messages, tasks).await;
    for member in members {
        member.await.unwrap();
    }
}

/// As a channel is meant to be used: many senders, one receiver.
async fn channel_many_to_one(messages: u64, tasks: u64) {
    let (sender, mut receiver) = mpsc::channel::<Message>(65_536);
    let reader = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    spread(sender, messages, tasks).await;
    reader.await.unwrap();
}

async fn spread(sender: mpsc::Sender<Message>, messages: u64, tasks: u64) {
    let publishers: Vec<_> = (0..tasks)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let (subject, packet) = parts();
                for _ in 0..messages / tasks {
                    sender.send(message(&subject, &packet)).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

fn main() {
    let messages =
        std::env::var("CORETEX_BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000_000_u64);
    let one = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let many = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for round in 1..=3 {
        println!("round {round}, {messages} messages");
        measure("bus      in turn, one task", messages, &one, bus_in_turn(messages));
        measure("channel  in turn, one task", messages, &one, channel_in_turn(messages));
        measure("bus      1 to 1, one thread", messages, &one, bus_many(messages, 1));
        measure("channel  1 to 1, one thread", messages, &one, channel_many_to_one(messages, 1));
        measure("bus      64 to 64, one thread", messages, &one, bus_many(messages, 64));
        measure("channel  64 to 1, one thread", messages, &one, channel_many_to_one(messages, 64));
        measure("channel  64 to 64 by a mutex, one thread", messages, &one, channel_many(messages, 64));
        measure("bus      64 to 64, all threads", messages, &many, bus_many(messages, 64));
        measure("channel  64 to 1, all threads", messages, &many, channel_many_to_one(messages, 64));
        measure("channel  64 to 64 by a mutex, all threads", messages, &many, channel_many(messages, 64));
    }
}
