//! What a blob file holds: a header of 72 bytes, then the bytes.
//!
//! | offset | length | what |
//! |---|---|---|
//! | 0 | 8 | `CTXBLOB1` |
//! | 8 | 8 | size of the blob, little-endian |
//! | 16 | 8 | when it was written: seconds since 1970, little-endian |
//! | 24 | 4 | and nanoseconds |
//! | 28 | 32 | SHA-256 of the blob |
//! | 60 | 12 | first bytes of SHA-256 over the 60 bytes before and the key |
//!
//! The last field shows damage of the header, and a file that came to lie under another key.

use bytes::Bytes;
use coretex_core::ports::{BlobEntry, BlobKey};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"CTXBLOB1";
pub(super) const HEADER: usize = 72;
const SEALED: usize = 60;

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn encode(entry: &BlobEntry) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&entry.size.to_le_bytes());
    header.extend_from_slice(&entry.written_at.as_second().to_le_bytes());
    header.extend_from_slice(&entry.written_at.subsec_nanosecond().to_le_bytes());
    header.extend_from_slice(&entry.sha256);
    let seal = seal(&header, &entry.key);
    header.extend_from_slice(&seal);
    header
}

/// Reads a header; the error says what is wrong with it.
pub(super) fn decode(key: &BlobKey, header: &[u8]) -> Result<BlobEntry, &'static str> {
    let (sealed, found) = header.split_at_checked(SEALED).ok_or("its header is cut off")?;
    if found != seal(sealed, key) {
        return Err("its header is damaged");
    }
    let mut fields = Fields(sealed);
    if fields.take::<8>()? != *MAGIC {
        return Err("it was written by a version that this one does not read");
    }
    let size = u64::from_le_bytes(fields.take()?);
    let seconds = i64::from_le_bytes(fields.take()?);
    let nanoseconds = i32::from_le_bytes(fields.take()?);
    let sha256 = fields.take()?;
    let written_at = Timestamp::new(seconds, nanoseconds).map_err(|_| "its time is out of range")?;
    Ok(BlobEntry { key: key.clone(), size, sha256, written_at })
}

/// The verified bytes of a whole file.
pub(super) fn open(key: &BlobKey, file: Vec<u8>) -> Result<Bytes, &'static str> {
    let mut bytes = Bytes::from(file);
    if bytes.len() < HEADER {
        return Err("its header is cut off");
    }
    let header = bytes.split_to(HEADER);
    let entry = decode(key, &header)?;
    if bytes.len() as u64 != entry.size {
        return Err("its length is not what was written");
    }
    if digest(&bytes) != entry.sha256 {
        return Err("its bytes do not match their digest");
    }
    Ok(bytes)
}

fn seal(sealed: &[u8], key: &BlobKey) -> [u8; HEADER - SEALED] {
    let mut hash = Sha256::new();
    hash.update(sealed);
    hash.update(key.as_str());
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or("its header is cut off")?;
        self.0 = rest;
        Ok(*field)
    }
}
