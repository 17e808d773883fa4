//! Any request to the HTTP server, over a small recording.
//!
//! It is answered, never with a server's error, and with a body that is what its type says and does
//! not break off. A range of recorded values holds every sample in it and no other.

use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use arbitrary::{Result, Unstructured};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use ktm_format::{Event, Kind, MIN_FILE_SIZE, Schema, Series, Stamp, ValueType, Values, Writer};
use ktm_recorder::server::router;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use crate::{Target, Twin, Verdict, ensure, insist};
use ktm_simulation::Random;

/// This target.
pub const TARGET: Target = Target {
    name: "http_query",
    check,
    twins: &[
        Twin {
            bug: "a bad parameter is a server's error",
            check: |data| {
                over(data, |answer| {
                    if answer.status == 400 {
                        answer.status = 500;
                    }
                })
            },
        },
        Twin {
            bug: "the last byte is not sent",
            check: |data| {
                over(data, |answer| {
                    answer.body.pop();
                })
            },
        },
        Twin {
            bug: "the last sample in a range is left out",
            check: |data| {
                over(data, |answer| {
                    let text = answer.body.trim_end().to_owned();
                    if answer.content_type.starts_with("text/csv")
                        && let Some(end) = text.rfind('\n')
                    {
                        answer.body.truncate(end + 1);
                    }
                })
            },
        },
    ],
};

/// What came back.
struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

/// What is asked.
#[derive(Debug)]
struct Asked {
    method: Method,
    uri: String,
    accept: &'static str,
    /// How many lines of a CSV there have to be, the header included.
    lines: Option<usize>,
}

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, |_| ())
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

/// `tamper` stands between the server and the oracle.
fn over(data: &[u8], tamper: impl Fn(&mut Answer)) -> Verdict {
    let Some((mode, bytes)) = data.split_first() else {
        return Ok(());
    };
    let asked = match mode % 4 {
        0 => Asked {
            method: Method::GET,
            uri: String::from_utf8_lossy(bytes).into_owned(),
            accept: "*/*",
            lines: None,
        },
        1 => match range(&mut Unstructured::new(bytes)) {
            Ok(asked) => asked,
            Err(_) => return Ok(()),
        },
        _ => match asked(&mut Unstructured::new(bytes)) {
            Ok(asked) => asked,
            Err(_) => return Ok(()),
        },
    };
    let Some(mut answer) = ask(&asked)? else {
        return Ok(());
    };
    tamper(&mut answer);
    judge(&asked, &answer).map_err(|broken| format!("{asked:?}: {broken}"))
}

const START: i64 = 1_795_184_601_000_000_000;
const SECOND: i64 = 1_000_000_000;
const SAMPLES: i64 = 40;

const PATHS: [&str; 11] = [
    "/api/v1/replay",
    "/api/v1/replay",
    "/api/v1/runs",
    "/api/v1/events",
    "/api/v1/schema",
    "/api/v1/info",
    "/metrics-windows",
    "/metrics",
    "/health",
    "/api/v1/stats",
    "/",
];

const NAMES: [&str; 14] = [
    "since",
    "until",
    "metric",
    "step",
    "rate",
    "format",
    "tz",
    "start_time",
    "end_time",
    "role",
    "pod_name",
    "since",
    "step",
    "none",
];

const VALUES: [&str; 36] = [
    "",
    "1h",
    "now",
    "@1795184610",
    "@1795184620.5",
    "@0",
    "2026-11-20",
    "2026-11-20T14:23:30Z",
    "14:03",
    "yesterday",
    "csv",
    "json",
    "ndjson",
    "openmetrics",
    "table",
    "true",
    "0",
    "1ns",
    "1s",
    "10s",
    "7d",
    "10000w",
    "ktm_*",
    "*",
    "[",
    "ktm_a_total",
    "ktm_latency_seconds",
    "ktm_a_total{op=\"r\"}",
    "UTC",
    "+05:30",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "-23:59",
    "liaison",
    "data-0",
    "2026-11-20T14:23:21.5+01:00",
    "@9223372036.854775807",
];

const ACCEPTS: [&str; 4] = [
    "*/*",
    "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    "text/plain;version=0.0.4",
    ";q=,,",
];

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@*".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn asked(u: &mut Unstructured<'_>) -> Result<Asked> {
    let mut uri = (*u.choose(&PATHS)?).to_owned();
    let method = match u.int_in_range(0..=31_u8)? {
        0 => Method::POST,
        1 => Method::HEAD,
        _ => Method::GET,
    };
    let accept = *u.choose(&ACCEPTS)?;
    for number in 0..u.int_in_range(0..=4_u8)? {
        uri.push(if number == 0 { '?' } else { '&' });
        let value = match u.int_in_range(0..=3_u8)? {
            0 => u.arbitrary::<&str>()?,
            _ => *u.choose(&VALUES)?,
        };
        uri += &format!("{}={}", u.choose(&NAMES)?, encoded(value));
    }
    Ok(Asked {
        method,
        uri,
        accept,
        lines: None,
    })
}

/// A range of which is known what is in it.
fn range(u: &mut Unstructured<'_>) -> Result<Asked> {
    let mut end = || -> Result<i64> {
        let second = u.int_in_range(-2..=SAMPLES + 1)?;
        let beside = u.int_in_range(-1..=1)?;
        Ok(START + second * SECOND + beside)
    };
    let (one, other) = (end()?, end()?);
    let (since, until) = (one.min(other), one.max(other));
    let at = |point: i64| format!("@{}.{:09}", point / SECOND, point % SECOND);
    let times = (0..SAMPLES).map(|sample| START + sample * SECOND);
    let samples = times.filter(|time| (since..=until).contains(time)).count();
    Ok(Asked {
        method: Method::GET,
        uri: format!(
            "/api/v1/replay?format=csv&since={}&until={}",
            at(since),
            at(until)
        ),
        accept: "*/*",
        lines: Some(samples + 1),
    })
}

/// The recording, for as long as the process lives.
fn recording() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder can be made");
        record(folder.path().join("box.ktm"));
        folder
    });
    folder.path().join("box.ktm")
}

fn modules() -> [Schema; 2] {
    let bucket = |le: &str| {
        Series::new(
            "ktm_latency_seconds_bucket",
            Kind::Bucket,
            ValueType::U64,
            "Latency.",
        )
        .label("le", le)
        .unit("seconds")
    };
    let sum = Series::new(
        "ktm_latency_seconds_sum",
        Kind::Sum,
        ValueType::U64,
        "Latency.",
    );
    let count = Series::new(
        "ktm_latency_seconds_count",
        Kind::Count,
        ValueType::U64,
        "Latency.",
    );
    let level = Series::new("ktm_level", Kind::Gauge, ValueType::F64, "A level.\n");
    let labels = vec![("pod_name".to_owned(), "data-0".to_owned())];
    [
        Schema {
            module: "io".into(),
            labels: labels.clone(),
            series: vec![
                Series::counter("ktm_a_total", "A \"number\".").label("op", "r"),
                Series::counter("ktm_a_total", "A \"number\".").label("op", "\\\"\n"),
                bucket("0.001"),
                bucket("+Inf"),
                sum.exponent(-9).unit("seconds"),
                count.unit("seconds"),
            ],
        },
        Schema {
            module: "own".into(),
            labels,
            series: vec![level, Series::gauge("ktm_depth", "A depth.")],
        },
    ]
}

fn record(path: PathBuf) {
    let at = |second: i64| Stamp {
        realtime_ns: START + second * SECOND,
        boottime_ns: (second * SECOND) as u64,
    };
    let mut random = Random(1);
    let writer = Writer::create_file(path, MIN_FILE_SIZE, "fuzz", at(0), &mut random);
    let mut writer = writer.expect("a recording can be made");
    let [io, own] = modules().map(|schema| writer.define(&schema).expect("it fits"));
    for second in 0..SAMPLES {
        if second % 13 == 5 {
            writer.begin_epoch();
        }
        if second % 7 == 3 {
            let mark = Event::new("mark").with("text", "\"\\\n\u{e9}");
            writer.event(at(second), &mark).expect("it fits");
        }
        let mut values = Values::new();
        for series in 0..6 {
            values.push_u64((second as u64 % 13) * (series + 1));
        }
        writer.append(io, at(second), &values).expect("it fits");
        values.clear();
        match second % 4 {
            0 => values.push_f64(f64::NAN),
            1 => values.push_absent(),
            2 => values.push_f64(f64::NEG_INFINITY),
            _ => values.push_f64(second as f64 / 3.0),
        }
        values.push_u64(random.number());
        writer.append(own, at(second), &values).expect("it fits");
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

static ROUTER: LazyLock<Router> = LazyLock::new(|| router(recording()));

/// `None` where this cannot even be sent.
fn ask(asked: &Asked) -> std::result::Result<Option<Answer>, String> {
    let request = Request::builder()
        .method(asked.method.clone())
        .uri(asked.uri.as_str())
        .header(header::ACCEPT, asked.accept)
        .body(Body::empty());
    let Ok(request) = request else {
        return Ok(None);
    };
    RUNTIME.block_on(async {
        let Ok(response) = ROUTER.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await;
        let body = body.map_err(|error| format!("{asked:?}: the body breaks off: {error}"))?;
        let body = String::from_utf8(body.into())
            .map_err(|_| format!("{asked:?}: the body is not UTF-8"))?;
        Ok(Some(Answer {
            status,
            content_type,
            body,
        }))
    })
}

fn judge(asked: &Asked, answer: &Answer) -> Verdict {
    // Without a sample it says that it is not healthy.
    let unwell = asked.uri.starts_with("/health") && answer.status == 503;
    let expected = matches!(answer.status, 200..=299 | 400..=499) || unwell;
    ensure(expected, || format!("answered with {}", answer.status))?;
    if asked.method == Method::HEAD {
        return Ok(());
    }
    if answer.status == 400 && answer.content_type.starts_with("application/json") {
        let refusal = json(&answer.body)?;
        let named = refusal["parameter"].is_string() && refusal["error"].is_string();
        ensure(named, || {
            format!("the refusal does not say what of: {refusal}")
        })?;
    }
    well_formed(answer)?;
    match asked.lines {
        None => Ok(()),
        Some(lines) => ensure(answer.body.lines().count() == lines, || {
            let found = answer.body.lines().count();
            format!("{found} lines are given, {lines} are in the range")
        }),
    }
}

fn well_formed(answer: &Answer) -> Verdict {
    let body = answer.body.as_str();
    match answer.content_type.split(';').next().unwrap_or_default() {
        "application/json" => json(body).map(drop),
        "application/x-ndjson" => {
            ends_with_a_line(body)?;
            body.lines().try_for_each(|line| json(line).map(drop))
        }
        "text/csv" => {
            ends_with_a_line(body)?;
            let mut reader = csv::Reader::from_reader(body.as_bytes());
            reader
                .records()
                .try_for_each(|record| record.map(drop).map_err(|error| error.to_string()))
        }
        "application/openmetrics-text" => {
            ensure(body.ends_with("# EOF\n"), || "the end is missing".into())?;
            body.lines().try_for_each(exposition)
        }
        "text/plain" if answer.content_type.contains("version=0.0.4") => {
            ends_with_a_line(body)?;
            body.lines().try_for_each(exposition)
        }
        "text/plain" => ends_with_a_line(body),
        other => Err(format!("the type is {other:?}")),
    }
}

fn ends_with_a_line(body: &str) -> Verdict {
    ensure(body.is_empty() || body.ends_with('\n'), || {
        "the last line breaks off".into()
    })
}

fn json(text: &str) -> std::result::Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

/// A line of the exposition format: a comment, or a name with labels, a value, perhaps a time.
fn exposition(line: &str) -> Verdict {
    let broken = || Err(format!("no line of an exposition: {line:?}"));
    if let Some(comment) = line.strip_prefix("# ") {
        let known = ["HELP ", "TYPE ", "UNIT "];
        let is_known = known.iter().any(|word| comment.starts_with(word)) || comment == "EOF";
        return if is_known { Ok(()) } else { broken() };
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let rest = line.trim_start_matches(is_name);
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(labels) => match behind_labels(labels) {
            Some(rest) => rest,
            None => return broken(),
        },
    };
    let numbers: Vec<&str> = rest.split(' ').skip(1).collect();
    let is_number = |text: &&str| text.parse::<f64>().is_ok();
    let is_sample = rest.starts_with(' ') && rest.len() < line.len();
    match is_sample && matches!(numbers.len(), 1 | 2) && numbers.iter().all(is_number) {
        true => Ok(()),
        false => broken(),
    }
}

/// What is behind `name="value",...}`.
fn behind_labels(mut text: &str) -> Option<&str> {
    loop {
        let (name, rest) = text.split_once("=\"")?;
        if name.is_empty() || name.contains(['"', '{', '}']) {
            return None;
        }
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let rest = rest.get(end + 1..)?;
        match rest.strip_prefix('}') {
            Some(rest) => return Some(rest),
            None => text = rest.strip_prefix(',')?,
        }
    }
}
