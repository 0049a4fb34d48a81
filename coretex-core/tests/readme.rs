//! The example in the README is the one that is built.

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let (readme, program) = (include_str!("../../README.md"), include_str!("../../examples/quickstart.rs"));
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Rust block");
    let program = program.split_once("\n\n").map_or(program, |(_, program)| program);
    assert_eq!(shown, program, "copy examples/quickstart.rs into the README");
}
