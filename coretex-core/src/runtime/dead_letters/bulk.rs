//! Many letters at once: counting, trying again, forgetting, page by page.
//!
//! Each letter is dealt with by itself, as if it were asked for alone. A page that a crash cut short is asked for again
//! with the cursor before it: what was done is answered as done. A letter that comes while the pages are gone through is
//! newer than all of them and is not met.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::{
    super::{ControlPlane, ListPage, PlaneError, PlaneErrorKind, query::page_size},
    query::DeadLetterQuery,
    retry::{RetryRequest, RetryWay},
};
use crate::{governance::Principal, job::JobId};

/// Letters of a page that are dealt with at a time: as many as share a flush.
const AT_A_TIME: usize = 64;
/// Letters that a preview counts at most.
const COUNTED: usize = 10_000;

/// How many letters a query means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterCount {
    /// How many were counted.
    pub count: usize,
    /// There may be more: 10,000 are counted at most.
    pub more: bool,
    /// By fingerprint.
    pub by_fingerprint: BTreeMap<String, usize>,
}

/// What became of one letter of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetryOutcome {
    /// The job that was given up.
    pub job_id: JobId,
    /// The job that does the work now; absent when it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<JobId>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<RetryWay>,
    /// Why not, by code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of a page.
pub type BulkRetry = ListPage<RetryOutcome>;

impl ControlPlane {
    /// How many letters the query means: what a bulk retry or deletion would meet. Its limit and cursor do not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_dead_letters(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<DeadLetterCount, PlaneError> {
        let mut query = DeadLetterQuery { cursor: None, limit: 1_000, ..query.clone() };
        let mut told = DeadLetterCount { count: 0, more: false, by_fingerprint: BTreeMap::new() };
        loop {
            let page = self.find_dead_letters(principal, &query).await?;
            told.count += page.items.len();
            for letter in page.items {
                *told.by_fingerprint.entry(letter.fingerprint.to_string()).or_default() += 1;
            }
            query.cursor = page.next;
            told.more = query.cursor.is_some();
            if !told.more || told.count >= COUNTED {
                return Ok(told);
            }
        }
    }

    /// Tries one page of letters again, each as [`retry_dead_letter`](Self::retry_dead_letter) would, and says of each
    /// what became of it. The cursor of the answer leads to older ones.
    ///
    /// # Errors
    /// When the query has no filter and `all` is not set (`dead_letter_query_empty`), the cursor is not one, the reason
    /// is too long, or the store refuses; what was done before is done.
    pub async fn retry_dead_letters(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
        all: bool,
        reason: &str,
    ) -> Result<BulkRetry, PlaneError> {
        check(query, all)?;
        let request = RetryRequest::new().reason(reason);
        request.check(self.shared())?;
        let page = self.dead_letter_names(principal, query, page_size(query.limit)).await?;
        let retries = page.items.into_iter().map(async |job: String| {
            let job_id = JobId::parse(&job)?;
            Ok(Some(match self.retry_dead_letter_with(principal, &job_id, &request).await {
                Ok(retried) => RetryOutcome {
                    job_id,
                    retried_as: Some(retried.job),
                    way: Some(retried.way),
                    code: None,
                    message: None,
                },
                // It was deleted meanwhile, or has nothing left to do.
                Err(error) if error.kind() == PlaneErrorKind::NotFound => return Ok(None),
                Err(error) if matches!(error.kind(), PlaneErrorKind::Conflict | PlaneErrorKind::Invalid) => {
                    let (code, message) = (Some(error.code()), Some(error.to_string()));
                    RetryOutcome { job_id, retried_as: None, way: None, code, message }
                }
                Err(error) => return Err(error),
            }))
        });
        let items: Vec<_> = futures::stream::iter(retries).buffered(AT_A_TIME).try_collect().await?;
        Ok(ListPage { items: items.into_iter().flatten().collect(), next: page.next })
    }

    /// Removes one page of letters and names them.
    ///
    /// # Errors
    /// As [`retry_dead_letters`](Self::retry_dead_letters).
    pub async fn delete_dead_letters(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
        all: bool,
    ) -> Result<ListPage<JobId>, PlaneError> {
        check(query, all)?;
        let page = self.dead_letter_names(principal, query, page_size(query.limit)).await?;
        let removals = page.items.into_iter().map(async |job: String| {
            let job = JobId::parse(&job)?;
            match self.delete_dead_letter(principal, &job).await {
                Ok(()) => Ok(Some(job)),
                Err(error) if error.kind() == PlaneErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let items: Vec<_> = futures::stream::iter(removals).buffered(AT_A_TIME).try_collect().await?;
        Ok(ListPage { items: items.into_iter().flatten().collect(), next: page.next })
    }
}

fn check(query: &DeadLetterQuery, all: bool) -> Result<(), PlaneError> {
    if !all && query.is_unfiltered() {
        let message = "the query has no filter and means every dead letter; name one, or say `all`";
        return Err(PlaneError::new(PlaneErrorKind::Invalid, "dead_letter_query_empty", message));
    }
    Ok(())
}
