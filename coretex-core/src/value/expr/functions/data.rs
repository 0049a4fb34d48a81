//! Functions of maps, and between values and their encodings.

use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::{Args, Outcome, owned};
use crate::value::expr::ast::Function;
use crate::value::expr::error::{EvalErrorKind, Failure};
use crate::value::expr::eval::Budget;
use crate::value::expr::val::{Dict, Val};
use crate::value::json::{Value, canonical, hex};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn call<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    match args.function {
        Function::Keys => {
            let map = args.map(0)?;
            budget.charge(map.len())?;
            Ok(Val::list(map.keys().into_iter().map(Val::Text).collect()))
        }
        Function::Values => {
            let map = args.map(0)?;
            budget.charge(map.len())?;
            // A key that an object names and does not have would be a missing value in a list.
            let values = map.keys().into_iter().map(|key| map.get(&key));
            Ok(Val::list(values.filter(|value| !matches!(value, Val::Missing)).collect()))
        }
        Function::Merge => merge(args, budget),
        Function::Json => {
            let text = args.text(0)?;
            // What is read takes more room than its text.
            budget.charge(text.len() / 4)?;
            let value: Value = serde_json::from_str(text).map_err(|error| {
                Failure::boxed(EvalErrorKind::Conversion, format!("the string is not JSON: {error}"))
            })?;
            Val::built(value, budget)
        }
        Function::ToJson => match args.at(0).to_json(budget)? {
            Some(value) => {
                let text = canonical(&value);
                budget.charge_text(text.len())?;
                Ok(owned(text))
            }
            None => Err(args.refused(0, "a value")),
        },
        Function::Encode64 => {
            let text = args.text(0)?;
            budget.charge_text(text.len() * 2)?;
            Ok(owned(encode(text.as_bytes())))
        }
        Function::Decode64 => {
            let text = args.text(0)?;
            budget.charge_text(text.len())?;
            let bytes = decode(text).ok_or_else(|| args.failed("standard base64"))?;
            String::from_utf8(bytes)
                .map(owned)
                .map_err(|_| args.failed("base64 of UTF-8 text; bytes are no JSON value"))
        }
        _ => {
            let text = args.text(0)?;
            // Hashing costs more than copying.
            budget.charge(8 + text.len() / 4)?;
            Ok(owned(hex(&Sha256::digest(text.as_bytes()))))
        }
    }
}

/// Shallow, later maps win; nothing merges as an empty map.
fn merge<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let mut merged = BTreeMap::new();
    for at in 0..args.operands.len() {
        let map = match args.at(at) {
            Val::Map(map) => map,
            Val::Missing | Val::Null => continue,
            _ => return Err(args.refused(at, "maps")),
        };
        for key in map.keys() {
            budget.charge(1)?;
            budget.charge_text(key.len())?;
            let value = map.get(&key);
            if !matches!(value, Val::Missing) {
                merged.insert(key, value);
            }
        }
    }
    Ok(Val::Map(Dict::Built(Rc::new(merged))))
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            let letter = ALPHABET.get(index as usize).filter(|_| at <= chunk.len());
            out.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    out
}

/// Padding may be left out; anything after it, or bits that no byte has, is refused.
fn decode(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 || (text.len() != body.len() && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in body.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
        bits &= (1 << held) - 1;
    }
    (held < 6 && bits == 0).then_some(out)
}
