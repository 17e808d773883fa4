//! Answers that say no, and why.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ktm_format::Error;
use serde_json::{Value, json};

use crate::replay::ParameterError;

/// Every path there is, for who asks for another.
pub(super) const PATHS: [&str; 9] = [
    "/health",
    "/metrics",
    "/metrics-windows",
    "/api/v1/stats",
    "/api/v1/replay",
    "/api/v1/runs",
    "/api/v1/events",
    "/api/v1/schema",
    "/api/v1/info",
];

/// A request that gets no data.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A parameter cannot be used: 400.
    Parameter {
        name: String,
        value: String,
        reason: String,
    },
    /// Too many requests are reading: 503.
    Busy,
    /// The recording cannot be read: 503.
    Recording(Error),
    /// A bug: 500.
    Panicked,
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Refusal {
        Refusal::Parameter {
            name: error.parameter.query().to_owned(),
            value: error.value,
            reason: error.reason,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Recording(error)
    }
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Refusal::Parameter { .. } => StatusCode::BAD_REQUEST,
            Refusal::Busy | Refusal::Recording(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        match self {
            Refusal::Parameter {
                name,
                value,
                reason,
            } => answer(
                status,
                &json!({"error": reason, "parameter": name, "value": value}),
            ),
            Refusal::Busy => {
                let body = json!({"error": "too many requests are reading the recording"});
                let mut response = answer(status, &body);
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
            Refusal::Recording(error) => {
                let error = format!("the recording cannot be read: {error}");
                answer(status, &json!({"error": error}))
            }
            Refusal::Panicked => answer(status, &json!({"error": "this is a bug in ktm-recorder"})),
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}

pub(super) async fn path(uri: Uri) -> Response {
    let error = format!("there is nothing at {}", uri.path());
    answer(
        StatusCode::NOT_FOUND,
        &json!({"error": error, "paths": PATHS}),
    )
}

pub(super) async fn method() -> Response {
    answer(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({"error": "only GET is answered here"}),
    )
}

/// As the Discovery Proxy says it.
pub(super) async fn plain_method() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}

/// A plain body as Go's `http.Error` writes it, newline included.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{text}\n")).into_response()
}
