//! The ports.
