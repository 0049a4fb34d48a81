//! Finding letters, newest first, page by page.
//!
//! A search walks the indexes that fit its filters together, as a search for runs does. A cursor is a place in the order
//! of giving up, which never changes: letters that come meanwhile lie before it, letters that go leave it where it is.

use super::{
    super::{
        ControlPlane, ListPage, PlaneError, PlaneErrorKind, TimeRange,
        index::{parse_place, place},
        keys,
        query::{SCAN_BOUND, page_size},
        search::{Bound, Met, Source, Work, after, cursor_invalid, meet},
    },
    record::{self, CODE, FINGERPRINT, RUN, TOPIC, WORKFLOW},
};
use crate::{
    governance::Principal,
    job::{DeadLetter, Fingerprint, JobId, RunId, Topic, WorkflowId},
};

/// Which letters, of the principal's tenant. What is not set does not filter.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterQuery {
    /// Only failures of this kind.
    pub fingerprint: Option<Fingerprint>,
    /// Only failures with this code.
    pub code: Option<String>,
    /// Only jobs of this topic.
    pub topic: Option<Topic>,
    /// Only jobs of this workflow's steps.
    pub workflow: Option<WorkflowId>,
    /// Only jobs of this run's steps.
    pub run: Option<RunId>,
    /// Only jobs given up then.
    pub created: TimeRange,
    /// Most letters of a page, 1 to 1,000; 50 when 0.
    pub limit: usize,
    /// Where to go on, as given by [`ListPage::next`].
    pub cursor: Option<String>,
}

impl DeadLetterQuery {
    /// Whether it means every letter there is.
    #[must_use]
    pub fn is_unfiltered(&self) -> bool {
        self.fingerprint.is_none()
            && self.code.is_none()
            && self.topic.is_none()
            && self.workflow.is_none()
            && self.run.is_none()
            && self.created == TimeRange::default()
    }

    fn sources(&self, tenant: &str) -> Vec<Source> {
        let filters = [
            (FINGERPRINT, self.fingerprint.as_ref().map(Fingerprint::as_str)),
            (RUN, self.run.as_ref().map(RunId::as_str)),
            (WORKFLOW, self.workflow.as_ref().map(WorkflowId::as_str)),
            (CODE, self.code.as_deref()),
            (TOPIC, self.topic.as_ref().map(Topic::as_str)),
        ];
        let lists = filters.into_iter().filter_map(|(kind, value)| Some(keys::dead_letters_by(tenant, kind, value?)));
        let mut sources: Vec<Source> = lists.map(|list| Source::new(vec![list])).collect();
        if sources.is_empty() {
            sources.push(Source::new(vec![keys::dead_letters_of(tenant)]));
        }
        sources
    }
}

impl ControlPlane {
    /// Jobs of the principal's tenant that were given up, newest first.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn dead_letters(
        &self,
        principal: &Principal,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<DeadLetter>, PlaneError> {
        self.find_dead_letters(principal, &DeadLetterQuery { cursor, limit, ..DeadLetterQuery::default() }).await
    }

    /// Letters that fit the query, newest first. Reads about as many entries as the rarest filter has letters, times the
    /// number of filters, and at most 20,000 in one call: a page may hold less than its limit, or nothing, and still
    /// name where to go on.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn find_dead_letters(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<ListPage<DeadLetter>, PlaneError> {
        let page = self.dead_letter_names(principal, query, page_size(query.limit)).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for job in page.items {
            // One that is gone was retried or removed since its place was read.
            items.extend(record::find(self.shared(), &job).await?.map(|(letter, _)| letter));
        }
        Ok(ListPage { items, next: page.next })
    }

    /// The jobs of the letters that fit, `limit` at most.
    pub(super) async fn dead_letter_names(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
        limit: usize,
    ) -> Result<ListPage<String>, PlaneError> {
        let mut sources = query.sources(principal.tenant.as_str());
        let oldest = query.created.from.map(|from| place(from, ""));
        let mut bound = match (&query.cursor, query.created.until) {
            (Some(cursor), _) => {
                let place = cursor.strip_prefix('d').ok_or_else(cursor_invalid)?;
                Some(match place.starts_with('a') {
                    true => Bound::At(after(place, 'a')?.to_owned()),
                    false => Bound::Before(after(place, 't')?.to_owned()),
                })
            }
            // Behind every job of that moment.
            (None, Some(until)) => Some(Bound::Before(place(until, "~"))),
            (None, None) => None,
        };
        let mut items = Vec::new();
        let mut work = Work::new(SCAN_BOUND);
        loop {
            let Some(found) = meet(self.shared(), &mut sources, bound.as_ref(), &mut work).await? else {
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
                items.extend(parse_place(&place).map(|(_, job)| job.to_owned()));
            }
            if items.len() >= limit || work.is_done() {
                let kind = if met { 't' } else { 'a' };
                return Ok(ListPage { items, next: Some(format!("d{kind}{place}")) });
            }
            bound = Some(if met { Bound::Before(place) } else { Bound::At(place) });
        }
    }

    /// The dead letter of `job`.
    ///
    /// # Errors
    /// When there is none of the principal's tenant, or the store cannot be read.
    pub async fn dead_letter(&self, principal: &Principal, job: &JobId) -> Result<DeadLetter, PlaneError> {
        let found = record::find(self.shared(), job.as_str()).await?;
        let mine = found.map(|(letter, _)| letter).filter(|letter| letter.spec.tenant == principal.tenant);
        mine.ok_or_else(|| missing(job))
    }
}

pub(super) fn missing(job: &JobId) -> PlaneError {
    let message = format!("job `{job}` is not among the dead letters");
    PlaneError::new(PlaneErrorKind::NotFound, "dead_letter_not_found", message)
}
