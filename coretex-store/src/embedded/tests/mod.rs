//! What the embedded store must survive.

mod conformance;
