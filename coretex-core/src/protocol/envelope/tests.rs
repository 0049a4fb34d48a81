use super::*;
use crate::protocol::{
    Heartbeat, JobMetadata, JobRequest, JobResult, JobStatus, SystemAlert,
    wire::{WireValue, fields, put_bytes, put_tag, put_varint},
};

fn now() -> Timestamp {
    "2026-01-01T00:00:00.123456789Z".parse().unwrap()
}

fn request() -> JobRequest {
    JobRequest { job_id: "job-1".into(), topic: "job.a".into(), ..JobRequest::default() }
}

#[test]
fn a_new_packet_passes_the_strict_rules() {
    let packet = BusPacket::new("trace-1", "gateway-1", now(), request());
    validate(&packet, Mode::Strict).unwrap();
    let received = Received::decode(packet.to_wire()).unwrap();
    assert_eq!(received.packet(), &packet);
    assert_eq!(received.packet().created_at.unwrap().to_timestamp(), Some(now()));
}

#[test]
fn old_peers_pass_the_tolerant_rules_only() {
    let heartbeat = Heartbeat { worker_id: "w".into(), ..Heartbeat::default() };
    let mut packet = BusPacket::new("", "w", now(), heartbeat);
    packet.created_at = None;
    let strict = validate(&packet, Mode::Strict).unwrap_err();
    assert_eq!(strict.iter().map(Violation::path).collect::<Vec<_>>(), ["trace_id", "created_at"]);
    validate(&packet, Mode::Tolerant).unwrap();

    let result = JobResult {
        job_id: "j".into(),
        status: JobStatus::Succeeded.into(),
        worker_id: "other".into(),
        ..JobResult::default()
    };
    let packet = BusPacket::new("", "w", now(), result);
    assert!(validate(&packet, Mode::Strict).is_err());
    validate(&packet, Mode::Tolerant).unwrap();
}

#[test]
fn what_a_worker_would_drop_silently_is_refused_in_both_modes() {
    let mut packet = BusPacket::new("t", "c", now(), JobRequest { priority: 7, step_index: -1, ..request() });
    for mode in [Mode::Strict, Mode::Tolerant] {
        let broken = validate(&packet, mode).unwrap_err();
        assert_eq!(broken.code(), "value_unknown");
        assert_eq!(broken.iter().count(), 2);
    }
    packet.protocol_version = 2;
    let broken = validate(&packet, Mode::Tolerant).unwrap_err();
    assert_eq!(broken.error_code(), crate::protocol::ErrorCode::ProtocolVersionMismatch);
    assert!(broken.to_string().contains("`protocol_version` must be 1"), "{broken}");
}

#[test]
fn application_codes_in_alerts_are_for_tolerant_receivers() {
    let alert = SystemAlert {
        message: "m".into(),
        severity: 3,
        error_code_enum: 1001,
        source_component: "c".into(),
        ..SystemAlert::default()
    };
    let packet = BusPacket::new("t", "c", now(), alert);
    assert!(validate(&packet, Mode::Strict).is_err());
    validate(&packet, Mode::Tolerant).unwrap();
}

#[test]
fn limits_on_size_hold() {
    let packet = BusPacket::new("t", "c", now(), request()).to_wire();
    let limits = DecodeLimits { max_packet_bytes: packet.len(), ..DecodeLimits::default() };
    Received::decode_within(packet.clone(), &limits).unwrap();
    let limits = DecodeLimits { max_packet_bytes: packet.len() - 1, ..limits };
    let error = Received::decode_within(packet, &limits).unwrap_err();
    assert_eq!(error.code(), "packet_too_large");

    let trust = BusPacket::new("t", "c", now(), Payload::WorkerHandshakeResult(Default::default()));
    let limits = DecodeLimits { max_trust_packet_bytes: 3, ..DecodeLimits::default() };
    assert!(Received::decode_within(trust.to_wire(), &limits).is_err());
}

/// A request with unknown fields on both levels: 200 at the top, 201 inside `meta`.
fn raw_request() -> Vec<u8> {
    let mut meta = Vec::new();
    put_bytes(&mut meta, 201, b"deep");
    put_bytes(&mut meta, 1, b"tenant-1");
    let mut raw = Vec::new();
    put_tag(&mut raw, 200, 0);
    put_varint(&mut raw, 5);
    put_bytes(&mut raw, 1, b"job-1");
    put_bytes(&mut raw, 2, b"job.a");
    put_bytes(&mut raw, 16, &meta);
    raw
}

fn packet_around(parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = BusPacket::new("trace-1", "client", now(), request());
    packet.payload = None;
    let mut bytes = packet.to_wire();
    for part in parts {
        put_bytes(&mut bytes, 10, part);
    }
    bytes
}

fn numbers(message: &[u8]) -> Vec<u32> {
    fields(message).map(|field| field.unwrap().number).collect()
}

fn part(message: &[u8], number: u32) -> Vec<u8> {
    let found = fields(message).map(Result::unwrap).find(|field| field.number == number);
    match found.map(|field| field.value) {
        Some(WireValue::Bytes(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn forwarding_keeps_unknown_fields_at_every_depth_and_changes_known_ones() {
    let received = Received::decode(packet_around(&[&raw_request()])).unwrap();
    let job = received.job_request().unwrap();
    let edited = job
        .edit(|job| {
            job.topic = "job.b".into();
            job.env.insert("tenant_id".into(), "t".into());
            job.meta.get_or_insert_default().actor_id = "alice".into();
        })
        .unwrap();
    let sent = Envelope::new("trace-1", "scheduler", now()).wrap(&edited).unwrap();

    let request = part(&sent, 10);
    assert_eq!(numbers(&request), [1, 2, 6, 16, 200]);
    assert_eq!(numbers(&part(&request, 16)), [1, 2, 201]);
    assert_eq!(part(&part(&request, 16), 201), b"deep");
    let again = Received::decode(sent).unwrap();
    again.validate(Mode::Strict).unwrap();
    assert_eq!(again.packet().sender_id, "scheduler");
    assert_eq!(again.packet().job_request(), Some(edited.request()));
    assert_eq!(again.packet().job_request().unwrap().topic, "job.b");
}

#[test]
fn a_removed_message_takes_its_unknown_fields_along() {
    let job = RawJobRequest::decode(raw_request()).unwrap();
    let edited = job.edit(|job| job.meta = None).unwrap();
    assert_eq!(numbers(edited.raw()), [1, 2, 200]);
}

#[test]
fn an_odd_map_entry_cannot_bring_back_what_the_edit_replaced() {
    // An entry with an unknown field inside: some decoders read it as an entry, some as an unknown field.
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, b"tenant_id");
    put_bytes(&mut entry, 2, b"attacker");
    put_bytes(&mut entry, 9, b"x");
    let mut raw = raw_request();
    put_bytes(&mut raw, 6, &entry);
    let job = RawJobRequest::decode(raw).unwrap();
    let edited = job.edit(|job| drop(job.env.insert("tenant_id".into(), "real".into()))).unwrap();
    let again = RawJobRequest::decode(edited.raw().clone()).unwrap();
    assert_eq!(again.request().env.get("tenant_id").map(String::as_str), Some("real"));
    assert_eq!(numbers(edited.raw()).iter().filter(|number| **number == 6).count(), 1);
}

#[test]
fn a_request_in_parts_is_put_together() {
    let first = raw_request();
    let mut second = Vec::new();
    put_bytes(&mut second, 2, b"job.z");
    let received = Received::decode(packet_around(&[&first, &second])).unwrap();
    let job = received.job_request().unwrap();
    assert_eq!(job.request().topic, "job.z");
    assert_eq!(RawJobRequest::decode(job.raw().clone()).unwrap().request(), job.request());
    assert_eq!(job.request().meta, Some(JobMetadata { tenant_id: "tenant-1".into(), ..JobMetadata::default() }));
}

#[test]
fn another_payload_in_between_starts_the_request_afresh() {
    let mut bytes = packet_around(&[&raw_request()]);
    put_bytes(&mut bytes, 12, b"");
    put_bytes(&mut bytes, 10, &request().encode_to_vec());
    let job = Received::decode(bytes).unwrap().job_request().unwrap();
    assert_eq!(job.request(), &request());
    assert_eq!(RawJobRequest::decode(job.raw().clone()).unwrap().request(), &request());
}

#[test]
fn a_payload_of_a_later_version_is_named() {
    let mut bytes = packet_around(&[]);
    put_bytes(&mut bytes, 23, b"future");
    let received = Received::decode(bytes).unwrap();
    assert_eq!(received.unknown_payload(), Some(23));
    assert_eq!(received.validate(Mode::Tolerant).unwrap_err().code(), "payload_missing");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut packet = BusPacket::new("t", "c", now(), Heartbeat { auth_token: "hush".into(), ..Heartbeat::default() });
    packet.auth_token = "hush".into();
    let shown = format!("{packet:?}");
    assert!(!shown.contains("hush"), "{shown}");
}
