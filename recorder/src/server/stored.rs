//! Paths that are read from the file.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ktm_format::{Recording, Snapshot};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::parameters::Parameters;
use super::refusal::{Refusal, plain};
use super::{READERS, Site, State, TURN, body};
use crate::agent::trim_heap;
use crate::replay::{
    self, Format, Presentation, Query, Replay, ReplayError, WindowError, WindowQuery,
};

/// What a reader has to say before its body begins.
struct Head {
    content_type: &'static str,
    /// Damaged places met so far: the body is all there is, and not all there was.
    damage: usize,
}

type Promise = oneshot::Sender<Result<Head, Refusal>>;

/// `GET /api/v1/replay`
pub(super) async fn replay(Extract(site): State, uri: Uri) -> Response {
    let allowed = ["since", "until", "metric", "step", "rate", "format", "tz"];
    let prepare = || -> Result<_, Refusal> {
        let parameters = Parameters::of(&uri)?.allow(&allowed)?;
        let query = Query::parse(&parameters.query()?, &parameters.reference()?)?;
        let format = Format::parse(parameters.get("format").unwrap_or("json"))?;
        Ok((query, format, parameters.zone()?))
    };
    let (query, format, zone) = match prepare() {
        Ok(prepared) => prepared,
        Err(refusal) => return refusal.into_response(),
    };
    let file = site.shared.file.display().to_string();
    read(&site, move |snapshot, promise, out| {
        let damage = snapshot.damage().len();
        let ready = Replay::new(Arc::new(snapshot), query).and_then(|replay| {
            replay.check(format)?;
            Ok(replay)
        });
        match ready {
            Ok(replay) => {
                keep(
                    promise,
                    Head {
                        content_type: format.content_type(),
                        damage,
                    },
                );
                replay
                    .write(format, &Presentation::plain(zone, file), out)
                    .map(|_| ())
            }
            Err(error) => {
                drop(promise.send(Err(error.into())));
                Ok(())
            }
        }
    })
    .await
    .unwrap_or_else(IntoResponse::into_response)
}

/// `GET /api/v1/runs`
pub(super) async fn runs(Extract(site): State, uri: Uri) -> Response {
    let query = match range(&uri) {
        Ok(query) => query,
        Err(refusal) => return refusal.into_response(),
    };
    view(&site, move |snapshot| {
        Ok(replay::runs(snapshot, &query.range)?)
    })
    .await
}

/// `GET /api/v1/events`
pub(super) async fn events(Extract(site): State, uri: Uri) -> Response {
    let query = match range(&uri) {
        Ok(query) => query,
        Err(refusal) => return refusal.into_response(),
    };
    view(&site, move |snapshot| {
        Ok(replay::events(snapshot, &query.range))
    })
    .await
}

/// `GET /api/v1/schema`
pub(super) async fn schema(Extract(site): State, uri: Uri) -> Response {
    let prepare = || -> Result<Query, Refusal> {
        let parameters = Parameters::of(&uri)?.allow(&["metric"])?;
        Ok(Query::parse(
            &parameters.query()?,
            &parameters.reference()?,
        )?)
    };
    let query = match prepare() {
        Ok(query) => query,
        Err(refusal) => return refusal.into_response(),
    };
    view(&site, move |snapshot| {
        Ok(replay::catalog(snapshot, &query.metrics)?)
    })
    .await
}

/// `GET /api/v1/info`
pub(super) async fn info(Extract(site): State, uri: Uri) -> Response {
    if let Err(refusal) = Parameters::of(&uri).and_then(|parameters| parameters.allow(&[])) {
        return refusal.into_response();
    }
    let file = site.shared.file.display().to_string();
    view(&site, move |snapshot| Ok(replay::info(snapshot, &file))).await
}

/// `GET /metrics-windows`, in the Discovery Proxy's own words throughout.
pub(super) async fn windows(Extract(site): State, uri: Uri) -> Response {
    let text = Parameters::of(&uri)
        .map(|parameters| parameters.window())
        .unwrap_or_default();
    let query = match WindowQuery::parse(&text) {
        Ok(query) => query,
        Err(error) => return bad_window(&error),
    };
    let answer = read(&site, move |snapshot, promise, out| {
        let damage = snapshot.damage().len();
        keep(
            promise,
            Head {
                content_type: "application/json",
                damage,
            },
        );
        replay::write_windows(&snapshot, &query, out)
    });
    match answer.await {
        Ok(response) => response,
        Err(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Failed to collect metrics",
        ),
    }
}

fn bad_window(error: &WindowError) -> Response {
    plain(StatusCode::BAD_REQUEST, &error.to_string())
}

fn range(uri: &Uri) -> Result<Query, Refusal> {
    let parameters = Parameters::of(uri)?.allow(&["since", "until", "tz"])?;
    Ok(Query::parse(
        &parameters.query()?,
        &parameters.reference()?,
    )?)
}

/// Answers with a view of the recording as JSON.
async fn view<T: Serialize>(
    site: &Arc<Site>,
    make: impl FnOnce(&Snapshot) -> Result<T, Refusal> + Send + 'static,
) -> Response {
    let answer = read(site, move |snapshot, promise, out| match make(&snapshot) {
        Ok(view) => {
            let damage = snapshot.damage().len();
            keep(
                promise,
                Head {
                    content_type: "application/json",
                    damage,
                },
            );
            replay::write_json(&view, out).map_err(ReplayError::Output)
        }
        Err(refusal) => {
            drop(promise.send(Err(refusal)));
            Ok(())
        }
    });
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

type Written = Result<(), ReplayError>;

/// Takes a snapshot on another thread, lets `write` answer from it, and streams what it writes.
async fn read(
    site: &Arc<Site>,
    write: impl FnOnce(Snapshot, Promise, &mut dyn Write) -> Written + Send + 'static,
) -> Result<Response, Refusal> {
    let turn = tokio::time::timeout(TURN, Arc::clone(&site.readers).acquire_owned());
    let permit: OwnedSemaphorePermit = match turn.await {
        Ok(Ok(permit)) => permit,
        _ => return Err(Refusal::Busy),
    };
    let (promise, head) = oneshot::channel();
    let (mut out, stream) = body::pipe();
    let file = site.shared.file.clone();
    let readers = Arc::clone(&site.readers);
    tokio::task::spawn_blocking(move || {
        // Kept until the client has all of it, or has been given up.
        let _turn = Turn {
            permit: Some(permit),
            readers,
        };
        let snapshot = match Recording::open(&file).and_then(|recording| recording.snapshot()) {
            Ok(snapshot) => snapshot,
            Err(error) => return drop(promise.send(Err(error.into()))),
        };
        let outcome = write(snapshot, promise, &mut out).map_err(|error| match error {
            ReplayError::Output(error) => error,
            other => io::Error::other(other.to_string()),
        });
        out.finish(outcome);
    });
    let head = head.await.map_err(|_| Refusal::Panicked)??;
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(head.content_type),
    );
    if head.damage > 0 {
        headers.insert("ktm-damage", HeaderValue::from(head.damage));
    }
    Ok(response)
}

/// A reader's turn. The last of several leaves the memory that they used to the system.
struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    readers: Arc<Semaphore>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        if self.readers.available_permits() == READERS {
            trim_heap();
        }
    }
}

/// A client that has gone away meanwhile is noticed by the first write.
fn keep(promise: Promise, head: Head) {
    let _ = promise.send(Ok(head));
}
