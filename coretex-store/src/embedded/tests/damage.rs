//! Files that are not what was written: named, or without effect, and never silently wrong.

use std::path::PathBuf;

use super::*;

/// A disk with data in the base, in covered and in live segments, as a crash leaves it.
fn crashed() -> (SimDisk, History) {
    let disk = SimDisk::new(17);
    let history = Mutex::new(History::new(3));
    run(async {
        let options = Options { memory_bytes: 1 << 20, checkpoint_bytes: 1 << 20, ..tiny() };
        let store = open(&disk, options.clone()).await.unwrap();
        assert!(drive(&store, &history, 60, 1).await.is_none());
        store.close().await.unwrap();
        let store = open(&disk, options).await.unwrap();
        assert!(drive(&store, &history, 60, 2).await.is_none());
        // As a crash leaves it: nothing is folded on the way out.
        drop(store);
    });
    (disk, history.into_inner().unwrap())
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| !path.ends_with("LOCK")).collect()
}

/// Opens and reads everything; says whether all of it was there. A lie panics inside.
fn outcome(disk: &SimDisk, history: &History, at: &str, all: bool) -> Result<(), StoreError> {
    let mut history = history.clone();
    let result = run(async {
        let store = open(disk, Options { memory_bytes: 1 << 20, checkpoint_bytes: 1 << 20, ..tiny() }).await?;
        verify_from(&store, &mut history, at, all).await
    });
    if let Err(error) = &result {
        let named = matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Format);
        assert!(named && error.to_string().contains(DIR), "{at}: {error}");
    }
    result
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_without_effect() {
    let (disk, history) = crashed();
    outcome(&disk.fork(0), &history, "undamaged", true).unwrap();
    let (mut named, mut harmless) = (0, 0);
    for path in files(&disk) {
        let content = disk.content(&path).unwrap();
        let base = path.ends_with("base.redb");
        let mut offset = 0;
        while offset < content.len() {
            let fork = disk.fork(0);
            let mut damaged = content.clone();
            damaged[offset] ^= 1 << (offset % 8);
            fork.damage(&path, damaged);
            match outcome(&fork, &history, &format!("bit in {} at {offset}", path.display()), true) {
                Ok(()) => harmless += 1,
                Err(_) => named += 1,
            }
            // Every byte of the small files and of headers, a walk with an odd stride through the rest.
            offset += if base { 1 + (offset % 4096 + 1) * 31 % 5003 } else { 1 + offset.min(3000) / 50 };
        }
    }
    println!("{named} flips named, {harmless} without effect");
    assert!(named > 100, "{named} flips named, {harmless} without effect");
}

#[test]
fn a_flipped_bit_in_the_last_record_is_named() {
    let (disk, history) = crashed();
    // How full the newest segment is depends on which writes shared a group; it may hold one short record only.
    let path = files(&disk).into_iter().rfind(|path| path.starts_with("/data/journal")).unwrap();
    let content = disk.content(&path).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    for back in 1..300.min(end + 1) {
        let fork = disk.fork(0);
        let mut damaged = content.clone();
        damaged[end - back] ^= 4;
        fork.damage(&path, damaged);
        let result = outcome(&fork, &history, &format!("{back} bytes before the end"), true);
        // The padding behind a record carries nothing.
        assert!(result.is_err() || back < 8, "{back} bytes before the end");
    }
}

#[test]
fn a_zeroed_page_is_named_or_costs_only_the_newest() {
    let (disk, history) = crashed();
    for path in files(&disk) {
        let content = disk.content(&path).unwrap();
        let last = files(&disk).into_iter().next_back() == Some(path.clone());
        for page in 0..content.len().div_ceil(4096).min(300) {
            let fork = disk.fork(0);
            let mut damaged = content.clone();
            let end = (page * 4096 + 4096).min(damaged.len());
            damaged[page * 4096..end].fill(0);
            let nothing = damaged == content;
            fork.damage(&path, damaged);
            let at = format!("zeros in {} page {page}", path.display());
            // A zeroed end of the journal looks like a write that a loss of power prevented.
            let result = outcome(&fork, &history, &at, !last);
            assert!(!nothing || result.is_ok(), "{at}");
        }
    }
}

#[test]
fn a_file_cut_short_is_named_or_costs_only_the_newest() {
    let (disk, history) = crashed();
    let mut named = 0;
    for path in files(&disk) {
        let content = disk.content(&path).unwrap();
        let last = files(&disk).into_iter().next_back() == Some(path.clone());
        for part in 0..24 {
            let len =
                if part < 16 { content.len() * part / 16 } else { content.len().saturating_sub(1 << (part - 16)) };
            let fork = disk.fork(0);
            fork.damage(&path, content[..len].to_vec());
            let at = format!("{} cut to {len} bytes", path.display());
            // Without effect is what takes nothing but the end mark of the newest segment but one, when the newest
            // was never used.
            named += usize::from(outcome(&fork, &history, &at, !last).is_err());
        }
    }
    assert!(named > 24, "{named} cuts named");
}

#[test]
fn a_lost_file_is_named() {
    let (disk, history) = crashed();
    for path in files(&disk) {
        let fork = disk.fork(0);
        fork.lose(&path);
        let at = format!("{} lost", path.display());
        assert!(outcome(&fork, &history, &at, true).is_err(), "{at}");
    }
}

#[test]
fn files_of_another_store_are_named() {
    let (disk, history) = crashed();
    let (other, _) = crashed();
    // Group numbers, and with them names, differ from one history to the other; the order of the files does not.
    for (path, from) in files(&disk).into_iter().zip(files(&other)) {
        let fork = disk.fork(0);
        fork.damage(&path, other.content(&from).unwrap());
        let at = format!("{} of another store", path.display());
        assert!(outcome(&fork, &history, &at, true).is_err(), "{at}");
    }
}

#[test]
fn the_integrity_check_finds_every_damage() {
    let (disk, _) = crashed();
    let check = |disk: &SimDisk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        super::super::check::check_on(Path::new(DIR), &disk).unwrap()
    };
    let sound = check(&disk.fork(0));
    assert!(sound.is_sound(), "{sound:?}");
    assert!(sound.values > 0 && sound.streams == 3 && sound.groups > 0);
    let fork = disk.fork(0);
    let mut expected = vec![];
    for path in files(&disk).into_iter().filter(|path| path.starts_with("/data/journal")) {
        let mut content = disk.content(&path).unwrap();
        // Of what is written: the zeros that were filled ahead carry nothing, and neither do the at most 8 bytes of
        // padding behind a record.
        let middle = content.iter().rposition(|byte| *byte != 0).unwrap() / 2;
        content[middle] ^= 1;
        content[middle + 8] ^= 1;
        fork.damage(&path, content);
        expected.push(path);
    }
    let report = check(&fork);
    for path in expected {
        let named = |error: &StoreError| error.to_string().contains(&*path.to_string_lossy());
        assert!(report.damages.iter().any(named), "{}: {report:?}", path.display());
    }
}
