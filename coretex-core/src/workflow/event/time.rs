//! Times as they lie in records: RFC 3339 in UTC, with as many digits of the second as there are.
//!
//! The same text as a [`Timestamp`] displays, without the machinery for any other form: every event carries one or two.

use jiff::Timestamp;

const DAY: u64 = 24 * 60 * 60;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH: u64 = 719_468;

/// Adds `at` to `buffer`.
pub(super) fn push_time(buffer: &mut Vec<u8>, at: Timestamp) {
    let (Ok(second), Ok(nanos)) = (u64::try_from(at.as_second()), u64::try_from(at.subsec_nanosecond())) else {
        // Before 1970.
        return buffer.extend_from_slice(at.to_string().as_bytes());
    };
    let (year, month, day) = civil(second / DAY);
    let second = second % DAY;
    let ([y1, y2], [y3, y4]) = (two(year / 100), two(year % 100));
    let ([m1, m2], [d1, d2]) = (two(month), two(day));
    let ([h1, h2], [n1, n2], [s1, s2]) = (two(second / 3_600), two(second / 60 % 60), two(second % 60));
    buffer.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2]);
    if nanos > 0 {
        push_fraction(buffer, nanos);
    }
    buffer.push(b'Z');
}

/// A point and the digits of `nanos` billionths, without the zeros at the end.
fn push_fraction(buffer: &mut Vec<u8>, nanos: u64) {
    let (micros, rest) = (nanos / 1_000, nanos % 1_000);
    let ([a1, a2], [b1, b2], [c1, c2]) = (two(micros / 10_000), two(micros / 100 % 100), two(micros % 100));
    buffer.extend_from_slice(&[b'.', a1, a2, b1, b2, c1, c2]);
    if rest > 0 {
        let [d2, d3] = two(rest % 100);
        buffer.extend_from_slice(&[digit_of(rest / 100), d2, d3]);
    }
    while buffer.last() == Some(&b'0') {
        buffer.pop();
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1 January 1970: `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms".
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Counted from March, so that the leap day is the last of its year.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

const fn two(number: u64) -> [u8; 2] {
    [digit_of(number / 10), digit_of(number)]
}

const fn digit_of(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(at: Timestamp) -> String {
        let mut buffer = Vec::new();
        push_time(&mut buffer, at);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_time_is_written_as_it_is_displayed() {
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            assert_eq!(written(at), at.to_string());
        }
        // Every day of the calendar, at a time of day and with a fraction that move along.
        for (n, day) in (-1_000..Timestamp::MAX.as_second() / 86_400).enumerate() {
            let n = i64::try_from(n).unwrap();
            let fraction = i32::try_from(n * 999_983 % 1_000_000_000).unwrap();
            for nanos in [0, fraction, fraction / 1_000 * 1_000, fraction / 1_000_000 * 1_000_000] {
                let at = Timestamp::new(day * 86_400 + n * 7_919 % 86_400, nanos).unwrap();
                assert_eq!(written(at), at.to_string());
            }
        }
    }
}
