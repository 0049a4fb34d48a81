//! What lies in the store for a letter: the letter, its places, the count of its group.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{
    PlaneError,
    batch::{delete, encode, put},
    index::place,
    keys,
    query::read,
    shared::Shared,
};
use crate::{
    job::DeadLetter,
    ports::{Batch, Condition, Op, StoreError, Version, WriteClass},
};

/// What every letter of a group has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupRecord {
    pub(super) topic: String,
    pub(super) code: String,
    pub(super) pattern: String,
}

/// Adds a letter. Its group has it from then on.
pub(in crate::runtime) fn push(batch: &mut Batch, letter: &DeadLetter) -> Result<(), StoreError> {
    let job = letter.spec.id.as_str();
    batch.push(put(keys::dead_letter(job), encode(letter)?));
    let name = Bytes::copy_from_slice(job.as_bytes());
    batch.push(put(keys::dead_letter_by_time(letter.created_at, job), name));
    for key in places(letter) {
        batch.push(put(key, Bytes::from_static(b"1")));
    }
    let (tenant, fingerprint) = (letter.spec.tenant.as_str(), letter.fingerprint.as_str());
    let group = GroupRecord {
        topic: letter.spec.topic.to_string(),
        code: letter.failure.code.to_string(),
        pattern: letter.pattern.to_string(),
    };
    batch.push(put(keys::dead_letter_group(tenant, fingerprint), encode(&group)?));
    batch.push(Op::Add { key: keys::dead_letter_count(tenant, fingerprint), delta: 1, ceiling: None });
    Ok(())
}

/// Removes a letter that has this version; refused as a conflict when somebody else did.
pub(in crate::runtime) fn forget(batch: &mut Batch, letter: &DeadLetter, version: Version) {
    let job = letter.spec.id.as_str();
    let key = keys::dead_letter(job);
    batch.push(Op::Delete { key, condition: Condition::Version(version), class: WriteClass::Exact });
    batch.push(delete(keys::dead_letter_by_time(letter.created_at, job)));
    for key in places(letter) {
        batch.push(delete(key));
    }
    let key = keys::dead_letter_count(letter.spec.tenant.as_str(), letter.fingerprint.as_str());
    batch.push(Op::Add { key, delta: -1, ceiling: None });
}

/// Where the letter stands among those of its tenant.
fn places(letter: &DeadLetter) -> impl Iterator<Item = crate::ports::Key> {
    let spec = &letter.spec;
    let tenant = spec.tenant.as_str();
    let at = place(letter.created_at, spec.id.as_str());
    let by = |kind, value: &str| keys::dead_letters_by(tenant, kind, value);
    let lists = [
        Some(keys::dead_letters_of(tenant)),
        Some(by(FINGERPRINT, letter.fingerprint.as_str())),
        Some(by(CODE, &letter.failure.code)),
        Some(by(TOPIC, spec.topic.as_str())),
        spec.workflow.as_ref().map(|workflow| by(WORKFLOW, workflow.as_str())),
        spec.run.as_ref().map(|run| by(RUN, run.as_str())),
    ];
    lists.into_iter().flatten().map(move |list| format!("{list}{at}").into())
}

pub(super) const FINGERPRINT: &str = "fingerprint";
pub(super) const CODE: &str = "code";
pub(super) const TOPIC: &str = "topic";
pub(super) const WORKFLOW: &str = "workflow";
pub(super) const RUN: &str = "run";

/// The letter of `job` with its version, whoever owns it.
pub(super) async fn find(shared: &Shared, job: &str) -> Result<Option<(DeadLetter, Version)>, PlaneError> {
    let Some(entry) = shared.store.get(&keys::dead_letter(job)).await? else { return Ok(None) };
    Ok(Some((read("a dead letter", &entry)?, entry.version)))
}
