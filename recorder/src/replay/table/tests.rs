//! The page as a person sees it.

use ktm_format::{Event, Kind, Schema, Series, ValueType};

use crate::replay::fixture::Fixture;
use crate::replay::{Format, Presentation, Query, QueryText, Replay};
use crate::time::{Reference, Zone};

fn schema() -> Schema {
    let bucket = |le: &str| {
        let name = "ktm_sys_pread_latency_seconds_bucket";
        Series::new(name, Kind::Bucket, ValueType::U64, "").label("le", le)
    };
    let count = "ktm_sys_pread_latency_seconds_count";
    Schema {
        module: "iomonitor".into(),
        labels: vec![("pod_name".into(), "data-0".into())],
        series: vec![
            bucket("0.001"),
            bucket("0.002"),
            bucket("+Inf"),
            Series::new(count, Kind::Count, ValueType::U64, ""),
            Series::counter("ktm_sys_pread_bytes_total", ""),
            Series::counter("ktm_fadvise_dontneed_total", ""),
            Series::counter("ktm_cache_misses_total", ""),
            Series::gauge("ktm_status", ""),
        ],
    }
}

/// `slow` of every 100 calls take between 1 and 2 ms.
fn row(fixture: &mut Fixture, calls: u64, slow: u64) {
    let slow_calls = calls * slow / 100;
    let values = [calls - slow_calls, calls, calls, calls, calls * 16_384, 0];
    let mut values: Vec<Option<u64>> = values.map(Some).to_vec();
    values.extend([None, Some(2)]);
    fixture.row(&schema(), &values);
}

fn incident() -> Fixture {
    let mut fixture = Fixture::new();
    let start = Event::new("start")
        .with("version", "0.1.0")
        .with("interval", "10s");
    fixture.at(0).event(start);
    fixture.event(
        Event::new("probe")
            .with("signal", "syscalls")
            .with("source", "tp_btf"),
    );
    fixture.event(
        Event::new("probe")
            .with("signal", "misses")
            .with("reason", "no such hook"),
    );
    let found = Event::new("target_found")
        .with("pid", 7)
        .with("comm", "banyand");
    fixture.event(found);
    for second in (10..=40).step_by(10) {
        fixture.at(second);
        row(&mut fixture, (second * second) as u64 * 10, 2);
    }
    fixture.epoch();
    let lost = Event::new("target_lost")
        .with("pid", 7)
        .with("comm", "banyand");
    fixture.at(45).event(lost.with("exit", "killed by SIGKILL"));
    fixture.at(50);
    row(&mut fixture, 0, 0);
    fixture
}

fn page(fixture: &Fixture, text: QueryText, raw: bool, width: usize) -> String {
    let zone = Zone::named("+01:00").expect("an offset");
    let reference = Reference {
        now_ns: 0,
        zone: zone.clone(),
    };
    let query = Query::parse(&text, &reference).expect("good");
    let replay = Replay::new(fixture.snapshot().into(), query).expect("good");
    let presentation = Presentation {
        raw,
        width,
        ..Presentation::plain(zone, "box.ktm")
    };
    let mut out = Vec::new();
    replay
        .write(Format::Table, &presentation, &mut out)
        .expect("a Vec");
    String::from_utf8(out).expect("text")
}

#[test]
fn the_page_shows_rates_latencies_and_what_happened_between_them() {
    let expected = "\
box.ktm: 1970-01-01 01:00:10 to 1970-01-01 01:00:50 (UTC+01:00)
5 samples, 1 run, 2 epochs, no damage; each line = 1 sample

01:00:00  * recorder started: version 0.1.0, every 10s
01:00:00  * 1 probe attached
01:00:00  * no probe for misses: no such hook
01:00:00  * target found: banyand (pid 7)

run 1, epoch 1: banyand (pid 7), 01:00:10 to 01:00:40, 4 samples
ended: target lost: banyand (pid 7), killed by SIGKILL
          -------- pread ---------
time       /s  MB/s    p50     p99
01:00:10    -     -      -       -
01:00:20  300  4.92  510us  1.50ms
01:00:30  500  8.19  510us  1.50ms
01:00:40  700  11.5  510us  1.50ms
01:00:45  * target lost: banyand (pid 7), killed by SIGKILL

run 1, epoch 2: no target, 01:00:50, 1 sample

all zero: fadvise dontneed/s
absent, which is not zero: cache misses/s
MB is 10^6 bytes; p50 and p99 are latencies of successful calls
1 more series recorded: choose with -m GLOB, or use -o csv
";
    let page = page(&incident(), QueryText::default(), false, 92);
    assert_eq!(page, expected);
}

#[test]
fn chosen_series_have_letters_and_a_legend() {
    let metrics = vec![
        "ktm_status".into(),
        "*pread_latency*".into(),
        "*dontneed*".into(),
    ];
    let text = QueryText {
        metrics,
        since: Some("@20".into()),
        ..QueryText::default()
    };
    let page = page(&incident(), text, false, 80);
    assert!(page.contains(
        "\n   a  ktm_sys_pread_latency_seconds_count{pod_name=\"data-0\"}, per second\n"
    ));
    assert!(
        page.contains("\n   c  ktm_status{pod_name=\"data-0\"}\n"),
        "{page}"
    );
    assert!(
        page.contains("\n   d  p50 of ktm_sys_pread_latency_seconds\n"),
        "{page}"
    );
    assert!(
        page.contains("all zero: ktm_fadvise_dontneed_total"),
        "{page}"
    );
    assert!(
        page.contains("\n01:00:30  500  2  510us  1.50ms\n"),
        "{page}"
    );
}

#[test]
fn raw_shows_recorded_values() {
    let page = page(&incident(), QueryText::default(), true, 80);
    assert!(page.contains("\n01:00:40  16000  262144000\n"), "{page}");
    assert!(page.contains("calls      bytes\n"), "{page}");
}

#[test]
fn a_narrow_terminal_loses_columns_by_name() {
    let page = page(&incident(), QueryText::default(), false, 24);
    assert!(page.contains("no room for: pread p50"), "{page}");
    for line in page.lines().filter(|line| line.starts_with("01:00:2")) {
        assert!(line.len() <= 24, "{line}");
    }
}

#[test]
fn a_range_without_samples_says_so_and_still_shows_events() {
    let text = QueryText {
        until: Some("@5".into()),
        ..QueryText::default()
    };
    let page = page(&incident(), text, false, 80);
    assert!(
        page.starts_with("box.ktm: no samples in the range\n"),
        "{page}"
    );
    assert!(page.contains("target found"), "{page}");
}

#[test]
fn an_epoch_that_outlives_the_range_is_not_said_to_have_ended_in_it() {
    let text = QueryText {
        until: Some("@30".into()),
        ..QueryText::default()
    };
    let page = page(&incident(), text, false, 92);
    let line = "goes on after this range; ended 01:00:45: target lost: banyand (pid 7)";
    assert!(page.contains(line), "{page}");
    assert!(!page.contains("\nended:"), "{page}");
}
