//! Words for what goes wrong on a disk.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use coretex_core::ports::{StoreError, StoreErrorKind};

/// The error for a disk that failed while doing `what` with the file at `path`.
pub(super) fn disk(what: &str, path: &Path, error: io::Error) -> StoreError {
    let path = path.display();
    let (kind, message) = if is_full(&error) {
        (StoreErrorKind::Full, format!("cannot {what} `{path}`: the disk is full; free some space and try again"))
    } else {
        (StoreErrorKind::Unavailable, format!("cannot {what} `{path}`: {error}"))
    };
    StoreError::new(kind, message).with_source(error)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The error for stored bytes that are not what was written.
pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("`{}` is damaged at byte {offset}: {what}; restore the directory from a backup", path.display()),
    )
}

/// The error for stored data whose place in the file is not known.
pub(super) fn damaged_at(path: &Path, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("`{}` is damaged: {what}; restore the directory from a backup", path.display()),
    )
}

/// The error for what redb says about the file at `path`.
pub(super) fn base(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            damaged_at(path, &error.to_string())
        }
        redb::Error::Io(error) => disk("use", path, error),
        redb::Error::UpgradeRequired(version) => StoreError::new(
            StoreErrorKind::Format,
            format!("`{}` has the old file format {version}, which this version does not read", path.display()),
        ),
        redb::Error::PreviousIo => {
            StoreError::new(StoreErrorKind::Unavailable, format!("`{}` failed before; open it again", path.display()))
        }
        redb::Error::DatabaseClosed => StoreError::closed("the store was closed"),
        other => damaged_at(path, &other.to_string()),
    }
}

/// Runs `work` on the file at `path`; a panic in it, which redb answers to some kinds of damage with, is an error.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What a panic leaves half-done is not used again: the caller drops it with the error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(damaged_at(path, &text_of(&*panic))))
}

pub(super) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it cannot be read").to_owned()
}
