//! Drafts, references, bounds.

use super::*;
use serde_json::json;

#[test]
fn both_established_drafts_validate() {
    for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
        let schema = Schema::compile(&json!({
            "$schema": draft, "$id": "https://example.org/pack/input.json",
            "type": "object", "additionalProperties": false, "required": ["name"],
            "properties": {"name": {"type": "string"}, "profile": {"$ref": "#/definitions/p"}},
            "definitions": {"p": {"anyOf": [{"type": "string", "minLength": 2}, {"type": "integer"}]}}
        }))
        .unwrap();
        assert_eq!(schema.validate(&json!({"name": "x", "profile": "ab"})), Ok(()));
        let violations = schema.validate(&json!({"profile": null, "other": 1})).unwrap_err();
        let keywords: Vec<_> = violations.iter().map(|violation| violation.keyword.as_str()).collect();
        assert_eq!(keywords.len(), 3, "{violations:?}");
        for keyword in ["required", "anyOf", "additionalProperties"] {
            assert!(keywords.contains(&keyword), "{violations:?}");
        }
        assert!(violations.iter().any(|violation| violation.path == "/profile"));
    }
}

#[test]
fn violations_do_not_repeat_the_value() {
    let schema = Schema::compile(&json!({"properties": {"token": {"type": "integer"}}})).unwrap();
    let violations = schema.validate(&json!({"token": "s3cr3t"})).unwrap_err();
    assert_eq!(violations.len(), 1);
    assert!(!violations[0].to_string().contains("s3cr3t"), "{}", violations[0]);
    assert_eq!(violations[0].to_string(), "`/token`: value is not of type \"integer\"");
}

#[test]
fn the_number_of_violations_is_bounded() {
    let schema = Schema::compile(&json!({"items": {"type": "string"}})).unwrap();
    let violations = schema.validate(&Value::from(vec![1; 1000])).unwrap_err();
    assert_eq!(violations.len(), MAX_VIOLATIONS);
}

#[test]
fn references_to_elsewhere_and_broken_schemas_are_refused() {
    for (schema, reason) in [
        (json!({"$ref": "https://example.org/other.json"}), "refers outside of the schema"),
        (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "refers outside of the schema"),
        (json!({"$ref": "other.json"}), ""),
        (json!({"$ref": "#/definitions/none"}), ""),
        (json!({"type": "strin"}), ""),
        (json!({"pattern": "("}), ""),
        (json!({"pattern": "((a{1000}){1000}){1000}"}), ""),
        (json!([]), ""),
    ] {
        let error = Schema::compile(&schema).expect_err(&schema.to_string());
        assert_eq!(error.code(), "schema_invalid");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
    assert!(Schema::compile(&deep).unwrap_err().reason().contains("nested too deeply"));
}

#[test]
fn a_backtracking_pattern_ends() {
    let schema = Schema::compile(&json!({"pattern": "^(a+)+$"})).unwrap();
    assert!(!schema.is_valid(&json!(format!("{}b", "a".repeat(60)))));
    let schema = Schema::compile(&json!({"pattern": "^(?=(a+)+$)(a|aa)+\\1c$"})).unwrap();
    assert!(!schema.is_valid(&json!("a".repeat(60))));
}

#[test]
fn a_recursive_schema_follows_the_value() {
    let schema = Schema::compile(&json!({"properties": {"next": {"$ref": "#"}}, "required": ["id"]})).unwrap();
    let violations = schema.validate(&json!({"id": 1, "next": {"id": 2, "next": {}}})).unwrap_err();
    assert_eq!(violations[0].path, "/next/next");
}

#[test]
fn schemas_that_cost_too_much_to_check_are_refused() {
    let chain = |length: usize, width: usize| {
        let definitions: serde_json::Map<_, _> = (0..=length)
            .map(|n| (format!("d{n}"), json!({"allOf": vec![json!({"$ref": format!("#/$defs/d{}", n + 1)}); width]})))
            .chain([(format!("d{}", length + 1), json!({"type": "object"}))])
            .collect();
        json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
    };
    assert!(Schema::compile(&chain(8, 2)).unwrap().is_valid(&json!({"a": {}})));
    assert!(Schema::compile(&chain(30, 1)).unwrap().is_valid(&json!({"a": {}})));
    for (schema, reason) in
        [(chain(40, 2), "one value is checked against more than"), (chain(20_000, 1), "follow each other")]
    {
        let error = Schema::compile(&schema).unwrap_err();
        assert!(error.reason().contains(reason), "{error}");
    }
    for circle in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})] {
        assert!(Schema::compile(&circle).unwrap().is_valid(&json!({})));
    }
}

mod defaults;
mod samples;
