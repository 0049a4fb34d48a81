//! Versions of definitions: what was stored under a name, by whom and when, numbered from 1.
//!
//! A version never changes. Its content lies under its digest and is shared by all versions, and all runs, that have
//! it. The one last stored is current; an older content becomes current again as a new version that names its source,
//! so the history only grows. Storing writes one batch, conditional on the name and on the next number: a crash leaves
//! all of it or nothing, and of two who store at once the second goes on from the first.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, ListPage, PlaneError, PlaneErrorKind, batch, keys,
    plane::{check_tenant, commit_one},
    query::read,
    shared::Shared,
};
use crate::{
    governance::Principal,
    job::{TenantId, WorkflowId},
    ports::{Batch, Condition, Entry, Scan},
    workflow::{Workflow, WorkflowSpec},
};

/// Longest note, in bytes.
pub(super) const MAX_NOTE: usize = 1_024;
/// What the counter of a definition's runs holds once the definition was removed. Nothing can be added to it, so a run
/// that was about to start on the definition is refused.
pub(super) const PRUNED: &[u8] = b"pruned";

/// One version of a workflow. Its content is the definition with its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowVersion {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// 1 for the first, then counting up.
    pub number: u64,
    /// Digest of the content.
    pub digest: Arc<str>,
    /// The tenant that owns it.
    pub org_id: TenantId,
    /// Who stored it.
    pub created_by: Arc<str>,
    /// When.
    pub created_at: Timestamp,
    /// Why, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The older version whose content it took up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u64>,
}

/// Names a version: by its number, or by the digest of its content, which means the newest version with that content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionRef {
    /// The number.
    Number(u64),
    /// The digest: 64 hex digits.
    Digest(Arc<str>),
}

impl VersionRef {
    /// Reads a number, or a digest.
    ///
    /// # Errors
    /// `version_invalid` when it is neither.
    pub fn parse(text: &str) -> Result<Self, PlaneError> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self::Digest(text.into()));
        }
        match text.parse() {
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            _ => {
                let shown: String = text.chars().take(80).collect();
                let message = format!("`{shown}` is no version; give its number, or the 64 digits of its digest");
                Err(PlaneError::new(PlaneErrorKind::Invalid, "version_invalid", message))
            }
        }
    }
}

impl From<u64> for VersionRef {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl std::fmt::Display for VersionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Digest(digest) => f.write_str(digest),
        }
    }
}

/// What storing a definition led to.
#[derive(Clone, Debug)]
pub struct StoredWorkflow {
    /// The definition as stored.
    pub workflow: Arc<Workflow>,
    /// Its version.
    pub version: WorkflowVersion,
    /// Whether that version was made now; false when the content was current already.
    pub is_new: bool,
}

impl ControlPlane {
    /// Stores a definition under its id, with a note about why. A content other than the current one makes a new
    /// version; the current one again makes none and changes nothing. Runs that are under way keep the one that they
    /// started with. Fields about origin (`created_at`, `updated_at`, `created_by`) are filled in.
    ///
    /// # Errors
    /// When the workflow belongs to another tenant than the principal, the note is longer than 1,024 bytes, or the
    /// store refuses. An answer of kind `Unavailable` leaves open whether it was stored; storing it again makes no
    /// second version.
    pub async fn store_workflow(
        &self,
        principal: &Principal,
        workflow: Workflow,
        note: Option<&str>,
    ) -> Result<StoredWorkflow, PlaneError> {
        check_tenant(principal, workflow.tenant().as_str())?;
        self.make_current(principal, workflow.spec(), note, None).await
    }

    /// Makes the content of an older version current again: a new version that names its source. When it is current
    /// already, nothing changes. A workflow that was deleted comes back.
    ///
    /// # Errors
    /// When there is no such version of the principal's tenant, the note is longer than 1,024 bytes, or the store
    /// refuses.
    pub async fn roll_back_workflow(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        version: &VersionRef,
        note: Option<&str>,
    ) -> Result<StoredWorkflow, PlaneError> {
        let (source, workflow) = self.workflow_version(principal, id, version).await?;
        self.make_current(principal, workflow.spec(), note, Some(source.number)).await
    }

    async fn make_current(
        &self,
        principal: &Principal,
        wanted: &WorkflowSpec,
        note: Option<&str>,
        source: Option<u64>,
    ) -> Result<StoredWorkflow, PlaneError> {
        let note = note.map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.len() > MAX_NOTE) {
            let message = format!("a note has at most {MAX_NOTE} bytes");
            return Err(PlaneError::new(PlaneErrorKind::Invalid, "note_too_long", message));
        }
        let shared = self.shared();
        let id = WorkflowId::parse(&wanted.id)?;
        let key = keys::workflow(id.as_str());
        loop {
            let old = shared.store.get(&key).await?;
            let stored: Option<WorkflowSpec> = old.as_ref().map(|entry| read("a workflow", entry)).transpose()?;
            if let Some(stored) = &stored
                && !stored.org_id.is_empty()
            {
                check_tenant(principal, &stored.org_id)?;
            }
            let last = self.last_version(&id).await?;
            if let Some(last) = &last {
                check_tenant(principal, last.org_id.as_str())?;
            }
            let now = shared.now();
            let mut spec = wanted.clone();
            spec.org_id = principal.tenant.to_string();
            spec.fill_topics(&shared.options.default_topics);
            spec.created_at =
                stored.as_ref().and_then(|stored| stored.created_at.clone()).or_else(|| Some(now.to_string()));
            if spec.created_by.is_empty() {
                spec.created_by = stored.map_or_else(|| principal.id.to_string(), |stored| stored.created_by);
            }
            spec.updated_at = Some(now.to_string());
            let compiled = Arc::new(Workflow::compile("workflow", spec)?);
            let digest = compiled.digest();
            let unchanged = last.as_ref().filter(|last| last.digest == *digest);
            if let (Some(version), Some(entry)) = (unchanged, &old) {
                let workflow = shared.definitions.current(&id, entry.version, &entry.value)?;
                return Ok(StoredWorkflow { workflow, version: version.clone(), is_new: false });
            }
            let document = batch::encode(compiled.spec())?;
            let condition = old.map_or(Condition::Absent, |entry| Condition::Version(entry.version));
            let mut batch = Batch::new().put(key.clone(), document.clone(), condition).put(
                keys::definition(digest),
                document,
                Condition::Always,
            );
            // Whoever removes the content for want of use expects this record as it is.
            let guard = keys::version_of(id.as_str(), digest);
            let known = shared.store.get(&guard).await?.map(|entry| entry.version);
            let pins = keys::pins(digest);
            if let Some(entry) = shared.store.get(&pins).await?
                && &*entry.value == PRUNED
            {
                batch = batch.delete(pins, Condition::Version(entry.version));
            }
            let is_new = unchanged.is_none();
            // A name that was deleted and comes back with its last content is that version again.
            let version = unchanged.cloned().unwrap_or_else(|| WorkflowVersion {
                workflow_id: id.clone(),
                number: last.map_or(1, |last| last.number + 1),
                digest: digest.clone(),
                org_id: principal.tenant.clone(),
                created_by: principal.id.clone(),
                created_at: now,
                note: note.map(str::to_owned),
                source,
            });
            if is_new {
                let record = batch::encode(&version)?;
                batch = batch.put(keys::version(id.as_str(), version.number), record, Condition::Absent);
            }
            let condition = known.map_or(Condition::Absent, Condition::Version);
            let batch = batch.put(guard, version.number.to_string(), condition);
            match commit_one(shared, batch).await {
                // Somebody stored it at the same moment: theirs first, then ours.
                Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    shared.definitions.remember(&compiled);
                    return Ok(StoredWorkflow { workflow: compiled, version, is_new });
                }
            }
        }
    }

    /// The versions of a workflow, newest first; of one that was deleted, too.
    ///
    /// # Errors
    /// When there is no version of the principal's tenant, the cursor is not one, or the store cannot be read.
    pub async fn workflow_versions(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<WorkflowVersion>, PlaneError> {
        let last = self.last_version(id).await?;
        if last.is_none_or(|last| last.org_id != principal.tenant) {
            return Err(PlaneError::not_found("workflow", id.as_str()));
        }
        let scan = Scan::prefix(keys::versions(id.as_str())).reverse();
        self.list(scan, cursor, limit, |entry| Ok(Some(read("a version", entry)?))).await
    }

    /// One version, and its content.
    ///
    /// # Errors
    /// When there is no such version of the principal's tenant, or it cannot be read.
    pub async fn workflow_version(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        version: &VersionRef,
    ) -> Result<(WorkflowVersion, Arc<Workflow>), PlaneError> {
        pinned(self.shared(), principal, id, version).await
    }

    /// The version that new runs of a workflow pin.
    ///
    /// # Errors
    /// When there is no such workflow of the principal's tenant, or it cannot be read.
    pub async fn current_version(&self, principal: &Principal, id: &WorkflowId) -> Result<WorkflowVersion, PlaneError> {
        let missing = || PlaneError::not_found("workflow", id.as_str());
        self.shared().store.get(&keys::workflow(id.as_str())).await?.ok_or_else(missing)?;
        self.last_version(id).await?.filter(|last| last.org_id == principal.tenant).ok_or_else(missing)
    }

    /// The version last made, whoever owns it.
    async fn last_version(&self, id: &WorkflowId) -> Result<Option<WorkflowVersion>, PlaneError> {
        let scan = Scan::prefix(keys::versions(id.as_str())).reverse().limit(1);
        let page = self.shared().store.scan(scan).await?;
        page.entries.first().map(|entry: &Entry| read("a version", entry)).transpose()
    }
}

/// One version of a workflow of the principal's tenant, and its content.
pub(super) async fn pinned(
    shared: &Shared,
    principal: &Principal,
    id: &WorkflowId,
    version: &VersionRef,
) -> Result<(WorkflowVersion, Arc<Workflow>), PlaneError> {
    let missing = || {
        let message = format!("workflow `{id}` has no version `{version}`");
        PlaneError::new(PlaneErrorKind::NotFound, "version_not_found", message)
    };
    let store = &shared.store;
    let number = match version {
        VersionRef::Number(number) => *number,
        VersionRef::Digest(digest) => {
            let entry = store.get(&keys::version_of(id.as_str(), digest)).await?.ok_or_else(missing)?;
            read("the number of a version", &entry)?
        }
    };
    let entry = store.get(&keys::version(id.as_str(), number)).await?.ok_or_else(missing)?;
    let record: WorkflowVersion = read("a version", &entry)?;
    if record.org_id != principal.tenant {
        return Err(missing());
    }
    let workflow = shared.definitions.get(&**store, &record.digest).await?;
    Ok((record, workflow))
}
