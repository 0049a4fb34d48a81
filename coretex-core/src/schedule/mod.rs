//! Schedules: when a workflow is started by the clock, and what becomes of each time.
//!
//! The room knows neither disk nor runs. A [`ScheduleSpec`] compiles into a [`Timetable`], which answers for the next time
//! after an instant. [`decide`] says what an input means for a [`Schedule`]: which times have come, which of them start a
//! run, wait, or are left out, and why. What it wants done stays in the state until it is confirmed: [`Schedule::firing`]
//! holds starts, [`Schedule::cancelling`] runs to stop. So the state alone says what a crash may have interrupted.
//!
//! Each time of a schedule gives its run the same id, however often it is decided ([`Fire::run_id`]): it starts at most one
//! run, and exactly one when the start is repeated until it is confirmed.
//!
//! The [`calendar`] holds the rules of wall clocks: which instant a local time is where an hour is left out or comes twice.

pub mod calendar;
mod decide;
mod fire;
mod spec;
mod state;
#[cfg(test)]
mod tests;

pub use decide::{Outcome, Rejected, ScheduleInput, decide};
pub(crate) use fire::run_id_of;
pub use fire::{Fire, FireKind, FireOutcome, Fired};
pub use spec::{IntervalSpec, MissedPolicy, OverlapPolicy, ScheduleSpec, Timetable};
pub use state::{Backfill, Counts, Pause, Schedule};
