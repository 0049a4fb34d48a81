//! Reading the vector files.

use std::path::PathBuf;

use serde_json::Value;

pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cap-vectors")
}

pub(crate) fn load(file: &str) -> Value {
    let text = std::fs::read_to_string(directory().join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The rows under `key`; never none.
pub(crate) fn rows(file: &str, key: &str) -> Vec<Value> {
    let rows = load(file)[key].as_array().unwrap().clone();
    assert!(!rows.is_empty());
    rows
}

/// The bytes of a row, checked against its length and digest.
pub(crate) fn bytes(row: &Value) -> Vec<u8> {
    let bytes = match row.get("hex") {
        Some(text) => hex(text),
        None => row["chunks"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|chunk| hex(&chunk[0]).repeat(chunk[1].as_u64().unwrap() as usize))
            .collect(),
    };
    if let Some(length) = row["bytes"].as_u64() {
        assert_eq!(bytes.len() as u64, length);
    }
    if let Some(digest) = row["sha256"].as_str() {
        use sha2::Digest as _;
        assert_eq!(::hex::encode(sha2::Sha256::digest(&bytes)), digest);
    }
    bytes
}

pub(crate) fn hex(text: &Value) -> Vec<u8> {
    ::hex::decode(text.as_str().unwrap()).unwrap()
}

pub(crate) fn name(row: &Value) -> &str {
    row["name"].as_str().unwrap()
}

pub(crate) fn no_errors(list: &Value) -> bool {
    list.as_array().unwrap().is_empty()
}

/// Compares bytes and shows them in hex when they differ.
#[track_caller]
pub(crate) fn same_bytes(name: &str, found: &[u8], wanted: &[u8]) {
    if found != wanted {
        let cut = |bytes: &[u8]| ::hex::encode(&bytes[..bytes.len().min(2000)]);
        panic!("{name}\n found {}\nwanted {}", cut(found), cut(wanted));
    }
}
