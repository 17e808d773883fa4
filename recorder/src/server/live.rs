//! Paths that show the newest sample.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ktm_format::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};

use super::State;
use super::refusal::PATHS;
use crate::replay::{OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
use crate::time::{duration_text, rfc3339_nanos};

/// Samples may stay away for this many intervals, and ten seconds, before that is unhealthy.
const PATIENCE: u32 = 3;

/// Who came by with a browser sees what there is.
pub(super) async fn index(Extract(site): State) -> Response {
    let file = site.shared.file.display().to_string();
    Json(json!({
        "program": "ktm-recorder",
        "version": env!("CARGO_PKG_VERSION"),
        "file": file,
        "paths": PATHS,
    }))
    .into_response()
}

/// The Discovery Proxy's keys, for whom this recorder is its one agent, and our own.
pub(super) async fn health(Extract(site): State) -> Response {
    let view = site.shared.board.look();
    let now = SystemClock.now();
    let silence = now.boottime_ns.saturating_sub(view.sampled_boottime_ns);
    let limit = site.shared.interval * PATIENCE + std::time::Duration::from_secs(10);
    let problem = match &view.trouble {
        Some(why) => Some(format!("samples are not recorded: {why}")),
        None if view.sampled_boottime_ns == 0 => Some("no sample has been taken yet".to_owned()),
        None if u128::from(silence) > limit.as_nanos() => Some(format!(
            "no sample for {}",
            duration_text(std::time::Duration::from_secs(silence / 1_000_000_000))
        )),
        None => None,
    };
    let status = if problem.is_some() {
        "unhealthy"
    } else {
        "healthy"
    };
    let mut body = json!({
        "status": status,
        "agents_online": 1,
        "agents_total": 1,
        "uptime_seconds": site.begun.elapsed().as_secs(),
        "ktm_status": view.status,
        "last_sample": match view.sampled_boottime_ns {
            0 => Value::Null,
            _ => rfc3339_nanos(view.latest.stamp().realtime_ns).into(),
        },
    });
    if let (Some(problem), Some(body)) = (&problem, body.as_object_mut()) {
        body.insert("error".to_owned(), problem.as_str().into());
    }
    let code = if problem.is_some() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (code, Json(body)).into_response()
}

/// The Observability Agent's counts.
pub(super) async fn stats(Extract(site): State) -> Response {
    let view = site.shared.board.look();
    let modules: Map<String, Value> = view
        .modules
        .iter()
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect();
    Json(json!({
        "status": "ok",
        "total_modules": modules.len(),
        "total_metrics": view.modules.iter().map(|(_, count)| count).sum::<usize>(),
        "modules": modules,
    }))
    .into_response()
}

/// The newest values, for Prometheus.
pub(super) async fn metrics(Extract(site): State, headers: HeaderMap) -> Response {
    let view = site.shared.board.look();
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut text = Vec::new();
    let (written, content_type) = if prefers_openmetrics(accepted.unwrap_or_default()) {
        (
            view.latest.write_openmetrics(&mut text),
            OPENMETRICS_CONTENT_TYPE,
        )
    } else {
        (view.latest.write_text(&mut text), TEXT_CONTENT_TYPE)
    };
    match written {
        Ok(()) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// True if OpenMetrics is asked for by name, and liked no less than plain text.
fn prefers_openmetrics(accept: &str) -> bool {
    let quality = |wanted: &str| {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                parts
                    .next()
                    .filter(|media| media.eq_ignore_ascii_case(wanted))?;
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                Some(quality.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0)))
            })
            .fold(0.0, f64::max)
    };
    let openmetrics = quality("application/openmetrics-text");
    openmetrics > 0.0 && openmetrics >= quality("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_openmetrics_and_a_person_gets_text() {
        for (accept, openmetrics) in [
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                true,
            ),
            (
                "text/plain;version=0.0.4;q=0.5, application/openmetrics-text;q=0.3",
                false,
            ),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml", false),
            ("", false),
        ] {
            assert_eq!(prefers_openmetrics(accept), openmetrics, "{accept}");
        }
    }
}
