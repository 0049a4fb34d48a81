//! `packets.json`, `validation.json`, `malformed.json`: taking packets in, judging them, forwarding jobs.

use coretex_core::protocol::{
    BusPacket,
    canonical::{self, schema::BUS_PACKET},
    envelope::{DecodeLimits, Envelope, Mode, Received},
    wire::fields,
};
use serde_json::Value;

use crate::{
    json,
    messages::through_struct,
    support::{bytes, hex, name, no_errors, rows, same_bytes},
};

/// The vectors go beyond the default limits.
pub(crate) const LARGE: DecodeLimits = DecodeLimits { max_packet_bytes: 4 << 20, max_trust_packet_bytes: 1 << 16 };

fn check_decoded(row: &Value, bytes: &[u8]) {
    let decoded = &row["decoded"];
    if decoded["omitted"] == true {
        return;
    }
    assert_eq!(json::decode("BusPacket", &canonical::encode(&BUS_PACKET, bytes).unwrap()), *decoded, "{}", name(row));
    // The struct sees the same, except for the sign of zero.
    if name(row) != "float/negative-zero" {
        let again = through_struct("BusPacket", bytes).unwrap();
        assert_eq!(json::decode("BusPacket", &again), *decoded, "{}", name(row));
    }
}

fn check_verdict(row: &Value, packet: &BusPacket, verdict: &Value) {
    let broken = coretex_core::protocol::envelope::validate(packet, Mode::Strict);
    assert_eq!(broken.is_ok(), no_errors(verdict), "{}: {broken:?} {verdict}", name(row));
    let trust = packet.payload.as_ref().is_some_and(|payload| payload.is_trust_phase());
    if let (Err(broken), false) = (broken, trust) {
        assert_eq!(broken.iter().count(), verdict.as_array().unwrap().len(), "{}: {broken} {verdict}", name(row));
    }
}

#[test]
fn every_packet_decodes_and_encodes_like_the_sdk() {
    for row in rows("packets.json", "vectors") {
        let bytes = bytes(&row);
        let received = Received::decode_within(bytes.clone(), &LARGE).unwrap();
        let payload = received.packet().payload.as_ref().map(|payload| payload.name());
        assert_eq!(payload, row["payload"].as_str(), "{}", name(&row));
        check_decoded(&row, &bytes);

        let encoded = canonical::encode(&BUS_PACKET, &bytes).unwrap();
        assert_eq!(encoded == bytes, row["reencodes_identically"] == true, "{}", name(&row));
        same_bytes(name(&row), &canonical::encode(&BUS_PACKET, &encoded).unwrap(), &encoded);
        let unknown = canonical::has_unknown_fields(&BUS_PACKET, &bytes).unwrap();
        assert_eq!(unknown, row["has_unknown_fields"] == true, "{}", name(&row));
        if !unknown && name(&row) != "float/negative-zero" {
            same_bytes(name(&row), &canonical::to_vec(received.packet()).unwrap(), &bytes);
        }
        if name(&row) == "unknown/head" {
            // The unknown field moves behind the known ones and nothing else changes.
            let (unknown, rest) = bytes.split_at(fields(&bytes).next().unwrap().unwrap().raw.len());
            same_bytes("unknown/head", &encoded, &[rest, unknown].concat());
        }
    }
}

#[test]
fn every_packet_is_judged_like_the_sdk_does() {
    for row in rows("packets.json", "vectors") {
        let received = Received::decode_within(bytes(&row), &LARGE).unwrap();
        check_verdict(&row, received.packet(), &row["sdk_validation"]);
        if name(&row).starts_with("legacy/") {
            received.validate(Mode::Tolerant).unwrap();
        }
    }
    for row in rows("validation.json", "vectors") {
        let bytes = bytes(&row);
        let received = Received::decode(bytes.clone()).unwrap();
        check_verdict(&row, received.packet(), &row["sdk_errors"]);
        check_decoded(&row, &bytes);
        same_bytes(name(&row), &canonical::encode(&BUS_PACKET, &bytes).unwrap(), &bytes);
    }
}

#[test]
fn a_packet_above_the_default_limit_is_refused() {
    for row in rows("packets.json", "vectors") {
        let bytes = bytes(&row);
        assert_eq!(Received::decode(bytes.clone()).is_ok(), bytes.len() <= 1 << 20, "{}", name(&row));
    }
}

#[test]
fn forwarded_jobs_keep_every_unknown_field() {
    let envelope = Envelope::new("trace-1", "sender-1", "2026-01-01T00:00:00.123456789Z".parse().unwrap());
    let mut nested = false;
    for row in rows("packets.json", "vectors") {
        let received = Received::decode_within(bytes(&row), &LARGE).unwrap();
        let Some(job) = received.job_request() else {
            continue;
        };
        assert_eq!(Some(job.request()), received.packet().job_request());
        let sent = envelope.wrap(&job).unwrap();
        let again = Received::decode_within(sent, &LARGE).unwrap().job_request().unwrap();
        assert_eq!(again.request(), job.request(), "{}", name(&row));
        let wanted = canonical::encode(&coretex_core::protocol::canonical::schema::JOB_REQUEST, job.raw()).unwrap();
        same_bytes(name(&row), again.raw(), &wanted);

        if name(&row) == "unknown/nested" {
            nested = true;
            let edited = job.edit(|job| job.topic = "job.other".into()).unwrap();
            let unknown: Vec<u32> =
                fields(edited.raw()).map(|field| field.unwrap().number).filter(|n| *n > 20).collect();
            assert_eq!(unknown, [200, 201]);
            assert_eq!(edited.request().topic, "job.other");
        }
    }
    assert!(nested);
}

#[test]
fn malformed_packets_get_the_verdict_of_the_sdk() {
    // The SDK keeps a known field with another wire type as unknown; prost refuses the packet.
    const REFUSED_HERE: &[&str] = &["known-field-wrong-wiretype", "payload-wrong-wiretype"];
    for row in rows("malformed.json", "vectors") {
        let bytes = bytes(&row);
        let parses = row["sdk_parses"] == true;
        let received = Received::decode(bytes.clone());
        assert_eq!(received.is_ok(), parses && !REFUSED_HERE.contains(&name(&row)), "{}", name(&row));
        let encoded = canonical::encode(&BUS_PACKET, &bytes);
        assert_eq!(encoded.is_ok(), parses, "{}: {encoded:?}", name(&row));
        if let Ok(encoded) = encoded {
            same_bytes(name(&row), &encoded, &hex(&row["reencoded_hex"]));
            assert_eq!(json::decode("BusPacket", &encoded), row["decoded"], "{}", name(&row));
            let unknown = canonical::has_unknown_fields(&BUS_PACKET, &bytes).unwrap();
            assert_eq!(unknown, row["has_unknown_fields"] == true, "{}", name(&row));
        }
        if let Ok(received) = received {
            let payload = received.packet().payload.as_ref().map(|payload| payload.name());
            assert_eq!(payload, row["payload"].as_str(), "{}", name(&row));
            check_verdict(&row, received.packet(), &row["sdk_errors"]);
            let again = through_struct("BusPacket", &bytes).unwrap();
            assert_eq!(json::decode("BusPacket", &again), row["decoded"], "{}", name(&row));
        }
    }
}
