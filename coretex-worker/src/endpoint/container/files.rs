//! The files that a container leaves in `/coretex/out`.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{endpoint::answer, job_error::JobError};

/// Most files that are taken.
const MAX_FILES: usize = 256;

/// The regular files directly in `directory`, of `room` bytes together. Links, directories and devices are left: who
/// made them chose where they lead. The container is gone by now, so nothing changes under our hands.
pub(super) fn read(directory: &Path, room: usize) -> Result<Vec<(String, Vec<u8>)>, JobError> {
    let failed = |error: io::Error| JobError::retry(error).with_code("container_failed");
    let mut found = Vec::new();
    let mut left = room;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Of the entry itself, not of what it points to.
        if !entry.file_type().map_err(failed)?.is_file() {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        if found.len() == MAX_FILES {
            let text = format!("the container left more than {MAX_FILES} files; leave fewer, or pack them");
            return Err(JobError::fatal("endpoint_output_too_large", text));
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
        File::open(entry.path()).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > left {
            return Err(answer::too_large("what the container left", room));
        }
        left -= bytes.len();
        found.push((name, bytes));
    }
    Ok(found)
}
