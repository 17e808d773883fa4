//! The recording over HTTP, read from the file by the same code as `ktm-dump`.
//!
//! Nothing here touches the sampling thread: `/metrics`, `/health` and `/api/v1/stats` look at what
//! it has put up last, everything else is read from the file on other threads. How many requests
//! read at once, how many clients are connected and how long one may dawdle is bounded.

use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::agent::Board;

mod body;
mod connection;
mod live;
mod parameters;
mod refusal;
mod stored;
#[cfg(test)]
mod tests;

/// Requests that read the file at the same time. The others wait their turn.
const READERS: usize = 4;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What the server is given.
pub(crate) struct Shared {
    /// The recording.
    pub(crate) file: PathBuf,
    /// What the sampling thread shows.
    pub(crate) board: Arc<Board>,
    /// Time between samples, to tell when they stay away.
    pub(crate) interval: Duration,
}

struct Site {
    shared: Shared,
    readers: Arc<Semaphore>,
    begun: Instant,
}

type State = axum::extract::State<Arc<Site>>;

/// Serves until the process ends.
pub(crate) fn serve(
    listener: TcpListener,
    shared: Shared,
) -> impl Future<Output = std::io::Result<()>> {
    let routes = routes(shared);
    async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(connection::Bounded::new(listener), routes).await
    }
}

/// The paths of the HTTP server over a recording, for a program that has a server of its own.
///
/// `/metrics`, `/health` and `/api/v1/stats` tell of a recorder that runs in the same process;
/// here they are as they are before its first sample. Has to be served by a tokio runtime with its
/// clock enabled.
pub fn router(file: impl Into<PathBuf>) -> Router {
    routes(Shared {
        file: file.into(),
        board: Arc::default(),
        interval: Duration::from_secs(10),
    })
}

fn routes(shared: Shared) -> Router {
    let site = Site {
        shared,
        readers: Arc::new(Semaphore::new(READERS)),
        begun: Instant::now(),
    };
    // The Discovery Proxy answers in plain words where we answer in JSON.
    let windows = get(stored::windows).fallback(refusal::plain_method);
    Router::new()
        .route("/", get(live::index))
        .route("/health", get(live::health))
        .route("/metrics", get(live::metrics))
        .route("/api/v1/stats", get(live::stats))
        .route("/api/v1/replay", get(stored::replay))
        .route("/api/v1/runs", get(stored::runs))
        .route("/api/v1/events", get(stored::events))
        .route("/api/v1/schema", get(stored::schema))
        .route("/api/v1/info", get(stored::info))
        .method_not_allowed_fallback(refusal::method)
        .route("/metrics-windows", windows)
        .fallback(refusal::path)
        .with_state(Arc::new(site))
}
