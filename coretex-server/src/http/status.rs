//! `GET /api/v1/status`: what runs here and whether its store answers.

use axum::{Json, extract::State};
use coretex_core::ports::Scan;
use serde_json::{Value, json};

use super::{Api, auth::Caller};

/// Always 200: a store that does not answer is in the body. `redis` and `nats` are the established names of the
/// store and the bus.
pub(super) async fn show(State(api): State<Api>, _: Caller) -> Json<Value> {
    let plane = &api.plane;
    let (store, bus) = (plane.store(), plane.bus());
    let probe = store.scan(Scan::prefix("probe/").limit(1)).await;
    let now = plane.clock().now();
    let recovery = plane.recovery();
    Json(json!({
        "time": now,
        "uptime_seconds": now.duration_since(api.shared.started_at).as_secs().max(0),
        "build": {"version": concat!("coretex-", env!("CARGO_PKG_VERSION")), "commit": "", "date": ""},
        "nats": {"connected": true, "status": bus.capabilities().name, "url": ""},
        "redis": {"ok": probe.is_ok(), "error": probe.err().map(|error| error.to_string()).unwrap_or_default()},
        "workers": {"count": plane.workers().len()},
        "store": {"name": store.capabilities().name, "durable": store.capabilities().durable},
        "bus": {"name": bus.capabilities().name},
        "policy": {"snapshot": plane.policy().snapshot().id(), "governed": plane.policy().snapshot().governed()},
        "recovery": {"resumed": recovery.resumed, "announced": recovery.announced},
    }))
}
