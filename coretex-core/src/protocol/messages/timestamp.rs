//! `google.protobuf.Timestamp` and its bridge to [`jiff::Timestamp`].

use jiff::Timestamp;

/// A point in time as the wire carries it: seconds since 1970-01-01T00:00:00Z and nanoseconds within the second.
///
/// Any pair of numbers can arrive; [`TryFrom`] judges it. Valid are years 1 to 9999 and `0..=999_999_999`
/// nanoseconds, also before 1970.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WireTimestamp {
    /// Whole seconds since the epoch, rounded down.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds to add to `seconds`.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// The pair of numbers is no point in time between the years 1 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp `{seconds}` s + `{nanos}` ns is out of range; use years 1 to 9999 and 0 to 999999999 ns"
)]
pub struct TimestampError {
    seconds: i64,
    nanos: i32,
}

impl TimestampError {
    /// The stable code, `timestamp_out_of_range`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "timestamp_out_of_range"
    }
}

/// 0001-01-01T00:00:00Z.
const MIN_SECONDS: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const MAX_SECONDS: i64 = 253_402_300_799;

impl From<Timestamp> for WireTimestamp {
    fn from(at: Timestamp) -> Self {
        // jiff gives both parts the sign of the whole; the wire wants nanoseconds that only add.
        let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
        if nanos < 0 {
            Self {
                seconds: seconds.saturating_sub(1),
                nanos: nanos.saturating_add(1_000_000_000),
            }
        } else {
            Self { seconds, nanos }
        }
    }
}

impl TryFrom<WireTimestamp> for Timestamp {
    type Error = TimestampError;

    fn try_from(wire: WireTimestamp) -> Result<Self, TimestampError> {
        let WireTimestamp { seconds, nanos } = wire;
        let refused = TimestampError { seconds, nanos };
        if !(MIN_SECONDS..=MAX_SECONDS).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
            return Err(refused);
        }
        // jiff ends a few hours before the year 10000: the last wire instants are out of its range.
        Timestamp::new(seconds, nanos).map_err(|_| refused)
    }
}

impl WireTimestamp {
    /// The instant, or nothing when the numbers are out of range.
    #[must_use]
    pub fn to_timestamp(self) -> Option<Timestamp> {
        self.try_into().ok()
    }

    /// Whether the pair is a legal `google.protobuf.Timestamp`, also where [`Timestamp`] cannot hold it.
    #[must_use]
    pub fn is_legal(self) -> bool {
        (MIN_SECONDS..=MAX_SECONDS).contains(&self.seconds)
            && (0..1_000_000_000).contains(&self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_the_epoch_count_nanoseconds_upwards() {
        let at: Timestamp = "1969-12-31T23:59:58.75Z".parse().unwrap();
        let wire = WireTimestamp::from(at);
        assert_eq!((wire.seconds, wire.nanos), (-2, 750_000_000));
        assert_eq!(Timestamp::try_from(wire).unwrap(), at);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (seconds, nanos) in [
            (0, -1),
            (0, 1_000_000_000),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (MIN_SECONDS - 1, 0),
        ] {
            let wire = WireTimestamp { seconds, nanos };
            assert!(Timestamp::try_from(wire).is_err(), "{wire:?}");
            assert!(!wire.is_legal());
        }
        assert!(
            WireTimestamp {
                seconds: MAX_SECONDS,
                nanos: 999_999_999
            }
            .is_legal()
        );
    }
}
