//! Why a connection is not made, or is cut off: stable codes, each with a page in `docs/errors`.

/// Why a server ends a connection. The code is the reason of the WebSocket close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A frame could not be read, or came at the wrong time.
    Protocol,
    /// The worker speaks another version.
    Version,
    /// The worker's id is none.
    WorkerId,
    /// Another connection came with the same id, newer than this one.
    Replaced,
    /// Nothing was heard of the worker for too long.
    Idle,
    /// The worker does not read what it is sent.
    Slow,
    /// More of something than a connection may have.
    Limit,
    /// The server goes; connect again.
    Closing,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Protocol,
        Self::Version,
        Self::WorkerId,
        Self::Replaced,
        Self::Idle,
        Self::Slow,
        Self::Limit,
        Self::Closing,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Protocol => "socket_protocol",
            Self::Version => "socket_version",
            Self::WorkerId => "worker_id_invalid",
            Self::Replaced => "socket_replaced",
            Self::Idle => "socket_idle",
            Self::Slow => "socket_slow",
            Self::Limit => "socket_limit",
            Self::Closing => "socket_closing",
        }
    }

    /// The number of the WebSocket close frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Closing => 1001,
            Self::Protocol => 1002,
            Self::Version => 4400,
            Self::WorkerId => 4401,
            Self::Replaced => 4409,
            Self::Idle => 4408,
            Self::Slow => 4413,
            Self::Limit => 4429,
        }
    }

    /// The one that a close frame's reason names.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Whether connecting again may help.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Version | Self::WorkerId | Self::Replaced)
    }
}
