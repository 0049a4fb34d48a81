//! Values, limits and paths: examples and laws.

use proptest::prelude::*;
use serde_json::json;

use crate::value::json::{canonical, digest, truthy};
use crate::value::limits::{LimitErrorKind, measure};
use crate::value::path::Segment;
use crate::value::{Limits, Path, Value};

/// Any JSON value of moderate size.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z${}\"\\\\\n\u{1}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z.\"é-]{0,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn paths() -> impl Strategy<Value = Vec<Segment>> {
    let key = prop_oneof!["[a-zé_][a-z0-9_-]{0,6}", "[0-9]{1,3}", any::<String>()];
    let segment = prop_oneof![
        3 => key.prop_map(|key| Segment::Key(key.into())),
        1 => (0_usize..100).prop_map(Segment::Index),
    ];
    ("[a-z][a-z0-9_-]{0,6}", prop::collection::vec(segment, 0..6)).prop_map(|(root, mut tail)| {
        tail.insert(0, Segment::Key(root.into()));
        tail
    })
}

fn printed(segments: &[Segment]) -> String {
    let mut text = String::new();
    for (at, segment) in segments.iter().enumerate() {
        match segment {
            Segment::Key(key) if at == 0 => text.push_str(key),
            Segment::Key(key) => {
                let key = key.replace('\\', "\\\\").replace('"', "\\\"");
                text.push_str(&format!("[\"{key}\"]"));
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_text_is_json_for_the_same_value_and_stable(value in values()) {
        let text = canonical(&value);
        let again: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&canonical(&again), &text);
        prop_assert_eq!(digest(&again), digest(&value));
        prop_assert_eq!(text, serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn canonical_text_does_not_depend_on_the_order_of_insertion(map in prop::collection::btree_map("[a-z]{1,3}", values(), 0..6)) {
        let forwards: serde_json::Map<String, Value> = map.clone().into_iter().collect();
        let backwards: serde_json::Map<String, Value> = map.into_iter().rev().collect();
        prop_assert_eq!(canonical(&forwards.into()), canonical(&backwards.into()));
    }

    #[test]
    fn measured_bytes_are_the_length_of_the_compact_text(value in values()) {
        let size = measure(&value);
        prop_assert_eq!(size.bytes, serde_json::to_string(&value).unwrap().len());
        let exact = Limits { max_bytes: size.bytes, max_depth: size.depth, max_nodes: size.nodes };
        prop_assert_eq!(exact.check(&value), Ok(()));
        let tight = Limits { max_bytes: size.bytes - 1, ..exact };
        prop_assert_eq!(tight.check(&value).unwrap_err().kind(), LimitErrorKind::Bytes);
    }

    #[test]
    fn a_printed_path_parses_to_the_same_path(segments in paths()) {
        let path = Path::parse(&printed(&segments)).unwrap();
        prop_assert_eq!(path.segments(), &segments[..]);
        prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
    }

    #[test]
    fn any_text_is_a_path_or_an_error(text in r#"[a-z0-9.\[\]'"\\ é-]{0,20}"#) {
        if let Ok(path) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
        }
    }

    #[test]
    fn what_is_set_can_be_read_back(segments in paths(), value in values(), root in values()) {
        let path = Path::parse(&printed(&segments)).unwrap();
        let mut target = root.clone();
        match path.set(&mut target, value.clone()) {
            Ok(()) => prop_assert_eq!(path.get(&target), Some(&value)),
            Err(_) => prop_assert_eq!(target, root),
        }
    }

    #[test]
    fn truthiness_agrees_with_the_expression_language(value in values()) {
        let expected = !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") && value.as_f64() != Some(0.0);
        prop_assert_eq!(truthy(&value), expected);
        #[cfg(feature = "engine")]
        {
            use crate::value::{CompileOptions, Expr};
            let scope = json!({"input": {"v": value}});
            for (text, expected) in [("input.v", expected), ("!input.v", !expected), ("input.v && true", expected)] {
                let expr = Expr::compile(text, &CompileOptions::new()).unwrap();
                prop_assert_eq!(expr.evaluate_bool(&scope).unwrap(), expected, "{}", text);
            }
        }
    }

    #[cfg(feature = "engine")]
    #[test]
    fn a_template_without_expressions_renders_to_itself(value in values()) {
        prop_assume!(!canonical(&value).contains("${"));
        let template = crate::value::Template::compile(&value, &crate::value::CompileOptions::new()).unwrap();
        let rendered = template.render_shared(&Value::Null).unwrap().unwrap();
        prop_assert!(std::sync::Arc::ptr_eq(&rendered, template.as_static().unwrap()));
        prop_assert_eq!(&*rendered, &value);
    }

    #[cfg(feature = "engine")]
    #[test]
    fn printed_json_parses_back_to_the_value(value in values()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let json = crate::value::document::parse("x.json", &text).unwrap();
        prop_assert_eq!(&json, &value);
    }
}

#[test]
fn truthiness_is_the_established_one() {
    for value in [json!(null), json!(false), json!(""), json!(0), json!(0.0), json!(-0.0)] {
        assert!(!truthy(&value), "{value}");
    }
    for value in [json!(true), json!("0"), json!("false"), json!(-1), json!(0.1), json!(u64::MAX), json!([]), json!({})]
    {
        assert!(truthy(&value), "{value}");
    }
}

#[test]
fn digests_are_sha256_of_the_canonical_text() {
    let value = json!({"b": [1, 2.0, "é\n"], "a": null});
    assert_eq!(canonical(&value), "{\"a\":null,\"b\":[1,2.0,\"é\\n\"]}");
    assert_eq!(digest(&json!("")), "12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126");
}

#[test]
fn limits_name_the_place_and_the_limit() {
    let limits = Limits { max_bytes: 100, max_depth: 3, max_nodes: 10 };
    let cases = [
        (json!({"a": [{"b": [1]}]}), "payload_too_deep", "a[0].b", 3),
        (json!({"a": "x".repeat(100)}), "payload_too_large", "a", 100),
        (json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), "payload_too_large", "[9]", 10),
    ];
    for (value, code, path, limit) in cases {
        let error = limits.check(&value).unwrap_err();
        assert_eq!((error.code(), error.path(), error.limit()), (code, path, limit), "{error}");
    }
    let error = limits.check(&json!({"a": [{"b": [1]}]})).unwrap_err();
    assert_eq!(error.to_string(), "payload is nested too deeply at `a[0].b` (limit: 3 levels); flatten it");
}

#[test]
fn a_very_deep_value_is_measured_without_recursion() {
    let depth = 2_000;
    let value = (0..depth).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    assert_eq!(measure(&value).depth, depth);
    let error = Limits::default().check(&value).unwrap_err();
    assert_eq!(error.code(), "payload_too_deep");
}

#[test]
fn paths_read_maps_and_positions() {
    let value = json!({"steps": {"fetch-data": {"output": {"items": [{"a b": 1}, 2]}}}, "m": {"0": "zero"}});
    for (text, expected) in [
        ("steps.fetch-data.output.items[0]['a b']", Some(json!(1))),
        ("steps.fetch-data.output.items.1", Some(json!(2))),
        ("steps.fetch-data.output.items[1]", Some(json!(2))),
        ("m.0", Some(json!("zero"))),
        ("m[0]", None),
        ("steps.fetch-data.output.items.x", None),
        ("steps.fetch-data.output.items[7]", None),
        ("m.0.deeper", None),
    ] {
        assert_eq!(Path::parse(text).unwrap().get(&value), expected.as_ref(), "{text}");
    }
}

#[test]
fn path_errors_have_positions() {
    for (text, offset, shown) in [
        ("", 0, "it is empty"),
        ("a..b", 2, "column 3"),
        ("a.b c", 3, "expected `.` or `[`"),
        ("a[x]", 2, "expected a position"),
        ("a[1", 3, "expected `]`"),
        ("a['x", 2, "does not end"),
        ("a[99999999999999999999999]", 2, "expected a position"),
        ("[0].a", 0, "expected a key"),
        ("é.", 3, "column 3"),
    ] {
        let error = Path::parse(text).unwrap_err();
        assert_eq!((error.code(), error.offset()), ("path_invalid", offset), "{error}");
        assert!(error.to_string().contains(shown), "{error}");
    }
    assert!(Path::parse(&"a.".repeat(600)).is_err());
    assert!(Path::parse(&vec!["a"; 65].join(".")).is_err());
}

#[test]
fn output_paths_create_maps_and_never_touch_steps() {
    let mut context = json!({"kept": 1, "scalar": "x", "list": [1, 2]});
    let mut set =
        |text: &str, value: Value| Path::parse(text).unwrap().set(&mut context, value).map_err(|error| error.code());
    assert_eq!(set("a.b.c", json!(1)), Ok(()));
    assert_eq!(set("scalar.inner", json!(2)), Ok(()));
    assert_eq!(set("list[1]", json!(3)), Ok(()));
    assert_eq!(set("list.0.x", json!(4)), Ok(()));
    assert_eq!(set("list[2]", json!(0)), Err("path_conflict"));
    assert_eq!(set("list.name", json!(0)), Err("path_conflict"));
    assert_eq!(set("fresh[0]", json!(0)), Err("path_conflict"));
    assert_eq!(set("steps.x", json!(0)), Err("path_reserved"));
    assert_eq!(set("steps", json!(0)), Err("path_reserved"));
    assert_eq!(context, json!({"kept": 1, "scalar": {"inner": 2}, "list": [{"x": 4}, 3], "a": {"b": {"c": 1}}}));
}
