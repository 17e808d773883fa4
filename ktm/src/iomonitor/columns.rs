//! The series of `iomonitor`: what each counts, and which words of the counters it is made of.
//!
//! Upstream's families keep their names with the right meaning: pages where upstream counts folios,
//! true and inclusive bucket bounds, counters that are counters.

use std::ops::Range;

use ktm_ebpf::counters::ADVICES;
use ktm_ebpf::{Call, Counters, histogram};
use ktm_format::{Kind, Series, Value, ValueType};

/// One series and where its value comes from.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The series.
    pub(super) series: Series,
    /// The words of the counters that it sums.
    pub(super) words: Range<usize>,
    /// True if it goes on from the value of the column before: a cumulative bucket.
    pub(super) continues: bool,
}

impl Column {
    fn new(series: Series, words: Range<usize>) -> Column {
        Column {
            series,
            words,
            continues: false,
        }
    }

    fn word(series: Series, word: usize) -> Column {
        Column::new(series, word..word + 1)
    }
}

/// Nanoseconds are stored as integers and shown as seconds.
const NANOSECONDS: i8 = -9;
/// The first stored bound, 1 us, and the last, 2^25 us or 33.5 s. What is shorter or longer shares
/// one bucket: finer cells there would double the row and tell nobody anything.
const FIRST_BOUND_NS: u64 = 1_000;
const LAST_BOUND_NS: u64 = 1_000 << 25;

const ADVICE_NAMES: [&str; ADVICES] = [
    "normal",
    "random",
    "sequential",
    "willneed",
    "dontneed",
    "noreuse",
    "other",
];
const DONTNEED: usize = 4;

/// How a timed call is named in series and in prose.
struct Named {
    call: Call,
    name: &'static str,
    prose: &'static str,
    moves_bytes: bool,
}

const CALLS: [Named; Call::COUNT] = [
    Named {
        call: Call::Read,
        name: "read",
        prose: "read()",
        moves_bytes: true,
    },
    Named {
        call: Call::Pread,
        name: "pread",
        prose: "pread64()",
        moves_bytes: true,
    },
    Named {
        call: Call::Write,
        name: "write",
        prose: "write()",
        moves_bytes: true,
    },
    Named {
        call: Call::Pwrite,
        name: "pwrite",
        prose: "pwrite64()",
        moves_bytes: true,
    },
    Named {
        call: Call::Fsync,
        name: "fsync",
        prose: "fsync() and fdatasync()",
        moves_bytes: false,
    },
];

/// The columns of the signal `syscalls`.
pub(super) fn syscalls(source: &str) -> Vec<Column> {
    let mut columns = Vec::new();
    for named in &CALLS {
        latency(&mut columns, named, source);
        outcomes(&mut columns, named, source);
    }
    fadvise(&mut columns, source);
    let lost = format!(
        "System calls of the target that were not counted because the table of threads was full, \
         from {source}"
    );
    columns.push(Column::word(
        Series::counter("ktm_iomonitor_lost_total", lost),
        Counters::LOST,
    ));
    columns
}

/// One histogram: buckets, sum and count. The count is the last bucket, so the two always agree.
fn latency(columns: &mut Vec<Column>, named: &Named, source: &str) {
    let Named {
        call, name, prose, ..
    } = named;
    let family = format!("ktm_sys_{name}_latency_seconds");
    let help = format!(
        "Time from entry to exit of successful {prose} calls by the target's threads, from {source}"
    );
    let cells = Counters::latency_cells(*call);
    let mut first = true;
    let mut next = cells.start;
    for (bound, end) in stored_bounds() {
        let end = cells.start + end;
        // The family's first series carries the help for all of its buckets.
        let help = if first { help.clone() } else { String::new() };
        let series = Series::new(
            format!("{family}_bucket"),
            Kind::Bucket,
            ValueType::U64,
            help,
        )
        .label("le", bound);
        columns.push(Column {
            series,
            words: next..end,
            continues: !first,
        });
        first = false;
        next = end;
    }
    let sum = Series::new(
        format!("{family}_sum"),
        Kind::Sum,
        ValueType::U64,
        help.clone(),
    )
    .exponent(NANOSECONDS)
    .unit("seconds");
    columns.push(Column::word(sum, Counters::latency_sum(*call)));
    let count = Series::new(format!("{family}_count"), Kind::Count, ValueType::U64, help);
    columns.push(Column::new(count, cells));
}

/// The stored bounds as label values, each with the index after its last cell.
fn stored_bounds() -> impl Iterator<Item = (String, usize)> {
    let bounded = (0..histogram::BOUNDED_CELLS).filter_map(|cell| {
        let bound = histogram::upper_bound_ns(cell)?;
        let stored = (FIRST_BOUND_NS..=LAST_BOUND_NS).contains(&bound);
        stored.then(|| (Value::U64(bound).decimal(NANOSECONDS).to_string(), cell + 1))
    });
    bounded.chain([("+Inf".to_owned(), histogram::CELLS)])
}

/// True for a bucket bound (the value of label `le`) that is a power-of-two number of
/// microseconds, or `+Inf`: those are bounds of every octave, and few enough to expose.
pub fn is_power_of_two_bound(le: &str) -> bool {
    if le == "+Inf" {
        return true;
    }
    (0..=31).any(|power| Value::U64(1_000 << power).decimal(NANOSECONDS).to_string() == le)
}

fn outcomes(columns: &mut Vec<Column>, named: &Named, source: &str) {
    let Named {
        call,
        name,
        prose,
        moves_bytes,
    } = named;
    if *moves_bytes {
        let help = format!(
            "Bytes moved by successful {prose} calls of the target, cached or not, from {source}"
        );
        let series = Series::counter(format!("ktm_sys_{name}_bytes_total"), help).unit("bytes");
        columns.push(Column::word(series, Counters::bytes(*call)));
    }
    let help = format!(
        "{prose} calls of the target that failed, without those counted as again, from {source}"
    );
    let series = Series::counter(format!("ktm_sys_{name}_errors_total"), help);
    columns.push(Column::word(series, Counters::errors(*call)));
    let help = format!(
        "{prose} calls of the target that did nothing and are to be repeated (EAGAIN, or \
         interrupted by a signal), from {source}"
    );
    let series = Series::counter(format!("ktm_sys_{name}_again_total"), help);
    columns.push(Column::word(series, Counters::again(*call)));
}

fn fadvise(columns: &mut Vec<Column>, source: &str) {
    let help = format!("Finished fadvise64() calls of the target, failed ones too, from {source}");
    let series = Series::counter("ktm_fadvise_calls_total", help);
    columns.push(Column::new(series, Counters::fadvise_all()));

    let help = format!(
        "Finished fadvise64() calls of the target with POSIX_FADV_DONTNEED, failed ones too, from \
         {source}"
    );
    let series = Series::counter("ktm_fadvise_dontneed_total", help);
    columns.push(Column::new(series, Counters::fadvise(DONTNEED)));

    for (advice, name) in ADVICE_NAMES.iter().enumerate() {
        for (result, word) in ["ok", "error"].iter().zip(Counters::fadvise(advice)) {
            let help = format!(
                "Finished fadvise64() calls of the target by advice and result, from {source}"
            );
            let series = Series::counter("ktm_fadvise_advice_calls_total", help)
                .label("advice", *name)
                .label("result", *result);
            columns.push(Column::word(series, word));
        }
    }
}

/// A signal with a single counter.
fn single(name: &str, help: &str, source: &str, word: usize) -> Column {
    Column::word(
        Series::counter(name, format!("{help}, from {source}")),
        word,
    )
}

fn pages(mut column: Column) -> Column {
    column.series.unit = "pages".to_owned();
    column
}

/// The column of the signal `cache_lookups`.
pub(super) fn cache_lookups(source: &str) -> Vec<Column> {
    vec![single(
        "ktm_cache_lookups_total",
        "Look-ups of the page cache by buffered reads of the target, one for each batch of folios",
        source,
        Counters::CACHE_LOOKUPS,
    )]
}

/// The column of the signal `cache_misses`.
pub(super) fn cache_misses(source: &str) -> Vec<Column> {
    vec![single(
        "ktm_cache_misses_total",
        "Demand misses of the page cache: reads of the target that had to start reading from the \
         device; pages that readahead had fetched are none",
        source,
        Counters::CACHE_MISSES,
    )]
}

/// The column of the signal `cache_fills`.
pub(super) fn cache_fills(source: &str) -> Vec<Column> {
    vec![pages(single(
        "ktm_cache_fills_total",
        "Pages added to the page cache in the target's context by reads, readahead and writes",
        source,
        Counters::CACHE_FILLS,
    ))]
}

/// The column of the signal `cache_deletes`.
pub(super) fn cache_deletes(source: &str) -> Vec<Column> {
    vec![pages(single(
        "ktm_cache_deletes_total",
        "Pages removed from the page cache in the target's context by fadvise, truncation and its \
         own reclaim; what kswapd removes is not seen",
        source,
        Counters::CACHE_DELETES,
    ))]
}

/// The columns of the signal `lru_shrink`.
pub(super) fn lru_shrink(source: &str) -> Vec<Column> {
    vec![
        pages(single(
            "ktm_memory_lru_pages_scanned_total",
            "Inactive pages looked at by reclaim in the target's context, not by kswapd",
            source,
            Counters::LRU_SCANNED,
        )),
        pages(single(
            "ktm_memory_lru_pages_reclaimed_total",
            "Inactive pages freed by reclaim in the target's context, not by kswapd",
            source,
            Counters::LRU_RECLAIMED,
        )),
        single(
            "ktm_memory_lru_shrink_events_total",
            "Batches of inactive pages worked through by reclaim in the target's context",
            source,
            Counters::LRU_EVENTS,
        ),
    ]
}

/// The column of the signal `direct_reclaim`.
pub(super) fn direct_reclaim(source: &str) -> Vec<Column> {
    vec![single(
        "ktm_memory_direct_reclaim_begin_total",
        "Direct reclaims begun by the target's threads because the machine was short of memory",
        source,
        Counters::DIRECT_RECLAIMS,
    )]
}

/// The column of the signal `memcg_reclaim`.
pub(super) fn memcg_reclaim(source: &str) -> Vec<Column> {
    vec![single(
        "ktm_memory_memcg_reclaim_begin_total",
        "Direct reclaims begun by the target's threads because a cgroup was at its memory limit",
        source,
        Counters::MEMCG_RECLAIMS,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Vec<Column> {
        let columns = syscalls("a test");
        let is_bucket =
            |column: &Column| column.series.name == "ktm_sys_pread_latency_seconds_bucket";
        columns.into_iter().filter(is_bucket).collect()
    }

    fn bound(column: &Column) -> &str {
        &column.series.labels[0].1
    }

    #[test]
    fn buckets_cover_every_cell_once_in_order_and_end_at_infinity() {
        let buckets = buckets();
        assert_eq!(buckets.len(), 202);
        let cells = Counters::latency_cells(Call::Pread);
        assert_eq!(buckets[0].words.start, cells.start);
        assert!(!buckets[0].continues);
        for pair in buckets.windows(2) {
            assert_eq!(pair[0].words.end, pair[1].words.start);
            assert!(pair[1].continues);
        }
        assert_eq!(buckets[201].words.end, cells.end);
        assert_eq!(bound(&buckets[0]), "0.000001");
        assert_eq!(bound(&buckets[1]), "0.000001125");
        assert_eq!(bound(&buckets[200]), "33.554432");
        assert_eq!(bound(&buckets[201]), "+Inf");
    }

    #[test]
    fn a_latency_is_counted_from_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (index, bucket) in buckets()[..201].iter().enumerate() {
            let seconds: f64 = bound(bucket).parse().expect("a number");
            let bound_ns = (seconds * 1e9).round() as u64;
            let cell = |ns| Counters::latency_cells(Call::Pread).start + histogram::cell(ns);
            assert!(
                bucket.words.contains(&cell(bound_ns)),
                "{bound_ns} ns in bucket {index}"
            );
            assert!(
                !bucket.words.contains(&cell(bound_ns + 1)),
                "{bound_ns} + 1 ns"
            );
        }
    }

    #[test]
    fn the_exposed_bounds_are_the_powers_of_two() {
        let buckets = buckets();
        let exposed: Vec<_> = buckets
            .iter()
            .map(bound)
            .filter(|le| is_power_of_two_bound(le))
            .collect();
        assert_eq!(exposed.len(), 27, "2^0 to 2^25 us and infinity");
        assert_eq!(exposed[0], "0.000001");
        assert_eq!(exposed[10], "0.001024");
        assert_eq!(exposed[25], "33.554432");
        assert!(!is_power_of_two_bound("0.000001125"));
        assert!(!is_power_of_two_bound(""));
    }

    #[test]
    fn all_of_upstreams_families_are_there_with_their_kinds() {
        let columns: Vec<Column> = super::super::signals::SIGNALS
            .iter()
            .flat_map(|signal| (signal.columns)("a test"))
            .collect();
        let kind_of = |name: &str| {
            let column = columns.iter().find(|column| column.series.name == name);
            column
                .unwrap_or_else(|| panic!("{name} is missing"))
                .series
                .kind
        };
        for name in [
            "ktm_fadvise_calls_total",
            "ktm_fadvise_dontneed_total",
            "ktm_cache_lookups_total",
            "ktm_cache_fills_total",
            "ktm_cache_deletes_total",
            "ktm_memory_lru_pages_scanned_total",
            "ktm_memory_lru_pages_reclaimed_total",
            "ktm_memory_lru_shrink_events_total",
            "ktm_memory_direct_reclaim_begin_total",
            "ktm_sys_read_bytes_total",
            "ktm_sys_pread_bytes_total",
        ] {
            assert_eq!(kind_of(name), Kind::Counter, "{name}");
        }
        for call in ["read", "pread"] {
            let family = format!("ktm_sys_{call}_latency_seconds");
            assert_eq!(kind_of(&format!("{family}_bucket")), Kind::Bucket);
            assert_eq!(kind_of(&format!("{family}_sum")), Kind::Sum);
            assert_eq!(kind_of(&format!("{family}_count")), Kind::Count);
        }
    }

    #[test]
    fn no_series_is_there_twice_and_the_first_of_each_name_says_what_it_counts() {
        let mut seen = std::collections::HashMap::new();
        for signal in super::super::signals::SIGNALS {
            for column in (signal.columns)("a test") {
                let labels = seen.entry(column.series.name.clone()).or_insert_with(|| {
                    assert!(
                        column.series.help.ends_with(", from a test"),
                        "{:?}",
                        column.series
                    );
                    std::collections::HashSet::new()
                });
                assert!(
                    labels.insert(column.series.labels.clone()),
                    "{:?}",
                    column.series
                );
            }
        }
    }
}
