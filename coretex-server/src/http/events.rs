//! `GET /api/v1/workflow-runs/{id}/events`: a run as it happens, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use coretex_core::{job::RunId, runtime::RunWatch};
use futures::stream;
use tokio::sync::watch;

use super::{
    Api, Problem,
    auth::Caller,
    extract::{Ids, Params},
};

/// Every event is a line of the timeline, its id the number of the line. `Last-Event-ID` or `from` says where to go
/// on. The stream ends with the run; asked for more of a run that has ended, the answer is 204, which tells browsers
/// to stop asking.
pub(super) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    Ids(id): Ids<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = RunId::parse(&id)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let from = match last {
        Some(text) => text.parse::<u64>().map(|seq| seq.saturating_add(1)).map_err(|_| {
            Problem::bad_request("query_invalid", format!("`Last-Event-ID` is `{text}`; it is the number of an event"))
        })?,
        None => params.number("from")?.unwrap_or(1),
    };
    let run = api.plane.run(&caller.0, &id).await?;
    // Beyond what is there, the next one is meant.
    let from = from.clamp(1, run.head() + 1);
    // Nothing more comes, or what came was pruned.
    if run.status().is_terminal() && api.plane.timeline(&caller.0, &id, from, 1).await?.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watch = api.plane.watch(&caller.0, &id, from).await?;
    let events = stream::unfold((watch, api.shared.closing.clone()), next);
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("still here"))
        .into_response();
    // A proxy that gathers an answer before it passes it on would hold events back.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, no-transform"));
    response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

type Following = (RunWatch, Option<watch::Receiver<bool>>);

async fn next((mut watch, mut closing): Following) -> Option<(Result<Event, Infallible>, Following)> {
    let event = tokio::select! {
        event = watch.next() => event,
        () = closed(closing.as_mut()) => return None,
    };
    let event = match event {
        Ok(Some(event)) => event,
        Ok(None) => return None,
        Err(error) => {
            // The client comes back with the last number that it saw.
            tracing::warn!(%error, "a live stream ends early");
            return None;
        }
    };
    let text = match serde_json::to_string(&event) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "a line of a timeline cannot be written; a live stream ends early");
            return None;
        }
    };
    Some((Ok(Event::default().id(event.seq.to_string()).data(text)), (watch, closing)))
}

async fn closed(closing: Option<&mut watch::Receiver<bool>>) {
    match closing {
        // A sender that has gone closes as well.
        Some(closing) => drop(closing.wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}
