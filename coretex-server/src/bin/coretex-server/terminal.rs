//! Speaking to a person: colours where they are seen, plain text elsewhere.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

/// Prints a line to the standard output. A reader that has gone is no reason to stop working.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Prints without ending the line.
pub(crate) fn prompt(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(write!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints a warning to the error stream.
pub(crate) fn warn(text: &str) {
    drop(writeln!(std::io::stderr(), "coretex-server: {text}"));
}

/// Prints an error with its causes to the error stream.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    warn(&text);
    ExitCode::FAILURE
}

/// Colours, where the standard output shows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn detect() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(std::io::stdout().is_terminal() && !plain)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }
}

/// How `coretexctl` is called from where this program was called.
pub(crate) fn ctl() -> String {
    let here = std::env::current_exe().unwrap_or_default();
    let sibling = here.with_file_name("coretexctl");
    let built = here.components().any(|part| part.as_os_str() == "target");
    match (built, sibling.exists()) {
        (false, _) => "coretexctl".to_owned(),
        (true, true) => {
            let current = std::env::current_dir().unwrap_or_default();
            sibling.strip_prefix(current).unwrap_or(&sibling).display().to_string()
        }
        (true, false) => "cargo run --release --bin coretexctl --".to_owned(),
    }
}
