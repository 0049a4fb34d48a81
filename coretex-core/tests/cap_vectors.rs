//! The golden vectors: bytes written by the published SDK, with what it decoded and decided.
//!
//! `cap-vectors/README.md` describes the files. Every file must be covered by a test here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

#[path = "cap_vectors/envelope.rs"]
mod envelope;
#[path = "cap_vectors/json.rs"]
mod json;
#[path = "cap_vectors/messages.rs"]
mod messages;
#[path = "cap_vectors/mutations.rs"]
mod mutations;
#[path = "cap_vectors/pointers.rs"]
mod pointers;
#[path = "cap_vectors/schema.rs"]
mod schema;
#[path = "cap_vectors/signatures.rs"]
mod signatures;
#[path = "cap_vectors/support.rs"]
mod support;

#[test]
fn every_file_has_a_test() {
    const COVERED: &[&str] = &[
        "README.md",
        "keys.json",
        "malformed.json",
        "map_order.json",
        "messages.json",
        "packets.json",
        "pointers.json",
        "production.json",
        "schema.json",
        "signed.json",
        "trust.json",
        "validation.json",
    ];
    let mut found: Vec<String> = std::fs::read_dir(support::directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, COVERED, "give a new file a test, then name it here");
}
