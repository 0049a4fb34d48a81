//! Several batches in one call, several calls at once.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;

fn put(key: &str, value: &str, condition: Condition) -> Batch {
    Batch::new().put(key, bytes(value), condition)
}

/// A refused batch, first, in the middle or last, does not touch the others of its group.
pub async fn each_batch_of_a_group_fails_alone(f: Fixture) {
    f.put("t/taken", "1").await;
    for place in 0..4 {
        let batches = (0..4)
            .map(|i| {
                let batch = put(&format!("t/{place}/{i}"), "v", ABSENT);
                if i == place { batch.put("t/taken", bytes("2"), ABSENT) } else { batch }
            })
            .collect();
        let answers = f.store.commit(batches).await;
        assert_eq!(answers.len(), 4);
        for (i, answer) in answers.iter().enumerate() {
            let stored = f.text(&format!("t/{place}/{i}")).await;
            match answer {
                Ok(receipt) => {
                    assert_ne!(i, place);
                    assert!(matches!(receipt.results[..], [OpResult::Written(_)]), "{receipt:?}");
                    assert_eq!(stored.as_deref(), Some("v"));
                }
                Err(error) => {
                    assert_eq!((i, error.kind()), (place, StoreErrorKind::Conflict));
                    assert_eq!(stored, None);
                }
            }
        }
    }
    assert_eq!(f.text("t/taken").await.as_deref(), Some("1"));
}

/// A batch that builds on a refused one of the same group is judged without it.
pub async fn a_refused_batch_leaves_nothing_for_the_next_of_its_group(f: Fixture) {
    f.put("t/taken", "1").await;
    let answers = f
        .store
        .commit(vec![
            Batch::new()
                .append("t/run", 0, events(&["1"]))
                .put("t/owner", bytes("a"), ABSENT)
                .add("t/slots", 1, Some(1))
                .require("t/taken", ABSENT),
            // These depend on what the first would have written.
            Batch::new().append("t/run", 1, events(&["2"])),
            Batch::new().require("t/owner", ABSENT).put("t/owner", bytes("b"), ABSENT),
            Batch::new().add("t/slots", 1, Some(1)),
            Batch::new().append("t/run", 0, events(&["other"])),
            Batch::new().append("t/run", 0, events(&["late"])),
        ])
        .await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|_| ()).map_err(StoreError::kind)).collect();
    let conflict = Err(StoreErrorKind::Conflict);
    assert_eq!(kinds, [conflict, conflict, Ok(()), Ok(()), Ok(()), conflict]);
    assert_eq!(f.text("t/owner").await.as_deref(), Some("b"));
    assert_eq!(f.text("t/slots").await.as_deref(), Some("1"));
    assert_eq!(f.stream("t/run").await, (1, vec!["other".to_owned()], 1));
}

/// Within a group each batch sees the accepted ones before it, and what it overwrites stays overwritten.
pub async fn a_group_is_judged_in_order(f: Fixture) {
    let chain = (0..50).map(|i| {
        Batch::new().append("t/run", i, events(&[&i.to_string()])).put("t/last", bytes(&i.to_string()), ALWAYS)
    });
    let answers = f.store.commit(chain.collect()).await;
    let mut last = Version(0);
    for (i, answer) in answers.iter().enumerate() {
        let results = &answer.as_ref().unwrap().results;
        let [OpResult::Appended(head), OpResult::Written(version)] = results[..] else { panic!("{results:?}") };
        assert_eq!(head, i as u64 + 1);
        assert!(version > last);
        last = version;
    }
    assert_eq!(f.text("t/last").await.as_deref(), Some("49"));
    assert_eq!(f.stream("t/run").await.2, 50);
}

/// 64 writers take slots until there are none; exactly the ceiling is given out, and it is never passed.
pub async fn concurrent_adds_reach_the_ceiling_and_never_pass_it(f: Fixture) {
    const CEILING: i64 = 100;
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let store = f.store.clone();
            tokio::spawn(async move {
                let mut taken = 0;
                for _ in 0..5 {
                    let batch = Batch::new().add("t/slots", 1, Some(CEILING));
                    match store.commit(vec![batch]).await.remove(0) {
                        Ok(receipt) => {
                            let [OpResult::Added(sum)] = receipt.results[..] else { panic!("{receipt:?}") };
                            assert!((1..=CEILING).contains(&sum), "the sum {sum} is out of bounds");
                            taken += 1;
                        }
                        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Ceiling, "{error}"),
                    }
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for writer in writers {
        taken += writer.await.unwrap();
    }
    assert_eq!(taken, CEILING);
    assert_eq!(f.text("t/slots").await, Some(CEILING.to_string()));
}

/// Of many that create the same key at once, one wins, and the value is its own.
pub async fn concurrent_creators_agree_on_one_winner(f: Fixture) {
    for round in 0..10 {
        let key = format!("t/lease{round}");
        let creators: Vec<_> = (0..16)
            .map(|i| {
                let (store, batch) = (f.store.clone(), put(&key, &i.to_string(), ABSENT));
                tokio::spawn(async move { (i, store.commit(vec![batch]).await.remove(0)) })
            })
            .collect();
        let mut winners = vec![];
        for creator in creators {
            match creator.await.unwrap() {
                (i, Ok(_)) => winners.push(i),
                (_, Err(error)) => assert_eq!(error.kind(), StoreErrorKind::Conflict),
            }
        }
        assert_eq!(winners.len(), 1, "one creator wins");
        assert_eq!(f.text(&key).await, Some(winners[0].to_string()));
    }
}

/// Concurrent appends to one stream get distinct, gapless numbers, and each lies where its receipt says.
pub async fn concurrent_appends_have_no_gap_and_no_loss(f: Fixture) {
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = f.store.clone();
            tokio::spawn(async move {
                let mut written = vec![];
                for i in 0..20 {
                    let text = format!("{writer}/{i}");
                    let mut batch = Batch::new();
                    batch.push(any_append("t/log", &[&text]));
                    let receipt = store.commit(vec![batch]).await.remove(0).unwrap();
                    let [OpResult::Appended(head)] = receipt.results[..] else { panic!("{receipt:?}") };
                    written.push((head, text));
                }
                assert!(written.is_sorted(), "a writer's own events keep their order");
                written
            })
        })
        .collect();
    let mut written = vec![];
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort();
    assert!(written.iter().map(|(head, _)| *head).eq(1..=320), "the numbers have a gap or a repeat");
    let (first, stored, head) = f.stream("t/log").await;
    assert_eq!((first, head), (1, 320));
    assert!(written.iter().map(|(_, text)| text).eq(stored.iter()), "events lie where their receipts say");
}

/// Calls apply in the order of their first poll, whatever order they are driven in afterwards.
pub async fn calls_are_applied_in_the_order_of_their_first_poll(f: Fixture) {
    const CALLS: u64 = 200;
    let mut pending = vec![];
    for i in 0..CALLS {
        let store = f.store.clone();
        let batch = Batch::new().append("t/run", i, events(&["e"]));
        let mut call = Box::pin(async move { store.commit(vec![batch]).await });
        match pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answers) => assert!(answers[0].is_ok(), "call {i}: {answers:?}"),
            Poll::Pending => pending.push((i, call)),
        }
    }
    while let Some((i, call)) = pending.pop() {
        let answers = call.await;
        assert!(answers[0].is_ok(), "call {i}: {answers:?}");
    }
    assert_eq!(f.stream("t/run").await.2, CALLS);
}

/// A read that starts after the answer sees the write, from any task.
pub async fn reads_see_what_was_acknowledged(f: Fixture) {
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = f.store.clone();
            tokio::spawn(async move {
                let (key, stream) = (Key::from(format!("t/{task}/k")), Key::from(format!("t/{task}/s")));
                for i in 0..25 {
                    let text = i.to_string();
                    let batch =
                        Batch::new().put(key.clone(), bytes(&text), ALWAYS).append(stream.clone(), i, events(&[&text]));
                    store.commit(vec![batch]).await.remove(0).unwrap();
                    assert_eq!(store.get(&key).await.unwrap().unwrap().value, text);
                    let page = store.scan(crate::ports::Scan::prefix(format!("t/{task}/"))).await.unwrap();
                    assert_eq!(
                        page.entries.iter().map(|entry| &entry.value[..]).collect::<Vec<_>>(),
                        [text.as_bytes()]
                    );
                    let page = store.read(&stream, i + 1, 10).await.unwrap();
                    assert_eq!((page.first, page.head, page.events), (i + 1, i + 1, events(&[&text])));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
