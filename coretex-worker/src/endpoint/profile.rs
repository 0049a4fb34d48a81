//! Profiles: how a job is shut in, as named data.
//!
//! The same four fields say what a job demands, what an operator promises and what a runner enforces. A demand is met
//! when each of its fields is met; what a runner does not enforce it does not have.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How a job is kept apart from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandboxing {
    /// A process of its own with limits, in a directory of its own. It sees the host's files and network.
    Process,
    /// Its own root file system, process table and user.
    Isolated,
}

/// What a job reaches over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Only hosts on a list.
    EgressAllowlist,
    /// Nothing.
    None,
}

/// What a job does to files of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filesystem {
    /// Reads and writes.
    Rw,
    /// Reads at most.
    Ro,
}

/// How a job is shut in. A field that is not given demands, promises or enforces nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Apart from the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandboxing>,
    /// What it reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// What it does to files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<Filesystem>,
    /// All that it uses, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<String>>,
}

/// What a requirement such as `network=none` begins with.
const KEYS: [&str; 5] = ["sandbox", "network", "fs", "tool", "profile"];

impl Profile {
    /// What `demand` asks for and this does not give, in words; empty when it gives everything.
    #[must_use]
    pub fn missing(&self, demand: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        if demand.sandbox > self.sandbox {
            missing.extend(demand.sandbox.map(|level| format!("sandbox={}", level.as_str())));
        }
        if demand.network > self.network {
            missing.extend(demand.network.map(|level| format!("network={}", level.as_str())));
        }
        if demand.fs > self.fs {
            missing.extend(demand.fs.map(|level| format!("fs={}", level.as_str())));
        }
        if let Some(allowed) = &demand.tools {
            match &self.tools {
                None => missing.push("a declared list of tools".to_owned()),
                Some(used) => missing.extend(used.difference(allowed).map(|tool| format!("no use of tool `{tool}`"))),
            }
        }
        missing
    }

    /// The capabilities that a worker with this profile advertises: each level with those below it, each tool.
    #[must_use]
    pub fn capabilities(&self) -> Vec<String> {
        let mut found = Vec::new();
        let sandbox = [Sandboxing::Process, Sandboxing::Isolated];
        found.extend(
            sandbox.iter().filter(|level| Some(**level) <= self.sandbox).map(|l| format!("sandbox={}", l.as_str())),
        );
        let network = [Network::EgressAllowlist, Network::None];
        found.extend(
            network.iter().filter(|level| Some(**level) <= self.network).map(|l| format!("network={}", l.as_str())),
        );
        let fs = [Filesystem::Rw, Filesystem::Ro];
        found.extend(fs.iter().filter(|level| Some(**level) <= self.fs).map(|l| format!("fs={}", l.as_str())));
        found.extend(self.tools.iter().flatten().map(|tool| format!("tool={}", tool.to_lowercase())));
        found
    }
}

/// Whether a job's requirement speaks of profiles, and so has to be enforced where the job runs.
pub(crate) fn is_profile_requirement(requirement: &str) -> bool {
    requirement.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key))
}

impl Sandboxing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Isolated => "isolated",
        }
    }
}

impl Network {
    const fn as_str(self) -> &'static str {
        match self {
            Self::EgressAllowlist => "egress-allowlist",
            Self::None => "none",
        }
    }
}

impl Filesystem {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rw => "rw",
            Self::Ro => "ro",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_demand_is_met_by_what_is_as_strict_or_stricter() {
        let sealed = profile(r#"{"sandbox":"isolated","network":"none","fs":"ro","tools":["jq"]}"#);
        for met in [
            "{}",
            r#"{"sandbox":"process"}"#,
            r#"{"network":"egress-allowlist","fs":"rw"}"#,
            r#"{"tools":["jq","sed"]}"#,
        ] {
            assert_eq!(sealed.missing(&profile(met)), Vec::<String>::new(), "{met}");
        }
        assert_eq!(sealed.missing(&profile(r#"{"tools":["sed"]}"#)), ["no use of tool `jq`"]);
        let process = profile(r#"{"sandbox":"process"}"#);
        let missing = process.missing(&sealed);
        assert_eq!(missing, ["sandbox=isolated", "network=none", "fs=ro", "a declared list of tools"]);
    }

    #[test]
    fn what_is_not_enforced_is_not_advertised() {
        assert!(Profile::default().capabilities().is_empty());
        let some = profile(r#"{"sandbox":"process","network":"none","tools":["Git"]}"#);
        assert_eq!(some.capabilities(), ["sandbox=process", "network=egress-allowlist", "network=none", "tool=git"]);
    }
}
