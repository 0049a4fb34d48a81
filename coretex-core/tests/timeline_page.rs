//! The timeline table in `docs/reference/workflows.md` names every line type with every status that the source gives it.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../docs/reference/workflows.md");
const SOURCE: &str = include_str!("../src/workflow/timeline.rs");

type Types<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

#[test]
fn the_page_has_every_line_type_of_the_source_and_no_other() {
    let mut made = Types::new();
    for call in SOURCE.split("set(\"").skip(1) {
        let mut words = call.split('"');
        let (kind, status) = (words.next().expect("a type"), words.nth(1).expect("a status"));
        made.entry(kind).or_default().insert(status);
    }

    let (_, table) = PAGE.split_once("<!-- timeline:").expect("the page has the table");
    let mut told = Types::new();
    for row in table.lines().skip(3).take_while(|line| line.starts_with('|')) {
        let mut cells = row.split('|').skip(1);
        let (kind, statuses) = (cells.next().expect("a type"), cells.next().expect("its statuses"));
        told.insert(kind.trim().trim_matches('`'), statuses.split('`').skip(1).step_by(2).collect());
    }
    assert_eq!(told, made);
}
