//! Encoded messages as protobuf JSON, driven by `schema.json`: a second opinion on what the bytes say, independent of
//! the structs and of the table under test.

use std::sync::LazyLock;

use coretex_core::protocol::wire::{WireValue, decode_varint, fields};
use serde_json::{Map, Value, json};

use crate::support;

pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(|| support::load("schema.json"));

const PACKAGE: &str = "cordum.agent.v1.";

/// The message in `bytes` as JSON; unknown fields are not shown. Messages that occur twice are not merged.
pub(crate) fn decode(message: &str, bytes: &[u8]) -> Value {
    match message {
        "google.protobuf.Timestamp" => return timestamp(bytes),
        "google.protobuf.Struct" => {
            return map(bytes, |bytes| decode("google.protobuf.Value", bytes));
        }
        "google.protobuf.Value" => return value(bytes),
        _ => {}
    }
    let mut object = Map::new();
    let short = message.strip_prefix(PACKAGE).unwrap_or(message);
    for wire in fields(bytes) {
        let wire = wire.unwrap();
        let field =
            SCHEMA["messages"][short]["fields"].as_array().unwrap().iter().find(|field| field["number"] == wire.number);
        let Some(field) = field else { continue };
        let kind = field["type"].as_str().unwrap();
        let name = field["name"].as_str().unwrap().to_owned();
        if let Some(kinds) = kind.strip_prefix("map<") {
            let kind = kinds.trim_end_matches('>').split_once(',').unwrap().1.trim();
            let (key, value) = entry(bytes_of(wire.value), kind);
            let map = object.entry(name).or_insert_with(|| json!({}));
            map.as_object_mut().unwrap().insert(key, value);
        } else if field["repeated"] == true {
            let list = object.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().extend(items(kind, wire.value));
        } else if let Some(value) = scalar(kind, wire.value) {
            object.insert(name, value);
        }
    }
    Value::Object(object)
}

fn items(kind: &str, value: WireValue<'_>) -> Vec<Value> {
    match (kind, value) {
        ("int32", WireValue::Bytes(mut packed)) => {
            let mut items = Vec::new();
            while !packed.is_empty() {
                let (number, used) = decode_varint(packed).unwrap();
                packed = &packed[used..];
                items.push(scalar(kind, WireValue::Varint(number)).unwrap());
            }
            items
        }
        _ => scalar(kind, value).into_iter().collect(),
    }
}

fn scalar(kind: &str, value: WireValue<'_>) -> Option<Value> {
    Some(match (kind, value) {
        ("string", WireValue::Bytes(text)) => json!(std::str::from_utf8(text).unwrap()),
        ("bytes", WireValue::Bytes(bytes)) => json!(base64(bytes)),
        ("int32", WireValue::Varint(number)) => json!(number as i32),
        ("int64", WireValue::Varint(number)) => json!((number as i64).to_string()),
        ("uint64", WireValue::Varint(number)) => json!(number.to_string()),
        ("bool", WireValue::Varint(number)) => json!(number != 0),
        ("float", WireValue::Fixed32(bits)) => {
            let number = f32::from_le_bytes(bits);
            // The shortest text of the float, as protobuf JSON has it.
            float(number.to_string().parse().unwrap())
        }
        ("double", WireValue::Fixed64(bits)) => float(f64::from_le_bytes(bits)),
        (message, WireValue::Bytes(bytes)) => decode(message, bytes),
        (name, WireValue::Varint(number)) => {
            let names = SCHEMA["enums"][name.strip_prefix(PACKAGE)?].as_object()?;
            let number = number as i32;
            let known = names.iter().find(|(_, value)| **value == number);
            known.map_or(json!(number), |(name, _)| json!(name))
        }
        _ => return None,
    })
}

fn float(number: f64) -> Value {
    if number.is_nan() {
        json!("NaN")
    } else if number.is_infinite() {
        json!(if number > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(number)
    }
}

fn bytes_of(value: WireValue<'_>) -> &[u8] {
    match value {
        WireValue::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn entry(bytes: &[u8], kind: &str) -> (String, Value) {
    let mut key = String::new();
    let mut value = if kind == "bool" { json!(false) } else { json!("") };
    for wire in fields(bytes) {
        let wire = wire.unwrap();
        match wire.number {
            1 => key = String::from_utf8(bytes_of(wire.value).to_vec()).unwrap(),
            2 => value = scalar(kind, wire.value).unwrap(),
            _ => {}
        }
    }
    (key, value)
}

fn map(bytes: &[u8], value: impl Fn(&[u8]) -> Value) -> Value {
    let mut object = Map::new();
    for wire in fields(bytes) {
        let parts: Vec<_> = fields(bytes_of(wire.unwrap().value)).map(|part| bytes_of(part.unwrap().value)).collect();
        object.insert(String::from_utf8(parts[0].to_vec()).unwrap(), value(parts[1]));
    }
    Value::Object(object)
}

fn value(bytes: &[u8]) -> Value {
    let wire = fields(bytes).next().unwrap().unwrap();
    match (wire.number, wire.value) {
        (1, _) => Value::Null,
        (2, WireValue::Fixed64(bits)) => float(f64::from_le_bytes(bits)),
        (3, WireValue::Bytes(text)) => json!(std::str::from_utf8(text).unwrap()),
        (4, WireValue::Varint(number)) => json!(number != 0),
        (5, WireValue::Bytes(bytes)) => decode("google.protobuf.Struct", bytes),
        (6, WireValue::Bytes(bytes)) => {
            fields(bytes).map(|item| decode("google.protobuf.Value", bytes_of(item.unwrap().value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn timestamp(bytes: &[u8]) -> Value {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for wire in fields(bytes) {
        match wire.unwrap() {
            wire if wire.number == 1 => seconds = number(wire.value),
            wire => nanos = number(wire.value),
        }
    }
    let at = jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0)
        .checked_add(jiff::SignedDuration::new(seconds, nanos as i32))
        .unwrap();
    let fraction = match nanos {
        0 => String::new(),
        _ if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        _ => format!(".{nanos:09}"),
    };
    json!(format!("{}{fraction}Z", at.strftime("%Y-%m-%dT%H:%M:%S")))
}

fn number(value: WireValue<'_>) -> i64 {
    match value {
        WireValue::Varint(number) => number as i64,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { symbol as char } else { '=' });
        }
    }
    text
}
