//! What schemas find at registration, and that they find nothing else.

use super::*;
use crate::value::Schema;
use proptest::prelude::*;

fn page_options() -> CompileOptions {
    let block = PAGE.split("<!-- schemas -->").nth(1).expect("schemas marker");
    let block = block.split("```json").nth(1).and_then(|tail| tail.split("```").next()).expect("schemas block");
    let schemas: Value = serde_json::from_str(block).expect("schemas are JSON");
    options().with_input_schema(&schemas["input"]).with_step_schema("a", &schemas["a"])
}

#[test]
fn every_typed_expression_of_the_page_is_judged_as_the_page_says() {
    let rows = columns("expression", ["at registration"]);
    assert!(rows.len() > 15, "only {} rows found", rows.len());
    let options = page_options();
    for (text, [expected]) in rows {
        // Without schemas nothing is known, and nothing refused.
        assert!(Expr::compile(&text, &super::options()).is_ok_and(|expr| expr.warnings().is_empty()), "{text}");
        let found = match Expr::compile(&text, &options) {
            Err(_) => "error",
            Ok(expr) if expr.warnings().is_empty() => "fine",
            Ok(_) => "warning",
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn errors_of_types_have_a_place_and_say_what_was_probably_meant() {
    let options = page_options();
    let ask = "to ask whether it is there, write has(...) or `.?`";
    for (text, column, reason, hint) in [
        (
            "input.nmae",
            7,
            "the schema of `input` declares no `nmae` and allows nothing else",
            Some("did you mean `name`?"),
        ),
        (
            "1 + size(input['nmae'])",
            16,
            "the schema of `input` declares no `nmae` and allows nothing else",
            Some("did you mean `name`?"),
        ),
        (
            "input['nmae']",
            8,
            "the schema of `input` declares no `nmae` and allows nothing else",
            Some("did you mean `name`?"),
        ),
        (
            "steps.a.output.other == 1",
            16,
            "the schema of `steps.a.output` declares no `other` and allows nothing else",
            Some(ask),
        ),
        (
            "steps.a.output.rows.exists(r, r.di == 1)",
            33,
            "the schema of `r` declares no `di` and allows nothing else",
            Some("did you mean `id`?"),
        ),
        ("input.name.first", 12, "`input.name` is a string and has no field `first`", Some(ask)),
        (
            "true && input.name > input.count",
            9,
            "`>` does not apply to `input.name`, which is a string, and `input.count`, which is a number",
            Some("convert with int(...), double(...) or string(...)"),
        ),
        (
            "timestamp('2026-01-01T00:00:00Z') < input.name",
            1,
            "`<` does not apply to `timestamp('2026-01-01T00:00:00Z')`, which is a timestamp, and `input.name`, which is a string",
            Some("convert with timestamp(...) or duration(...)"),
        ),
        ("input.count.matches('1')", 1, "`matches` takes a string, and `input.count` is a number", None),
        ("input.name.all(c, c)", 1, "what is walked is a list or a map, and `input.name` is a string", None),
        ("input.name[0]", 1, "", None),
        (
            "input.name[input.count]",
            1,
            "`input.name` is a string and cannot be indexed by `input.count`, which is a number",
            None,
        ),
    ] {
        if reason.is_empty() {
            assert!(Expr::compile(text, &options).is_ok(), "{text}");
            continue;
        }
        let error = Expr::compile(text, &options).expect_err(text);
        assert_eq!((error.column(), error.reason(), error.hint()), (column, reason, hint), "{error:?}");
    }
    let expr = Expr::compile("input.name == 3 || 3 == input.name", &options).unwrap();
    assert_eq!(expr.warnings()[0], "`input.name` is a string and `3` is a number: they are never equal");
    assert_eq!(expr.warnings().len(), 2);
}

#[test]
fn references_alternatives_and_branches_are_read() {
    let schema = json!({
        "allOf": [{"$ref": "#/$defs/base"}], "additionalProperties": false,
        "properties": {
            "id": {}, "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "level": {"enum": ["low", "high"]},
            "self": {"$ref": "#"}, "list": {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            "contradiction": {"allOf": [{"type": "string"}, {"type": "integer"}]}
        },
        "patternProperties": {},
        "$defs": {"base": {"properties": {"id": {"type": "string"}, "other": {}}}}
    });
    let options = CompileOptions::new().with_input_schema(&schema);
    let check = |text: &str| {
        Expr::compile(text, &options).map(|expr| expr.types().to_string()).map_err(|error| error.reason().to_owned())
    };
    for (text, types) in [
        ("input.id", "a string"),
        ("input.self.self.id", "a string"),
        ("input.either", "a number or a string"),
        ("input.level", "a string"),
        ("input.list[0]", "a string"),
        ("input.list.0", "a string"),
        ("input.list[1] + 1", "a number"),
        ("input.contradiction", "a value"),
        ("input.list.map(x, x == 1)", "a list"),
        ("first(input.list.map(x, x == 1))", "a bool"),
        ("input.either + 1", "a number"),
        ("input.on ? 1 : 'a'", "error"),
        ("has(input.on) ? 1 : 'a'", "a number or a string"),
        ("default(input.either, [])", "a number or a string or a list"),
        ("input.self.other", "error"),
        ("input.list[0] + 1", "error"),
        ("input.level * 2", "error"),
        ("-input.level", "error"),
        ("{size(input.id): 1}", "error"),
    ] {
        match check(text) {
            Ok(found) => assert_eq!(found, types, "{text}"),
            Err(reason) => assert_eq!(types, "error", "{text}: {reason}"),
        }
    }
    assert!(!Expr::compile("input.id", &options).unwrap().types().allows("list"));
}

#[test]
fn schemas_of_any_kind_are_read_without_a_panic_and_without_an_end() {
    for schema in [
        json!(true),
        json!(false),
        json!([]),
        json!({"$ref": "#"}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$ref": "#/nowhere", "additionalProperties": false, "properties": []}),
        json!({"type": "strange", "enum": 5, "allOf": {}}),
    ] {
        let options = CompileOptions::new().with_input_schema(&schema);
        for text in ["input.a.b[0].c", "input.a < 3", "input.map(x, x.y)", "input"] {
            drop(Expr::compile(text, &options));
        }
    }
}

const FIELDS: [&str; 8] = ["s", "n", "l", "m", "b", "any", "sn", "z"];

fn typed_schema() -> Value {
    json!({
        "type": "object", "required": FIELDS,
        "properties": {
            "s": {"type": "string"}, "n": {"type": "number"}, "l": {"type": "array", "items": {"type": "integer"}},
            "m": {"type": "object"}, "b": {"type": "boolean"}, "any": {}, "sn": {"type": ["string", "null"]}, "z": {"type": "null"}
        }
    })
}

/// One value per field, valid for the schema.
fn typed_values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("a"),
        Just(""),
        Just("7"),
        Just("2026-01-01T00:00:00Z"),
        Just("1h"),
        Just("aMOp"),
        Just("[1]")
    ];
    let other = prop_oneof![
        Just(json!(1)),
        Just(json!("a")),
        Just(json!([1])),
        Just(json!({"a": 1})),
        Just(json!(null)),
        Just(json!(true))
    ];
    (
        text.clone(),
        -3_i64..4,
        prop::collection::vec(0_i64..5, 0..3),
        prop::collection::btree_map("[ab]", other.clone(), 0..2),
        any::<bool>(),
        other,
        prop::option::of(text),
    )
        .prop_map(
            |(s, n, l, m, b, any, sn)| json!({"s": s, "n": n, "l": l, "m": m, "b": b, "any": any, "sn": sn, "z": null}),
        )
}

fn operations() -> impl Strategy<Value = String> {
    let field = prop::sample::select(&FIELDS[..]).prop_map(|name| format!("input.{name}"));
    let functions: Vec<_> = ast::Function::TABLE.to_vec();
    let call = (prop::sample::select(functions), prop::collection::vec(field.clone(), 16)).prop_map(
        |((_, name, form, min, _), fields)| {
            let operands = &fields[..min];
            if form == ast::Form::Method {
                format!("{}.{name}({})", operands[0], operands[1..].join(", "))
            } else {
                format!("{name}({})", operands.join(", "))
            }
        },
    );
    let leaf = prop_oneof![field, call];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), "(\\+|-|\\*|/|%|<|<=|>|>=|==|in)", inner.clone())
                .prop_map(|(l, op, r)| format!("({l} {op} {r})")),
            inner.clone().prop_map(|operand| format!("(-{operand})")),
            (inner.clone(), inner.clone()).prop_map(|(value, index)| format!("{value}[{index}]")),
            (inner.clone(), inner.clone()).prop_map(|(range, body)| format!("{range}.map(x, {body})")),
            inner.prop_map(|range| format!("first({range}.filter(x, true))")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_refused_for_its_types_fails_for_every_valid_value(text in operations(), values in prop::collection::vec(typed_values(), 4)) {
        let schema = typed_schema();
        let typed = CompileOptions::new().with_input_schema(&schema);
        let valid = Schema::compile(&schema).unwrap();
        let refused = Expr::compile(&text, &typed);
        // What needs no schema to be refused says nothing about schemas.
        let Ok(free) = Expr::compile(&text, &CompileOptions::new()) else { return Ok(()) };
        for value in values {
            prop_assert!(valid.is_valid(&value), "{value}");
            let scope = json!({"input": value});
            let outcome = free.evaluate(&scope);
            match &refused {
                // The body of a walk over an empty list is never evaluated.
                Err(_) if text.contains(".map(") => {}
                // What is missing fails too, or gives nothing.
                Err(_) if any_missing(&free.trace(&scope).root) => {}
                Err(error) => prop_assert!(outcome.is_err(), "{error}: {outcome:?} for {value}"),
                // And a type that is promised is kept.
                Ok(expr) => if let Ok(Some(found)) = outcome {
                    let name = match found {
                        Value::Null => "null",
                        Value::Bool(_) => "bool",
                        Value::Number(_) => "number",
                        Value::String(_) => "string",
                        Value::Array(_) => "list",
                        Value::Object(_) => "map",
                    };
                    // In JSON a timestamp, a duration and a type are strings.
                    let as_text = found.is_string() && ["timestamp", "duration", "type"].iter().any(|name| expr.types().allows(name));
                    prop_assert!(expr.types().allows(name) || as_text, "{text} is {:?}, not {found}", expr.types());
                }
            }
        }
    }
}

fn any_missing(node: &TraceNode) -> bool {
    matches!(node.outcome, TraceOutcome::Missing { .. }) || node.parts.iter().any(any_missing)
}
