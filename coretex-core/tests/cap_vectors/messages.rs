//! `messages.json`, `map_order.json`: every message type decodes to what the SDK decoded and encodes to its bytes.

use coretex_core::protocol::{
    JobRequest,
    canonical::{self, Described, MessageType, map_key_order},
    messages as m,
};

use crate::{
    json,
    support::{bytes, hex, name, rows, same_bytes},
};

/// Decodes with the struct of that name and encodes again; nothing when there is no struct.
pub(crate) fn through_struct(message: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    fn run<M: Described + Default>(bytes: &[u8]) -> Vec<u8> {
        canonical::to_vec(&M::decode(bytes).unwrap()).unwrap()
    }
    macro_rules! dispatch {
        ($($name:ident),+ $(,)?) => {
            match message {
                $(stringify!($name) => Some(run::<m::$name>(bytes)),)+
                _ => None,
            }
        };
    }
    dispatch!(
        BusPacket,
        SignatureMetadata,
        IdentityBinding,
        DispatchIdentity,
        ResourceRef,
        ContextHints,
        Budget,
        JobMetadata,
        Compensation,
        JobRequest,
        JobResult,
        JobProgress,
        JobCancel,
        Heartbeat,
        SystemAlert,
        Handshake,
        WorkerHandshakeChallengeRequest,
        WorkerHandshakeChallenge,
        WorkerHandshakeAuthenticate,
        WorkerHandshakeResult,
        PolicyCheckRequest,
        PolicyCheckResponse,
        PolicyConstraints,
        BudgetConstraints,
        SandboxProfile,
        ToolchainConstraints,
        DiffConstraints,
        PolicyRemediation,
        ListSnapshotsRequest,
        ListSnapshotsResponse,
    )
}

#[test]
fn every_message_decodes_and_encodes_like_the_sdk() {
    let mut structs = 0;
    for row in rows("messages.json", "vectors") {
        let (full, bytes) = (row["type"].as_str().unwrap(), bytes(&row));
        let table = MessageType::by_name(full).unwrap();
        same_bytes(name(&row), &canonical::encode(table, &bytes).unwrap(), &bytes);
        assert_eq!(json::decode(full, &bytes), row["decoded"], "{}", name(&row));
        assert!(!canonical::has_unknown_fields(table, &bytes).unwrap());
        if let Some(again) = through_struct(table.name(), &bytes) {
            same_bytes(name(&row), &again, &bytes);
            structs += 1;
        } else {
            let studio = json::SCHEMA["messages"][table.name()]["file"].as_str().unwrap();
            assert!(studio.ends_with("policy.proto"), "{full} has no struct");
        }
    }
    assert!(structs > 100);
}

#[test]
fn map_entries_stand_in_the_order_of_the_sdk() {
    for row in rows("map_order.json", "vectors") {
        let texts = |key: &str| -> Vec<String> {
            row[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut keys = texts("keys");
        let job = JobRequest {
            labels: keys.iter().map(|key| (key.clone(), String::new())).collect(),
            ..JobRequest::default()
        };
        same_bytes("labels", &canonical::to_vec(&job).unwrap(), &hex(&row["job_request_hex"]));
        keys.sort_by(|a, b| map_key_order(a.as_bytes(), b.as_bytes()));
        assert_eq!(keys, texts("order"));
    }
}
