//! `GET /api/v1/workers`: who was heard of lately.

use axum::{Json, extract::State};
use coretex_core::runtime::WorkerStatus;

use super::{Api, auth::Caller};

pub(super) async fn list(State(api): State<Api>, _: Caller) -> Json<Vec<WorkerStatus>> {
    Json(api.plane.workers())
}
