//! Restarting a run on another version: a new run with the same input, in the place of the old one.
//!
//! What is meant to happen is written down first, in one batch of its own; then the old run is cancelled, then the new
//! one started, then the note is taken away. A crash anywhere in between leaves the note, and the next start of the
//! control plane goes on from it: at no time are both gone for good. The new run's id follows from the old one's and
//! the content, so whoever repeats the call, or the recovery, starts nothing twice.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ControlPlane, PlaneError, PlaneErrorKind, VersionRef, batch,
    keys::{self, AggregateId, RESTARTS},
    load,
    plane::commit_one,
    query::read,
    shared::{Shared, Work},
};
use crate::{
    governance::Principal,
    job::RunId,
    plane::{self, Input},
    ports::{Batch, Condition, Scan},
    workflow::{Run, RunInput, StartRun},
};

/// The label of a restarted run that names the run in whose place it is.
pub const RESTART_OF: &str = "restart_of";

/// A restart that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    old: RunId,
    new: RunId,
    digest: Arc<str>,
    by: Arc<str>,
}

impl ControlPlane {
    /// Starts a run again from the beginning, with the same input, team and labels, on the version named, or on the
    /// current one. The new run carries the label `restart_of`. The old one is cancelled first if it is live.
    ///
    /// Everything that can be refused is refused before the old run is touched. From then on the restart is carried out,
    /// after a crash too. Asked for again, also after its answer was lost, it is answered with the same new run; to
    /// start over once more, restart that one.
    ///
    /// # Errors
    /// When there is no such run or version of the principal's tenant, the input does not fit the version's schema,
    /// another restart of the run is under way, or the store refuses.
    pub async fn restart_run_onto(
        &self,
        principal: &Principal,
        run: &RunId,
        version: Option<&VersionRef>,
    ) -> Result<RunId, PlaneError> {
        loop {
            let intent = self.restart_intent(principal, run, version).await?;
            if let Some(noted) = self.note_restart(intent).await? {
                carry_out(self.shared(), &noted).await?;
                return Ok(noted.new);
            }
        }
    }

    /// What a restart comes to, after everything that can be refused was looked at.
    async fn restart_intent(
        &self,
        principal: &Principal,
        run: &RunId,
        version: Option<&VersionRef>,
    ) -> Result<Intent, PlaneError> {
        let shared = self.shared();
        let old = self.run(principal, run).await?;
        let id = old.workflow().id().clone();
        let wanted = match version {
            Some(version) => version.clone(),
            None => VersionRef::Digest(self.current_version(principal, &id).await?.digest),
        };
        let (version, workflow) = self.workflow_version(principal, &id, &wanted).await?;
        let new = successor(run, &version.digest)?;
        let intent = Intent { old: run.clone(), new, digest: version.digest, by: principal.id.clone() };
        let policy = shared.policy.snapshot();
        let routes = shared.routes.load();
        let facts = shared.facts(0, &*policy, &routes);
        // Decided to see whether it is refused, and thrown away.
        let _would_start = plane::start(&workflow, start_of(&old, &intent), &facts)?;
        let successor = AggregateId::Run(intent.new.shared());
        if load::read_run(shared, &successor).await?.is_none()
            && shared.store.read(&successor.stream(), 1, 1).await?.head > 0
        {
            let message = format!("run `{run}` was restarted on that version as `{}`, which was deleted", intent.new);
            return Err(PlaneError::new(PlaneErrorKind::Conflict, "run_deleted", message));
        }
        Ok(intent)
    }

    /// Writes down what is to happen, and gives what is written down: somebody else may have begun the same. `None` when
    /// it must be looked at anew.
    async fn note_restart(&self, intent: Intent) -> Result<Option<Intent>, PlaneError> {
        let shared = self.shared();
        let key = keys::restart(intent.old.as_str());
        // The definition is pinned from now on, so that it is there when the new run starts.
        let note = Batch::new().put(key.clone(), batch::encode(&intent)?, Condition::Absent).add(
            keys::pins(&intent.digest),
            1,
            None,
        );
        match commit_one(shared, note).await {
            Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
            noted => return noted.map(|()| Some(intent)),
        }
        let Some(begun) = shared.store.get(&key).await? else { return Ok(None) };
        let begun: Intent = read("a restart", &begun)?;
        if begun.new != intent.new {
            let message = format!("run `{}` is being restarted on another version", intent.old);
            return Err(PlaneError::new(PlaneErrorKind::Conflict, "restart_under_way", message));
        }
        Ok(Some(begun))
    }
}

/// The id of the run that takes the place of `old` on the definition `digest`.
fn successor(old: &RunId, digest: &str) -> Result<RunId, PlaneError> {
    let hash = keys::hex_of(Sha256::digest(format!("{old}/{digest}").as_bytes()), 8);
    // Ids are ASCII and 128 bytes long at most.
    let stem: String = old.as_str().chars().take(108).collect();
    Ok(RunId::parse(&format!("{stem}-on-{hash}"))?)
}

fn start_of(old: &Run, intent: &Intent) -> StartRun {
    let mut labels = BTreeMap::clone(old.labels());
    labels.insert(RESTART_OF.to_owned(), intent.old.to_string());
    StartRun {
        team: old.team().into(),
        labels: Arc::new(labels),
        ..StartRun::new(intent.new.clone(), old.input(), intent.by.clone())
    }
}

/// Does what was written down, and takes the note away. Every part of it may have happened already.
async fn carry_out(shared: &Shared, intent: &Intent) -> Result<(), PlaneError> {
    let aggregate = AggregateId::Run(intent.old.shared());
    if let Some((old, _)) = load::read_run(shared, &aggregate).await? {
        let reason = format!("restarted as {}", intent.new);
        let cancel = Input::Run(RunInput::Cancel { by: intent.by.clone(), reason: reason.into() });
        shared.call(aggregate, Work::Input(cancel)).await?;
        let workflow = shared.definitions.get(&*shared.store, &intent.digest).await?;
        let start = Work::Start { workflow, start: Box::new(start_of(&old, intent)) };
        match shared.call(AggregateId::Run(intent.new.shared()), start).await {
            // It was started before, and removed since: there is nothing more to do.
            Err(error) if error.code() == "run_deleted" => {}
            started => drop(started?),
        }
    }
    let key = keys::restart(intent.old.as_str());
    loop {
        let Some(note) = shared.store.get(&key).await? else { return Ok(()) };
        // Ours may be gone, and another one begun since.
        if read::<Intent>("a restart", &note)? != *intent {
            return Ok(());
        }
        let done = Batch::new().delete(key.clone(), Condition::Version(note.version));
        match commit_one(shared, done.add(keys::pins(&intent.digest), -1, None)).await {
            // Whoever asked at the same moment may have taken it away.
            Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
            done => return done,
        }
    }
}

/// Goes on with every restart that was begun.
pub(super) async fn recover(shared: &Shared) -> Result<usize, PlaneError> {
    let mut found = 0;
    let mut after = None;
    loop {
        let page = shared.store.scan(Scan::prefix(RESTARTS).after(after)).await?;
        for entry in &page.entries {
            found += 1;
            let intent: Intent = read("a restart", entry)?;
            match carry_out(shared, &intent).await {
                Err(error) if error.is_retryable() || error.kind() == PlaneErrorKind::Closed => return Err(error),
                // What is refused today is tried again at the next start; everything else goes on meanwhile.
                Err(error) => {
                    tracing::error!(run = %intent.old, %error, "a restart is not carried out and stays noted")
                }
                Ok(()) => {}
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}
