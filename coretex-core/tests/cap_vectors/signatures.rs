//! `signed.json`, `trust.json`, `production.json`, `keys.json`: the bytes that are signed and their digests.

use coretex_core::protocol::{
    envelope::{Mode, Received, validate},
    signing::{self, SignatureError, production},
};

use crate::support::{bytes, hex, load, name, rows, same_bytes};

#[test]
fn generic_signatures_are_made_over_the_bytes_of_the_sdk() {
    for row in rows("signed.json", "vectors") {
        let packet = bytes(&row);
        let split = signing::split(&packet).unwrap();
        same_bytes(name(&row), split.unsigned(), &bytes(&row["raw_unsigned"]));
        let unsigned = signing::canonical_unsigned(&packet).unwrap();
        same_bytes(name(&row), &unsigned, &bytes(&row["sdk_canonical_unsigned"]));
        assert_eq!(unsigned == split.unsigned(), row["raw_unsigned_equals_canonical"] == true, "{}", name(&row));
        match name(&row) {
            "signature-twice" => assert_eq!(split.signature(), Err(SignatureError::Several)),
            "unsigned" => assert_eq!(split.signature(), Err(SignatureError::Missing)),
            _ => assert_eq!(split.signature().unwrap(), hex(&row["signature_hex"]), "{}", name(&row)),
        }
    }
}

#[test]
fn handshake_phases_have_the_digests_of_the_sdk() {
    for row in rows("trust.json", "vectors") {
        let received = Received::decode(bytes(&row)).unwrap();
        let payload = received.packet().payload.as_ref().unwrap();
        assert_eq!(signing::trust_domain(payload), row["domain"].as_str(), "{}", name(&row));
        let transcript = signing::trust_digest(&received);
        if row["digest_error"].is_string() {
            assert_eq!(transcript, Err(SignatureError::UnknownFields), "{}", name(&row));
        } else {
            let transcript = transcript.unwrap();
            same_bytes(name(&row), &transcript.unsigned, &hex(&row["unsigned_hex"]));
            same_bytes(name(&row), &transcript.digest, &hex(&row["digest_hex"]));
        }
        let judged = received.validate(Mode::Strict);
        assert_eq!(judged.is_err(), row["structure_error"].is_string(), "{}: {judged:?}", name(&row));
        // Old peers know no handshake of this kind: there is nothing to be tolerant about.
        assert_eq!(validate(received.packet(), Mode::Tolerant), validate(received.packet(), Mode::Strict));
    }
}

#[test]
fn production_packets_are_taken_apart_like_the_sdk_does() {
    for row in rows("production.json", "vectors") {
        let extracted = production::extract(&bytes(&row));
        if let Some(error) = row["extract_error"].as_str() {
            let wanted = match error {
                "unknown BusPacket field" => "production_unknown_field",
                "duplicate singular BusPacket field" => "production_duplicate_field",
                "multiple BusPacket payload fields" => "production_several_payloads",
                "missing signature" => "production_no_signature",
                "wrong BusPacket field wire type" => "production_wire_type",
                "invalid protocol version wire" => "production_version",
                "non-minimal varint" => "production_non_minimal",
                other => panic!("{other}"),
            };
            assert_eq!(extracted.unwrap_err().code(), wanted, "{}", name(&row));
            continue;
        }
        let extracted = extracted.unwrap();
        same_bytes(name(&row), &extracted.unsigned, &bytes(&row["unsigned"]));
        same_bytes(name(&row), &extracted.signature, &hex(&row["signature_hex"]));
        same_bytes(name(&row), &extracted.digest, &hex(&row["digest_hex"]));
        same_bytes(name(&row), &extracted.body_digest, &hex(&row["body_digest_hex"]));
    }
    let limit = load("production.json")["trust"]["max_raw_bytes"].as_u64().unwrap() as usize;
    assert_eq!(production::extract(&vec![0; limit + 1]).unwrap_err().code(), "production_size");
}

/// Nothing verifies yet; the keys are here for the day it does, and every row that names one must find it.
#[test]
fn every_key_that_is_named_exists() {
    let keys = load("keys.json");
    for file in ["signed.json", "trust.json"] {
        for row in rows(file, "vectors") {
            let key = row["public_key"].as_str().unwrap();
            assert!(keys["keys"][key]["public_spki_pem"].is_string(), "{file} {key}");
        }
    }
}
