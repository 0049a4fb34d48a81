//! Every example of the guide is run. A comment behind a fence tells what the world does and what must come of it: the
//! fields of a [`Scenario`](super::scenario::Scenario), `ends` (the first line of the story) and `steps` (parts of the story).
//! With `starts_on_the_example_before` the run starts on that one, and moves onto this one at `migrate`.

use coretex_core::value::document;
use serde_json::{Value, json};

use super::{
    scenario::Scenario,
    world::{Trouble, play},
};

const GUIDE: &str = include_str!("../../../docs/guides/workflows.md");

struct Example {
    scenario: Scenario,
    ends: String,
    parts: Vec<String>,
}

fn examples() -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for part in GUIDE.split("```yaml\n").skip(1) {
        let (workflow, rest) = part.split_once("```\n").expect("a fence that ends");
        let played = rest.trim_start().strip_prefix("<!-- played\n").and_then(|rest| rest.split_once("-->"));
        let Some((played, _)) = played else { panic!("nothing tells how this is played:\n{workflow}") };
        let read = |text: &str| document::parse_yaml("workflows.md", text).unwrap_or_else(|error| panic!("{error}"));
        let mut fields = match read(played) {
            Value::Object(fields) => fields,
            other => panic!("{other} is no scenario"),
        };
        let ends = fields.remove("ends").and_then(|ends| ends.as_str().map(str::to_owned)).expect("how it ends");
        let parts = serde_json::from_value(fields.remove("steps").unwrap_or(json!([]))).unwrap();
        let workflow = read(workflow);
        fields.insert("name".into(), workflow["id"].clone());
        match (fields.remove("starts_on_the_example_before"), found.last()) {
            (Some(_), Some(before)) => {
                fields.insert("workflow".into(), before.scenario.workflow.clone());
                fields.insert("next".into(), workflow);
            }
            _ => drop(fields.insert("workflow".into(), workflow)),
        }
        found.push(Example { scenario: serde_json::from_value(Value::Object(fields)).unwrap(), ends, parts });
    }
    found
}

#[test]
fn every_example_of_the_guide_does_what_the_guide_says() {
    let examples = examples();
    assert!(examples.len() > 20, "{} examples", examples.len());
    for Example { scenario, ends, parts } in examples {
        let story = play(&scenario, Trouble::None).story;
        assert_eq!(story.lines().next(), Some(&*ends), "`{}`\n{story}", scenario.name);
        for part in parts {
            let is_told = story.lines().take_while(|line| !line.starts_with("0 ")).flat_map(|line| line.split("; "));
            assert!(is_told.clone().any(|told| told == part), "`{}`: `{part}` in\n{story}", scenario.name);
        }
    }
}
