use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;

use super::*;
use crate::{
    ports::{Delivery, Sink},
    protocol::BusPacket,
    testing::VirtualClock,
};

/// Takes up to `room` deliveries and keeps them.
#[derive(Debug)]
struct Basket {
    room: usize,
    taken: Mutex<Vec<Delivery>>,
}

impl Basket {
    fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { room, taken: Mutex::default() })
    }

    fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.taken.lock().unwrap())
    }

    /// Acknowledges what was taken.
    fn settle(&self) -> Vec<(String, u32)> {
        let taken = self.take();
        taken.iter().for_each(Delivery::ack_now);
        seen(&taken)
    }
}

impl Sink for Basket {
    fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        let mut taken = self.taken.lock().unwrap();
        if taken.len() == self.room {
            return Err(delivery);
        }
        taken.push(delivery);
        Ok(())
    }
}

fn setting() -> (VirtualClock, MemoryBus) {
    let clock = VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap());
    let bus = MemoryBus::new(Arc::new(clock.clone()));
    (clock, bus)
}

fn with(sink: &Arc<Basket>) -> Subscribe {
    Subscribe::group("job.a", "workers").sink(sink.clone())
}

async fn publish(bus: &MemoryBus, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let packet = BusPacket { trace_id: number.to_string(), ..Default::default() };
        bus.publish(Message::new("job.a", packet)).await.unwrap();
    }
}

fn seen(deliveries: &[Delivery]) -> Vec<(String, u32)> {
    deliveries.iter().map(|delivery| (delivery.message.packet.trace_id.clone(), delivery.attempt)).collect()
}

fn pairs<const N: usize>(pairs: [(u64, u32); N]) -> Vec<(String, u32)> {
    pairs.into_iter().map(|(number, attempt)| (number.to_string(), attempt)).collect()
}

#[tokio::test]
async fn a_sink_is_given_what_is_published_and_holds_time_until_it_settles() {
    let (clock, bus) = setting();
    let basket = Basket::new(8);
    let mut member = bus.subscribe(with(&basket)).await.unwrap();
    publish(&bus, [1, 2]).await;
    let taken = basket.take();
    assert_eq!(seen(&taken), pairs([(1, 1), (2, 1)]));
    assert_eq!(clock.gauge().count(), 2);
    taken[0].ack_now();
    assert_eq!(clock.gauge().count(), 1, "an acknowledged delivery lets time pass while it is still held");
    taken[1].ack().await.unwrap();
    drop(taken);
    assert_eq!(clock.gauge().count(), 0);
    assert!(member.next().now_or_never().is_none(), "nothing is delivered twice");
    assert_eq!(clock.next_deadline(), None, "no deadline watches over it");
}

#[tokio::test]
async fn what_a_sink_refuses_waits_in_the_queue_as_if_it_had_not_been_offered() {
    let (_, bus) = setting();
    let basket = Basket::new(1);
    let mut member = bus.subscribe(with(&basket)).await.unwrap();
    publish(&bus, [1, 2, 3]).await;
    assert_eq!(basket.settle(), pairs([(1, 1)]));
    // Two still waits, so that three must not pass it.
    publish(&bus, [4]).await;
    assert!(basket.settle().is_empty(), "what waits goes first");
    for number in [2, 3, 4] {
        let delivery = member.next().await.unwrap();
        assert_eq!(seen(std::slice::from_ref(&delivery)), pairs([(number, 1)]));
        delivery.ack_now();
    }
    publish(&bus, [5]).await;
    assert_eq!(basket.settle(), pairs([(5, 1)]), "an empty queue is passed again");
}

#[tokio::test]
async fn what_a_sink_drops_or_gives_back_comes_again() {
    let (clock, bus) = setting();
    let basket = Basket::new(2);
    let mut member = bus.subscribe(with(&basket)).await.unwrap();
    publish(&bus, [1, 2]).await;
    let mut taken = basket.take();
    taken.remove(1).nak(Duration::from_secs(60)).await.unwrap();
    drop(taken);
    let again = member.next().await.unwrap();
    assert_eq!(seen(std::slice::from_ref(&again)), pairs([(1, 2)]));
    again.ack_now();
    drop(again);
    let start = clock.now();
    let later = clock.run(member.next()).await.unwrap();
    assert_eq!(seen(std::slice::from_ref(&later)), pairs([(2, 2)]));
    assert_eq!(clock.now().duration_since(start).as_secs(), 60);
}

#[tokio::test]
async fn sinks_are_asked_in_turn_and_leave_with_their_subscription() {
    let (_, bus) = setting();
    let (one, two) = (Basket::new(8), Basket::new(8));
    let first = bus.subscribe(with(&one)).await.unwrap();
    let _second = bus.subscribe(with(&two)).await.unwrap();
    publish(&bus, 1..=4).await;
    assert_eq!((one.settle().len(), two.settle().len()), (2, 2));
    drop(first);
    publish(&bus, 5..=6).await;
    assert!(one.settle().is_empty(), "its subscription has ended");
    assert_eq!(two.settle(), pairs([(5, 1), (6, 1)]));
}
