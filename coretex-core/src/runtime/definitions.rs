//! Definitions by digest: written once, compiled once, shared by all runs that pin them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{PlaneError, keys};
use crate::{
    job::WorkflowId,
    ports::{Store, Version},
    workflow::{Workflow, WorkflowSpec},
};

/// Compiled definitions kept at hand. A workflow is a few kilobytes compiled; those of live runs are kept alive by
/// the runs themselves.
const MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Definitions {
    compiled: RwLock<HashMap<Arc<str>, Arc<Workflow>>>,
    /// What is stored by name, with the version that it was read at.
    current: RwLock<HashMap<WorkflowId, (Version, Arc<Workflow>)>>,
}

impl Definitions {
    pub(super) fn remember(&self, workflow: &Arc<Workflow>) {
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MAX {
            compiled.retain(|_, workflow| Arc::strong_count(workflow) > 1);
        }
        compiled.insert(workflow.digest().clone(), workflow.clone());
    }

    pub(super) async fn get(&self, store: &dyn Store, digest: &Arc<str>) -> Result<Arc<Workflow>, PlaneError> {
        if let Some(workflow) = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(workflow.clone());
        }
        let what = || format!("definition `{digest}`");
        let Some(entry) = store.get(&keys::definition(digest)).await? else {
            return Err(PlaneError::damaged(&what(), &"it is missing"));
        };
        let spec: WorkflowSpec =
            serde_json::from_slice(&entry.value).map_err(|error| PlaneError::damaged(&what(), &error))?;
        let workflow = Workflow::compile("store", spec).map_err(|error| PlaneError::damaged(&what(), &error))?;
        let workflow = Arc::new(workflow);
        self.remember(&workflow);
        Ok(workflow)
    }

    /// The definition stored by name as `document` at `version`; compiled when it is not the one compiled last.
    pub(super) fn current(
        &self,
        id: &WorkflowId,
        version: Version,
        document: &[u8],
    ) -> Result<Arc<Workflow>, PlaneError> {
        if let Some((at, workflow)) = self.current.read().unwrap_or_else(PoisonError::into_inner).get(id)
            && *at == version
        {
            return Ok(workflow.clone());
        }
        let spec: WorkflowSpec = serde_json::from_slice(document)
            .map_err(|error| PlaneError::damaged(&format!("workflow `{id}`"), &error))?;
        let workflow = Arc::new(Workflow::compile("store", spec)?);
        self.remember(&workflow);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.len() >= MAX {
            current.clear();
        }
        current.insert(id.clone(), (version, workflow.clone()));
        Ok(workflow)
    }
}
