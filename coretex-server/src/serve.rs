//! Running the API until it is told to stop.

use std::{io, time::Duration};

use axum::serve::ListenerExt;
use coretex_core::runtime::ControlPlane;
use tokio::{net::TcpListener, sync::watch};

use crate::{Api, Auth};

/// How long requests that are under way may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Serves the API of `plane` on `listener` until `stop` completes; then takes nothing new, ends live streams, tells workers
/// to connect again, lets requests that are under way finish for ten seconds. The plane is left as it is: shut it down afterwards.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    plane: ControlPlane,
    auth: Auth,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    let api = Api::new(plane, auth).closing(closing.clone());
    let workers_left = api.workers_left();
    let router = api.into_router();
    // Without it, a line of a live stream waits for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        close.send_replace(true);
    });
    let mut closing = closing;
    let limit = async {
        if closing.wait_for(|closing| *closing).await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let all = async {
        server.into_future().await?;
        // They are told to connect elsewhere, or again.
        workers_left.await;
        Ok(())
    };
    tokio::select! {
        ended = all => ended,
        () = limit => Ok(()),
    }
}
