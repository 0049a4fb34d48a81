//! Disks that fail and disks that fill up.

use super::*;
use crate::disk::Fault;

/// Runs a history with `fault` at the `n`-th operation after opening; then the power goes, too. Whatever was
/// acknowledged must be there afterwards. Says whether the fault came.
fn with_fault(n: u64, fault: Fault) -> bool {
    let at = format!("{fault:?} at operation {n}");
    let disk = SimDisk::new(n);
    let shared = Mutex::new(History::new(3));
    let mut hit = false;
    run(async {
        let store = open(&disk, tiny()).await.unwrap();
        assert!(drive(&store, &shared, 5, 1).await.is_none());
        disk.fault_at(disk.stats().ops + n, fault);
        let due = disk.stats().ops + n;
        let refused = drive(&store, &shared, 40, n).await;
        hit = disk.stats().ops >= due;
        if let Some(error) = refused {
            let kind = error.kind();
            let expected: &[StoreErrorKind] = match fault {
                Fault::NoSpace => &[StoreErrorKind::Full, StoreErrorKind::Closed],
                _ => &[StoreErrorKind::Unavailable, StoreErrorKind::Closed],
            };
            // A lane that goes on after another one was refused meets its own refused step.
            assert!(expected.contains(&kind) || kind == StoreErrorKind::Conflict, "{at}: {error}");
            if fault == Fault::Error && kind != StoreErrorKind::Conflict {
                let later = store.commit(vec![put("later", "x")]).await.remove(0);
                assert_eq!(later.unwrap_err().kind(), StoreErrorKind::Closed, "{at}");
                assert_eq!(store.get(&Key::from("count")).await.unwrap_err().kind(), StoreErrorKind::Closed, "{at}");
            }
        }
        disk.free_space();
        disk.clear_faults();
        if fault == Fault::NoSpace && store.get(&Key::from("count")).await.is_ok() {
            // A full disk that has space again goes on, and what was refused is not there.
            store.commit(vec![put("later", "x")]).await.remove(0).unwrap_or_else(|error| panic!("{at}: {error}"));
            verify_shared(&store, &shared, &at).await.unwrap();
        }
        let _ = store.close().await;
    });
    disk.cut_power();
    disk.restart();
    run(async {
        let store = open(&disk, tiny()).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        verify_shared(&store, &shared, &at).await.unwrap();
        assert!(drive(&store, &shared, 5, 2).await.is_none(), "{at}");
    });
    hit
}

#[test]
fn no_failing_operation_makes_the_store_lie() {
    let mut n = 1;
    while with_fault(n, Fault::Error) {
        n += 1 + n / 25;
    }
    assert!(n > 100, "the history has {n} operations only");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let mut n = 1;
    while with_fault(n, Fault::NoSpace) {
        n += 1 + n / 25;
    }
    assert!(n > 100, "the history has {n} operations only");
}

#[test]
fn a_commit_on_a_full_disk_is_refused_as_full_and_leaves_nothing() {
    run(async {
        let disk = SimDisk::new(3);
        let store = open(&disk, Options { fill_ahead_bytes: 0, ..tiny() }).await.unwrap();
        store.commit(vec![put("a", "1")]).await.remove(0).unwrap();
        disk.fault_at(disk.stats().ops + 1, Fault::NoSpace);
        let answers = store.commit(vec![put("a", "2"), put("b", "2").require("a", Condition::Absent)]).await;
        let kinds: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err().kind()).collect();
        assert_eq!(kinds, [StoreErrorKind::Full, StoreErrorKind::Conflict]);
        assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, "1");
        disk.free_space();
        store.commit(vec![put("a", "3")]).await.remove(0).unwrap();
        disk.cut_power();
        disk.restart();
        drop(store);
        let store = open(&disk, tiny()).await.unwrap();
        assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, "3");
    });
}

#[test]
fn a_failed_sync_is_unknown_for_those_in_flight_and_closes_the_store() {
    run(async {
        let disk = SimDisk::new(5);
        let store = open(&disk, tiny()).await.unwrap();
        store.commit(vec![put("a", "1")]).await.remove(0).unwrap();
        let mut changes = store.watch("").await.unwrap();
        disk.fault_at(disk.stats().ops + 2, Fault::Error);
        let error = store.commit(vec![put("a", "2")]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(error.is_outcome_unknown());
        assert_eq!(changes.next().await, None);
        let error = store.commit(vec![put("a", "3")]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Closed);
        assert!(error.to_string().contains("open it again"), "{error}");
        drop(store);
        let store = open(&disk, tiny()).await.unwrap();
        let value = store.get(&Key::from("a")).await.unwrap().unwrap().value;
        assert!(value == "1" || value == "2", "{value:?}");
    });
}
