//! The reference server of coretex.
