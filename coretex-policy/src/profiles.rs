//! Policies to start from, as text.

/// For development: everything under `job.` runs, and every decision says that no rule stood behind it.
pub const DEV: &str = "\
# Development profile: whatever no rule speaks about runs, visibly.
version: dev
default_decision: allow
default_reason: no rule matched (development default)
rules: []
";

/// Nothing runs that no rule allows.
pub const STRICT: &str = "\
# Strict profile: nothing runs until a rule allows it.
version: strict
default_decision: deny
default_reason: no rule matched (strict profile)
rules: []
";
