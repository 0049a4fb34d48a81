//! A server that a worker in another process is connected to.

use std::path::PathBuf;

use coretex_bus::socket::{AddressError, SocketBus, SocketOptions};

/// Where it is, and how to get in.
#[derive(Clone)]
pub(crate) struct Server {
    url: String,
    key: Option<String>,
    ca_file: Option<PathBuf>,
}

impl Server {
    pub(crate) const fn new(url: String) -> Self {
        Self { url, key: None, ca_file: None }
    }

    pub(crate) fn key(&mut self, key: String) {
        self.key = Some(key);
    }

    pub(crate) fn ca_file(&mut self, path: PathBuf) {
        self.ca_file = Some(path);
    }

    /// The bus over the connection, which is made when the worker starts.
    pub(crate) fn connect(self, id: &str, max_parallel: u32) -> Result<SocketBus, AddressError> {
        let mut options = SocketOptions::new(self.url, id).window(max_parallel);
        if let Some(key) = self.key {
            options = options.key(key);
        }
        if let Some(path) = self.ca_file {
            options = options.ca_file(path);
        }
        SocketBus::new(options)
    }
}
