pub use super::{batches::*, expiry::*, groups::*, model::*, scans::*, streams::*, watching::*};
