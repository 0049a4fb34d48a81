//! What the conditions of the store port mean, written once so that every adapter refuses in the same words.
//!
//! Pure. Adapters bring the state; these functions bring the verdict. Nothing here knows of storage or of time.

use std::{ops::Bound, str, time::Duration};

use jiff::Timestamp;

use super::{Condition, Expected, Key, Scan, StoreError, StoreErrorKind, Version, limits};

impl Condition {
    /// Whether this holds for `key`, whose live value has version `found` (`None`: it has no value).
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`], naming the key and what was found.
    pub fn judge(self, key: &Key, found: Option<Version>) -> Result<(), StoreError> {
        match (self, found) {
            (Self::Always, _) | (Self::Absent, None) => Ok(()),
            (Self::Version(wanted), Some(found)) if wanted == found => Ok(()),
            (Self::Absent, Some(Version(found))) => {
                Err(StoreError::conflict(format!("`{key}` exists already, at version {found}")))
            }
            (Self::Version(Version(wanted)), Some(Version(found))) => Err(StoreError::conflict(format!(
                "`{key}` is at version {found}, expected {wanted}; read it again and decide anew"
            ))),
            (Self::Version(Version(wanted)), None) => {
                Err(StoreError::conflict(format!("`{key}` has no value, expected version {wanted}")))
            }
        }
    }
}

impl Expected {
    /// Whether this holds for `stream`, whose head is `head`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`], naming the stream and its head.
    pub fn judge(self, stream: &Key, head: u64) -> Result<(), StoreError> {
        match self {
            Self::Any => Ok(()),
            Self::Head(wanted) if wanted == head => Ok(()),
            Self::Head(wanted) => Err(StoreError::conflict(format!(
                "stream `{stream}` is at {head}, expected {wanted}; read it again and decide anew"
            ))),
        }
    }
}

/// The counter at `key` after adding `delta` to its live value `found`.
///
/// # Errors
/// [`StoreErrorKind::Ceiling`] when `delta` is positive and the sum would pass `ceiling`, or when the sum leaves
/// the range of 64 bits. [`StoreErrorKind::Conflict`] when the value is not a decimal integer.
pub fn counter_after(key: &Key, found: Option<&[u8]>, delta: i64, ceiling: Option<i64>) -> Result<i64, StoreError> {
    let before = match found {
        None => 0,
        Some(bytes) => str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| {
            StoreError::conflict(format!("`{key}` does not hold a whole number, so nothing can be added to it"))
        })?,
    };
    let refused = |limit: i64| {
        StoreError::new(StoreErrorKind::Ceiling, format!("`{key}` is at {before}; adding {delta} would pass {limit}"))
    };
    let after = before
        .checked_add(delta)
        .ok_or_else(|| refused(ceiling.unwrap_or(if delta > 0 { i64::MAX } else { i64::MIN })))?;
    match ceiling {
        Some(limit) if delta > 0 && after > limit => Err(refused(limit)),
        _ => Ok(after),
    }
}

/// When something that lives for `after` from `now` on expires; the end of time when that is out of range.
#[must_use]
pub fn expiry_after(now: Timestamp, after: Duration) -> Timestamp {
    now.checked_add(after).unwrap_or(Timestamp::MAX)
}

impl Scan {
    /// The range of keys that this page may show, for adapters with ordered keys. `None` when it is empty.
    #[must_use]
    pub fn bounds(&self) -> Option<(Bound<String>, Bound<String>)> {
        let mut low = Bound::Included(self.prefix.clone());
        let mut high = prefix_end(&self.prefix).map_or(Bound::Unbounded, Bound::Excluded);
        if let Some(after) = &self.after {
            let after = after.as_str();
            if self.reverse {
                if prefix_end(&self.prefix).is_none_or(|end| end.as_str() > after) {
                    high = Bound::Excluded(after.to_owned());
                }
            } else if after >= self.prefix.as_str() {
                low = Bound::Excluded(after.to_owned());
            }
        }
        let empty = match (&low, &high) {
            (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
            _ => false,
        };
        (!empty).then_some((low, high))
    }

    /// Most entries of this page, whatever was written into the public field.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.clamp(1, limits::PAGE)
    }
}

/// The smallest string above every string that starts with `prefix`; `None` when there is none.
fn prefix_end(prefix: &str) -> Option<String> {
    // Byte order of UTF-8 is the order of code points, so the last character that has a successor is raised.
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            char::MAX => None,
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_string_that_does_not_start_with_it() {
        assert_eq!(prefix_end("runs/").as_deref(), Some("runs0"));
        assert_eq!(prefix_end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(prefix_end("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(prefix_end(""), None);
        assert_eq!(prefix_end("\u{10ffff}"), None);
    }

    #[test]
    fn a_cursor_outside_the_prefix_neither_widens_nor_panics() {
        let forward = Scan::prefix("b/").after(Some(Key::from("a")));
        assert_eq!(forward.bounds(), Some((Bound::Included("b/".into()), Bound::Excluded("b0".into()))));
        assert_eq!(Scan::prefix("b/").after(Some(Key::from("c"))).bounds(), None);
        let reverse = Scan::prefix("b/").after(Some(Key::from("c"))).reverse();
        assert_eq!(reverse.bounds(), Some((Bound::Included("b/".into()), Bound::Excluded("b0".into()))));
        assert_eq!(Scan::prefix("b/").after(Some(Key::from("a"))).reverse().bounds(), None);
        assert_eq!(Scan::prefix("b/").after(Some(Key::from("b/"))).reverse().bounds(), None);
    }

    #[test]
    fn a_counter_refuses_what_passes_its_ceiling_or_its_range() {
        let key = Key::from("slots/a");
        assert_eq!(counter_after(&key, None, 3, Some(3)).ok(), Some(3));
        assert_eq!(counter_after(&key, Some(b"5"), -1, Some(3)).ok(), Some(4));
        let kind = |found: &[u8], delta, ceiling| counter_after(&key, Some(found), delta, ceiling).unwrap_err().kind();
        assert_eq!(kind(b"3", 1, Some(3)), StoreErrorKind::Ceiling);
        assert_eq!(kind(b"9223372036854775807", 1, None), StoreErrorKind::Ceiling);
        assert_eq!(kind(b"-9223372036854775808", -1, None), StoreErrorKind::Ceiling);
        assert_eq!(kind(b"{}", 1, None), StoreErrorKind::Conflict);
    }
}
