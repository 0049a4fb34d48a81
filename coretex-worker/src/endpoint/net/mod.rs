//! One HTTP exchange, and the guard that says with whom.
//!
//! ```text
//! text --> Target (strict) --> resolve once --> every address judged --> connect to a judged address
//!                                                                             |
//!                 redirect: a new target, judged from the start <-- answer <--+
//! ```
//!
//! A connection serves one exchange. Proxies of the environment are not looked at: a proxy would resolve the name
//! again, behind the guard.

#[cfg(feature = "http")]
pub(crate) mod client;
pub(crate) mod exchange;
#[cfg(feature = "http")]
pub(crate) mod guard;
#[cfg(feature = "http")]
pub(crate) mod resolve;
#[cfg(feature = "http")]
pub(crate) mod target;
#[cfg(feature = "http")]
pub(crate) mod tls;
