//! Finding runs: which of them, newest first, page by page.
//!
//! Every index holds runs in one order, by creation and id, which never changes. A search walks the indexes that fit its
//! filters at once and jumps in each to what the others have next, so that it reads about as much as the rarest of them
//! holds, not as much as there is. What no index holds is read off the summaries of what is left.
//!
//! A cursor is a place in that order. Runs that are added meanwhile are newer and lie before it; a run that changes its
//! state keeps its place. So no page repeats a run and none leaves one out that fits throughout.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::{
    ControlPlane, ListPage, PlaneError, PlaneErrorKind,
    index::{self, place},
    keys::{self, RUNS},
    query::{SCAN_BOUND, page_size, read},
    shared::Shared,
};
use crate::{
    governance::Principal,
    job::WorkflowId,
    ports::{Key, Scan},
    workflow::{RunStatus, RunSummary},
};

/// Places read from an index at a time: few behind a jump, because another may follow, and more the longer none does.
const FEWEST: usize = 16;
const MOST: usize = 512;

/// Which runs to list, newest first. What is not set does not filter.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Only runs in one of these states; in any, when empty.
    pub statuses: Vec<RunStatus>,
    /// Only runs of this team.
    pub team: Option<String>,
    /// Only runs that have all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only runs created then.
    pub created: TimeRange,
    /// Only runs whose state last changed then.
    pub updated: TimeRange,
    /// Only runs whose id begins with this. They come in the order of their ids, last first.
    pub id_prefix: Option<String>,
    /// Only runs that have an error, or that have none.
    pub has_error: Option<bool>,
    /// Only runs whose error has this code.
    pub error_code: Option<String>,
    /// Most items, 1 to 1,000; 50 when 0.
    pub limit: usize,
    /// Where to go on, as given by [`ListPage::next`].
    pub cursor: Option<String>,
}

/// A stretch of time, ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
}

impl TimeRange {
    /// Whether `time` lies in it.
    #[must_use]
    pub fn holds(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time <= until)
    }
}

impl RunQuery {
    fn fits(&self, tenant: &str, run: &RunSummary) -> bool {
        run.org_id == tenant
            && self.workflow.as_ref().is_none_or(|workflow| workflow.as_str() == run.workflow_id)
            && (self.statuses.is_empty() || self.statuses.contains(&run.status))
            && self.team.as_ref().is_none_or(|team| team == &run.team_id)
            && self.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
            && self.created.holds(run.created_at)
            && self.updated.holds(run.updated_at)
            && self.id_prefix.as_ref().is_none_or(|prefix| run.id.starts_with(prefix))
            && self.has_error.is_none_or(|has_error| run.error.is_some() == has_error)
            && self.error_code.as_ref().is_none_or(|code| run.error_code.as_ref() == Some(code))
    }

    /// The shelves that hold every run that fits; those of runs that can move first, because a run moves from one of
    /// them to the shelf of its end and never back.
    fn shelves(&self) -> Option<Vec<&'static str>> {
        let failing = [RunStatus::Failed, RunStatus::TimedOut, RunStatus::Cancelled];
        let wanted: &[RunStatus] = match (&*self.statuses, self.has_error == Some(true) || self.error_code.is_some()) {
            ([], false) => return None,
            ([], true) => &failing,
            (statuses, _) => statuses,
        };
        let mut shelves = Vec::new();
        if wanted.iter().any(|status| !status.is_terminal()) {
            let only_waiting = wanted.iter().all(|status| status.is_terminal() || *status == RunStatus::Waiting);
            shelves.push(if only_waiting { index::WAITING } else { index::LIVE });
        }
        shelves.extend(wanted.iter().filter(|status| status.is_terminal()).map(|status| status.as_str()));
        shelves.dedup();
        Some(shelves)
    }
}

impl ControlPlane {
    /// Runs of the principal's tenant that fit the query, newest first.
    ///
    /// Reads about as many entries as the rarest of the filters `workflow`, `statuses`, `labels` and `created` has runs,
    /// times the number of those filters, and one record for each run left; at most 20,000 of them in one call. A page
    /// may therefore hold less than its limit, or nothing, and still name where to go on.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn runs(&self, principal: &Principal, query: RunQuery) -> Result<ListPage<RunSummary>, PlaneError> {
        let tenant = principal.tenant.as_str();
        match &query.id_prefix {
            Some(prefix) => {
                let cursor = query.cursor.as_deref().map(|cursor| after(cursor, 'i')).transpose()?;
                let scan = Scan::prefix(format!("{RUNS}{prefix}")).reverse();
                // The cursor of a list is what follows its prefix, ours is the whole id.
                let cursor = match cursor {
                    Some(id) => Some(id.strip_prefix(prefix.as_str()).ok_or_else(cursor_invalid)?.to_owned()),
                    None => None,
                };
                let page = self
                    .list_from(scan, cursor, query.limit, |entry| {
                        let summary: RunSummary = read("a run summary", entry)?;
                        Ok(query.fits(tenant, &summary).then_some(summary))
                    })
                    .await?;
                Ok(ListPage { items: page.items, next: page.next.map(|rest| format!("i{prefix}{rest}")) })
            }
            None => self.walk(tenant, &query, SCAN_BOUND).await,
        }
    }

    /// Looks at about `work` entries at most.
    async fn walk(&self, tenant: &str, query: &RunQuery, work: usize) -> Result<ListPage<RunSummary>, PlaneError> {
        let shared = self.shared();
        let limit = page_size(query.limit);
        let mut sources = sources(tenant, query, limit);
        let oldest = query.created.from.map(|from| place(from, ""));
        let mut bound = match (&query.cursor, query.created.until) {
            (Some(cursor), _) => Some(match cursor.starts_with('a') {
                true => Bound::At(after(cursor, 'a')?.to_owned()),
                false => Bound::Before(after(cursor, 't')?.to_owned()),
            }),
            // Behind every id of that moment.
            (None, Some(until)) => Some(Bound::Before(place(until, "~"))),
            (None, None) => None,
        };
        let mut items = Vec::new();
        let mut work = Work::new(work);
        loop {
            let Some(found) = meet(shared, &mut sources, bound.as_ref(), &mut work).await? else {
                return Ok(ListPage { items, next: None });
            };
            let (place, met) = match found {
                Met::All(place) => (place, true),
                Met::GaveUp(place) => (place, false),
            };
            if oldest.as_ref().is_some_and(|oldest| place < *oldest) {
                return Ok(ListPage { items, next: None });
            }
            if met {
                let id = index::parse_place(&place).map_or("", |(_, id)| id);
                work.done += 1;
                // One that is gone was removed since its place was read.
                if let Some(entry) = shared.store.get(&keys::run(id)).await? {
                    let summary: RunSummary = read("a run summary", &entry)?;
                    if query.fits(tenant, &summary) {
                        items.push(summary);
                    }
                }
            }
            if items.len() == limit || work.is_done() {
                let kind = if met { 't' } else { 'a' };
                return Ok(ListPage { items, next: Some(format!("{kind}{place}")) });
            }
            bound = Some(if met { Bound::Before(place) } else { Bound::At(place) });
        }
    }
}

pub(super) fn cursor_invalid() -> PlaneError {
    PlaneError::new(PlaneErrorKind::Invalid, "cursor_invalid", "the cursor is not one that was given out")
}

/// What a cursor of this kind holds: `t` the place of the last run shown, `a` a place to go on at, `i` an id.
pub(super) fn after(cursor: &str, kind: char) -> Result<&str, PlaneError> {
    let text = cursor.strip_prefix(kind).ok_or_else(cursor_invalid)?;
    let well_formed = match kind {
        'i' => !text.is_empty(),
        _ => index::parse_place(text).is_some(),
    };
    if well_formed && Key::new(text).check().is_ok() { Ok(text) } else { Err(cursor_invalid()) }
}

/// Where to look from, downwards.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// At this place or before it.
    At(String),
    /// Strictly before it.
    Before(String),
}

impl Bound {
    fn allows(&self, place: &str) -> bool {
        match self {
            Self::At(bound) => place <= bound.as_str(),
            Self::Before(bound) => place < bound.as_str(),
        }
    }

    /// The key under `list` that a reversed scan starts behind. A space sorts behind a place and before all that
    /// continue it.
    fn key(&self, list: &str) -> Key {
        match self {
            Self::At(place) => format!("{list}{place} ").into(),
            Self::Before(place) => format!("{list}{place}").into(),
        }
    }
}

/// Entries looked at, and how many at most.
pub(super) struct Work {
    done: usize,
    most: usize,
}

impl Work {
    pub(super) const fn new(most: usize) -> Self {
        Self { done: 0, most }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done >= self.most
    }
}

/// One or more lists read as one.
pub(super) struct Source {
    lists: Vec<String>,
    /// How many places to read next.
    size: usize,
    /// Places that were read, newest first.
    read: VecDeque<String>,
    /// What was read reaches down to here, this place included; `None` when nothing was read yet.
    down_to: Option<String>,
    /// Nothing lies behind what was read.
    ends: bool,
}

fn sources(tenant: &str, query: &RunQuery, limit: usize) -> Vec<Source> {
    let mut sources: Vec<Source> =
        query.labels.iter().map(|(name, value)| Source::new(vec![keys::by_label(tenant, name, value)])).collect();
    if let Some(shelves) = query.shelves() {
        sources.push(Source::new(shelves.iter().map(|shelf| keys::by_status(tenant, shelf)).collect()));
    }
    if let Some(workflow) = &query.workflow {
        sources.push(Source::new(vec![keys::runs_of(workflow.as_str())]));
    }
    if sources.is_empty() {
        sources.push(Source::new(vec![keys::runs_at(tenant)]));
    }
    // One that is walked alone is not jumped in.
    if let [alone] = &mut *sources {
        alone.size = limit.clamp(FEWEST, MOST);
    }
    sources
}

impl Source {
    pub(super) fn new(lists: Vec<String>) -> Self {
        Self { lists, size: FEWEST, read: VecDeque::new(), down_to: None, ends: false }
    }

    /// The newest place that `bound` allows.
    async fn seek(
        &mut self,
        shared: &Shared,
        bound: Option<&Bound>,
        work: &mut Work,
    ) -> Result<Option<String>, PlaneError> {
        loop {
            while let Some(place) = self.read.front() {
                if bound.is_none_or(|bound| bound.allows(place)) {
                    return Ok(Some(place.clone()));
                }
                self.read.pop_front();
            }
            if self.ends {
                return Ok(None);
            }
            // From the lower of the two: what was asked for, and where reading stopped.
            let stopped = self.down_to.take();
            let from = match (stopped, bound) {
                (Some(stopped), bound) if bound.is_none_or(|asked| asked.allows(&stopped)) => {
                    self.size = (self.size * 2).min(MOST);
                    Some(Bound::Before(stopped))
                }
                (stopped, bound) => {
                    if stopped.is_some() {
                        self.size = FEWEST;
                    }
                    bound.cloned()
                }
            };
            self.read_on(shared, from.as_ref(), work).await?;
        }
    }

    /// Reads a stretch of all lists, in their order: a run that moves on meanwhile is found where it was or where it
    /// went. The stretch is as long as all of them reach.
    async fn read_on(&mut self, shared: &Shared, from: Option<&Bound>, work: &mut Work) -> Result<(), PlaneError> {
        let mut places: Vec<String> = Vec::new();
        let mut down_to: Option<String> = None;
        self.ends = true;
        for list in &self.lists {
            let scan = Scan::prefix(list.as_str()).reverse().after(from.map(|bound| bound.key(list))).limit(self.size);
            let page = shared.store.scan(scan).await?;
            work.done += page.entries.len();
            let before = places.len();
            let place = |key: &Key| key.as_str().strip_prefix(list.as_str()).map(str::to_owned);
            places.extend(page.entries.iter().filter_map(|entry| place(&entry.key)));
            if page.next.is_some() {
                self.ends = false;
                let last = places.get(before..).and_then(<[String]>::last).cloned();
                down_to = down_to.max(last);
            }
        }
        if let Some(down_to) = &down_to {
            places.retain(|place| place >= down_to);
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.dedup();
        self.read = places.into();
        self.down_to = down_to;
        Ok(())
    }
}

pub(super) enum Met {
    /// Every source has this place.
    All(String),
    /// Too much was read before they met; they meet at this place or before it.
    GaveUp(String),
}

/// The newest place that `bound` allows and every source has.
pub(super) async fn meet(
    shared: &Shared,
    sources: &mut [Source],
    bound: Option<&Bound>,
    work: &mut Work,
) -> Result<Option<Met>, PlaneError> {
    let mut bound = bound.cloned();
    loop {
        let mut lowest: Option<String> = None;
        let mut agree = true;
        for source in sources.iter_mut() {
            let from = match &lowest {
                Some(lowest) => Some(Bound::At(lowest.clone())),
                None => bound.clone(),
            };
            let Some(place) = source.seek(shared, from.as_ref(), work).await? else { return Ok(None) };
            agree &= lowest.as_ref().is_none_or(|lowest| *lowest == place);
            lowest = Some(place);
        }
        let Some(place) = lowest else { return Ok(None) };
        if agree {
            return Ok(Some(Met::All(place)));
        }
        if work.is_done() {
            return Ok(Some(Met::GaveUp(place)));
        }
        bound = Some(Bound::At(place));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{job::RunId, runtime::StartRequest, testing::TestPlane};

    #[test]
    fn a_search_that_is_cut_short_goes_on_where_it_stopped() {
        let builder = TestPlane::builder()
            .workflow("id: a\nsteps:\n  s: {type: approval}")
            .workflow("id: b\nsteps:\n  s: {type: approval}");
        let told = builder.run(async |plane| {
            for n in 0..300 {
                let workflow = if n % 7 == 0 { "b" } else { "a" };
                let start = StartRequest::new(WorkflowId::parse(workflow)?, json!({})).label("x", (n % 5).to_string());
                let id = RunId::parse(&format!("run-{}-{n}", n * 31 % 17))?;
                plane.start_with(start.run_id(id)).await?;
            }
            let control = plane.plane()?;
            let mut cut = 0;
            for (workflow, label, expected) in
                [(Some("b"), Some("0"), 9), (Some("a"), Some("3"), 52), (None, None, 300)]
            {
                let mut query = RunQuery { limit: 4, ..RunQuery::default() };
                query.workflow = workflow.map(WorkflowId::parse).transpose()?;
                query.labels = label.map(|label| ("x".to_owned(), label.to_owned())).into_iter().collect();
                query.statuses = vec![RunStatus::Waiting];
                let whole = control.walk("default", &RunQuery { limit: 1_000, ..query.clone() }, usize::MAX).await?;
                assert_eq!(whole.items.len(), expected);
                let mut pieces = Vec::new();
                loop {
                    let page = control.walk("default", &query, 1).await?;
                    cut += usize::from(page.next.as_ref().is_some_and(|next| next.starts_with('a')));
                    pieces.extend(page.items);
                    match page.next {
                        Some(next) => query.cursor = Some(next),
                        None => break,
                    }
                }
                assert_eq!(pieces, whole.items);
            }
            assert!(cut > 10, "hardly ever cut: {cut}");
            Ok::<(), PlaneError>(())
        });
        told.unwrap().unwrap();
    }
}
