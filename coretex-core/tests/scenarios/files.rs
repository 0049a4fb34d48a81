//! The files of scenarios.

use std::path::PathBuf;

use super::scenario::Scenario;

/// A file and what is in it.
pub(crate) struct File {
    path: PathBuf,
    documents: Vec<String>,
    pub(crate) scenarios: Vec<Scenario>,
}

/// The files, with the scenarios that `CORETEX_SCENARIO` asks for.
pub(crate) fn read() -> Vec<File> {
    let wanted = std::env::var("CORETEX_SCENARIO").unwrap_or_default();
    let mut files = read_all();
    if std::env::var_os("CORETEX_REWRITE").is_none() {
        files.iter_mut().for_each(|file| file.scenarios.retain(|scenario| scenario.name.contains(&wanted)));
    }
    files
}

/// The files, whole.
pub(crate) fn read_all() -> Vec<File> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/cases");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml")).map(open).collect()
}

fn open(path: PathBuf) -> File {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let documents: Vec<String> = format!("\n{text}")
        .split("\n---\n")
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let scenarios = documents.iter().map(|document| Scenario::read(&name, document)).collect();
    File { path, documents, scenarios }
}

/// Writes the stories into the file, in the place of what was expected.
pub(crate) fn rewrite(file: &File, stories: &[String]) {
    let mut text = String::new();
    for (document, story) in file.documents.iter().zip(stories) {
        let (head, _) = document.split_once("\nexpect: |").unwrap_or((document.as_str(), ""));
        text.push_str(if text.is_empty() { "" } else { "\n---\n" });
        text.push_str(head.trim_end());
        text.push_str("\nexpect: |\n");
        for line in story.trim_end().lines() {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
    }
    std::fs::write(&file.path, text).unwrap();
}
