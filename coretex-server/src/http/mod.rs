//! The HTTP API: a router over a control plane, one file per resource.
//!
//! Handlers are thin: they read a request, ask the [`ControlPlane`], and give its answer in the established shape.
//! They decide nothing and keep nothing. The routes and shapes are in `docs/reference/http-api.md`.

mod approvals;
mod auth;
mod concurrency;
mod dead_letters;
mod events;
mod extract;
mod health;
mod history;
mod jobs;
mod migrations;
mod plan;
mod problem;
mod prune;
mod run_path;
mod run_query;
mod runs;
mod schedules;
mod shape;
mod status;
mod steps;
mod triggers;
mod versions;
mod worker_socket;
mod workers;
mod workflows;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{get, post},
};
use coretex_core::runtime::ControlPlane;
use jiff::Timestamp;
use tokio::sync::watch;

pub use auth::Auth;
pub(crate) use problem::Problem;
pub use worker_socket::WorkerSockets;

/// The API of one control plane, before it is a router.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use coretex_core::{policy::{Outcome, fixed}, runtime::ControlPlane};
/// use coretex_server::{Api, Auth};
///
/// let plane = ControlPlane::builder(fixed(Outcome::Allow)).start().await?;
/// let app = axum::Router::new().merge(Api::new(plane, Auth::key("secret")).into_router());
/// axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8081").await?, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Api {
    plane: ControlPlane,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    auth: Auth,
    started_at: Timestamp,
    closing: Option<watch::Receiver<bool>>,
    sockets: Arc<worker_socket::Sockets>,
}

/// The routes of [`Api`], without options.
pub fn router(plane: ControlPlane, auth: Auth) -> Router {
    Api::new(plane, auth).into_router()
}

impl Api {
    /// The API of `plane`.
    pub fn new(plane: ControlPlane, auth: Auth) -> Self {
        let sockets = Arc::new(worker_socket::Sockets::new(WorkerSockets::default()));
        let shared = Shared { auth, started_at: plane.clock().now(), closing: None, sockets };
        Self { plane, shared: Arc::new(shared) }
    }

    /// Ends live streams when `closing` turns true, or its sender goes: a graceful shutdown waits for them otherwise.
    pub fn closing(mut self, closing: watch::Receiver<bool>) -> Self {
        Arc::make_mut(&mut self.shared).closing = Some(closing);
        self
    }

    /// Bounds what workers that connect by WebSocket may take; see [`WorkerSockets`] for what it is unless told.
    pub fn worker_sockets(mut self, options: WorkerSockets) -> Self {
        Arc::make_mut(&mut self.shared).sockets = Arc::new(worker_socket::Sockets::new(options));
        self
    }

    /// Completes when no worker is connected any more, once the API is closing.
    pub(crate) fn workers_left(&self) -> impl Future<Output = ()> + Send + 'static {
        let sockets = self.shared.sockets.clone();
        async move { sockets.ended().await }
    }

    /// The routes. Everything but `GET /health` asks for a caller.
    pub fn into_router(self) -> Router {
        let api = Router::new()
            .route("/status", get(status::show))
            .route("/workers", get(workers::list))
            .route("/worker-socket", get(worker_socket::open))
            .route("/workflows", get(workflows::list).post(workflows::put))
            .route("/workflows/{id}", get(workflows::show).delete(workflows::delete))
            .route("/workflows/{id}/versions", get(versions::list))
            .route("/workflows/{id}/versions/{version}", get(versions::show))
            .route("/workflows/{id}/diff", get(versions::diff))
            .route("/workflows/{id}/rollback", post(versions::roll_back))
            .route("/workflows/{id}/migrate", post(migrations::all))
            .route("/workflows/{id}/plan", post(plan::stored))
            .route("/plan", post(plan::unstored))
            .route("/workflows/{id}/runs", get(runs::list_of_workflow).post(runs::start))
            .route("/workflows/{id}/runs/{run_id}/cancel", post(runs::cancel))
            .route("/workflows/{id}/runs/{run_id}/rerun", post(history::rerun))
            .route("/workflows/{id}/runs/{run_id}/steps/{step_id}/approve", post(steps::answer))
            .route("/workflows/{id}/runs/{run_id}/steps/{step_id}/input", post(steps::provide))
            .route("/workflows/{id}/runs/{run_id}/steps/{step_id}/resolve", post(steps::resolve))
            .route("/workflows/{id}/triggers", get(triggers::list))
            .route("/workflows/{id}/triggers/{trigger}", post(triggers::send).delete(triggers::discard))
            .route("/workflows/{id}/triggers/{trigger}/flush", post(triggers::flush))
            .route("/workflow-runs", get(runs::list))
            .route("/workflow-runs/{id}", get(runs::show).delete(runs::delete))
            .route("/workflow-runs/{id}/restart", post(versions::restart))
            .route("/workflow-runs/{id}/migrate", post(migrations::run))
            .route("/workflow-runs/{id}/rerun", post(history::rerun))
            .route("/workflow-runs/{id}/state", get(history::state))
            .route("/workflow-runs/{id}/why", get(history::why))
            .route("/workflow-runs/{id}/replay", get(history::replay))
            .route("/workflow-runs/{id}/signals/{name}", post(steps::signal))
            .route("/workflow-runs/{id}/steps/{step_id}/input", post(steps::provide))
            .route("/workflow-runs/{id}/steps/{step_id}/resolve", post(steps::resolve))
            .route("/workflow-runs/{id}/timeline", get(runs::timeline))
            .route("/workflow-runs/{id}/events", get(events::follow))
            .route("/queued-starts", get(concurrency::queued))
            .route("/concurrency-slots", get(concurrency::holders))
            .route("/schedules", get(schedules::list).post(schedules::put))
            .route("/schedule-previews", post(schedules::try_out))
            .route("/schedules/{id}", get(schedules::show).delete(schedules::delete))
            .route("/schedules/{id}/pause", post(schedules::pause))
            .route("/schedules/{id}/resume", post(schedules::resume))
            .route("/schedules/{id}/trigger", post(schedules::trigger))
            .route("/schedules/{id}/backfill", post(schedules::backfill))
            .route("/schedules/{id}/preview", get(schedules::preview))
            .route("/jobs", post(jobs::submit))
            .route("/jobs/{id}", get(jobs::show))
            .route("/jobs/{id}/cancel", post(jobs::cancel))
            .route("/approvals", get(approvals::list))
            .route("/approvals/{id}/approve", post(approvals::approve))
            .route("/approvals/{id}/reject", post(approvals::reject))
            .route("/prune", post(prune::prune))
            .route("/dlq", get(dead_letters::list))
            .route("/dlq/page", get(dead_letters::page))
            .route("/dlq/groups", get(dead_letters::groups))
            .route("/dlq/retry", post(dead_letters::retry_many))
            .route("/dlq/delete", post(dead_letters::delete_many))
            .route("/dlq/{id}", get(dead_letters::show).delete(dead_letters::delete))
            .route("/dlq/{id}/retry", post(dead_letters::retry));
        Router::new()
            .nest("/api/v1", api)
            .fallback(unknown_route)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(self.clone(), auth::authenticate))
            .merge(Router::new().route("/health", get(health::show)).method_not_allowed_fallback(wrong_method))
            .layer(DefaultBodyLimit::max(extract::MAX_BODY))
            .layer(middleware::from_fn(problem::negotiate))
            .with_state(self)
    }

    fn auth(&self) -> &Auth {
        &self.shared.auth
    }
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "route_not_found", format!("there is nothing at `{}`", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not take {method}; the header `Allow` lists what it takes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
