use std::{collections::BTreeMap, fs, path::Path};

use coretex_core::{ports::SystemClock, testing::conformance::blobs::Fixture};

use super::*;

async fn open(directory: &Path) -> FileBlobs {
    FileBlobs::open(directory, Arc::new(SystemClock)).await.unwrap()
}

fn key(text: &str) -> BlobKey {
    BlobKey::parse(text).unwrap()
}

/// Every file below `directory`, by its path.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

mod suite {
    use super::*;

    coretex_core::blobs_conformance!(|| async {
        let directory = tempfile::tempdir().unwrap();
        let blobs = open(directory.path()).await.with_max_bytes(1 << 20);
        Fixture::new(Arc::new(blobs)).with_guard(directory)
    });
}

#[tokio::test]
async fn blobs_survive_the_end_of_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path()).await;
    let entry = blobs.put(&key("res/a:1"), Bytes::from_static(b"kept")).await.unwrap();
    drop(blobs);
    let blobs = open(directory.path()).await;
    assert_eq!(blobs.get(&key("res/a:1")).await.unwrap().unwrap(), "kept");
    assert_eq!(blobs.head(&key("res/a:1")).await.unwrap().unwrap(), entry);
    assert!(blobs.durable());
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await;
    let second = FileBlobs::open(directory.path(), Arc::new(SystemClock)).await;
    assert_eq!(second.unwrap_err().kind(), BlobErrorKind::Unavailable);
    drop(first);
    open(directory.path()).await;
}

#[tokio::test]
async fn what_was_never_finished_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    fs::write(directory.path().join(".tmp/17"), "half").unwrap();
    let blobs = open(directory.path()).await;
    assert!(!directory.path().join(".tmp/17").exists());
    assert_eq!(blobs.list("", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path()).await;
    blobs.put(&key("a"), Bytes::from_static(b"some bytes")).await.unwrap();
    let (path, good) = files(directory.path()).into_iter().find(|(path, _)| path.ends_with("a~")).unwrap();
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1 << (index % 8);
        fs::write(&path, &bad).unwrap();
        assert_eq!(blobs.get(&key("a")).await.unwrap_err().kind(), BlobErrorKind::Corrupt, "byte {index}");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(blobs.get(&key("a")).await.unwrap_err().kind(), BlobErrorKind::Corrupt, "cut at {length}");
        assert_eq!(blobs.head(&key("a")).await.unwrap_err().kind(), BlobErrorKind::Corrupt, "cut at {length}");
    }
    let longer = [good.as_slice(), b"!"].concat();
    fs::write(&path, longer).unwrap();
    assert_eq!(blobs.get(&key("a")).await.unwrap_err().kind(), BlobErrorKind::Corrupt, "longer");
    // Damage does not stand in the way of writing anew.
    blobs.put(&key("a"), Bytes::from_static(b"fresh")).await.unwrap();
    assert_eq!(blobs.get(&key("a")).await.unwrap().unwrap(), "fresh");
}

#[tokio::test]
async fn a_file_under_another_key_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path()).await;
    blobs.put(&key("a"), Bytes::from_static(b"of a")).await.unwrap();
    fs::copy(directory.path().join("a~"), directory.path().join("b~")).unwrap();
    assert_eq!(blobs.get(&key("b")).await.unwrap_err().kind(), BlobErrorKind::Corrupt);
}

#[tokio::test]
async fn deleting_leaves_no_empty_directories() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path()).await;
    for text in ["a/b/c/d", "a/b/e"] {
        blobs.put(&key(text), Bytes::new()).await.unwrap();
    }
    blobs.delete(&key("a/b/c/d")).await.unwrap();
    assert!(directory.path().join("a/b").is_dir() && !directory.path().join("a/b/c").exists());
    blobs.delete(&key("a/b/e")).await.unwrap();
    assert!(!directory.path().join("a").exists());
    assert!(directory.path().is_dir());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_beside_deletion_finds_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path()).await;
    let tasks = ["d/a/1", "d/a/2", "d/b", "d/a/x/y"].map(|text| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                blobs.put(&key(text), Bytes::from_static(b"here")).await.unwrap();
                assert!(blobs.get(&key(text)).await.unwrap().is_some());
                blobs.delete(&key(text)).await.unwrap();
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert!(!directory.path().join("d").exists());
}

#[test]
fn a_full_disk_says_so() {
    for (cause, kind) in [
        (std::io::ErrorKind::StorageFull, BlobErrorKind::Full),
        (std::io::ErrorKind::QuotaExceeded, BlobErrorKind::Full),
        (std::io::ErrorKind::PermissionDenied, BlobErrorKind::Unavailable),
        (std::io::ErrorKind::Other, BlobErrorKind::Unavailable),
    ] {
        assert_eq!(disk::failure("write", &"a", cause.into()).kind(), kind);
    }
}

#[test]
fn paths_stay_inside_and_lead_back_to_their_keys() {
    let long = "x:".repeat(256);
    for text in ["a", ".", "./.", ".hidden", ".tmp/1", "a.b", "a+/b", "a:b@[c]+", long.as_str(), &"y".repeat(512)] {
        let path = path::of_key(&key(text));
        assert!(path.is_relative());
        let mut back = String::new();
        for component in path.components() {
            let std::path::Component::Normal(name) = component else { panic!("{text} leads to {path:?}") };
            let name = name.to_str().unwrap();
            assert!(name.len() <= 255 && !name.starts_with('.'), "{name}");
            match path::parse(name).unwrap() {
                path::Name::File(end) => back.push_str(&end),
                path::Name::Directory(part) => back.push_str(&part),
            }
        }
        assert_eq!(back, text);
    }
}
