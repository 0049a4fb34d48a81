//! `schema.json`: the table has every message and field, the enumerations every name and number.

use coretex_core::protocol::{
    ActorType, AlertSeverity, ComponentRole, DecisionType, ErrorCode, JobPriority, JobStatus,
    WorkerHandshakeProofAlgorithm, WorkerHandshakePurpose, WorkerHandshakeRejectionReason,
    canonical::{
        MessageType,
        schema::{Field, Kind, Label},
    },
};

use crate::json::SCHEMA;

fn type_name(field: &Field) -> String {
    let kind = match field.kind() {
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint64 => "uint64",
        Kind::Bool => "bool",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum => "enum",
        Kind::Message(message) => message.name(),
        other => panic!("{other:?}"),
    };
    if field.label() == Label::Map { format!("map<string,{kind}>") } else { kind.to_owned() }
}

#[test]
fn the_table_has_every_message_and_field_of_the_published_schema() {
    let messages = SCHEMA["messages"].as_object().unwrap();
    let enums = SCHEMA["enums"].as_object().unwrap();
    for (name, message) in messages {
        let table = MessageType::by_name(name).unwrap_or_else(|| panic!("{name} is missing"));
        let published: Vec<_> = message["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| {
                let kind = field["type"].as_str().unwrap();
                let short = kind.strip_prefix("cordum.agent.v1.").unwrap_or(kind);
                let kind = if enums.contains_key(short) { "enum" } else { short };
                let label = match kind {
                    _ if kind.starts_with("map<") => Label::Map,
                    _ if field["repeated"] == true => Label::Many,
                    _ if field["oneof"].is_string() => Label::Choice,
                    _ => Label::One,
                };
                let number = field["number"].as_u64().unwrap();
                (number, field["name"].as_str().unwrap().to_owned(), kind.replace(' ', ""), label)
            })
            .collect();
        let ours: Vec<_> = table
            .fields()
            .iter()
            .map(|field| (field.number().into(), field.name().to_owned(), type_name(field), field.label()))
            .collect();
        assert_eq!(ours, published, "{name}");
    }
    let known = MessageType::all().iter().filter(|message| !message.name().starts_with("google.")).count();
    assert_eq!(known, messages.len());
    for message in MessageType::all() {
        assert!(message.fields().is_sorted_by(|a, b| a.number() < b.number()), "{}", message.name());
    }
}

#[test]
fn the_enumerations_have_every_name_and_number_of_the_published_schema() {
    macro_rules! compare {
        ($($name:ident),+) => {{
            let mut compared = Vec::new();
            $(
                let published = SCHEMA["enums"][stringify!($name)].as_object().unwrap();
                assert_eq!($name::ALL.len(), published.len(), stringify!($name));
                for value in $name::ALL {
                    assert_eq!(published[value.as_wire_name()], i32::from(*value));
                }
                compared.push(stringify!($name));
            )+
            compared
        }};
    }
    let compared = compare!(
        ActorType,
        AlertSeverity,
        ComponentRole,
        DecisionType,
        ErrorCode,
        JobPriority,
        JobStatus,
        WorkerHandshakeProofAlgorithm,
        WorkerHandshakePurpose,
        WorkerHandshakeRejectionReason
    );
    // Policy-studio enumerations have no types here.
    const STUDIO: &[&str] = &["RuleType", "RuleStatus", "DecisionSource", "RuleScopeKind", "EdgeMode"];
    for name in SCHEMA["enums"].as_object().unwrap().keys() {
        assert!(compared.contains(&name.as_str()) || STUDIO.contains(&name.as_str()), "{name}");
    }
}
