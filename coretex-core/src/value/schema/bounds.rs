//! What checking one value may cost.
//!
//! A schema can name itself many times over: forty definitions, each of which refers twice to the next, are a page of
//! text and 2^40 checks of one value. Such schemas are refused when they are compiled.

use std::collections::HashMap;

use serde_json::Map;

use super::view::Source;
use crate::value::json::Value;

/// Most schemas that one value is checked against, one place of it at a time.
const MAX_CHECKS: usize = 10_000;
/// Most schemas that hold at one place because one names the other.
const MAX_CHAIN: usize = 128;

pub(super) fn check(source: &Source) -> Result<(), String> {
    let mut costs = Costs { source, known: HashMap::new() };
    let mut waiting = vec![source.document()];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(node) => {
                costs.of(node, 0)?;
                waiting.extend(node.values());
            }
            _ => {}
        }
    }
    Ok(())
}

struct Costs<'s> {
    source: &'s Source,
    /// By the address of the schema; 0 while it is being counted, since a circle of references is walked once.
    known: HashMap<*const Map<String, Value>, usize>,
}

impl<'s> Costs<'s> {
    fn of(&mut self, node: &'s Map<String, Value>, chain: usize) -> Result<usize, String> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(node)) {
            return Ok(*known);
        }
        if chain == MAX_CHAIN {
            return Err(format!(
                "more than {MAX_CHAIN} schemas follow each other through references; name the last of them"
            ));
        }
        self.known.insert(std::ptr::from_ref(node), 0);
        let target = node.get("$ref").and_then(Value::as_str).and_then(|reference| self.source.resolve(reference));
        let alone = ["not", "if", "then", "else"].into_iter().filter_map(|keyword| node.get(keyword));
        let listed = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|keyword| node.get(keyword)?.as_array());
        let named =
            ["dependentSchemas", "dependencies"].into_iter().filter_map(|keyword| node.get(keyword)?.as_object());
        let mut cost = 1_usize;
        for schema in target.into_iter().chain(alone).chain(listed.flatten()).chain(named.flat_map(Map::values)) {
            if let Value::Object(next) = schema {
                cost = cost.saturating_add(self.of(next, chain + 1)?);
            }
        }
        if cost > MAX_CHECKS {
            return Err(format!(
                "one value is checked against more than {MAX_CHECKS} schemas; refer to each of them once"
            ));
        }
        self.known.insert(std::ptr::from_ref(node), cost);
        Ok(cost)
    }
}
