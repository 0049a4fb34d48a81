//! Constraints of a policy decision, as they travel with a job.

use coretex_core::policy::Constraints;

use super::profile::{Filesystem, Network, Profile, Sandboxing};
use crate::extract::JobContext;

/// Where a control plane puts them into a job's environment.
const ENV: &str = "CORETEX_POLICY_CONSTRAINTS";

/// The constraints of the job; default when there are none.
///
/// # Errors
/// The text that cannot be understood: what is not understood is not enforced.
pub(crate) fn of(job: &JobContext) -> Result<Constraints, String> {
    match job.env().get(ENV) {
        None => Ok(Constraints::default()),
        Some(text) => serde_json::from_str(text).map_err(|error| format!("they are not understood: {error}")),
    }
}

/// What the constraints ask of the place where the job runs. Budgets are told apart, by time and bytes.
pub(crate) fn demand(constraints: &Constraints) -> Profile {
    let mut demand = Profile::default();
    if let Some(sandbox) = &constraints.sandbox {
        demand.sandbox = sandbox.isolated.then_some(Sandboxing::Isolated);
        demand.network = (!sandbox.network_allowlist.is_empty()).then_some(Network::EgressAllowlist);
        // Lists of paths: whoever touches no path of the host keeps to any list.
        let paths = !sandbox.fs_read_only.is_empty() || !sandbox.fs_read_write.is_empty();
        demand.fs = paths.then_some(Filesystem::Ro);
    }
    if let Some(toolchain) = &constraints.toolchain {
        let lists = [&toolchain.allowed_tools, &toolchain.allowed_commands];
        for allowed in lists.into_iter().filter(|list| !list.is_empty()) {
            let allowed = allowed.iter().cloned().collect();
            demand.tools = Some(match demand.tools.take() {
                None => allowed,
                Some(tools) => tools.intersection(&allowed).cloned().collect(),
            });
        }
    }
    demand
}

/// Constraints that no runner enforces, by name.
pub(crate) fn beyond_runners(constraints: &Constraints) -> Vec<&'static str> {
    let mut found = Vec::new();
    let limits_diff =
        constraints.diff.as_ref().is_some_and(|d| d.max_files > 0 || d.max_lines > 0 || !d.deny_path_globs.is_empty());
    if limits_diff {
        found.push("diff");
    }
    if constraints.redaction_level.as_ref().is_some_and(|level| !level.is_empty() && level != "none") {
        found.push("redaction_level");
    }
    found
}
