//! One suite per port, which every adapter runs unchanged, each case under its own name.
//!
//! ```ignore
//! mod conformance {
//!     coretex_core::store_conformance!(|| async { Arc::new(MemoryStore::new(Arc::new(SystemClock))) });
//! }
//! ```

pub mod blobs;
pub mod bus;
pub mod store;
