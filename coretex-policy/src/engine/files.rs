//! Policy files.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    bundle::{Bundle, Origin},
    error::{BundleError, BundleErrors, ErrorCode, Place},
    rule::MAX_BYTES,
};

pub(super) fn bundles<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Vec<Bundle>, BundleErrors> {
    let mut bundles = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let bundle = read(path)
            .map_err(BundleErrors::from)
            .and_then(|text| Bundle::parse(path.display().to_string(), Origin::Base, &text));
        match bundle {
            Ok(bundle) => bundles.push(bundle),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(bundles) } else { Err(BundleErrors(errors)) }
}

/// Policy files of a directory, by name.
pub(super) fn listing(dir: &Path) -> Result<Vec<PathBuf>, BundleErrors> {
    let entries = fs::read_dir(dir).map_err(|error| unreadable(dir, &error.to_string()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(dir, &error.to_string()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let policy = path.extension().is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|own| ext == *own));
        if policy && !hidden {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(unreadable(dir, "no .yaml, .yml or .json file is in it").into());
    }
    paths.sort();
    Ok(paths)
}

/// Reads no more than a document may have, and one byte to know that there is more.
pub(super) fn read(path: &Path) -> Result<String, BundleError> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut text = String::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_string(&mut text).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(text)
}

fn unreadable(path: &Path, problem: &str) -> BundleError {
    BundleError::new(
        ErrorCode::Unreadable,
        Place { source: path.display().to_string().into(), ..Place::default() },
        format!("cannot be read: {problem}"),
        "check the path and its permissions",
    )
}
