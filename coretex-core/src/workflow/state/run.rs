//! The run itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Block, Phase, RunCore, RunStatus, StepRun};
use crate::{
    job::{Failure, Priority, RunBounds, RunId, StepRunId, TenantId},
    value::Value,
    workflow::{
        Cause, Origin, ParentRun, RestoredState, RunEvent, StoredEvent, Workflow,
        definition::{FINALLY, MAIN},
        draft::Changes,
        fold::{self, RunMut},
    },
};

/// A run: the fold of its events, each over the definition that the run was under.
#[derive(Clone, Debug)]
pub struct Run {
    pub(in crate::workflow) workflow: Arc<Workflow>,
    pub(in crate::workflow) core: RunCore,
    pub(in crate::workflow) steps: Vec<StepRun>,
    pub(in crate::workflow) blocks: Vec<Block>,
    pub(in crate::workflow) head: u64,
    index: Index,
}

/// What is looked up by something else than its place; follows from the step runs.
#[derive(Clone, Debug, Default)]
struct Index {
    due: BTreeSet<(Timestamp, u32)>,
    listening: BTreeSet<(Arc<str>, u32)>,
    held: BTreeSet<u32>,
}

/// What the index knows of one step run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::workflow) struct Place {
    due: Option<Timestamp>,
    listens_to: Option<Arc<str>>,
    is_held: bool,
}

impl Place {
    pub(in crate::workflow) fn of(step: &StepRun) -> Self {
        Self {
            due: step.next_due(),
            listens_to: step.listens_to().cloned(),
            is_held: step.is_held && !step.status.is_terminal(),
        }
    }
}

/// Where the next input of a run comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Nowhere: it has ended.
    Never,
    /// A worker has one of its jobs, an effect is not confirmed, or steps are held back. On recovery the run must be loaded.
    Hot,
    /// Its earliest timer.
    At(Timestamp),
    /// A human, a signal, or another run whose end is announced to it.
    Human,
    /// A place under its workflow's rule of concurrency, given to it when another run ends.
    Slot,
}

impl Run {
    /// A run that nothing has happened to.
    #[must_use]
    pub fn new(workflow: Arc<Workflow>) -> Self {
        let mut run = Self {
            workflow: workflow.clone(),
            core: RunCore::default(),
            steps: Vec::new(),
            blocks: Vec::new(),
            head: 0,
            index: Index::default(),
        };
        for scope in [MAIN, FINALLY] {
            let base = u32::try_from(run.steps.len()).ok();
            let block = u32::try_from(scope).unwrap_or_default();
            run.steps.extend(fold::step_runs(&workflow, scope, block));
            run.blocks.push(fold::block(&workflow, scope, base, None, 0));
        }
        run
    }

    /// Folds one stored event in. The head moves by one. An event that moves the run onto another definition is folded in
    /// by [`apply_under`](Self::apply_under), which is given that one.
    pub fn apply(&mut self, stored: &StoredEvent) {
        fold::evolve(self, stored.at, &stored.event);
        self.head += 1;
    }

    /// Folds in one stored event that may have moved the run onto another definition, which `definition` then is. `false`
    /// when the definition is not the one of the event, or does not hold what the run has begun: nothing is folded in.
    pub fn apply_under(&mut self, stored: &StoredEvent, definition: Arc<Workflow>) -> bool {
        let RunEvent::RunMigrated { to, .. } = &stored.event else {
            self.apply(stored);
            return true;
        };
        let moved = (*to == *definition.digest()).then(|| fold::moved(self, &definition, stored.at)).flatten();
        let is_moved = moved.is_some();
        if let Some(moved) = moved {
            *self = moved;
        }
        is_moved
    }

    /// Takes over what a decision folded in already: the same as applying its events one by one.
    pub(crate) fn adopt(&mut self, changes: Box<Changes>) {
        let Changes { moved, core, steps, new_steps, blocks, new_blocks, events } = *changes;
        if let Some(moved) = moved {
            *self = *moved;
        }
        self.core = core;
        for (slot, step) in steps {
            let Some(old) = self.steps.get_mut(slot) else { continue };
            let old = std::mem::replace(old, step);
            self.reindex(slot, &Place::of(&old));
        }
        for step in new_steps {
            self.steps.push(step);
            self.reindex(self.steps.len() - 1, &Place::default());
        }
        for (at, block) in blocks {
            if let Some(old) = self.blocks.get_mut(at) {
                *old = block;
            }
        }
        self.blocks.extend(new_blocks);
        self.head += events;
    }

    /// Folds events in, in order.
    pub fn replay<'a>(&mut self, events: impl IntoIterator<Item = &'a StoredEvent>) {
        for event in events {
            self.apply(event);
        }
    }

    /// The definition that the run is under: the one that it started on, or the one that it was last moved onto.
    #[must_use]
    pub const fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// Digests of the definitions that it was under before, each once.
    #[must_use]
    pub fn past_definitions(&self) -> &[Arc<str>] {
        self.core.past.as_deref().unwrap_or_default()
    }

    /// Its id; `None` before it started.
    #[must_use]
    pub fn id(&self) -> Option<&RunId> {
        self.core.id()
    }

    /// Who owns it.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.core.info.as_ref().map_or_else(|| self.workflow.tenant(), |info| &info.tenant)
    }

    /// How far it has come.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.core.status
    }

    /// What it does.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.core.phase
    }

    /// Its input; null before it started.
    #[must_use]
    pub fn input(&self) -> Arc<Value> {
        self.core.input()
    }

    /// What steps wrote through `output_path`.
    #[must_use]
    pub const fn context(&self) -> &Arc<Value> {
        &self.core.context
    }

    /// What it made.
    #[must_use]
    pub const fn output(&self) -> Option<&Arc<Value>> {
        self.core.output.as_ref()
    }

    /// Why it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.core.failure.as_ref()
    }

    /// Why it is going to end, or ended, before its steps did.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.core.cause.as_deref()
    }

    /// Why undoing something failed: the first time.
    #[must_use]
    pub const fn undo_failure(&self) -> Option<&Failure> {
        self.core.undo_failure.as_ref()
    }

    /// The step that made it fail.
    #[must_use]
    pub fn failed_step(&self) -> Option<&str> {
        self.core.failed_step.as_deref()
    }

    /// Number of events folded in.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// The key that it was started under.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.core.info.as_ref()?.idempotency_key.as_deref()
    }

    /// The step of another run that it is carried out for.
    #[must_use]
    pub fn parent(&self) -> Option<&ParentRun> {
        self.core.info.as_ref()?.parent.as_deref()
    }

    /// The run that it goes on from.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.core.info.as_ref()?.origin.as_deref()
    }

    /// Whether no effect of it leaves the process.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.core.is_dry_run()
    }

    /// How urgent its jobs are.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.core.info.as_ref().map(|info| info.priority).unwrap_or_default()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.core.info.as_ref().map_or(&NONE, |info| &info.labels)
    }

    /// The team within the tenant.
    #[must_use]
    pub fn team(&self) -> &str {
        self.core.info.as_ref().map_or("", |info| &info.team)
    }

    /// On whose authority it runs.
    #[must_use]
    pub fn principal(&self) -> &str {
        self.core.info.as_ref().map_or("", |info| &info.principal)
    }

    /// When it was created.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.core.info.as_ref().map(|info| info.created_at).unwrap_or_default()
    }

    /// When it ended.
    #[must_use]
    pub const fn completed_at(&self) -> Option<Timestamp> {
        self.core.completed_at
    }

    /// When it last changed.
    #[must_use]
    pub const fn updated_at(&self) -> Timestamp {
        self.core.updated_at
    }

    /// When it is given up.
    #[must_use]
    pub const fn deadline_at(&self) -> Option<Timestamp> {
        self.core.deadline_at
    }

    /// The step run `id`, as in `fetch` or `scan[2]`. O(depth), and O(iterations) inside of a loop.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&StepRun> {
        self.steps.get(self.find(id)?)
    }

    pub(in crate::workflow) fn find(&self, id: &str) -> Option<usize> {
        fold::locate(self, id)
    }

    /// Its step runs: those of the workflow's own steps in the order of their ids, then those of groups in the order in
    /// which they began.
    pub fn steps(&self) -> impl Iterator<Item = (StepRunId, &StepRun)> {
        self.steps.iter().enumerate().filter_map(|(slot, step)| Some((fold::run_id(self, slot)?, step)))
    }

    /// The step run at `slot`, with its id and its step.
    pub(in crate::workflow) fn slots(&self) -> impl Iterator<Item = (usize, &StepRun)> {
        self.steps.iter().enumerate()
    }

    /// When the run next needs attention by itself. O(log n).
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.core.status.is_terminal() {
            return None;
        }
        let first = self.index.due.first().map(|(due, _)| *due);
        first.into_iter().chain(self.core.deadline_at).min()
    }

    /// Step runs that are due at `now`, the earliest first.
    pub(in crate::workflow) fn due_by(&self, now: Timestamp) -> Vec<usize> {
        self.index.due.iter().take_while(|(due, _)| *due <= now).map(|(_, slot)| *slot as usize).collect()
    }

    /// The first step run from `slot` on that is held back.
    pub(in crate::workflow) fn held_from(&self, slot: u32) -> Option<u32> {
        self.index.held.range(slot..).next().copied()
    }

    /// Whether steps were held back that may go now: the run goes on with a tick.
    #[must_use]
    pub const fn goes_on(&self, bounds: &RunBounds) -> bool {
        !self.core.status.is_terminal() && self.core.held > 0 && self.core.in_flight_bytes < bounds.in_flight_bytes
    }

    /// The step run that has waited longest for the signal `name`.
    pub(in crate::workflow) fn listener(&self, name: &Arc<str>) -> Option<usize> {
        let (heard, slot) = self.index.listening.range((name.clone(), 0)..).next()?;
        (heard == name).then_some(*slot as usize)
    }

    /// Where its next input comes from. Every run that has not ended has exactly one answer, which is what the store
    /// keeps as its wake source.
    #[must_use]
    pub fn wake(&self) -> Wake {
        if self.core.status.is_terminal() || self.core.info.is_none() {
            return Wake::Never;
        }
        if self.core.queued {
            return Wake::Slot;
        }
        if self.core.in_flight > 0 || self.core.asking > 0 || self.core.held > 0 {
            return Wake::Hot;
        }
        self.next_due().map_or(Wake::Human, Wake::At)
    }

    /// Number of its step runs.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.steps.len()
    }

    /// Rough size in memory, in bytes, for the cache's bound.
    #[must_use]
    pub fn weight(&self) -> usize {
        // The cache's own entry and small values are not walked; what they usually take is.
        usize::try_from(self.core.bytes).unwrap_or(usize::MAX / 2)
            + 2_048
            + self.steps.len() * (size_of::<StepRun>() + 256)
            + self.blocks.len() * size_of::<Block>()
    }

    /// The state as JSON, for a snapshot record.
    ///
    /// # Errors
    /// Never for a state that was folded from events.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Snapshot {
            digest: self.workflow.digest(),
            core: &self.core,
            steps: &self.steps,
            blocks: &self.blocks,
            head: self.head,
        })
    }

    /// The state from a snapshot record of a run of `workflow`.
    ///
    /// # Errors
    /// When the record is not a snapshot, or is of another workflow.
    pub fn from_snapshot(workflow: Arc<Workflow>, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let owned: OwnedSnapshot = serde_json::from_slice(bytes)?;
        let known = |step: &StepRun| step.position() < workflow.steps().len();
        if owned.steps.len() < Self::new(workflow.clone()).steps.len() || !owned.steps.iter().all(known) {
            return Err(serde::de::Error::custom("the snapshot is of another workflow"));
        }
        Ok(Self::laid_out(workflow, owned.core, owned.steps, owned.blocks, owned.head))
    }

    /// A run of which everything is known but what follows from its step runs.
    pub(in crate::workflow) fn laid_out(
        workflow: Arc<Workflow>,
        core: RunCore,
        steps: Vec<StepRun>,
        blocks: Vec<Block>,
        head: u64,
    ) -> Self {
        let mut run = Self { workflow, core, steps, blocks, head, index: Index::default() };
        run.index_all();
        run
    }

    fn index_all(&mut self) {
        self.index = Index::default();
        for slot in 0..self.steps.len() {
            self.reindex(slot, &Place::default());
        }
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    digest: &'a str,
    core: &'a RunCore,
    steps: &'a [StepRun],
    blocks: &'a [Block],
    head: u64,
}

#[derive(Deserialize)]
struct OwnedSnapshot {
    core: RunCore,
    steps: Vec<StepRun>,
    blocks: Vec<Block>,
    head: u64,
}

impl RunMut for Run {
    fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }
    fn core(&self) -> &RunCore {
        &self.core
    }
    fn core_mut(&mut self) -> &mut RunCore {
        &mut self.core
    }
    fn step_at(&self, slot: usize) -> Option<&StepRun> {
        self.steps.get(slot)
    }
    fn step_at_mut(&mut self, slot: usize) -> Option<&mut StepRun> {
        self.steps.get_mut(slot)
    }
    fn step_count(&self) -> usize {
        self.steps.len()
    }
    fn event_number(&self) -> u64 {
        self.head + 1
    }
    fn push_step(&mut self, step: StepRun) {
        self.steps.push(step);
    }
    fn block_at(&self, block: usize) -> Option<&Block> {
        self.blocks.get(block)
    }
    fn block_at_mut(&mut self, block: usize) -> Option<&mut Block> {
        self.blocks.get_mut(block)
    }
    fn block_count(&self) -> usize {
        self.blocks.len()
    }
    fn push_block(&mut self, block: Block) {
        self.blocks.push(block);
    }
    fn reindex(&mut self, slot: usize, before: &Place) {
        let Some(after) = self.steps.get(slot).map(Place::of) else { return };
        if *before == after {
            return;
        }
        let Ok(at) = u32::try_from(slot) else { return };
        if before.due != after.due {
            if let Some(due) = before.due {
                self.index.due.remove(&(due, at));
            }
            self.index.due.extend(after.due.map(|due| (due, at)));
        }
        if before.is_held != after.is_held {
            if after.is_held {
                self.index.held.insert(at);
            } else {
                self.index.held.remove(&at);
            }
        }
        if before.listens_to != after.listens_to {
            if let Some(name) = &before.listens_to {
                self.index.listening.remove(&(name.clone(), at));
            }
            self.index.listening.extend(after.listens_to.map(|name| (name, at)));
        }
    }
    fn restore(&mut self, state: &RestoredState) {
        self.steps.clone_from(&state.steps);
        self.blocks.clone_from(&state.blocks);
        self.index_all();
    }
}

/// Two runs are equal when they are in the same state at the same event.
impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
            && self.workflow.digest() == other.workflow.digest()
            && self.core == other.core
            && self.steps == other.steps
            && self.blocks == other.blocks
    }
}
