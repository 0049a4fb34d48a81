//! Looks at every byte of a store that nobody has open.

use std::{path::Path, sync::Arc};

use coretex_core::ports::{StoreError, StoreErrorKind};

use super::{
    codec::Group,
    error,
    journal::{self, Place, Segment},
    open::{Paths, open_base, read_format},
    options::Options,
};
use crate::disk::{Disk, RealDisk};

/// What [`check_integrity`] found.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    /// Every damage, each naming its file, and where known the byte. Empty: all is well.
    pub damages: Vec<StoreError>,
    /// Values in the base, expired ones included.
    pub values: u64,
    /// Streams in the base.
    pub streams: u64,
    /// Groups in the journal.
    pub groups: u64,
    /// Whether the journal ends in a write that was never acknowledged, as after a loss of power. That is no
    /// damage; the next start drops it.
    pub torn: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// Checks the store in the directory at `path`, every page, record and checksum. It must not be open; nothing is
/// changed, except that a base that was not closed is put in order as at any start. Blocks for as long as reading
/// everything takes.
///
/// # Errors
/// When the check itself is not possible: the directory holds no store, is in use, or the disk fails. Damage is no
/// error but in the report.
pub fn check_integrity(path: impl AsRef<Path>) -> Result<Report, StoreError> {
    check_on(path.as_ref(), &(Arc::new(RealDisk) as Arc<dyn Disk>))
}

/// [`check_integrity`] on any disk.
pub(super) fn check_on(path: &Path, disk: &Arc<dyn Disk>) -> Result<Report, StoreError> {
    let paths = Paths::new(path);
    let _lock = paths.lock(&**disk)?;
    let mut report = Report::default();
    let store = match read_format(&**disk, &paths) {
        Ok(Some(store)) => store,
        Ok(None) => {
            let message = format!("`{}` holds no store; check the path", path.display());
            return Err(StoreError::new(StoreErrorKind::Invalid, message));
        }
        Err(error) => return unreadable(report, error),
    };
    let options = Options { verify_bytes: u64::MAX, compact_below_percent: 0, ..Options::default() };
    let covered = match open_base(&**disk, &paths, &options, store) {
        Ok((_base, view)) => {
            view.walk(&mut |error| report.damages.push(error));
            (report.values, report.streams) = view.counts();
            Some(view.meta.lsn)
        }
        Err(error) => {
            report = unreadable(report, error)?;
            None
        }
    };
    let place = Place { disk: disk.clone(), dir: paths.journal, store, fill_ahead: 0 };
    check_journal(&place, covered, &mut report)?;
    Ok(report)
}

/// Damage goes into the report; what prevents looking ends it.
fn unreadable(mut report: Report, error: StoreError) -> Result<Report, StoreError> {
    if !matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Format) {
        return Err(error);
    }
    report.damages.push(error);
    Ok(report)
}

fn check_journal(place: &Place, covered: Option<u64>, report: &mut Report) -> Result<(), StoreError> {
    let found = journal::segments(place)?;
    let covered = covered.unwrap_or(0);
    let start = found.iter().rposition(|first| *first <= covered + 1);
    if start.is_none() {
        let message = format!("the file that holds group {} is missing", covered + 1);
        report.damages.push(error::damaged_at(&place.dir, &message));
    }
    // Files before that are left over and will be removed.
    let mut found = found.get(start.unwrap_or(0)..).unwrap_or_default().to_vec();
    if journal::last_is_unborn(place, &found)? {
        found.pop();
    }
    let mut next = None;
    for (index, first) in found.iter().copied().enumerate() {
        let path = place.dir.join(journal::segment_name(first));
        if next.is_some_and(|next| next != first) {
            report.damages.push(error::damaged_at(&path, "it does not follow the file before it"));
        }
        let file = place.disk.open(&path, false).map_err(|e| error::disk("open", &path, e))?;
        let segment = Segment { place, path: &path, file: &*file, first };
        let mut groups = 0;
        let walked = segment.walk(index + 1 == found.len(), &mut |lsn, payload| {
            groups += 1;
            let error = || StoreError::new(StoreErrorKind::Corrupt, format!("group {lsn} cannot be decoded"));
            Group::decode(payload).map(drop).ok_or_else(error)
        });
        report.groups += groups;
        match walked {
            Ok(end) => {
                next = Some(end.next_lsn);
                report.torn |= end.torn;
            }
            Err(error) => {
                next = None;
                *report = unreadable(std::mem::take(report), error)?;
            }
        }
    }
    Ok(())
}
