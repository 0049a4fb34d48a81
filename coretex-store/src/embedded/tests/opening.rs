//! Opening, closing, locking, formats.

use std::time::Duration;

use super::*;

fn kind(result: Result<EmbeddedStore, StoreError>) -> StoreErrorKind {
    result.err().map(|error| error.kind()).expect("it must not open")
}

#[test]
fn a_second_open_of_the_directory_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = EmbeddedStore::open(dir.path()).await.unwrap();
        let error = EmbeddedStore::open(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Locked);
        assert!(error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
        store.close().await.unwrap();
        EmbeddedStore::open(dir.path()).await.unwrap();
        // Dropping the last handle releases it, too.
        EmbeddedStore::open(dir.path()).await.unwrap();
    });
}

#[test]
fn another_format_is_refused_and_a_lost_format_is_damage() {
    run(async {
        let disk = SimDisk::new(1);
        open(&disk, tiny()).await.unwrap().close().await.unwrap();
        let format = Path::new("/data/FORMAT");
        let text = String::from_utf8(disk.content(format).unwrap()).unwrap();
        let newer = disk.fork(1);
        newer.damage(format, text.replace("coretex-store 1", "coretex-store 2").into_bytes());
        let error = open(&newer, tiny()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Format);
        assert!(error.to_string().contains("format 2"), "{error}");
        let lost = disk.fork(1);
        lost.lose(format);
        assert_eq!(kind(open(&lost, tiny()).await), StoreErrorKind::Corrupt);
        let cut = disk.fork(1);
        cut.damage(format, vec![]);
        assert_eq!(kind(open(&cut, tiny()).await), StoreErrorKind::Corrupt);
    });
}

#[test]
fn a_store_is_the_same_after_closing_and_after_dropping() {
    run(async {
        let disk = SimDisk::new(7);
        let history = Mutex::new(History::new(4));
        for round in 0..12 {
            let store = open(&disk, tiny()).await.unwrap();
            verify_shared(&store, &history, &format!("round {round}")).await.unwrap();
            assert!(drive(&store, &history, 10 + round, round).await.is_none());
            verify_shared(&store, &history, &format!("round {round}, driven")).await.unwrap();
            if round % 2 == 0 {
                store.close().await.unwrap();
                assert_eq!(disk.paths().iter().filter(|path| path.starts_with("/data/journal")).count(), 1);
            }
        }
    });
}

#[test]
fn what_expired_is_removed_from_the_base() {
    run(async {
        let disk = SimDisk::new(9);
        let store = open(&disk, tiny()).await.unwrap();
        for i in 0..50 {
            let batch = put(&format!("leases/{i}"), "x").expire(format!("leases/{i}"), Duration::from_millis(30));
            store.commit(vec![batch, put(&format!("kept/{i}"), "x")]).await.remove(0).unwrap();
        }
        store.close().await.unwrap();
        let store = open(&disk, tiny()).await.unwrap();
        let end = store.now().await.unwrap().checked_add(Duration::from_millis(40)).unwrap();
        while store.now().await.unwrap() < end {
            tokio::task::yield_now().await;
        }
        store.commit(vec![put("one/more", "x")]).await.remove(0).unwrap();
        store.close().await.unwrap();
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let report = super::super::check::check_on(Path::new(DIR), &disk).unwrap();
        assert_eq!((report.values, report.damages.len()), (51, 0));
    });
}

#[test]
fn the_clock_of_a_reopened_store_does_not_run_backwards() {
    #[derive(Debug)]
    struct Fixed(i64);
    impl coretex_core::ports::Clock for Fixed {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::from_second(self.0).unwrap()
        }
        fn sleep_until(&self, _: jiff::Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
            Box::pin(async {})
        }
    }
    run(async {
        let disk = SimDisk::new(11);
        let at = |second| EmbeddedStore::open_on(tiny(), Arc::new(disk.clone()), Arc::new(Fixed(second)));
        let store = at(1_000).await.unwrap();
        let batch = put("lease", "x").expire("lease", Duration::from_secs(5));
        store.commit(vec![batch]).await.remove(0).unwrap();
        drop(store);
        let store = at(1_010).await.unwrap();
        assert_eq!(store.get(&Key::from("lease")).await.unwrap(), None);
        store.commit(vec![put("tick", "x")]).await.remove(0).unwrap();
        drop(store);
        let store = at(500).await.unwrap();
        assert_eq!(store.get(&Key::from("lease")).await.unwrap(), None, "what expired stays so");
        assert_eq!(store.now().await.unwrap().as_second(), 1_010);
    });
}

#[test]
fn a_stream_that_was_trimmed_whole_keeps_its_head_and_no_chunk() {
    run(async {
        let disk = SimDisk::new(13);
        let store = open(&disk, tiny()).await.unwrap();
        let mut batch = Batch::new();
        for _ in 0..40 {
            batch.push(Op::Append { stream: "s".into(), expected: Expected::Any, events: vec![event(0, 5)] });
        }
        store.commit(vec![batch.trim("s", 41)]).await.remove(0).unwrap();
        store.close().await.unwrap();
        let store = open(&disk, tiny()).await.unwrap();
        let page = store.read(&Key::from("s"), 1, 10).await.unwrap();
        assert_eq!((page.head, page.events.len()), (40, 0));
        store.commit(vec![Batch::new().append("s", 40, vec![event(0, 41)])]).await.remove(0).unwrap();
        let page = store.read(&Key::from("s"), 1, 10).await.unwrap();
        assert_eq!((page.first, page.head, page.events), (41, 41, vec![event(0, 41)]));
    });
}
