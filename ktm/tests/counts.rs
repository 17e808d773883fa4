//! What `iomonitor` counts, against what a workload is known to have done, on this kernel.

mod common;

use common::{
    PAGE, PAGES, Reading, Workload, added, context, expected, folder_on_disk, plain, read, skipped,
    target,
};
use ktm::iomonitor::IoMonitor;
use ktm::{HookKinds, Module as _};

#[test]
fn workload() {
    common::run_as_workload();
}

const EXACT_STEPS: [&str; 6] = ["fadvise", "pread", "read", "write", "fsync", "again"];

/// What each of [`EXACT_STEPS`] adds.
fn exact(step: &str) -> Reading {
    match step {
        "fadvise" => expected(&[
            ("ktm_fadvise_calls_total", 26),
            ("ktm_fadvise_dontneed_total", 8),
            (
                "ktm_fadvise_advice_calls_total{advice=\"normal\",result=\"ok\"}",
                1,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"random\",result=\"ok\"}",
                2,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"sequential\",result=\"ok\"}",
                3,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"willneed\",result=\"ok\"}",
                4,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"dontneed\",result=\"ok\"}",
                5,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"dontneed\",result=\"error\"}",
                3,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"noreuse\",result=\"ok\"}",
                6,
            ),
            (
                "ktm_fadvise_advice_calls_total{advice=\"other\",result=\"error\"}",
                2,
            ),
        ]),
        "pread" => expected(&[
            ("ktm_sys_pread_latency_seconds_count", 5),
            ("ktm_sys_pread_bytes_total", 14_197),
            ("ktm_sys_pread_errors_total", 5),
        ]),
        "read" => expected(&[
            ("ktm_sys_read_latency_seconds_count", 3),
            ("ktm_sys_read_bytes_total", 555),
            ("ktm_sys_read_errors_total", 1),
        ]),
        "write" => expected(&[
            ("ktm_sys_write_latency_seconds_count", 1),
            ("ktm_sys_write_bytes_total", 777),
            ("ktm_sys_write_errors_total", 1),
            ("ktm_sys_pwrite_latency_seconds_count", 2),
            ("ktm_sys_pwrite_bytes_total", 366),
        ]),
        "fsync" => expected(&[
            ("ktm_sys_fsync_latency_seconds_count", 4),
            ("ktm_sys_fsync_errors_total", 1),
        ]),
        "again" => expected(&[("ktm_sys_read_again_total", 4)]),
        other => panic!("no step {other}"),
    }
}

/// The counters of system calls alone: what a step does to the page cache depends on what is in it.
fn syscalls(reading: Reading) -> Reading {
    let mut reading = plain(reading);
    reading.retain(|name, _| name.starts_with("ktm_sys_") || name.starts_with("ktm_fadvise_"));
    reading
}

fn system_calls_are_counted_exactly_by(kind: &str, hooks: HookKinds) {
    let mut context = context();
    context.hooks = hooks;
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls"]) {
        return;
    }
    let source = module.probes()[0].source.clone().expect("attached");
    assert!(
        source.starts_with(kind),
        "this is a test of {kind}, not of {source}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let watched = Workload::start(folder.path(), "watched", &EXACT_STEPS);
    let foreign = Workload::start(folder.path(), "foreign", &EXACT_STEPS);

    module.retarget(Some(&target(&watched))).expect("a target");
    let mut before = read(&mut module);
    assert!(
        before.values().all(|value| *value == 0),
        "a new target starts at zero: {before:?}"
    );
    for step in EXACT_STEPS {
        foreign.resume();
        watched.step();
        foreign.wait_until_stopped();
        let after = read(&mut module);
        assert_eq!(syscalls(added(&before, &after)), exact(step), "step {step}");
        check_histograms(&after);
        before = after;
    }
}

#[test]
fn system_calls_are_counted_exactly_by_the_best_hook() {
    system_calls_are_counted_exactly_by("", HookKinds::ALL);
}

#[test]
fn system_calls_are_counted_exactly_by_raw_tracepoints() {
    system_calls_are_counted_exactly_by(
        "raw_tp:",
        HookKinds {
            btf_tracepoint: false,
            ..HookKinds::ALL
        },
    );
}

#[test]
fn system_calls_are_counted_exactly_by_plain_tracepoints() {
    system_calls_are_counted_exactly_by(
        "tracepoint:",
        HookKinds {
            btf_tracepoint: false,
            raw_tracepoint: false,
            tracepoint: true,
        },
    );
}

/// The comparison can fail: work that was done twice is not what was expected once.
#[test]
fn work_done_twice_is_not_taken_for_work_done_once() {
    let context = context();
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for step in EXACT_STEPS {
        let workload = Workload::start(folder.path(), step, &[step, step]);
        module.retarget(Some(&target(&workload))).expect("a target");
        let before = read(&mut module);
        workload.step();
        assert_eq!(syscalls(added(&before, &read(&mut module))), exact(step));
        workload.step();
        assert_ne!(syscalls(added(&before, &read(&mut module))), exact(step));
    }
}

/// Buckets are cumulative and the count is the last of them.
fn check_histograms(reading: &Reading) {
    for call in ["read", "pread", "write", "pwrite", "fsync"] {
        let family = format!("ktm_sys_{call}_latency_seconds");
        let bound_of = |name: &str| {
            let bound = name
                .strip_prefix(&format!("{family}_bucket{{le=\""))?
                .strip_suffix("\"}")?;
            Some(if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().expect("a number")
            })
        };
        let mut buckets: Vec<(f64, u64)> = reading
            .iter()
            .filter_map(|(name, value)| Some((bound_of(name)?, *value)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(buckets.len(), 202);
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{family} is cumulative"
        );
        assert_eq!(
            buckets[201].1,
            reading[&format!("{family}_count")],
            "{family}"
        );
    }
}

#[test]
fn latencies_are_those_that_were_waited() {
    let context = context();
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let workload = Workload::start(folder.path(), "slow", &["slow"]);
    module.retarget(Some(&target(&workload))).expect("a target");
    workload.step();
    let reading = read(&mut module);

    assert_eq!(reading["ktm_sys_read_latency_seconds_count"], 1);
    let nanoseconds = reading["ktm_sys_read_latency_seconds_sum"];
    assert!(
        (30_000_000..3_000_000_000).contains(&nanoseconds),
        "{nanoseconds} ns"
    );
    let at_most =
        |le: &str| reading[&format!("ktm_sys_read_latency_seconds_bucket{{le=\"{le}\"}}")];
    assert_eq!(at_most("0.016384"), 0, "it waited 30 ms");
    assert_eq!(at_most("4.194304"), 1);
}

#[test]
fn a_new_target_starts_at_zero_and_no_target_counts_nothing() {
    let context = context();
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let first = Workload::start(folder.path(), "first", &["pread", "pread", "pread"]);
    let second = Workload::start(folder.path(), "second", &["pread", "pread"]);

    first.step();
    assert!(
        read(&mut module).values().all(|value| *value == 0),
        "there is no target yet"
    );
    module.retarget(Some(&target(&first))).expect("a target");
    first.step();
    second.step();
    let of_first = read(&mut module);
    assert_eq!(
        syscalls(of_first.clone()),
        with_zeros(&of_first, exact("pread"))
    );

    module.retarget(None).expect("no target");
    first.step();
    assert_eq!(
        read(&mut module),
        of_first,
        "nothing is counted, nothing is forgotten"
    );

    module
        .retarget(Some(&target(&second)))
        .expect("another target");
    assert!(read(&mut module).values().all(|value| *value == 0));
    second.step();
    let of_second = read(&mut module);
    assert_eq!(
        syscalls(of_second.clone()),
        with_zeros(&of_second, exact("pread"))
    );
}

/// The same expectation, with zero for all other counters of system calls.
fn with_zeros(reading: &Reading, expectation: Reading) -> Reading {
    let mut all = syscalls(reading.clone());
    for (name, value) in &mut all {
        *value = expectation.get(name).copied().unwrap_or(0);
    }
    all
}

#[test]
fn threads_that_end_give_their_place_back() {
    let context = context();
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let workload = Workload::start(folder.path(), "threads", &["threads"]);
    module.retarget(Some(&target(&workload))).expect("a target");
    workload.step();
    let reading = read(&mut module);
    assert_eq!(
        reading["ktm_sys_pread_latency_seconds_count"], 12_000,
        "more than there are places"
    );
    assert_eq!(reading["ktm_iomonitor_lost_total"], 0);
}

const PAGE_SIGNALS: [&str; 5] = [
    "syscalls",
    "cache_lookups",
    "cache_misses",
    "cache_fills",
    "cache_deletes",
];

fn pages_are_counted_exactly_by(hooks: HookKinds) {
    let mut context = context();
    context.hooks = hooks;
    let mut module = IoMonitor::start(&context);
    if skipped(&module, &PAGE_SIGNALS) {
        return;
    }
    let Some(folder) = folder_on_disk() else {
        return;
    };
    let steps = ["drop", "cold", "cold", "drop", "random", "stride"];
    let workload = Workload::start(folder.path(), "pages", &steps);
    let foreign = Workload::start(folder.path(), "foreign", &steps);
    module.retarget(Some(&target(&workload))).expect("a target");

    let mut before = read(&mut module);
    let mut step = || {
        foreign.resume();
        workload.step();
        foreign.wait_until_stopped();
        let after = read(&mut module);
        let added = added(&before, &after);
        before = after;
        move |name: &str| added.get(name).copied().unwrap_or(0)
    };
    let dropped = step();
    assert_eq!(
        dropped("ktm_cache_deletes_total"),
        PAGES,
        "the file was just written"
    );

    let cold = step();
    assert_eq!(cold("ktm_cache_fills_total"), PAGES);
    assert_eq!(cold("ktm_cache_deletes_total"), 0);
    assert_eq!(cold("ktm_sys_pread_bytes_total"), PAGES * PAGE as u64);
    assert_eq!(
        cold("ktm_cache_misses_total"),
        1,
        "readahead fetched the rest"
    );

    let warm = step();
    assert_eq!(warm("ktm_cache_fills_total"), 0);
    assert_eq!(warm("ktm_cache_misses_total"), 0);
    assert_eq!(
        warm("ktm_cache_lookups_total"),
        PAGES,
        "one for each read of a page"
    );

    let dropped = step();
    assert_eq!(dropped("ktm_cache_deletes_total"), PAGES);
    assert_eq!(dropped("ktm_cache_fills_total"), 0);

    let advised = step();
    assert_eq!(advised("ktm_cache_fills_total"), 0);
    let stride = step();
    assert_eq!(
        stride("ktm_cache_misses_total"),
        PAGES / 8,
        "each read misses"
    );
    assert_eq!(stride("ktm_cache_fills_total"), PAGES / 8);
}

#[test]
fn pages_are_counted_exactly_by_the_best_hook() {
    pages_are_counted_exactly_by(HookKinds::ALL);
}

#[test]
fn pages_are_counted_exactly_by_plain_tracepoints() {
    pages_are_counted_exactly_by(HookKinds {
        btf_tracepoint: false,
        raw_tracepoint: false,
        tracepoint: true,
    });
}

#[test]
fn with_no_hook_at_all_the_module_starts_with_no_series_and_says_why() {
    let mut context = context();
    context.hooks = HookKinds {
        btf_tracepoint: false,
        raw_tracepoint: false,
        tracepoint: false,
    };
    let mut module = IoMonitor::start(&context);
    assert!(module.series().is_empty(), "absent is not zero");
    assert_eq!(module.probes().len(), 8);
    assert!(module.probes().iter().all(|probe| !probe.is_attached()));
    assert!(read(&mut module).is_empty());
    module.retarget(None).expect("nothing to do");
}

#[test]
fn without_tracefs_what_needs_it_is_absent_and_the_rest_is_there() {
    let mut context = context();
    let module = IoMonitor::start(&context);
    if skipped(&module, &["syscalls", "cache_fills", "cache_lookups"]) {
        return;
    }
    context.tracefs = ktm::TraceFs::Missing("hidden by a test".into());
    let module = IoMonitor::start(&context);
    for probe in module.probes() {
        let needs_tracefs = matches!(probe.signal, "cache_fills" | "cache_deletes");
        assert_eq!(probe.is_attached(), !needs_tracefs, "{probe}");
        assert!(
            !needs_tracefs || probe.to_string().contains("hidden by a test"),
            "{probe}"
        );
    }
    let names: Vec<_> = module
        .series()
        .into_iter()
        .map(|series| series.name)
        .collect();
    assert!(!names.iter().any(|name| name == "ktm_cache_fills_total"));
    assert!(names.iter().any(|name| name == "ktm_cache_lookups_total"));
}
