//! Joining the limits of two rules, so that both hold.

use coretex_core::policy::{BudgetLimits, Constraints, DiffLimits, Sandbox, Toolchain};

/// Both limits at once. The first argument comes from the higher authority, which matters only for the redaction
/// level, whose words have no order.
///
/// # Errors
///
/// What two non-empty allow lists have nothing of in common: an empty list would mean no limit.
pub(super) fn join(a: &Constraints, b: &Constraints) -> Result<Constraints, &'static str> {
    Ok(Constraints {
        budgets: both(a.budgets.as_ref(), b.budgets.as_ref(), |a, b| Ok(budgets(a, b)))?,
        sandbox: both(a.sandbox.as_ref(), b.sandbox.as_ref(), sandbox)?,
        toolchain: both(a.toolchain.as_ref(), b.toolchain.as_ref(), toolchain)?,
        diff: both(a.diff.as_ref(), b.diff.as_ref(), |a, b| Ok(diff(a, b)))?,
        redaction_level: a.redaction_level.clone().or_else(|| b.redaction_level.clone()),
    })
}

fn both<T: Clone>(
    a: Option<&T>,
    b: Option<&T>,
    join: impl FnOnce(&T, &T) -> Result<T, &'static str>,
) -> Result<Option<T>, &'static str> {
    match (a, b) {
        (Some(a), Some(b)) => join(a, b).map(Some),
        (one, other) => Ok(one.or(other).cloned()),
    }
}

fn budgets(a: &BudgetLimits, b: &BudgetLimits) -> BudgetLimits {
    BudgetLimits {
        max_runtime_ms: lowest(a.max_runtime_ms, b.max_runtime_ms),
        max_retries: lowest(a.max_retries, b.max_retries),
        max_artifact_bytes: lowest(a.max_artifact_bytes, b.max_artifact_bytes),
        max_concurrent_jobs: lowest(a.max_concurrent_jobs, b.max_concurrent_jobs),
    }
}

fn sandbox(a: &Sandbox, b: &Sandbox) -> Result<Sandbox, &'static str> {
    Ok(Sandbox {
        isolated: a.isolated || b.isolated,
        network_allowlist: common(&a.network_allowlist, &b.network_allowlist).ok_or("host in network_allowlist")?,
        fs_read_only: common(&a.fs_read_only, &b.fs_read_only).ok_or("path in fs_read_only")?,
        fs_read_write: common(&a.fs_read_write, &b.fs_read_write).ok_or("path in fs_read_write")?,
    })
}

fn toolchain(a: &Toolchain, b: &Toolchain) -> Result<Toolchain, &'static str> {
    Ok(Toolchain {
        allowed_tools: common(&a.allowed_tools, &b.allowed_tools).ok_or("tool in allowed_tools")?,
        allowed_commands: common(&a.allowed_commands, &b.allowed_commands).ok_or("command in allowed_commands")?,
    })
}

fn diff(a: &DiffLimits, b: &DiffLimits) -> DiffLimits {
    let mut globs = a.deny_path_globs.clone();
    globs.extend(b.deny_path_globs.iter().filter(|glob| !a.deny_path_globs.contains(glob)).cloned());
    DiffLimits {
        max_files: lowest(a.max_files, b.max_files),
        max_lines: lowest(a.max_lines, b.max_lines),
        deny_path_globs: globs,
    }
}

/// The lower limit, 0 being none.
fn lowest<N: Ord + Default>(a: N, b: N) -> N {
    let none = N::default();
    if a == none {
        b
    } else if b == none {
        a
    } else {
        a.min(b)
    }
}

/// What both lists allow, an empty one allowing everything; `None` if that is nothing.
fn common(a: &[String], b: &[String]) -> Option<Vec<String>> {
    if a.is_empty() || b.is_empty() {
        return Some(if a.is_empty() { b } else { a }.to_vec());
    }
    let common: Vec<_> = a.iter().filter(|own| b.contains(own)).cloned().collect();
    (!common.is_empty()).then_some(common)
}
