//! The CAP v2 wire contract.
