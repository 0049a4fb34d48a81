//! A question to whoever sits at the terminal, if anybody does.

use std::{
    io::{BufRead, IsTerminal},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::terminal;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Said(bool),
    /// There is nobody to ask, and nobody answered from elsewhere in time.
    Nobody,
}

/// A question that waits for its answer. The thread that reads stays behind when the question is dropped: nothing can
/// call it back from the terminal.
#[derive(Debug)]
pub(super) struct Question {
    lines: mpsc::UnboundedReceiver<String>,
    terminal: bool,
    lapses: tokio::time::Instant,
}

impl Question {
    pub(super) fn new(patience: Duration) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        // Without the thread the question is one that nobody can answer here.
        let reader = std::thread::Builder::new().name("terminal".to_owned());
        drop(reader.spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        }));
        Self { lines, terminal: std::io::stdin().is_terminal(), lapses: tokio::time::Instant::now() + patience }
    }

    pub(super) const fn at_terminal(&self) -> bool {
        self.terminal
    }

    pub(super) fn prompt(&self) {
        if self.terminal {
            terminal::prompt("  Post it? [y/n] ");
        }
    }
}

/// Completes with the answer; never without a question.
pub(super) async fn answered(question: Option<&mut Question>) -> Reply {
    let Some(question) = question else { return std::future::pending().await };
    loop {
        let line = if question.terminal {
            question.lines.recv().await
        } else {
            match tokio::time::timeout_at(question.lapses, question.lines.recv()).await {
                Ok(Some(line)) => Some(line),
                // The end of the input answers nothing; somebody elsewhere may.
                Ok(None) => {
                    tokio::time::sleep_until(question.lapses).await;
                    return Reply::Nobody;
                }
                Err(_) => return Reply::Nobody,
            }
        };
        match line.as_deref().map(meaning) {
            Some(Some(yes)) => return Reply::Said(yes),
            Some(None) => question.prompt(),
            // Somebody closed the terminal's input.
            None => return Reply::Nobody,
        }
    }
}

fn meaning(line: &str) -> Option<bool> {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}
