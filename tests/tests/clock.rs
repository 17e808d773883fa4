//! The wall clock is set while the recorder runs: backwards, forwards, by a second and by a day.

use ktm_tests::clock::{COUNTED, FalseClock, Told, judge, lines};
use ktm_tests::dump::{self, Said, dump};
use ktm_tests::folder::Folder;
use ktm_tests::recorder::{Recorder, Running};
use ktm_tests::table::{Instant, Table};
use ktm_tests::wait::until;
use ktm_tests::{environment, http};
use serde_json::Value;
use std::path::Path;

const DAY: i64 = 86_400;
const STEPS: [i64; 4] = [-1, -60, -DAY, DAY];
const NO_DATA: i32 = 3;

/// Beyond this the table has several samples to a line.
const LINES: usize = 40;

#[test]
fn after_every_step_each_sample_is_told_once_in_recorded_order_and_no_rate_crosses() {
    for _ in 0..3 {
        let folder = Folder::new();
        let clock = match FalseClock::new(folder.path()) {
            Ok(clock) => clock,
            Err(why) => return environment::skip("stepping the wall clock", &why),
        };
        let over_http = step_while_recording(&folder, clock);
        // A machine that is so slow had time for more.
        if dump::table(&folder.join("box.ktm")).instants.len() <= LINES {
            return check(&folder.join("box.ktm"), &over_http);
        }
    }
    panic!("always more than {LINES} samples");
}

/// Returns what was told over HTTP at the end.
fn step_while_recording(folder: &Folder, mut clock: FalseClock) -> Table {
    let recorder = Recorder::new(folder)
        .interval("500ms")
        .arguments(["--target-comm", "no-such-process"]);
    let running = clock.before(recorder).start_and_wait();
    wait_for_samples(&running);
    for seconds in STEPS {
        clock.step(seconds);
        wait_for_samples(&running);
    }
    let over_http = running.replay().expect("told");
    let marked = running.events().expect("told");
    let windows = http::get(running.address(), "/metrics-windows").expect("told");
    assert_eq!(windows.status, 200);
    let is_step = |event: &&Value| event["kind"] == "clock_step";
    assert_eq!(marked.iter().filter(is_step).count(), STEPS.len());
    assert!(running.terminate().success());
    over_http
}

fn check(file: &Path, over_http: &Table) {
    let told = told(file, &[]);
    judge(&told, &STEPS).unwrap_or_else(|why| panic!("{why}: {told:#?}"));
    let whole = dump::table(file);
    assert_eq!(
        over_http.instants,
        whole.instants[..over_http.instants.len()],
        "what HTTP told is what is recorded"
    );
    check_formats(file, &told.values);
    check_ranges(file, &told);
}

/// Two more than there are, so that every stretch between two steps has a rate.
fn wait_for_samples(running: &Running) {
    let count = || Ok::<_, String>(running.replay()?.instants.len());
    let before = until("samples", count);
    until("two samples more", || match count()? {
        now if now >= before + 2 => Ok(()),
        now => Err(format!("{now}, {before} before; {}", running.said())),
    });
}

fn told(file: &Path, range: &[&str]) -> Told {
    let said = |arguments: &[&str]| {
        let arguments = [&["-m", COUNTED], arguments, range].concat();
        let said = dump(file, &arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        said.stdout
    };
    Told {
        values: Table::parse(&said(&["-o", "csv"])).expect("a table"),
        rates: Table::parse(&said(&["-o", "csv", "--rate"])).expect("a table"),
        lines: lines(&said(&[])).expect("a table"),
    }
}

/// The other formats tell the same samples in the same order.
fn check_formats(file: &Path, values: &Table) {
    let said = |format: &str| dump(file, ["-m", COUNTED, "-o", format]).stdout;
    let pairs: Vec<(String, u64)> = values
        .instants
        .iter()
        .map(|one| (one.timestamp.clone(), one.whole(COUNTED).expect("counted")))
        .collect();
    let pair = |object: Value| {
        let time = object["timestamp"].as_str().expect("a time").to_owned();
        let count = object["values"][COUNTED].as_u64().expect("counted");
        (time, count)
    };
    let objects: Vec<Value> = serde_json::from_str(&said("json")).expect("JSON");
    let json: Vec<_> = objects.into_iter().map(pair).collect();
    assert_eq!(json, pairs);
    let ndjson = said("ndjson");
    let ndjson = ndjson.lines().map(|line| {
        let object = serde_json::from_str(line).expect("JSON");
        pair(object)
    });
    assert_eq!(ndjson.collect::<Vec<_>>(), pairs);
    let exposed = said("openmetrics");
    let counts = exposed.lines().filter_map(|line| {
        let mut words = line.strip_prefix(COUNTED)?.split_whitespace();
        words.next()?.parse().ok()
    });
    let expected: Vec<u64> = pairs.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts.collect::<Vec<u64>>(), expected);
}

/// A range has the samples whose own times are in it, in recorded order, whatever lies between.
fn check_ranges(file: &Path, told: &Told) {
    let all = &told.values.instants;
    let mut times: Vec<&Instant> = all.iter().collect();
    times.sort_by_key(|instant| instant.unix_ns);
    let cuts = [0, times.len() / 4, times.len() / 2, times.len() - 1].map(|place| times[place]);
    for (from, to) in [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3)] {
        let (from, to) = (cuts[from], cuts[to]);
        let range = ["-S", &from.timestamp, "-U", &to.timestamp];
        let is_in = |one: &&Instant| (from.unix_ns..=to.unix_ns).contains(&one.unix_ns);
        let expected: Vec<&Instant> = all.iter().filter(is_in).collect();
        let part = self::told(file, &range);
        assert_eq!(part.values.instants.iter().collect::<Vec<_>>(), expected);
        check_rates_of_a_part(&part, told);
    }
    let range = ["-S", "1999-01-01T00:00:00Z", "-U", "1999-01-02T00:00:00Z"];
    let Said { code, .. } = dump(file, range);
    assert_eq!(code, Some(NO_DATA));
}

/// Whoever has a rate in a part had it in the whole, and had the same sample before it.
fn check_rates_of_a_part(part: &Told, whole: &Told) {
    let place = |one: &Instant| {
        let all = &whole.values.instants;
        all.iter()
            .position(|other| other.timestamp == one.timestamp)
    };
    let mut before = None;
    for rate in &part.rates.instants {
        let here = place(rate).expect("one of the samples");
        let follows = before == here.checked_sub(1) && before.is_some();
        let expected = &whole.rates.instants[here].values;
        if follows {
            assert_eq!(&rate.values, expected, "{}", rate.timestamp);
        } else {
            assert!(rate.values.is_empty(), "{}", rate.timestamp);
        }
        before = Some(here);
    }
}
