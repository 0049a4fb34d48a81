//! Defaults: examples, and the laws that hold for any schema.

use super::*;
use crate::value::limits::LimitErrorKind;
use crate::value::tests::values;
use proptest::prelude::*;

fn filled(schema: &Value, value: &Value) -> Value {
    Schema::compile(schema).unwrap().with_defaults(value).unwrap().into_owned()
}

#[test]
fn what_is_missing_is_filled_in_and_what_is_there_stays() {
    let schema = json!({
        "properties": {
            "a": {"default": 1}, "b": {"default": null}, "c": {"type": "string"},
            "deep": {"properties": {"x": {"default": "y"}}},
            "whole": {"default": {"kept": 1}, "properties": {"kept": {"default": 2}, "added": {"default": [3]}}},
            "list": {"items": {"properties": {"n": {"default": 0}}}},
            "pair": {"prefixItems": [{"properties": {"p": {"default": 1}}}], "items": {"properties": {"q": {"default": 2}}}},
            "ref": {"$ref": "#/$defs/named"},
            "all": {"allOf": [{"properties": {"l": {"default": 1}}}, {"properties": {"l": {"default": 2}, "r": {"default": 3}}}]}
        },
        "additionalProperties": {"properties": {"extra": {"default": true}}},
        "$defs": {"named": {"default": {"n": 1}}}
    });
    for (value, expected) in [
        (json!({}), json!({"a": 1, "b": null, "whole": {"kept": 1, "added": [3]}, "ref": {"n": 1}})),
        (
            json!({"a": null, "b": 2, "deep": {}, "whole": {}, "list": [{}, {"n": 5}, 7], "pair": [{}, {}], "ref": 0, "all": {}, "other": {}}),
            json!({"a": null, "b": 2, "deep": {"x": "y"}, "whole": {"kept": 2, "added": [3]},
                "list": [{"n": 0}, {"n": 5}, 7], "pair": [{"p": 1}, {"q": 2}], "ref": 0, "all": {"l": 1, "r": 3}, "other": {"extra": true}}),
        ),
        (json!("a string"), json!("a string")),
        (json!([{}]), json!([{}])),
    ] {
        assert_eq!(filled(&schema, &value), expected);
    }
}

#[test]
fn nothing_is_copied_when_there_is_nothing_to_fill_in() {
    for schema in [json!({"properties": {"a": {"type": "string"}}}), json!({"properties": {"a": {"default": 1}}})] {
        let schema = Schema::compile(&schema).unwrap();
        assert!(matches!(schema.with_defaults(&json!({"a": "x"})).unwrap(), Cow::Borrowed(_)));
    }
}

#[test]
fn references_are_read_as_the_draft_says() {
    let with_neighbour = |draft: &str| {
        json!({
            "$schema": draft, "$id": "https://example.org/s.json",
            "properties": {"a": {"$ref": "https://example.org/s.json#/definitions/d", "default": "beside"}},
            "definitions": {"d": {"default": "inside"}}
        })
    };
    let old = with_neighbour("http://json-schema.org/draft-07/schema#");
    assert_eq!(filled(&old, &json!({})), json!({"a": "inside"}));
    let new = with_neighbour("https://json-schema.org/draft/2020-12/schema");
    assert_eq!(filled(&new, &json!({})), json!({"a": "beside"}));
    // `#` means the embedded resource there, so nothing is filled in rather than something wrong.
    let embedded = json!({
        "properties": {"a": {"$id": "https://example.org/in.json", "$ref": "#/$defs/d", "$defs": {"d": {"default": 1}}}},
        "$defs": {"d": {"default": 2}}
    });
    assert_eq!(filled(&embedded, &json!({})), json!({}));
    // Names and data that look like ids are neither.
    let named = json!({
        "properties": {"$id": {"default": {"$id": "x"}}, "default": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"default": 1}}
    });
    assert_eq!(filled(&named, &json!({})), json!({"$id": {"$id": "x"}, "default": 1}));
}

#[test]
fn recursive_schemas_follow_the_value_and_recursive_defaults_are_left_out() {
    let tree = json!({"properties": {"n": {"default": 1}, "next": {"$ref": "#"}}});
    assert_eq!(filled(&tree, &json!({"next": {"next": {}}})), json!({"n": 1, "next": {"n": 1, "next": {"n": 1}}}));
    let endless = json!({
        "properties": {"s": {"$ref": "#/$defs/s"}, "fine": {"default": {}, "properties": {"s": {"$ref": "#/$defs/s"}}}},
        "$defs": {
            "s": {"default": {}, "properties": {"t": {"$ref": "#/$defs/t"}}},
            "t": {"default": {}, "properties": {"s": {"$ref": "#/$defs/s"}, "k": {"default": 1}}}
        }
    });
    assert_eq!(filled(&endless, &json!({})), json!({"fine": {}}));
    assert_eq!(filled(&endless, &json!({"s": {"t": {}}})), json!({"fine": {}, "s": {"t": {"k": 1}}}));
    // No branch doubles the work: a circle of references is walked once.
    let circle = json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "properties": {"k": {"default": 1}},
        "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}, "b": {"properties": {"l": {"default": 2}}}}});
    assert_eq!(filled(&circle, &json!({})), json!({"k": 1, "l": 2}));
}

#[test]
fn what_is_filled_in_is_bounded() {
    // Every level doubles: two to the fortieth values.
    let definitions: serde_json::Map<_, _> = (0..40)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), json!({"default": {}, "properties": {"a": next, "b": next}}))
        })
        .chain([("d40".to_owned(), json!({"default": 1}))])
        .collect();
    let bomb = json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions});
    let error = Schema::compile(&bomb).unwrap().with_defaults(&json!({})).unwrap_err();
    assert_eq!((error.kind(), error.code()), (LimitErrorKind::Nodes, "payload_too_large"));
    let wide = json!({"items": {"properties": {"a": {"default": "x".repeat(100_000)}}}});
    let error = Schema::compile(&wide).unwrap().with_defaults(&Value::from(vec![json!({}); 1000])).unwrap_err();
    assert_eq!(error.kind(), LimitErrorKind::Bytes);
    let deep = (0..200).fold(json!({}), |inner, _| json!({"next": inner}));
    let tree = Schema::compile(&json!({"properties": {"n": {"default": 1}, "next": {"$ref": "#"}}})).unwrap();
    let filled = tree.with_defaults(&deep).unwrap();
    assert_eq!(filled.pointer(&"/next".repeat(63)).unwrap()["n"], json!(1));
    assert!(filled.pointer(&"/next".repeat(64)).unwrap().get("n").is_none());
}

/// Schemas whose defaults are valid for the place where they stand, and whose closed objects declare them.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0_i64..9).prop_map(|n| json!({"type": "integer", "default": n})),
        "[a-z]{0,3}".prop_map(|text| json!({"type": "string", "default": text})),
        Just(json!({"type": ["null", "boolean"], "default": null})),
        Just(json!({"type": "integer"})),
        Just(json!({"$ref": "#/$defs/shared"})),
        Just(json!(true)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let properties = prop::collection::btree_map("[a-c]", inner.clone(), 0..4);
        prop_oneof![
            (properties.clone(), any::<bool>(), any::<bool>()).prop_map(|(properties, closed, default)| {
                let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": !closed});
                if default {
                    schema["default"] = json!({});
                }
                schema
            }),
            (properties.clone(), properties).prop_map(|(left, right)| {
                json!({"allOf": [{"type": "object", "properties": left}, {"properties": right}]})
            }),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "default": [null]})),
            inner.prop_map(|items| json!({"items": items})),
        ]
    })
    .prop_map(|mut schema| {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("$defs".to_owned(), json!({"shared": {"type": "object", "properties": {"a": {"type": "integer", "default": 7}}, "default": {}}}));
        }
        schema
    })
}

/// Objects that the schemas above may be about.
fn objects() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("x"))];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::btree_map("[a-d]", inner.clone(), 0..4).prop_map(|map| json!(map)),
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filling_in_twice_is_filling_in_once(schema in schemas(), value in objects()) {
        let schema = Schema::compile(&schema).unwrap();
        let once = schema.with_defaults(&value).unwrap().into_owned();
        let twice = schema.with_defaults(&once).unwrap();
        prop_assert!(matches!(twice, Cow::Borrowed(_)), "{once} -> {twice}");
    }

    #[test]
    fn what_is_there_stays(schema in schemas(), value in prop_oneof![objects(), values()]) {
        let filled = Schema::compile(&schema).unwrap().with_defaults(&value).unwrap().into_owned();
        prop_assert!(within(&value, &filled), "{value} -> {filled}");
    }

    #[test]
    fn a_valid_value_stays_valid_when_the_defaults_are(schema in schemas(), value in objects()) {
        let compiled = Schema::compile(&schema).unwrap();
        prop_assume!(compiled.is_valid(&value) && defaults_are_valid(&schema, &schema["$defs"]));
        let filled = compiled.with_defaults(&value).unwrap();
        prop_assert!(compiled.is_valid(&filled), "{schema}: {value} -> {filled}");
    }
}

/// Whether everything in `old` is in `new` as well.
fn within(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().all(|(key, item)| new.get(key).is_some_and(|other| within(item, other)))
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| within(old, new))
        }
        (old, new) => old == new,
    }
}

/// Whether every default is valid for its own schema. Two branches that disagree about one name are left out: the
/// default of the one need not fit the other.
fn defaults_are_valid(schema: &Value, definitions: &Value) -> bool {
    let own = schema.get("default").is_none_or(|default| {
        let mut alone = schema.clone();
        alone["$defs"] = definitions.clone();
        Schema::compile(&alone).unwrap().is_valid(default)
    });
    let branches: Vec<&Value> = schema.get("allOf").and_then(Value::as_array).into_iter().flatten().collect();
    let disagree = branches
        .iter()
        .flat_map(|branch| branch["properties"].as_object().unwrap().keys())
        .any(|name| branches.iter().filter(|branch| branch["properties"].get(name).is_some()).count() > 1);
    let children = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.values())
        .chain(schema.get("items"))
        .chain(branches.iter().copied());
    own && !disagree && children.into_iter().all(|child| defaults_are_valid(child, definitions))
}
