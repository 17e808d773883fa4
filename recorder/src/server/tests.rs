//! The routes, over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use ktm_format::{Clock as _, Event, Schema, Series, Stamp, SystemClock, Values};
use serde_json::Value;

use super::*;
use crate::agent::View;
use crate::flight::{FlightRecorder, Options, events};
use crate::replay::Latest;

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn has(&self, header: &str) -> bool {
        self.head
            .to_ascii_lowercase()
            .contains(&header.to_ascii_lowercase())
    }
}

struct Running {
    address: SocketAddr,
    board: Arc<Board>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        write!(stream, "{request}Host: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("answered");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let body = match head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            true => unchunked(body),
            false => body.to_owned(),
        };
        Answer {
            status,
            head: head.to_owned(),
            body,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"))
    }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        body.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    body
}

fn schema() -> Schema {
    Schema {
        module: "iomonitor".into(),
        labels: vec![("pod_name".into(), "data-0".into())],
        series: vec![
            Series::counter("ktm_x_total", "X."),
            Series::gauge("ktm_y", "Y."),
        ],
    }
}

fn row(value: u64) -> Values {
    let mut values = Values::new();
    values.push_u64(value);
    values.push_u64(7);
    values
}

/// A recording of five samples, one a second, and a server over it.
fn running() -> Running {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    record(&path);
    let board = Arc::new(Board::default());
    let shared = Shared {
        file: path,
        board: Arc::clone(&board),
        interval: Duration::from_secs(1),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(serve(listener, shared))
    });
    Running {
        address,
        board,
        _folder: folder,
    }
}

fn record(path: &Path) {
    let options = Options {
        size: 1 << 20,
        ..Options::default()
    };
    let (mut recorder, report) = FlightRecorder::open_or_create(path, &options).expect("opened");
    let at = |second: u64| Stamp {
        realtime_ns: 1_795_000_000_000_000_000 + second as i64 * 1_000_000_000,
        boottime_ns: second * 1_000_000_000,
    };
    recorder
        .start(at(0), Event::new(events::START), &report)
        .expect("started");
    let handle = recorder.define(&schema()).expect("defined");
    for second in 0..5 {
        recorder
            .append(handle, at(second), &row(second * 10))
            .expect("appended");
    }
    recorder.stop(at(5), "test").expect("stopped");
}

fn show(board: &Board, trouble: Option<&str>) {
    let stamp = SystemClock.now();
    let mut latest = Latest::default();
    latest.begin(stamp);
    latest.push(Arc::new(schema()), &row(40));
    board.show(View {
        latest: Arc::new(latest),
        modules: vec![("iomonitor", 2), ("recorder", 3)],
        sampled_boottime_ns: stamp.boottime_ns,
        status: 2,
        trouble: trouble.map(str::to_owned),
    });
}

#[test]
fn metrics_are_the_newest_sample_in_the_dialect_asked_for() {
    let running = running();
    assert_eq!(running.get("/metrics").body, "", "before the first sample");
    show(&running.board, None);
    let text = running.get("/metrics");
    assert!(
        text.has("content-type: text/plain; version=0.0.4"),
        "{}",
        text.head
    );
    assert!(
        text.body.contains("ktm_x_total{pod_name=\"data-0\"} 40\n"),
        "{}",
        text.body
    );
    let openmetrics = running
        .ask("GET /metrics?x=1 HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(openmetrics.has("content-type: application/openmetrics-text"));
    assert!(openmetrics.body.ends_with("# EOF\n"));
}

#[test]
fn health_says_what_is_wrong_and_turns_red() {
    let running = running();
    let before = running.get("/health");
    assert_eq!(
        (before.status, before.json()["status"].as_str()),
        (503, Some("unhealthy"))
    );
    show(&running.board, None);
    let healthy = running.get("/health");
    assert_eq!(
        (healthy.status, healthy.json()["status"].as_str()),
        (200, Some("healthy"))
    );
    for key in ["agents_online", "agents_total", "uptime_seconds"] {
        assert!(healthy.json()[key].is_u64(), "{key}");
    }
    show(&running.board, Some("disk on fire"));
    let red = running.get("/health");
    assert_eq!(red.status, 503);
    assert!(
        red.json()["error"]
            .as_str()
            .is_some_and(|error| error.contains("disk on fire"))
    );
}

#[test]
fn stats_have_the_agents_shape() {
    let running = running();
    show(&running.board, None);
    let expected = serde_json::json!({
        "status": "ok",
        "total_modules": 2,
        "total_metrics": 5,
        "modules": {"iomonitor": 2, "recorder": 3},
    });
    assert_eq!(running.get("/api/v1/stats").json(), expected);
}

#[test]
fn every_stored_path_answers_from_the_file() {
    let running = running();
    for path in [
        "/api/v1/runs",
        "/api/v1/events?since=@0",
        "/api/v1/schema?metric=ktm_x*",
        "/api/v1/info",
        "/api/v1/replay",
        "/metrics-windows",
    ] {
        let answer = running.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(
            answer.has("content-type: application/json"),
            "{path}: {}",
            answer.head
        );
        assert!(!answer.has("ktm-damage"), "{path}: {}", answer.head);
        answer.json();
    }
    let csv = running.get("/api/v1/replay?format=csv&since=@1795000001&until=@1795000003");
    assert!(csv.has("content-type: text/csv"), "{}", csv.head);
    assert_eq!(
        csv.body.lines().count(),
        4,
        "a header and three samples: {}",
        csv.body
    );
}

#[test]
fn a_bad_parameter_is_named() {
    let running = running();
    for (query, parameter) in [
        ("replay?since=yesterdayish", "since"),
        ("replay?until=25:99", "until"),
        ("replay?since=@9&until=@3", "until"),
        ("replay?step=fast", "step"),
        ("replay?metric=nothing_like_it", "metric"),
        ("replay?metric=%5B", "metric"),
        ("replay?format=xml", "format"),
        ("replay?rate=maybe", "rate"),
        ("replay?tz=Mars/Base", "tz"),
        ("replay?sicne=1h", "sicne"),
        ("replay?since=1h&since=2h", "since"),
        ("events?metric=x", "metric"),
        ("runs?since=x", "since"),
        ("schema?metric=nothing_like_it", "metric"),
        ("info?x=1", "x"),
    ] {
        let answer = running.get(&format!("/api/v1/{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        let body = answer.json();
        assert_eq!(
            body["parameter"].as_str(),
            Some(parameter),
            "{query}: {body}"
        );
        assert!(
            body["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{query}: {body}"
        );
    }
}

#[test]
fn windows_refuse_in_the_proxys_own_words() {
    let running = running();
    let bad = running.get("/metrics-windows?start_time=soon&end_time=2026-01-01T00:00:00Z");
    assert_eq!(bad.status, 400);
    assert!(
        bad.has("content-type: text/plain; charset=utf-8"),
        "{}",
        bad.head
    );
    assert!(
        bad.body.starts_with("Invalid start_time format: "),
        "{}",
        bad.body
    );
    let post = running.ask("POST /metrics-windows HTTP/1.1\r\nContent-Length: 0\r\n");
    assert_eq!(
        (post.status, post.body.as_str()),
        (405, "Method not allowed\n")
    );
}

#[test]
fn other_paths_and_methods_are_refused_in_json() {
    let running = running();
    let lost = running.get("/api/v2/replay");
    assert_eq!(lost.status, 404);
    assert!(lost.json()["paths"].is_array());
    for path in ["/metrics", "/api/v1/replay"] {
        let post = running.ask(&format!("POST {path} HTTP/1.1\r\nContent-Length: 0\r\n"));
        assert_eq!(post.status, 405, "{path}");
        assert!(post.json()["error"].is_string());
        assert!(post.has("allow: get"), "{}", post.head);
    }
    assert_eq!(running.ask("HEAD /metrics HTTP/1.1\r\n").status, 200);
}

#[test]
fn a_recording_that_cannot_be_read_is_said_so() {
    let running = running();
    std::fs::remove_file(running._folder.path().join("box.ktm")).expect("removed");
    let answer = running.get("/api/v1/replay");
    assert_eq!(answer.status, 503);
    assert!(
        answer.json()["error"]
            .as_str()
            .is_some_and(|error| error.contains("cannot be read"))
    );
    let windows = running.get("/metrics-windows");
    assert_eq!(
        (windows.status, windows.body.as_str()),
        (500, "Failed to collect metrics\n")
    );
}

#[test]
fn clients_that_leave_or_dawdle_take_nobody_elses_turn() {
    let running = running();
    for _ in 0..READERS * 3 {
        let mut stream = TcpStream::connect(running.address).expect("connected");
        write!(stream, "GET /api/v1/replay HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    let silent: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(running.address).expect("connected"))
        .collect();
    assert_eq!(running.get("/api/v1/replay").status, 200);
    drop(silent);
}
