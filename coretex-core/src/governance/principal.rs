//! The authority behind a call. The host supplies it; servers only authenticate into it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::TenantId;

/// What kind of authority it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// A program.
    #[default]
    Service,
}

/// On whose authority something is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Who.
    pub id: Arc<str>,
    /// A person or a program.
    #[serde(default)]
    pub kind: PrincipalKind,
    /// The tenant they act for.
    #[serde(default)]
    pub tenant: TenantId,
    /// What they may do.
    #[serde(default)]
    pub roles: Vec<Arc<str>>,
    /// What they belong to.
    #[serde(default)]
    pub groups: Vec<Arc<str>>,
}

impl Principal {
    /// A program acting for the tenant `default`.
    pub fn service(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            kind: PrincipalKind::Service,
            tenant: TenantId::default(),
            roles: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// A person acting for the tenant `default`.
    pub fn human(id: impl Into<Arc<str>>) -> Self {
        Self { kind: PrincipalKind::Human, ..Self::service(id) }
    }

    /// Acts for another tenant.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = tenant;
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.roles.push(role.into());
        self
    }
}
