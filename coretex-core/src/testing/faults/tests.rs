use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;

use super::*;
use crate::{
    ports::{
        Batch, Bus, BusErrorKind, Clock, Condition, Message, Store, StoreErrorKind, Subscribe,
        memory::{MemoryBus, MemoryStore},
    },
    protocol::BusPacket,
    testing::VirtualClock,
};

fn clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap()))
}

fn stores(plan: FaultPlan) -> (Arc<MemoryStore>, FaultyStore, Faults) {
    let inner = Arc::new(MemoryStore::new(clock()));
    let faults = plan.arm();
    (inner.clone(), FaultyStore::new(inner, &faults), faults)
}

fn put(key: &str) -> Batch {
    Batch::new().put(key, Bytes::from_static(b"1"), Condition::Always)
}

async fn has(store: &dyn Store, key: &str) -> bool {
    store.get(&key.into()).await.unwrap().is_some()
}

fn kinds(results: &[Result<crate::ports::Receipt, crate::ports::StoreError>]) -> Vec<Option<StoreErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(crate::ports::StoreError::kind)).collect()
}

#[tokio::test]
async fn a_refused_batch_is_not_applied_and_the_others_of_its_group_are() {
    let (inner, store, _) = stores(FaultPlan::new(1).refuse_batch(1).refuse_batch(4));
    let results = store.commit(vec![put("a"), put("b"), put("c")]).await;
    assert_eq!(kinds(&results), [None, Some(StoreErrorKind::Conflict), None]);
    assert!(has(&*inner, "a").await && !has(&*inner, "b").await && has(&*inner, "c").await);
    assert_eq!(kinds(&store.commit(vec![put("d"), put("e")]).await), [None, Some(StoreErrorKind::Conflict)]);
}

#[tokio::test]
async fn an_unavailable_store_has_applied_the_batch_or_not() {
    let (inner, store, _) = stores(FaultPlan::new(1).unavailable_before(1_000));
    assert!(store.commit(vec![put("a")]).await[0].as_ref().unwrap_err().is_outcome_unknown());
    assert!(!has(&*inner, "a").await);
    let (inner, store, faults) = stores(FaultPlan::new(1).unavailable_after(1_000).at_most(1));
    assert!(store.commit(vec![put("a")]).await[0].as_ref().unwrap_err().is_outcome_unknown());
    assert!(has(&*inner, "a").await);
    assert!(store.commit(vec![put("b")]).await[0].is_ok(), "one fault at most");
    assert_eq!(faults.counts().store, 1);
}

#[tokio::test]
async fn what_was_applied_before_a_crash_stays_and_all_later_calls_find_it_closed() {
    for seed in 0..20 {
        let (inner, store, faults) = stores(FaultPlan::new(seed).crash_after(2));
        let results = store.commit(vec![put("a"), put("b"), put("c")]).await;
        assert!(results[0].is_ok());
        assert!(results[1].as_ref().err().is_none_or(|error| error.kind() == StoreErrorKind::Unavailable));
        assert_eq!(kinds(&results)[2], Some(StoreErrorKind::Closed));
        assert!(has(&*inner, "b").await && !has(&*inner, "c").await);
        assert_eq!(store.get(&"a".into()).await.unwrap_err().kind(), StoreErrorKind::Closed);
        assert!(store.is_crashed() && store.crashed().now_or_never().is_some());
        let next = FaultyStore::new(inner, &faults);
        assert!(next.commit(vec![put("c")]).await[0].is_ok());
        assert_eq!(faults.counts().crashes, 1);
    }
}

#[tokio::test]
async fn faults_rest_and_keep_to_their_prefix() {
    let (_, store, faults) = stores(FaultPlan::new(1).conflict(1_000).only("run/"));
    assert!(store.commit(vec![put("other")]).await[0].is_ok());
    assert!(store.commit(vec![put("run/1")]).await[0].is_err());
    faults.rest();
    assert!(store.commit(vec![put("run/1")]).await[0].is_ok());
    faults.resume();
    assert!(store.commit(vec![put("run/1")]).await[0].is_err());
    assert_eq!(faults.batches(), 2);
}

#[tokio::test]
async fn a_handle_that_keeps_the_store_open_closes_alone() {
    let (inner, store, faults) = stores(FaultPlan::new(1));
    let store = store.keep_open();
    store.close().await.unwrap();
    assert_eq!(store.get(&"a".into()).await.unwrap_err().kind(), StoreErrorKind::Closed);
    assert!(FaultyStore::new(inner, &faults).commit(vec![put("a")]).await[0].is_ok());
}

/// What arrives of ten messages, and what was recorded as published.
async fn sent(plan: FaultPlan) -> (Vec<String>, usize) {
    let clock = clock();
    let inner = Arc::new(MemoryBus::new(clock.clone()));
    let record = Arc::new(Mutex::new(Vec::new()));
    let bus = FaultyBus::new(inner, clock.clone(), &plan.arm()).recording(record.clone());
    let mut all = bus.subscribe(Subscribe::all("note.>")).await.unwrap();
    for n in 0..10 {
        let message = Message::new("note.a", BusPacket { trace_id: n.to_string(), ..BusPacket::default() });
        let refused = if n % 2 == 0 {
            bus.publish(message).await.err()
        } else {
            bus.try_publish(message).err().map(|_| crate::ports::BusError::new(BusErrorKind::Full, ""))
        };
        assert!(refused.is_none_or(|error| error.kind() == BusErrorKind::Full));
    }
    clock.run(clock.sleep_until(clock.now() + Duration::from_secs(60))).await;
    clock.settle().await;
    let mut seen = Vec::new();
    while let Some(Some(delivery)) = all.next().now_or_never() {
        seen.push(delivery.message.packet.trace_id.clone());
    }
    (seen, record.lock().unwrap().len())
}

#[tokio::test]
async fn messages_are_lost_doubled_late_overtaken_or_refused() {
    let straight: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(sent(FaultPlan::new(1)).await, (straight.clone(), 10));
    assert_eq!(sent(FaultPlan::new(1).drop_messages(1_000)).await, (Vec::new(), 10));
    assert_eq!(sent(FaultPlan::new(1).full(1_000)).await, (Vec::new(), 0));
    assert_eq!(sent(FaultPlan::new(1).duplicate_messages(1_000)).await.0.len(), 20);
    for plan in
        [FaultPlan::new(1).reorder_messages(500), FaultPlan::new(1).delay_messages(500, Duration::from_secs(30))]
    {
        let (mut seen, _) = sent(plan.clone()).await;
        assert_ne!(seen, straight, "{plan:?}");
        assert_eq!(sent(plan).await.0, seen, "the same seed");
        seen.sort();
        assert_eq!(seen, straight);
    }
}

#[tokio::test]
async fn slowness_changes_nothing_but_the_turn() {
    let (inner, store, _) = stores(FaultPlan::new(1).slow(1_000, 20));
    let mut commit = Box::pin(store.commit(vec![put("a")]));
    assert!((&mut commit).now_or_never().is_none(), "the answer takes its turns");
    assert!(has(&*inner, "a").await, "the order of commits is that of their first polls");
    assert!(commit.await[0].is_ok());
}
