//! The journal: every accepted group, checksummed, in the order of commits.
//!
//! ```text
//! journal/<first lsn>.log   =  segment header, records, [seal], zeros
//! segment header (32 bytes) =  magic, version, store id, first lsn, crc
//! record                    =  magic, length, lsn, crc of payload, crc of these; payload; 0xA5 up to a multiple of 8
//! ```
//!
//! One record is one group is one write and one sync, so that at a loss of power at most the last record is
//! incomplete. A segment is sealed when the next one exists, so that a missing file is noticed. The bytes behind
//! the last record are zeros, or absent.
//!
//! What an incomplete record looks like decides between "was never acknowledged" and "damaged": sectors are written
//! whole or not at all, and a place that is written for the first time held zeros. A record at the very end with a
//! sector of zeros in it, or without its end, was torn and is dropped. A record that is there in full and wrong, or
//! that valid records follow, is damage, and is never dropped silently.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use coretex_core::ports::{StoreError, StoreErrorKind};

use super::{codec::Reader, error};
use crate::disk::{Disk, DiskFile};

pub(super) const SEGMENT_HEADER: u64 = 32;
const SEGMENT_MAGIC: &[u8; 8] = b"ctxjrnl\n";
const SEGMENT_VERSION: u32 = 1;
const RECORD_HEADER: usize = 24;
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"rec1");
const SEAL_MAGIC: u32 = u32::from_le_bytes(*b"end1");
const SECTOR: u64 = 512;
const PAD: u8 = 0xa5;
/// Largest payload of a record, in bytes.
pub(super) const RECORD_MAX: usize = 1 << 30;
/// A buffer that grew beyond this for one group is given back.
const BUFFER_KEPT: usize = 4 << 20;

/// Why a group did not get into the journal.
#[derive(Debug)]
pub(super) enum AppendError {
    /// There was no space, and nothing of the group is left: the store can go on.
    Full(StoreError),
    /// The disk failed. Whether the group is there is unknown; the store must not go on.
    Failed(StoreError),
}

/// What is done with each group: its number and its payload.
pub(super) type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), StoreError> + 'a;

/// How the journal is written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// Part of every checksum, so that files of two stores are not mixed.
    pub(super) store: u64,
    pub(super) fill_ahead: u64,
}

/// The end of the journal, where groups are appended.
#[derive(Debug)]
pub(super) struct Journal {
    place: Place,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    first_lsn: u64,
    next_lsn: u64,
    /// Where the next record goes.
    end: u64,
    /// The file is this long, zeros from `end` on.
    filled: u64,
    buffer: Vec<u8>,
}

pub(super) fn segment_name(first_lsn: u64) -> String {
    format!("{first_lsn:020}.log")
}

fn parse_segment_name(name: &str) -> Option<u64> {
    name.strip_suffix(".log").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The first group of every segment file in the directory, in order.
pub(super) fn segments(place: &Place) -> Result<Vec<u64>, StoreError> {
    let names = place.disk.list(&place.dir).map_err(|e| error::disk("list", &place.dir, e))?;
    let mut found: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes the segments that hold nothing from `keep` on, where `keep` is the first group of some segment.
pub(super) fn remove_before(place: &Place, keep: u64) -> Result<(), StoreError> {
    let old: Vec<u64> = segments(place)?.into_iter().filter(|first| *first < keep).collect();
    for first in &old {
        let path = place.dir.join(segment_name(*first));
        place.disk.remove(&path).map_err(|e| error::disk("remove", &path, e))?;
    }
    if !old.is_empty() {
        place.disk.sync_dir(&place.dir).map_err(|e| error::disk("sync", &place.dir, e))?;
    }
    Ok(())
}

impl Journal {
    /// Starts a journal whose first group will be `first_lsn`.
    pub(super) fn create(place: Place, first_lsn: u64) -> Result<Self, StoreError> {
        let path = place.dir.join(segment_name(first_lsn));
        let file = create_segment(&place, &path, first_lsn).map_err(|e| error::disk("write", &path, e))?;
        let (end, filled) = (SEGMENT_HEADER, SEGMENT_HEADER);
        Ok(Self { place, path, file, first_lsn, next_lsn: first_lsn, end, filled, buffer: vec![] })
    }

    /// Opens the journal behind a base that covers the groups up to `base_lsn`, gives every later group to `replay`,
    /// drops what was never acknowledged, and removes segments that are covered.
    pub(super) fn open(place: Place, base_lsn: u64, replay: &mut Each<'_>) -> Result<Self, StoreError> {
        let mut found = segments(&place)?;
        let Some(start) = found.iter().rposition(|first| *first <= base_lsn + 1) else {
            let message = format!("the file that holds group {} is missing", base_lsn + 1);
            return Err(error::damaged_at(&place.dir, &message));
        };
        if let Some(keep) = found.get(start).copied() {
            remove_before(&place, keep)?;
        }
        found.drain(..start);
        if last_is_unborn(&place, &found)?
            && let Some(last) = found.pop()
        {
            let path = place.dir.join(segment_name(last));
            place.disk.remove(&path).map_err(|e| error::disk("remove", &path, e))?;
            place.disk.sync_dir(&place.dir).map_err(|e| error::disk("sync", &place.dir, e))?;
        }

        let mut next = None;
        let mut tail = None;
        for (index, first) in found.iter().copied().enumerate() {
            let path = place.dir.join(segment_name(first));
            if next.is_some_and(|next| next != first) {
                let message = format!("it starts at group {first}, but the file before ends at {}", next.unwrap_or(0));
                return Err(error::damaged(&path, 16, &message));
            }
            let last = index + 1 == found.len();
            let file = place.disk.open(&path, false).map_err(|e| error::disk("open", &path, e))?;
            let segment = Segment { place: &place, path: &path, file: &*file, first };
            let end =
                segment.walk(last, &mut |lsn, payload| if lsn > base_lsn { replay(lsn, payload) } else { Ok(()) })?;
            next = Some(end.next_lsn);
            if last {
                tail = Some((path, file, first, end));
            }
        }
        let Some((path, file, first_lsn, end)) = tail else {
            return Err(error::damaged_at(&place.dir, "it holds no journal"));
        };
        if end.next_lsn <= base_lsn {
            let message = format!("it ends at group {}, but the base is at {base_lsn}", end.next_lsn - 1);
            return Err(error::damaged(&path, end.offset, &message));
        }
        let mut filled = file.len().map_err(|e| error::disk("read", &path, e))?;
        if end.torn {
            tracing::info!(file = %path.display(), offset = end.offset, "dropped a write that was never acknowledged");
            file.set_len(end.offset).map_err(|e| error::disk("cut", &path, e))?;
            file.sync_data().map_err(|e| error::disk("sync", &path, e))?;
            filled = end.offset;
        }
        Ok(Self { place, path, file, first_lsn, next_lsn: end.next_lsn, end: end.offset, filled, buffer: vec![] })
    }

    /// The number that the next group will get.
    pub(super) const fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Bytes in the current segment.
    pub(super) const fn segment_len(&self) -> u64 {
        self.end
    }

    /// Makes the group that `encode` writes durable, as one record. Returns the bytes it took.
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, AppendError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(RECORD_HEADER, 0);
        encode(&mut buffer);
        let result = match seal_record(&mut buffer, RECORD_MAGIC, self.next_lsn, self.place.store) {
            true => self.write(&buffer),
            false => {
                let message = format!("a group takes more than {RECORD_MAX} bytes; commit less at once");
                Err(AppendError::Full(StoreError::invalid(message)))
            }
        };
        if buffer.capacity() <= BUFFER_KEPT {
            self.buffer = buffer;
        }
        result
    }

    fn write(&mut self, record: &[u8]) -> Result<u64, AppendError> {
        let end = self.end + record.len() as u64;
        if end > self.filled && self.place.fill_ahead > 0 {
            let zeros = vec![0; usize::try_from(self.place.fill_ahead).unwrap_or(1 << 20)];
            match self.file.write_at(&zeros, end) {
                Ok(()) => self.filled = end + self.place.fill_ahead,
                // The group itself may still fit.
                Err(error) if error::is_full(&error) => {}
                Err(error) => return Err(AppendError::Failed(error::disk("write", &self.path, error))),
            }
        }
        if let Err(error) = self.file.write_at(record, self.end) {
            let full = error::is_full(&error);
            let error = error::disk("write", &self.path, error);
            // Only a file that is known to end where it did can be written on.
            if full && self.file.set_len(self.end).and_then(|()| self.file.sync_data()).is_ok() {
                self.filled = self.end;
                return Err(AppendError::Full(error));
            }
            return Err(AppendError::Failed(error));
        }
        self.file.sync_data().map_err(|e| AppendError::Failed(error::disk("sync", &self.path, e)))?;
        self.end = end;
        self.filled = self.filled.max(end);
        self.next_lsn += 1;
        Ok(record.len() as u64)
    }

    /// Goes on in a new segment, so that all groups so far are in files of their own. Does nothing when the current
    /// one is empty.
    pub(super) fn rotate(&mut self) -> Result<(), AppendError> {
        if self.next_lsn == self.first_lsn {
            return Ok(());
        }
        let path = self.place.dir.join(segment_name(self.next_lsn));
        let file = match create_segment(&self.place, &path, self.next_lsn) {
            Ok(file) => file,
            Err(error) => {
                let full = error::is_full(&error);
                let error = error::disk("write", &path, error);
                // An empty last segment behind one without a seal is removed at the next start, too.
                let removed = self.place.disk.remove(&path);
                return Err(match full && removed.is_ok() {
                    true => AppendError::Full(error),
                    false => AppendError::Failed(error),
                });
            }
        };
        let mut seal = vec![0; RECORD_HEADER];
        seal_record(&mut seal, SEAL_MAGIC, self.next_lsn, self.place.store);
        let end = self.end + seal.len() as u64;
        let sealed = self
            .file
            .write_at(&seal, self.end)
            .and_then(|()| self.file.set_len(end))
            .and_then(|()| self.file.sync_data());
        sealed.map_err(|e| AppendError::Failed(error::disk("write", &self.path, e)))?;
        self.path = path;
        self.file = file;
        self.first_lsn = self.next_lsn;
        self.end = SEGMENT_HEADER;
        self.filled = SEGMENT_HEADER;
        Ok(())
    }
}

fn create_segment(place: &Place, path: &Path, first_lsn: u64) -> io::Result<Box<dyn DiskFile>> {
    let file = place.disk.open(path, true)?;
    // A file of this name can only be left over from an attempt that did not get as far as a record.
    file.set_len(0)?;
    let mut header = Vec::with_capacity(32);
    header.extend_from_slice(SEGMENT_MAGIC);
    header.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    header.extend_from_slice(&place.store.to_le_bytes());
    header.extend_from_slice(&first_lsn.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    file.write_at(&header, 0)?;
    file.sync_data()?;
    place.disk.sync_dir(&place.dir)?;
    Ok(file)
}

/// Completes a record whose header was left free; false when it is too long.
fn seal_record(record: &mut Vec<u8>, magic: u32, lsn: u64, store: u64) -> bool {
    let payload = record.len().saturating_sub(RECORD_HEADER);
    let Some(len) = u32::try_from(payload).ok().filter(|_| payload <= RECORD_MAX) else { return false };
    let sum = record.get(RECORD_HEADER..).map_or(0, |payload| checksum(payload, lsn, store));
    let mut header = Vec::with_capacity(RECORD_HEADER);
    header.extend_from_slice(&magic.to_le_bytes());
    header.extend_from_slice(&len.to_le_bytes());
    header.extend_from_slice(&lsn.to_le_bytes());
    header.extend_from_slice(&sum.to_le_bytes());
    header.extend_from_slice(&checksum(&header, lsn, store).to_le_bytes());
    if let Some(place) = record.get_mut(..RECORD_HEADER) {
        place.copy_from_slice(&header);
    }
    if magic == RECORD_MAGIC {
        // At least one byte that is not zero: a last sector of zeros was never written.
        record.resize(record_len(payload), PAD);
    }
    true
}

const fn record_len(payload: usize) -> usize {
    (RECORD_HEADER + payload) / 8 * 8 + 8
}

fn checksum(bytes: &[u8], lsn: u64, store: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store.to_le_bytes());
    hasher.update(&lsn.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Whether the last of the segments was made but never used. A segment is made, then the one before is sealed, then
/// it is used: when power is lost in between, the last one is empty, or even its header is incomplete, and the one
/// before, which has no seal, goes on. Every group before it was durable by then: one before that ends sooner than
/// the last one's name says is damaged.
pub(super) fn last_is_unborn(place: &Place, found: &[u64]) -> Result<bool, StoreError> {
    let [.., previous, last] = *found else { return Ok(false) };
    let path = place.dir.join(segment_name(last));
    let file = place.disk.open(&path, false).map_err(|e| error::disk("open", &path, e))?;
    if file.len().map_err(|e| error::disk("read", &path, e))? > SEGMENT_HEADER {
        return Ok(false);
    }
    let path = place.dir.join(segment_name(previous));
    let file = place.disk.open(&path, false).map_err(|e| error::disk("open", &path, e))?;
    let segment = Segment { place, path: &path, file: &*file, first: previous };
    // Walked as if it were the last one: then a missing seal is no error, and a seal is one.
    match segment.walk(true, &mut |_, _| Ok(())) {
        Ok(end) => Ok(end.next_lsn == last),
        Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}

/// One segment, to be read.
pub(super) struct Segment<'a> {
    pub(super) place: &'a Place,
    pub(super) path: &'a Path,
    pub(super) file: &'a dyn DiskFile,
    pub(super) first: u64,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) next_lsn: u64,
    pub(super) offset: u64,
    /// Something incomplete lies behind `offset`.
    pub(super) torn: bool,
}

struct Header {
    magic: u32,
    len: usize,
    lsn: u64,
    sum: u32,
}

impl Segment<'_> {
    fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; len];
        self.file.read_at(&mut out, offset).map_err(|e| error::disk("read", self.path, e))?;
        Ok(out)
    }

    fn damaged(&self, offset: u64, what: &str) -> StoreError {
        error::damaged(self.path, offset, what)
    }

    /// Gives each group to `each`, in order. `last` says that no segment follows.
    pub(super) fn walk(&self, last: bool, each: &mut Each<'_>) -> Result<End, StoreError> {
        let len = self.file.len().map_err(|e| error::disk("read", self.path, e))?;
        self.check_header(len)?;
        let mut offset = SEGMENT_HEADER;
        let mut lsn = self.first;
        loop {
            let end = |torn| End { next_lsn: lsn, offset, torn };
            if offset == len {
                return if last { Ok(end(false)) } else { Err(self.damaged(offset, "it ends too soon")) };
            }
            let Some(header) = self.header(offset, len)? else {
                self.judge_tail(offset, len, lsn, last)?;
                let zeros = self.all_zero(offset, len)?;
                return Ok(end(!zeros));
            };
            if header.lsn != lsn {
                return Err(self.damaged(offset, &format!("group {} where {lsn} belongs", header.lsn)));
            }
            if header.magic == SEAL_MAGIC {
                // The zeros that were filled ahead are cut off together with the mark, or not yet.
                if !self.all_zero(offset + RECORD_HEADER as u64, len)? {
                    return Err(self.damaged(offset, "something follows its end mark"));
                }
                if last {
                    return Err(self.damaged(offset, &format!("the next file, `{}`, is missing", segment_name(lsn))));
                }
                return Ok(end(false));
            }
            let next = offset + record_len(header.len) as u64;
            if next > len {
                if last {
                    return Ok(end(true));
                }
                return Err(self.damaged(offset, "it ends within a group"));
            }
            let payload = self.bytes(offset + RECORD_HEADER as u64, header.len)?;
            if checksum(&payload, lsn, self.place.store) != header.sum {
                // Torn between sectors, or cut off before its last byte, which is never zero.
                let torn = self.has_hole(offset, next)? || self.all_zero(next - 1, next)?;
                if last && torn && !self.valid_record_after(next, len, lsn)? {
                    return Ok(end(true));
                }
                return Err(self.damaged(offset, &format!("the checksum of group {lsn} is wrong")));
            }
            each(lsn, &payload).map_err(|error| match error.kind() {
                StoreErrorKind::Corrupt => self.damaged(offset, &error.to_string()),
                _ => error,
            })?;
            offset = next;
            lsn += 1;
        }
    }

    fn check_header(&self, len: u64) -> Result<(), StoreError> {
        if len < SEGMENT_HEADER {
            return Err(self.damaged(len, "it ends within its header"));
        }
        let header = self.bytes(0, 32)?;
        let (fields, sum) = header.split_at(28);
        if Reader(sum).u32() != Some(crc32fast::hash(fields)) {
            return Err(self.damaged(0, "the checksum of its header is wrong"));
        }
        let mut fields = Reader(fields);
        let magic = fields.take(8);
        let (version, store, first) = (fields.u32(), fields.u64(), fields.u64());
        if magic != Some(&SEGMENT_MAGIC[..]) || version != Some(SEGMENT_VERSION) {
            let message = format!(
                "`{}` was written by a version of coretex that this one does not read; use that version",
                self.path.display()
            );
            return Err(StoreError::new(StoreErrorKind::Format, message));
        }
        if store != Some(self.place.store) {
            return Err(self.damaged(12, "it belongs to another store"));
        }
        if first != Some(self.first) {
            return Err(self.damaged(20, "its name does not fit its content"));
        }
        Ok(())
    }

    /// The record header at `offset`; `None` when there is none that is valid.
    fn header(&self, offset: u64, len: u64) -> Result<Option<Header>, StoreError> {
        if offset + RECORD_HEADER as u64 > len {
            return Ok(None);
        }
        Ok(self.parse_header(&self.bytes(offset, RECORD_HEADER)?))
    }

    fn parse_header(&self, bytes: &[u8]) -> Option<Header> {
        let (fields, sum) = bytes.split_at_checked(RECORD_HEADER - 4)?;
        let mut input = Reader(fields);
        let (magic, len, lsn) = (input.u32()?, input.u32()?, input.u64()?);
        let known = magic == RECORD_MAGIC || (magic == SEAL_MAGIC && len == 0);
        let header = Header { magic, len: usize::try_from(len).ok()?, lsn, sum: input.u32()? };
        (known && Reader(sum).u32()? == checksum(fields, lsn, self.place.store)).then_some(header)
    }

    /// There is no valid header at `offset`: fine at the end of the journal, unless something was there in full.
    fn judge_tail(&self, offset: u64, len: u64, lsn: u64, last: bool) -> Result<(), StoreError> {
        if !last {
            return Err(self.damaged(offset, "it ends without its end mark"));
        }
        if self.valid_record_after(offset + 8, len, lsn)? {
            return Err(self.damaged(offset, &format!("group {lsn} is unreadable, and later groups follow it")));
        }
        let header_end = offset + RECORD_HEADER as u64;
        if header_end > len || self.has_hole(offset, header_end)? || self.all_zero(header_end, len)? {
            return Ok(());
        }
        Err(self.damaged(offset, &format!("the header of group {lsn} is wrong")))
    }

    /// Whether a sector, or the part of one, within `from..to` holds nothing but zeros.
    fn has_hole(&self, from: u64, to: u64) -> Result<bool, StoreError> {
        let mut at = from;
        while at < to {
            let end = (at / SECTOR * SECTOR + SECTOR).min(to);
            if self.all_zero(at, end)? {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }

    fn all_zero(&self, from: u64, to: u64) -> Result<bool, StoreError> {
        let mut at = from;
        while at < to {
            let end = (at + (64 << 10)).min(to);
            if self.bytes(at, usize::try_from(end - at).unwrap_or(0))?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// Whether a whole record of a group behind `lsn` starts anywhere from `from` on. Only asked when something is
    /// wrong already, so it may read the rest of the file.
    fn valid_record_after(&self, from: u64, len: u64, lsn: u64) -> Result<bool, StoreError> {
        let from = from.div_ceil(8) * 8;
        if from >= len {
            return Ok(false);
        }
        let rest = self.bytes(from, usize::try_from(len - from).unwrap_or(0))?;
        let mut window = &rest[..];
        while let Some(header) = window.get(..RECORD_HEADER) {
            if let Some(header) = self.parse_header(header)
                && header.lsn > lsn
                && let Some(payload) = window.get(RECORD_HEADER..RECORD_HEADER + header.len)
                && (header.magic == SEAL_MAGIC || checksum(payload, header.lsn, self.place.store) == header.sum)
            {
                return Ok(true);
            }
            window = window.get(8..).unwrap_or_default();
        }
        Ok(false)
    }
}
