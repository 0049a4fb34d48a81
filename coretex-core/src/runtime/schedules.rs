//! Schedules over the store: kept as records that act by themselves, started like any other run.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ControlPlane, ListPage, PlaneError, PlaneErrorKind, StartRequest,
    keepers::{self, Record},
    keys::{self, AggregateId},
    shared::{Shared, Work},
    start::{start, workflow_to_start},
};
use crate::{
    governance::Principal,
    job::RunId,
    plane::Input,
    ports::{Batch, Busy, Key, Scan, StoreErrorKind},
    schedule::{
        Backfill, Counts, Fire, FireOutcome, Fired, OverlapPolicy, Pause, Schedule, ScheduleInput, ScheduleSpec,
        Timetable, decide,
    },
    workflow::{Run, RunInput, RunSummary},
};

/// Starts that are written down together.
const TOGETHER: usize = 32;
/// Most times of a preview.
const MAX_PREVIEW: usize = 1_000;
/// The labels that say which schedule a run is of, and for which time.
const SCHEDULE_ID: &str = "schedule_id";
const SCHEDULED_AT: &str = "scheduled_at";

/// A schedule as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleStatus {
    /// What it is.
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    /// On whose authority its runs are started.
    pub principal: Arc<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// That no time comes for a while.
    pub paused: Option<Pause>,
    /// The next five times; empty while it is paused.
    pub next_times: Vec<Timestamp>,
    /// Runs that are under way, as far as its policy of overlap has to know.
    pub running: Vec<RunId>,
    /// Times that wait for a run to end.
    pub waiting: Vec<Timestamp>,
    /// Past times that are made up for.
    pub backfills: Vec<Backfill>,
    /// What became of all times.
    pub counts: Counts,
    /// What became of the last fifty times, the latest first.
    pub history: Vec<Fired>,
}

/// Past times to make up for.
#[derive(Clone, Debug)]
#[must_use]
pub struct BackfillRequest {
    from: Timestamp,
    until: Timestamp,
    pace: Duration,
    overlap: Option<OverlapPolicy>,
}

impl BackfillRequest {
    /// The times from `from` to `until`, both included, one a second.
    pub const fn new(from: Timestamp, until: Timestamp) -> Self {
        Self { from, until, pace: Duration::from_secs(1), overlap: None }
    }

    /// Sets the time from one to the next.
    pub const fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Does this about a run that is under way, rather than what the schedule says.
    pub const fn overlap(mut self, overlap: OverlapPolicy) -> Self {
        self.overlap = Some(overlap);
        self
    }
}

impl ControlPlane {
    /// Stores a schedule under its id. One that is there goes on with its history; its next time is counted from now when
    /// the spec has changed.
    ///
    /// # Errors
    /// When the spec is not legal, its workflow does not exist, or the store refuses.
    pub async fn put_schedule(&self, principal: &Principal, spec: ScheduleSpec) -> Result<ScheduleStatus, PlaneError> {
        let shared = self.shared();
        let timetable = spec.compile()?;
        workflow_to_start(shared, principal, &timetable.workflow).await?;
        let key = keys::schedule(principal.tenant.as_str(), &spec.id);
        loop {
            let now = shared.now();
            let record: Option<Record<Schedule>> = keepers::read(shared, &key).await?;
            let schedule = match &record {
                Some(record) => {
                    let input = ScheduleInput::Put { spec: Box::new(spec.clone()), by: principal.id.clone() };
                    decide(&record.value, &timetable, input, now).map_err(refused)?.schedule
                }
                None => {
                    let incarnation = shared.ids.uuid().to_string().into();
                    let (tenant, by) = (principal.tenant.clone(), principal.id.clone());
                    Schedule::new(spec.clone(), &timetable, tenant, by, incarnation, now)
                }
            };
            let alarm = schedule.wake(&timetable);
            if keepers::write(shared, &key, record.as_ref(), Some((&schedule, alarm)), Batch::new()).await? {
                return Ok(status(schedule, &timetable, now));
            }
        }
    }

    /// The schedule `id`.
    ///
    /// # Errors
    /// When the principal's tenant has none, or the store cannot be read.
    pub async fn schedule(&self, principal: &Principal, id: &str) -> Result<ScheduleStatus, PlaneError> {
        let (_, record) = self.record(principal, id).await?;
        let timetable = record.value.spec.compile()?;
        Ok(status(record.value, &timetable, self.shared().now()))
    }

    /// Schedules of the principal's tenant, by id.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn schedules(
        &self,
        principal: &Principal,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<ScheduleStatus>, PlaneError> {
        let now = self.shared().now();
        self.list(Scan::prefix(keys::schedules_of(principal.tenant.as_str())), cursor, limit, |entry| {
            let schedule = keepers::parse::<Schedule>(entry)?.value;
            let timetable = schedule.spec.compile()?;
            Ok(Some(status(schedule, &timetable, now)))
        })
        .await
    }

    /// Lets no time come until it is resumed. Triggers and backfills go on.
    ///
    /// # Errors
    /// When there is no such schedule, or the store refuses.
    pub async fn pause_schedule(
        &self,
        principal: &Principal,
        id: &str,
        note: &str,
    ) -> Result<ScheduleStatus, PlaneError> {
        let input = ScheduleInput::Pause { by: principal.id.clone(), note: note.into() };
        Ok(self.change(principal, id, input).await?.0)
    }

    /// Lets times come again, from now on: those of the pause are not missed.
    ///
    /// # Errors
    /// When there is no such schedule, or the store refuses.
    pub async fn resume_schedule(&self, principal: &Principal, id: &str) -> Result<ScheduleStatus, PlaneError> {
        Ok(self.change(principal, id, ScheduleInput::Resume).await?.0)
    }

    /// Starts a run now, also while the schedule is paused. Answers with what became of it; an outcome of `Queued` may be
    /// seen to become another in the history.
    ///
    /// # Errors
    /// When there is no such schedule, or the store refuses. An answer of kind `Unavailable` leaves open whether a run is
    /// started.
    pub async fn trigger_schedule(
        &self,
        principal: &Principal,
        id: &str,
        overlap: Option<OverlapPolicy>,
    ) -> Result<Fired, PlaneError> {
        let shared = self.shared();
        let (_, fire) = self.change(principal, id, ScheduleInput::Trigger { overlap }).await?;
        let Some(fire) = fire else { return Err(PlaneError::closed()) };
        let key = keys::schedule(principal.tenant.as_str(), id);
        // Beside whoever looks at it already: a start that is repeated starts one run.
        if let Err(error) = look(shared, &key, Busy::default()).await {
            tracing::warn!(%key, %error, "a triggered run is started later");
            keepers::nudge(shared, key.clone());
        }
        let record: Option<Record<Schedule>> = keepers::read(shared, &key).await?;
        let known = record.and_then(|record| record.value.history.into_iter().find(|fired| fired.fire.is(&fire)));
        Ok(known.unwrap_or(Fired { at: fire.time, fire, outcome: FireOutcome::Queued }))
    }

    /// Makes up for past times, one after the other. Those that started a run before start no other.
    ///
    /// # Errors
    /// When there is no such schedule, the range holds no time or more than 1,000, ten backfills wait already, or the store
    /// refuses.
    pub async fn backfill_schedule(
        &self,
        principal: &Principal,
        id: &str,
        request: BackfillRequest,
    ) -> Result<ScheduleStatus, PlaneError> {
        let BackfillRequest { from, until, pace, overlap } = request;
        let pace = pace.try_into().unwrap_or(jiff::SignedDuration::MAX);
        Ok(self.change(principal, id, ScheduleInput::Backfill { from, until, pace, overlap }).await?.0)
    }

    /// The next `count` times after `after`, or after now; at most 1,000.
    ///
    /// # Errors
    /// When there is no such schedule, or the store cannot be read.
    pub async fn preview_schedule(
        &self,
        principal: &Principal,
        id: &str,
        after: Option<Timestamp>,
        count: usize,
    ) -> Result<Vec<Timestamp>, PlaneError> {
        let (_, record) = self.record(principal, id).await?;
        let timetable = record.value.spec.compile()?;
        Ok(timetable.preview(after.unwrap_or_else(|| self.shared().now()), count.min(MAX_PREVIEW)))
    }

    /// Removes a schedule. Its runs go on; one made later under the same id has nothing to do with it.
    ///
    /// # Errors
    /// When there is no such schedule, or the store refuses.
    pub async fn delete_schedule(&self, principal: &Principal, id: &str) -> Result<(), PlaneError> {
        loop {
            let (key, record) = self.record(principal, id).await?;
            if keepers::write(self.shared(), &key, Some(&record), None, Batch::new()).await? {
                return Ok(());
            }
        }
    }

    async fn record(&self, principal: &Principal, id: &str) -> Result<(Key, Record<Schedule>), PlaneError> {
        let key = keys::schedule(principal.tenant.as_str(), id);
        // What is not a key is not the name of a schedule either.
        let record = if key.check().is_ok() { keepers::read(self.shared(), &key).await? } else { None };
        Ok((key, record.ok_or_else(|| PlaneError::not_found("schedule", id))?))
    }

    async fn change(
        &self,
        principal: &Principal,
        id: &str,
        input: ScheduleInput,
    ) -> Result<(ScheduleStatus, Option<Fire>), PlaneError> {
        let shared = self.shared();
        loop {
            let (key, record) = self.record(principal, id).await?;
            let timetable = record.value.spec.compile()?;
            let now = shared.now();
            let outcome = decide(&record.value, &timetable, input.clone(), now).map_err(refused)?;
            let alarm = outcome.schedule.wake(&timetable);
            let after = Some((&outcome.schedule, alarm));
            if outcome.schedule == record.value
                || keepers::write(shared, &key, Some(&record), after, Batch::new()).await?
            {
                return Ok((status(outcome.schedule, &timetable, now), outcome.fire));
            }
        }
    }
}

fn refused(rejected: crate::schedule::Rejected) -> PlaneError {
    PlaneError::caused(PlaneErrorKind::Invalid, rejected.code(), rejected)
}

fn status(schedule: Schedule, timetable: &Timetable, now: Timestamp) -> ScheduleStatus {
    let first = schedule.next.filter(|_| schedule.paused.is_none());
    let rest = first.map(|first| timetable.preview(first.max(now), 4)).unwrap_or_default();
    ScheduleStatus {
        next_times: first.into_iter().chain(rest).collect(),
        spec: schedule.spec,
        principal: schedule.principal,
        created_at: schedule.created_at,
        updated_at: schedule.updated_at,
        paused: schedule.paused,
        running: schedule.running,
        waiting: schedule.waiting.iter().map(|fire| fire.time).collect(),
        backfills: schedule.backfills.into(),
        counts: schedule.counts,
        history: schedule.history.into_iter().rev().collect(),
    }
}

/// The schedule that started `run`, by its labels. Anyone can write labels: a schedule that hears of a run which it did
/// not start finds nothing to do.
pub(super) fn origin(run: &Run) -> Option<Key> {
    let id = run.labels().get(SCHEDULE_ID)?;
    let key = keys::schedule(run.tenant().as_str(), id);
    (id.len() <= 96 && !id.contains('/') && key.check().is_ok()).then_some(key)
}

/// Does what there is to do for a schedule now.
pub(super) async fn look(shared: &Arc<Shared>, key: &Key, mut busy: Busy) -> Result<(), PlaneError> {
    loop {
        // Before the runs are looked at: one that ends after that says so again.
        let heard = keepers::heard(shared, key).await?;
        let Some(record) = keepers::read::<Schedule>(shared, key).await? else {
            if heard.is_some() {
                // Said again, to nobody: it is heard at the next start.
                let _again = super::plane::commit_one(shared, keepers::forget(heard.as_ref())).await;
            }
            return Ok(());
        };
        let timetable = record.value.spec.compile()?;
        if !record.value.firing.is_empty() || !record.value.cancelling.is_empty() {
            // What it asks for holds time by itself, or lets it pass where it has to wait.
            drop(std::mem::take(&mut busy));
            let done = act(shared, &record.value, &timetable).await?;
            busy = shared.clock.busy();
            let mut schedule = record.value.clone();
            let now = shared.now();
            for input in done {
                schedule = decide(&schedule, &timetable, input, now).map_err(refused)?.schedule;
            }
            let alarm = schedule.wake(&timetable);
            keepers::write(shared, key, Some(&record), Some((&schedule, alarm)), Batch::new()).await?;
            continue;
        }
        let ended = ended(shared, &record.value.running).await?;
        let tick = ScheduleInput::Tick { ended };
        let schedule = decide(&record.value, &timetable, tick, shared.now()).map_err(refused)?.schedule;
        if schedule == record.value && heard.is_none() {
            keepers::arm(shared, key, record.alarm.filter(|due| *due > shared.clock.now()));
            drop(busy);
            return Ok(());
        }
        let alarm = schedule.wake(&timetable);
        let forget = keepers::forget(heard.as_ref());
        keepers::write(shared, key, Some(&record), Some((&schedule, alarm)), forget).await?;
    }
}

/// Cancels and starts what the schedule wants, some of it at a time.
async fn act(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    timetable: &Timetable,
) -> Result<Vec<ScheduleInput>, PlaneError> {
    let mut done = Vec::new();
    for run in schedule.cancelling.iter().take(TOGETHER) {
        let reason = format!("a later time of schedule `{}` came", schedule.spec.id);
        let cancel = RunInput::Cancel { by: "coretex".into(), reason: reason.into() };
        match shared.call(AggregateId::Run(run.shared()), Work::Input(Input::Run(cancel))).await {
            Ok(_) => {}
            Err(error) if error.kind() == PlaneErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        done.push(ScheduleInput::Cancelled { run: run.clone() });
    }
    for fire in schedule.firing.iter().take(TOGETHER) {
        let outcome = started(shared, schedule, timetable, fire).await?;
        done.push(ScheduleInput::Settled { fire: fire.clone(), outcome });
    }
    Ok(done)
}

/// Starts the run of a fire. An error is one that may pass by itself.
async fn started(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    timetable: &Timetable,
    fire: &Fire,
) -> Result<FireOutcome, PlaneError> {
    let failed = |code: &str, message: String| FireOutcome::Failed { code: code.into(), message: message.into() };
    let run = fire.run_id(&schedule.name())?;
    let input = match timetable.input(fire.time) {
        Ok(input) => input,
        Err(error) => return Ok(failed("expression_failed", error.to_string())),
    };
    let spec = &schedule.spec;
    let mut request = StartRequest::new(timetable.workflow.clone(), input).run_id(run.clone());
    request = request.team(&*spec.team_id);
    for (key, value) in &spec.labels {
        request = request.label(key, value);
    }
    request = request.label(SCHEDULE_ID, &spec.id).label(SCHEDULED_AT, fire.time.to_string());
    if let Some(priority) = spec.priority {
        request = request.priority(priority);
    }
    let principal = Principal::service(schedule.principal.clone()).for_tenant(schedule.tenant.clone());
    let error = match start(shared, &principal, request).await {
        Ok(run_id) => return Ok(FireOutcome::Started { run_id }),
        Err(error) => error,
    };
    match error.kind() {
        PlaneErrorKind::Closed => Err(error),
        _ if error.is_retryable() => Err(error),
        // Its id says that it is the run of this very fire, started before the schedule was changed.
        _ if error.code() == "run_exists" => Ok(FireOutcome::Started { run_id: run }),
        _ if error.code() == StoreErrorKind::Conflict.code() => {
            let page = shared.store.read(&AggregateId::Run(run.shared()).stream(), 1, 1).await?;
            match page.head {
                0 => Err(error),
                _ => Ok(FireOutcome::Skipped { reason: "its run was started before, and deleted".into() }),
            }
        }
        _ => Ok(failed(error.code(), error.to_string())),
    }
}

/// Those of `runs` that have ended.
async fn ended(shared: &Shared, runs: &[RunId]) -> Result<Vec<RunId>, PlaneError> {
    let mut ended = Vec::new();
    for run in runs {
        let over = match shared.store.get(&keys::run(run.as_str())).await? {
            Some(entry) => super::query::read::<RunSummary>("a run summary", &entry)?.status.is_terminal(),
            // It was deleted, for which it had to end.
            None => true,
        };
        if over {
            ended.push(run.clone());
        }
    }
    Ok(ended)
}
