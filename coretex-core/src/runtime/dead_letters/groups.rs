//! Failures of one kind, as one line.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    super::{
        ControlPlane, ListPage, PlaneError, PlaneErrorKind,
        index::parse_place,
        keys::{self, DEAD_LETTER_COUNTS},
        plane::commit_one,
        query::{page_size, read},
        shared::Shared,
    },
    record::{FINGERPRINT, GroupRecord},
};
use crate::{
    governance::Principal,
    job::{Fingerprint, JobId},
    ports::{Batch, Condition, Entry, Scan},
};

/// Newest letters that a group names.
const EXAMPLES: usize = 3;
/// Groups that are read at a time.
const AT_A_TIME: usize = 32;

/// The letters of one fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterGroup {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The topic of the jobs.
    pub topic: String,
    /// The code of the failures.
    pub code: String,
    /// What their messages have in common.
    pub pattern: String,
    /// How many there are.
    pub count: u64,
    /// When the oldest of them was given up.
    pub first_seen: Timestamp,
    /// When the newest was.
    pub last_seen: Timestamp,
    /// The newest of them, three at most.
    pub examples: Vec<JobId>,
}

impl ControlPlane {
    /// The letters of the principal's tenant by fingerprint, in the order of that. Three reads for each group of the
    /// page, however many letters it has.
    ///
    /// # Errors
    /// When the cursor is not one, or the store cannot be read.
    pub async fn dead_letter_groups(
        &self,
        principal: &Principal,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<DeadLetterGroup>, PlaneError> {
        let list = keys::dead_letter_groups_of(principal.tenant.as_str());
        let page = self
            .list(Scan::prefix(list.as_str()), cursor, page_size(limit), |entry| {
                let fingerprint = entry.key.as_str().strip_prefix(&list).unwrap_or_default().to_owned();
                Ok(Some((fingerprint, read::<GroupRecord>("a group of dead letters", entry)?)))
            })
            .await?;
        let shared = self.shared();
        let groups = page.items.into_iter().map(|(fingerprint, record)| group(shared, principal, fingerprint, record));
        let items: Vec<_> = futures::stream::iter(groups).buffered(AT_A_TIME).try_collect().await?;
        Ok(ListPage { items: items.into_iter().flatten().collect(), next: page.next })
    }
}

/// `None` when no letter of it is left.
async fn group(
    shared: &Shared,
    principal: &Principal,
    fingerprint: String,
    record: GroupRecord,
) -> Result<Option<DeadLetterGroup>, PlaneError> {
    let tenant = principal.tenant.as_str();
    let list = keys::dead_letters_by(tenant, FINGERPRINT, &fingerprint);
    let counter = shared.store.get(&keys::dead_letter_count(tenant, &fingerprint)).await?;
    let oldest = shared.store.scan(Scan::prefix(list.as_str()).limit(1)).await?;
    let newest = shared.store.scan(Scan::prefix(list.as_str()).reverse().limit(EXAMPLES)).await?;
    let place = |entry: &Entry| {
        let (at, job) = parse_place(entry.key.as_str().strip_prefix(&list)?)?;
        Some((at, JobId::parse(job).ok()?))
    };
    let (Some((first_seen, _)), Some((last_seen, _))) =
        (oldest.entries.first().and_then(place), newest.entries.first().and_then(place))
    else {
        return Ok(None);
    };
    let count = counter.as_ref().map_or(0, count);
    let examples = newest.entries.iter().filter_map(place).map(|(_, job)| job).collect();
    Ok(Some(DeadLetterGroup {
        fingerprint: Fingerprint::named(&fingerprint),
        topic: record.topic,
        code: record.code,
        pattern: record.pattern,
        count: u64::try_from(count).unwrap_or(0),
        first_seen,
        last_seen,
        examples,
    }))
}

fn count(entry: &Entry) -> i64 {
    std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Removes groups under `prefix` (of all tenants when empty) that have no letter any more. A letter that comes at the
/// same moment keeps its group: the count has another version then.
pub(in crate::runtime) async fn tidy(shared: &Shared, prefix: &str) -> Result<(), PlaneError> {
    let mut after = None;
    loop {
        let scan = Scan::prefix(format!("{DEAD_LETTER_COUNTS}{prefix}")).after(after).limit(512);
        let page = shared.store.scan(scan).await?;
        for entry in page.entries.iter().filter(|entry| count(entry) <= 0) {
            let Some((tenant, fingerprint)) =
                entry.key.as_str().strip_prefix(DEAD_LETTER_COUNTS).and_then(|name| name.split_once('/'))
            else {
                continue;
            };
            let batch = Batch::new()
                .delete(entry.key.clone(), Condition::Version(entry.version))
                .delete(keys::dead_letter_group(tenant, fingerprint), Condition::Always);
            match commit_one(shared, batch).await {
                Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
                done => done?,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
