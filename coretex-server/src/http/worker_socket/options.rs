//! How much of the server workers may take.

use std::time::Duration;

/// Bounds of the worker socket. Each has a default that a server with a few hundred workers needs not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSockets {
    /// Connections at once; 1,024 unless told.
    pub max_connections: usize,
    /// Deliveries of one worker that may be unsettled, its jobs that run at once; 1,024 unless told.
    pub max_window: u32,
    /// Subscriptions of one connection; 256 unless told.
    pub max_subscriptions: usize,
    /// Bytes of blobs on their way, all connections together, and so the largest blob; 256 MiB unless told. Transfers wait
    /// for each other beyond it.
    pub blob_bytes: usize,
    /// A worker of which nothing is heard for so long is cut off; 15 s unless told. It is pinged at a third of it.
    pub idle: Duration,
    /// How long what a worker had begun is kept for it when its connection breaks; 5 s unless told.
    pub grace: Duration,
}

impl Default for WorkerSockets {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            max_window: 1_024,
            max_subscriptions: 256,
            blob_bytes: 256 << 20,
            idle: Duration::from_secs(15),
            grace: Duration::from_secs(5),
        }
    }
}

impl WorkerSockets {
    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub const fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets [`max_window`](Self::max_window), at least 1.
    #[must_use]
    pub const fn with_max_window(mut self, deliveries: u32) -> Self {
        self.max_window = deliveries;
        self
    }

    /// Sets [`max_subscriptions`](Self::max_subscriptions).
    #[must_use]
    pub const fn with_max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.max_subscriptions = subscriptions;
        self
    }

    /// Sets [`blob_bytes`](Self::blob_bytes).
    #[must_use]
    pub const fn with_blob_bytes(mut self, bytes: usize) -> Self {
        self.blob_bytes = bytes;
        self
    }

    /// Sets [`idle`](field@Self::idle), at least 100 ms.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`grace`](Self::grace).
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle.max(Duration::from_millis(100))
    }
}
