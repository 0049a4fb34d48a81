//! Rule documents: what the YAML says, checked and typed.
//!
//! Invariant: a [`Document`] exists only if every key, word and pattern in it was understood; nothing falls back
//! to allow. Whether a bundle may say it is judged by [`crate::bundle`], what it means for a request by
//! [`crate::evaluate`].

mod condition;
mod constraints;
mod document;
mod during;
mod extended;
mod glob;
mod globs;
mod node;
mod read;
#[cfg(test)]
mod tests;
mod words;

pub use condition::Condition;
pub use document::{DefaultDecision, Document, Match, McpLists, Rule, TenantPolicy};
pub use during::During;
pub use glob::Glob;
pub(crate) use globs::{common, covers};
pub(crate) use node::MAX_BYTES;
pub use words::DECISION_WORDS;
