//! What workers and other components say about themselves.

use std::{collections::BTreeMap, fmt};

use super::packet::Hidden;
use crate::protocol::enums::{AlertSeverity, ComponentRole, ErrorCode};

/// "I am here, with this load." Sent every few seconds; there is no goodbye.
///
/// `Debug` does not show the token.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Heartbeat {
    /// Who is alive.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// Where it runs.
    #[prost(string, tag = "2")]
    pub region: String,
    /// What kind of worker it is.
    #[prost(string, tag = "3")]
    pub r#type: String,
    /// CPU load; the scale is the worker's.
    #[prost(float, tag = "4")]
    pub cpu_load: f32,
    /// GPU utilization; the scale is the worker's.
    #[prost(float, tag = "5")]
    pub gpu_utilization: f32,
    /// Jobs it is running now.
    #[prost(int32, tag = "6")]
    pub active_jobs: i32,
    /// What it can do.
    #[prost(string, repeated, tag = "7")]
    pub capabilities: Vec<String>,
    /// The pool it serves; often empty.
    #[prost(string, tag = "11")]
    pub pool: String,
    /// Jobs it takes at once; zero when not given.
    #[prost(int32, tag = "12")]
    pub max_parallel_jobs: i32,
    /// Free key and value pairs for placement.
    #[prost(btree_map = "string, string", tag = "13")]
    pub labels: BTreeMap<String, String>,
    /// Memory load; the scale is the worker's.
    #[prost(float, tag = "14")]
    pub memory_load: f32,
    /// How far its long task is, in percent.
    #[prost(int32, tag = "15")]
    pub progress_pct: i32,
    /// A note about its long task.
    #[prost(string, tag = "16")]
    pub last_memo: String,
    /// Legacy bearer credential, checked out of band; a secret, not a session.
    #[prost(string, tag = "18")]
    pub auth_token: String,
    /// A label for people; never an identity.
    #[prost(string, tag = "19")]
    pub agent_name: String,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat")
            .field("worker_id", &self.worker_id)
            .field("region", &self.region)
            .field("type", &self.r#type)
            .field("cpu_load", &self.cpu_load)
            .field("gpu_utilization", &self.gpu_utilization)
            .field("active_jobs", &self.active_jobs)
            .field("capabilities", &self.capabilities)
            .field("pool", &self.pool)
            .field("max_parallel_jobs", &self.max_parallel_jobs)
            .field("labels", &self.labels)
            .field("memory_load", &self.memory_load)
            .field("progress_pct", &self.progress_pct)
            .field("last_memo", &self.last_memo)
            .field("auth_token", &Hidden(self.auth_token.len()))
            .field("agent_name", &self.agent_name)
            .finish()
    }
}

/// A component's introduction when it connects. Informational: it may narrow, never widen, what the component
/// may do. Python Agents put their topics into `capabilities`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Handshake {
    /// Who connected.
    #[prost(string, tag = "1")]
    pub component_id: String,
    /// Its part in the system.
    #[prost(enumeration = "ComponentRole", tag = "2")]
    pub role: i32,
    /// Protocol versions it speaks.
    #[prost(int32, repeated, tag = "3")]
    pub supported_versions: Vec<i32>,
    /// Features by name.
    #[prost(btree_map = "string, bool", tag = "4")]
    pub capabilities: BTreeMap<String, bool>,
    /// Its library and version.
    #[prost(string, tag = "5")]
    pub sdk_version: String,
    /// Topics it is ready for; empty means unknown, not none.
    #[prost(string, repeated, tag = "6")]
    pub ready_topics: Vec<String>,
    /// A label for people; never an identity.
    #[prost(string, tag = "7")]
    pub agent_name: String,
}

/// Something an operator should know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SystemAlert {
    /// Legacy severity as text; see `severity`.
    #[prost(string, tag = "1")]
    pub level: String,
    /// What happened.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Legacy origin; see `source_component`.
    #[prost(string, tag = "3")]
    pub component: String,
    /// Legacy code as text; see `error_code_enum`.
    #[prost(string, tag = "4")]
    pub code: String,
    /// How bad it is.
    #[prost(enumeration = "AlertSeverity", tag = "5")]
    pub severity: i32,
    /// What kind of error it is.
    #[prost(enumeration = "ErrorCode", tag = "6")]
    pub error_code_enum: i32,
    /// The component that raises the alert.
    #[prost(string, tag = "7")]
    pub source_component: String,
    /// More facts; no secrets.
    #[prost(btree_map = "string, string", tag = "8")]
    pub details: BTreeMap<String, String>,
    /// The trace the alert belongs to.
    #[prost(string, tag = "9")]
    pub trace_id: String,
}
