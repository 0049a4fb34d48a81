//! `pointers.json`: which key a pointer names, by the runtime's rule and by the production rule.

use coretex_core::protocol::{
    ResourceRef,
    pointer::{Pointer, PointerError, production_key, resource, runtime_key},
};
use prost::Message as _;
use serde_json::Value;

use crate::support::{bytes, name, rows};

fn pointer(row: &Value) -> String {
    let text = match row["repeat"].as_array() {
        Some(repeat) => {
            let times = repeat[2].as_u64().unwrap() as usize;
            format!("{}{}", repeat[0].as_str().unwrap(), repeat[1].as_str().unwrap().repeat(times))
        }
        None => row["pointer"].as_str().unwrap().to_owned(),
    };
    assert_eq!(text.chars().count() as u64, row["pointer_len"].as_u64().unwrap());
    text
}

#[track_caller]
fn check(text: &str, found: Result<&str, PointerError>, key: &Value, error: Option<PointerError>) {
    match (key.as_str(), error) {
        (Some("<rest>"), _) => assert_eq!(found, Ok(&text["redis://".len()..])),
        (Some(key), _) => assert_eq!(found, Ok(key), "{text}"),
        (None, Some(error)) => assert_eq!(found, Err(error), "{text}"),
        (None, None) => panic!("{text}: unknown error text"),
    }
}

#[test]
fn pointers_name_the_keys_that_the_sdk_reads() {
    for row in rows("pointers.json", "vectors") {
        let text = pointer(&row);
        let error = row["runtime_error"].as_str().and_then(|error| match error {
            "empty pointer" => Some(PointerError::Empty),
            "unsupported pointer scheme" => Some(PointerError::UnsupportedScheme),
            "missing pointer key" => Some(PointerError::MissingKey),
            _ => None,
        });
        check(&text, runtime_key(&text), &row["runtime_key"], error);
        let error = row["production_error"].as_str().and_then(|error| match error {
            "legacy Redis key is empty or ambiguous" => Some(PointerError::AmbiguousKey),
            "legacy Redis pointer has the wrong scheme" => Some(PointerError::UnsupportedScheme),
            "legacy Redis pointer is untrimmed or too long" => Some(PointerError::UntrimmedOrTooLong),
            _ => None,
        });
        check(&text, production_key(&text), &row["production_key"], error);
        if let Ok(pointer) = Pointer::from_wire(&text) {
            assert_eq!(pointer.to_wire(), text);
            assert_eq!(pointer.key().as_deref(), runtime_key(&text).ok());
        }
    }
}

#[test]
fn resource_references_are_judged_like_the_sdk_does() {
    for row in rows("pointers.json", "resource_refs") {
        let reference = ResourceRef::decode(bytes(&row).as_slice()).unwrap();
        let resolvers: Vec<&str> =
            row["installed_resolvers"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let now = row["now"].as_str().unwrap().parse().unwrap();
        let wanted = row["sdk_error"].as_str().map(|error| match error {
            "resolver ID is not canonical" => "resource_resolver_id",
            "resolver is not installed" => "resource_resolver_absent",
            "SHA-256 must contain exactly 32 bytes" => "resource_digest",
            "declared size is outside production bounds" => "resource_size",
            "resource URI contains credentials, metadata, or escapes" => "resource_uri_parts",
            "resource URI path is not normalized" => "resource_uri_path",
            "resource URI scheme is not canonical" => "resource_uri_scheme",
            "resource URI is empty, untrimmed, or too long" => "resource_uri_text",
            "media type is not canonical" => "resource_media_type",
            "purpose is not canonical" => "resource_purpose",
            "resource expiry is required" => "resource_expiry_missing",
            "resource expiry is not in the future" => "resource_expired",
            other => panic!("{other}"),
        });
        let found = resource::check(&reference, &resolvers, now).err();
        assert_eq!(found.map(|error| error.code()), wanted, "{}", name(&row));
    }
}
