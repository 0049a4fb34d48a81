//! The API over a real control plane, request by request: codes, shapes, refusals.

mod approvals;
mod dead_letters;
mod events;
mod jobs;
mod refusals;
mod rig;
mod runs;
mod workflows;
