//! Limits of a rule, read into the vocabulary of core.

use coretex_core::policy::{BudgetLimits, Constraints, DiffLimits, Sandbox, Toolchain};

use super::{
    node::Node,
    read::{Path, Reader},
};

/// `None` if nothing is limited.
pub(super) fn read(reader: &mut Reader, node: &Node, path: &Path<'_>) -> Option<Constraints> {
    let fields = reader.fields(node, path, &["budgets", "sandbox", "toolchain", "diff", "redaction_level"])?;
    let mut out = Constraints::default();
    if let Some(node) = fields.get("budgets") {
        let path = &path.key("budgets");
        let keys = ["max_runtime_ms", "max_retries", "max_artifact_bytes", "max_concurrent_jobs"];
        if let Some(fields) = reader.fields(node, path, &keys) {
            let limits = BudgetLimits {
                max_runtime_ms: reader.number(&fields, "max_runtime_ms", path),
                max_retries: reader.number(&fields, "max_retries", path),
                max_artifact_bytes: reader.number(&fields, "max_artifact_bytes", path),
                max_concurrent_jobs: reader.number(&fields, "max_concurrent_jobs", path),
            };
            out.budgets = present(limits);
        }
    }
    if let Some(node) = fields.get("sandbox") {
        let path = &path.key("sandbox");
        let keys = ["isolated", "network_allowlist", "fs_read_only", "fs_read_write"];
        if let Some(fields) = reader.fields(node, path, &keys) {
            let isolated = fields.get("isolated").and_then(|node| reader.flag(node, &path.key("isolated")));
            let limits = Sandbox {
                isolated: isolated.unwrap_or_default(),
                network_allowlist: reader.texts(&fields, "network_allowlist", path),
                fs_read_only: reader.texts(&fields, "fs_read_only", path),
                fs_read_write: reader.texts(&fields, "fs_read_write", path),
            };
            out.sandbox = present(limits);
        }
    }
    if let Some(node) = fields.get("toolchain") {
        let path = &path.key("toolchain");
        if let Some(fields) = reader.fields(node, path, &["allowed_tools", "allowed_commands"]) {
            let limits = Toolchain {
                allowed_tools: reader.texts(&fields, "allowed_tools", path),
                allowed_commands: reader.texts(&fields, "allowed_commands", path),
            };
            out.toolchain = present(limits);
        }
    }
    if let Some(node) = fields.get("diff") {
        let path = &path.key("diff");
        if let Some(fields) = reader.fields(node, path, &["max_files", "max_lines", "deny_path_globs"]) {
            let limits = DiffLimits {
                max_files: reader.number(&fields, "max_files", path),
                max_lines: reader.number(&fields, "max_lines", path),
                deny_path_globs: reader.texts(&fields, "deny_path_globs", path),
            };
            out.diff = present(limits);
        }
    }
    let level = reader.text(&fields, "redaction_level", path);
    out.redaction_level = (!level.is_empty()).then_some(level);
    present(out)
}

/// Established documents write sections that limit nothing.
fn present<T: Default + PartialEq>(limits: T) -> Option<T> {
    (limits != T::default()).then_some(limits)
}
