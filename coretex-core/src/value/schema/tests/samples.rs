//! Samples: examples, and that they validate.

use super::*;
use proptest::prelude::*;

fn sampled(schema: &Value) -> Value {
    Schema::compile(schema).unwrap().sample()
}

#[test]
fn samples_have_the_shape_that_the_schema_asks_for() {
    for (schema, expected) in [
        (json!(true), json!(null)),
        (json!({"const": {"a": 1}}), json!({"a": 1})),
        (json!({"enum": ["x", "y"]}), json!("x")),
        (json!({"enum": [1, "y"], "type": "string"}), json!("y")),
        (json!({"type": "string", "default": "d", "examples": ["e"]}), json!("d")),
        (json!({"type": "string", "examples": ["e"]}), json!("e")),
        (json!({"type": ["null", "integer"], "minimum": 3}), json!(3)),
        (json!({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}), json!(5)),
        (json!({"type": "number", "maximum": -2.5}), json!(-3)),
        (json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}), json!(0.5)),
        (json!({"type": "string", "minLength": 8}), json!("samplexx")),
        (json!({"maxLength": 3}), json!("sam")),
        (json!({"type": "string", "pattern": "^INC-[0-9]{4}$"}), json!("INC-0000")),
        (json!({"type": "string", "format": "uuid"}), json!("00000000-0000-4000-8000-000000000000")),
        (json!({"type": "string", "format": "date-time"}), json!("2026-01-01T00:00:00Z")),
        (json!({"items": {"type": "boolean"}, "minItems": 2}), json!([true, true])),
        (json!({"items": {"type": "integer"}, "minItems": 3, "uniqueItems": true}), json!([0, 1, 2])),
        (json!({"prefixItems": [{"const": "a"}, {"type": "integer"}], "minItems": 2}), json!(["a", 0])),
        (json!({"type": "array", "contains": {"const": 7}}), json!([7])),
        (
            json!({"type": "object", "required": ["a", "z"], "properties": {"a": {"type": "string"}, "b": {"default": 2}, "c": {"type": "string"}}}),
            json!({"a": "sample", "b": 2, "c": "sample", "z": null}),
        ),
        (json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer", "minimum": 2}}}), json!(2)),
        (
            json!({"allOf": [{"required": ["a"]}, {"properties": {"a": {"minimum": 2}}}], "properties": {"a": {"type": "integer", "multipleOf": 3}}}),
            json!({"a": 3}),
        ),
        (json!({"oneOf": [{"type": "string"}, {"type": "integer"}], "type": "integer"}), json!(0)),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}, {"type": "string"}]}), json!("sample")),
        (
            json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}}),
            json!({"key1": 0, "key2": 0}),
        ),
        (
            json!({"type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["a", "b"]}},
                "if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"], "properties": {"x": {"type": "string"}}}}),
            json!({"kind": "a", "x": "sample"}),
        ),
        (
            json!({"required": ["id"], "properties": {"id": {"type": "string"}, "next": {"$ref": "#"}}}),
            json!({"id": "sample"}),
        ),
        (
            json!({"type": "object", "required": ["a"], "dependentRequired": {"a": ["b"], "b": ["c"]}, "properties": {"c": {"type": "integer"}}}),
            json!({"a": null, "b": null, "c": 0}),
        ),
    ] {
        let compiled = Schema::compile(&schema).unwrap();
        assert_eq!(compiled.sample(), expected, "{schema}");
        assert!(compiled.is_valid(&expected), "{schema}");
    }
}

#[test]
fn samples_have_what_is_optional_and_an_element_in_every_list() {
    let schema = json!({
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {"type": "string"},
            "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "none": {"type": "array", "items": {"type": "string"}, "maxItems": 0},
            "open": {"type": "array"},
            "never": false
        }
    });
    assert_eq!(sampled(&schema), json!({"id": "sample", "items": [{"n": 0}], "none": [], "open": []}));
    let tree = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "left": {"$ref": "#"}, "all": {"type": "array", "items": {"$ref": "#"}}}
    });
    assert_eq!(sampled(&tree), json!({"all": [], "name": "sample"}), "what recurs is not begun once more");
    // What cannot be there with the rest is left out.
    let either =
        json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "not": {"required": ["a", "b"]}});
    assert_eq!(sampled(&either), json!({}));
}

#[test]
fn every_format_has_a_sample_that_differs_by_position() {
    for format in
        ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "json-pointer"]
    {
        let schema = json!({"items": {"type": "string", "format": format}, "minItems": 3, "uniqueItems": true});
        let list = sampled(&schema);
        assert!(Schema::compile(&schema).unwrap().is_valid(&list), "{list}");
        // Formats are annotations by default; here they are asked for.
        let strict = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        assert!(strict.is_valid(&list), "{format}: {list}");
    }
}

#[test]
fn schemas_without_an_end_give_a_sample_of_bounded_size() {
    let endless =
        json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}});
    assert!(crate::value::limits::measure(&sampled(&endless)).nodes < 50_000);
    let long = json!({"type": "array", "minItems": 1_000_000_000, "items": {"type": "string", "minLength": 5}});
    assert!(crate::value::limits::measure(&sampled(&long)).nodes < 50_000);
    assert!(sampled(&json!({"type": "string", "minLength": 1_000_000_000})).as_str().unwrap().len() <= 100_000);
    assert_eq!(sampled(&json!({"type": "string", "pattern": "a{5000}"})), json!("sample"));
    assert_eq!(sampled(&json!(false)), json!(null));
    for element in [
        json!({"type": "string", "minLength": 100_000}),
        json!({"default": "x".repeat(100_000)}),
        json!({"const": vec![0; 50_000]}),
        json!({"required": (0..50_000).map(|n| format!("name-{n}")).collect::<Vec<_>>()}),
        json!({"type": "object", "minProperties": 1_000_000}),
    ] {
        let size = crate::value::limits::measure(&sampled(&json!({"items": element, "minItems": 100_000})));
        assert!(size.nodes < 10_000 && size.bytes < 500_000, "{size:?}");
    }
}

/// JSON that looks like a schema, of keywords with values that they may not like.
fn odd_schemas() -> impl Strategy<Value = Value> {
    let keywords = [
        "type",
        "properties",
        "items",
        "prefixItems",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$id",
        "default",
        "const",
        "enum",
        "examples",
        "required",
        "additionalProperties",
        "patternProperties",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "uniqueItems",
        "contains",
        "minProperties",
        "dependentRequired",
        "$defs",
        "a",
        "b",
    ];
    let texts = [
        "object",
        "array",
        "string",
        "integer",
        "number",
        "#",
        "#/properties/a",
        "#/$defs/b",
        "uuid",
        "^a+$",
        "a",
        "b",
    ];
    let leaf = prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        prop::sample::select(&[-1e300, -2.5, 0.0, 1e-300, 3.0, 1e18, 1e300][..]).prop_map(Value::from),
        (-3_i64..40).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            4 => prop::collection::btree_map(prop::sample::select(keywords.to_vec()), inner.clone(), 0..6).prop_map(|map| json!(map)),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

/// Schemas of the keywords that a sample honours. Bounds never contradict each other.
fn schemas() -> impl Strategy<Value = Value> {
    let integer = (-50_i64..50, 0_i64..30, 1_i64..5, any::<bool>()).prop_map(|(low, width, step, exclusive)| {
        let low_key = if exclusive { "exclusiveMinimum" } else { "minimum" };
        json!({"type": "integer", low_key: low, "maximum": low + width + 2 * step, "multipleOf": step})
    });
    let number = (-50_i64..50, 1_u32..30, any::<bool>()).prop_map(|(low, width, exclusive)| {
        let (low, high) = (low as f64 / 8.0, low as f64 / 8.0 + f64::from(width) / 16.0);
        if exclusive {
            json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})
        } else {
            json!({"type": "number", "minimum": low, "maximum": high})
        }
    });
    let text = (0_usize..12, 0_usize..12)
        .prop_map(|(low, more)| json!({"type": "string", "minLength": low, "maxLength": low + more}));
    let pattern = "(\\^[a-c]{1,2}|)(\\[x-z0-9\\]|\\\\d|\\\\w|\\.|\\(ab\\|c\\))(\\+|\\{2,5\\}|\\*|\\?|)(-k\\$|)"
        .prop_map(|pattern| json!({"type": "string", "pattern": pattern}));
    let leaf = prop_oneof![
        integer,
        number,
        text,
        pattern,
        "(date-time|uri|email|uuid|ipv4)".prop_map(|format| json!({"type": "string", "format": format})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"type": ["null", "string"]})),
        Just(json!({"const": [1, {"a": 2}]})),
        Just(json!({"enum": ["low", 2, null]})),
        Just(json!({"$ref": "#/$defs/shared"})),
        Just(json!(true)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let object = (prop::collection::btree_map("[a-d]", inner.clone(), 0..4), prop::collection::btree_set("[a-f]", 0..4), 0_usize..4, any::<bool>())
            .prop_map(|(properties, required, least, closed)| {
                let required: Vec<_> = required.into_iter().filter(|name| !closed || properties.contains_key(name)).collect();
                let least = if closed { least.min(properties.len()) } else { least };
                json!({"type": "object", "properties": properties, "required": required, "minProperties": least, "additionalProperties": !closed})
            });
        let array = (inner.clone(), prop::collection::vec(inner.clone(), 1..3), 0_usize..4).prop_map(|(items, listed, least)| {
            json!({"type": "array", "items": items, "prefixItems": listed, "minItems": least})
        });
        prop_oneof![
            object,
            array,
            (inner.clone(), inner.clone()).prop_map(|(left, right)| json!({"anyOf": [left, right]})),
            inner.clone().prop_map(|one| json!({"oneOf": [{"type": "object", "required": ["one"], "properties": {"one": one}}, {"type": "boolean"}]})),
            (inner.clone(), inner).prop_map(|(left, right)| json!({
                "allOf": [{"type": "object", "required": ["l"], "properties": {"l": left}}, {"required": ["r"], "properties": {"r": right}}]
            })),
        ]
    })
    .prop_map(|mut schema| {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("$defs".to_owned(), json!({"shared": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "minimum": 5}, "next": {"$ref": "#/$defs/shared"}}}}));
        }
        schema
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schema_is_read_without_a_panic(schema in odd_schemas(), value in odd_schemas()) {
        let source = view::Source::new(schema.clone());
        if let Ok(filled) = crate::value::schema::defaults::fill(&source, &value) {
            prop_assert!(matches!(crate::value::schema::defaults::fill(&source, &filled), Ok(Cow::Borrowed(_))), "{schema}: {value}");
        }
        let options = crate::value::CompileOptions::new().with_input_schema(&schema);
        drop(crate::value::Expr::compile("input.a.b + input.b[0].map(x, x.a < input)", &options));
        if let Ok(schema) = Schema::compile(&schema) {
            prop_assert_eq!(schema.sample(), schema.sample());
        }
    }

    #[test]
    fn the_sample_of_a_schema_validates(schema in schemas()) {
        let compiled = Schema::compile(&schema).unwrap();
        let sample = compiled.sample();
        prop_assert!(compiled.is_valid(&sample), "{schema}: {sample}");
        prop_assert_eq!(compiled.sample(), sample);
    }
}
