//! Part of coretex.
