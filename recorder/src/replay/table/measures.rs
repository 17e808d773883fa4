//! What the columns of the table are: a dozen key rates, or the series asked for.

use ktm_format::Kind;

use super::numbers;
use crate::replay::bins::Bin;
use crate::replay::columns::{Column, Columns};
use crate::replay::histogram::{Histogram, Quantile};

/// One column of the table.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// The heading over several columns: `read`. Empty where there is none.
    pub(super) group: String,
    /// The column's own heading, with the unit: `MB/s`.
    pub(super) heading: String,
    /// What it is, in full, for lines that name it.
    pub(super) name: String,
    /// The first to go when the lines are too narrow have the largest number.
    pub(super) priority: usize,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Sum of the rates of these counters, divided by the scale.
    Rate { columns: Vec<usize>, scale: f64 },
    /// The first of these that has a value, as recorded.
    Value { columns: Vec<usize> },
    /// A latency that this share of the observations does not exceed.
    Quantile { histograms: Vec<Histogram>, q: f64 },
}

/// What a column shows in one line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Nothing,
    Zero,
    Text(String),
}

impl Measure {
    pub(super) fn is_quantile(&self) -> bool {
        matches!(self.source, Source::Quantile { .. })
    }

    pub(super) fn show(&self, bin: &Bin) -> Shown {
        match &self.source {
            Source::Rate { columns, scale } => {
                let rate = |column: &usize| bin.increases.get(*column)?.rate();
                let rates: Vec<f64> = columns.iter().filter_map(rate).collect();
                match rates.iter().sum::<f64>() {
                    _ if rates.is_empty() => Shown::Nothing,
                    0.0 => Shown::Zero,
                    rate => Shown::Text(numbers::short(rate / scale)),
                }
            }
            Source::Value { columns } => {
                let cell = |column: &usize| bin.cells.get(*column).copied().flatten();
                match columns.iter().find_map(cell) {
                    None => Shown::Nothing,
                    Some(cell) if cell.as_f64() == 0.0 => Shown::Zero,
                    Some(cell) => Shown::Text(cell.decimal().to_string()),
                }
            }
            Source::Quantile { histograms, q } => {
                match histograms
                    .iter()
                    .find_map(|h| h.quantile(*q, &bin.increases))
                {
                    None => Shown::Nothing,
                    Some(Quantile::Within(seconds)) => Shown::Text(numbers::latency(seconds)),
                    Some(Quantile::Beyond(bound)) => {
                        Shown::Text(format!(">{}", numbers::latency(bound)))
                    }
                }
            }
        }
    }
}

/// What to show of a key series.
#[derive(Clone, Copy)]
enum Key {
    PerSecond,
    MegabytesPerSecond,
    P50,
    P99,
}

/// The key series in the order of the table: group, heading, series or histogram, what of it, and
/// its priority.
const KEYS: &[(&str, &str, &str, Key, usize)] = &[
    (
        "read",
        "/s",
        "ktm_sys_read_latency_seconds_count",
        Key::PerSecond,
        2,
    ),
    (
        "read",
        "MB/s",
        "ktm_sys_read_bytes_total",
        Key::MegabytesPerSecond,
        5,
    ),
    ("read", "p50", "ktm_sys_read_latency_seconds", Key::P50, 14),
    ("read", "p99", "ktm_sys_read_latency_seconds", Key::P99, 3),
    (
        "pread",
        "/s",
        "ktm_sys_pread_latency_seconds_count",
        Key::PerSecond,
        0,
    ),
    (
        "pread",
        "MB/s",
        "ktm_sys_pread_bytes_total",
        Key::MegabytesPerSecond,
        4,
    ),
    (
        "pread",
        "p50",
        "ktm_sys_pread_latency_seconds",
        Key::P50,
        13,
    ),
    ("pread", "p99", "ktm_sys_pread_latency_seconds", Key::P99, 1),
    (
        "write",
        "/s",
        "ktm_sys_write_latency_seconds_count",
        Key::PerSecond,
        12,
    ),
    (
        "write",
        "MB/s",
        "ktm_sys_write_bytes_total",
        Key::MegabytesPerSecond,
        15,
    ),
    (
        "write",
        "p99",
        "ktm_sys_write_latency_seconds",
        Key::P99,
        18,
    ),
    (
        "pwrite",
        "/s",
        "ktm_sys_pwrite_latency_seconds_count",
        Key::PerSecond,
        20,
    ),
    (
        "pwrite",
        "MB/s",
        "ktm_sys_pwrite_bytes_total",
        Key::MegabytesPerSecond,
        19,
    ),
    (
        "pwrite",
        "p99",
        "ktm_sys_pwrite_latency_seconds",
        Key::P99,
        21,
    ),
    (
        "fsync",
        "/s",
        "ktm_sys_fsync_latency_seconds_count",
        Key::PerSecond,
        16,
    ),
    (
        "fsync",
        "p99",
        "ktm_sys_fsync_latency_seconds",
        Key::P99,
        17,
    ),
    (
        "fadvise",
        "/s",
        "ktm_fadvise_calls_total",
        Key::PerSecond,
        22,
    ),
    (
        "fadvise",
        "dontneed/s",
        "ktm_fadvise_dontneed_total",
        Key::PerSecond,
        6,
    ),
    (
        "cache",
        "misses/s",
        "ktm_cache_misses_total",
        Key::PerSecond,
        7,
    ),
    (
        "cache",
        "fills/s",
        "ktm_cache_fills_total",
        Key::PerSecond,
        8,
    ),
    (
        "cache",
        "deletes/s",
        "ktm_cache_deletes_total",
        Key::PerSecond,
        9,
    ),
    (
        "reclaim",
        "scanned/s",
        "ktm_memory_lru_pages_scanned_total",
        Key::PerSecond,
        10,
    ),
    (
        "reclaim",
        "freed/s",
        "ktm_memory_lru_pages_reclaimed_total",
        Key::PerSecond,
        23,
    ),
    (
        "reclaim",
        "direct/s",
        "ktm_memory_direct_reclaim_begin_total",
        Key::PerSecond,
        11,
    ),
    (
        "reclaim",
        "memcg/s",
        "ktm_memory_memcg_reclaim_begin_total",
        Key::PerSecond,
        24,
    ),
];

/// What a person should know of the units of these columns.
pub(super) fn legend(shown: &[Measure]) -> Option<String> {
    let has = |test: fn(&Measure) -> bool| shown.iter().any(test);
    let in_pages = |measure: &Measure| {
        let heading = measure.heading.split('/').next().unwrap_or_default();
        ["fills", "deletes", "scanned", "freed"].contains(&heading)
    };
    let mut facts = Vec::new();
    if has(in_pages) {
        facts.push("fills, deletes, scanned and freed are pages");
    }
    if has(|measure| measure.heading == "MB/s") {
        facts.push("MB is 10^6 bytes");
    }
    if has(|measure| measure.is_quantile() && !measure.group.is_empty()) {
        facts.push("p50 and p99 are latencies of successful calls");
    }
    (!facts.is_empty()).then(|| facts.join("; "))
}

/// True for a series that the key columns show.
pub(super) fn is_key(column: &Column) -> bool {
    KEYS.iter()
        .any(|(_, _, series, ..)| column.name == *series || column.family() == *series)
}

/// The key columns of what is recorded. `raw` gives counters as they were recorded.
pub(super) fn keys(columns: &Columns, raw: bool) -> Vec<Measure> {
    let histograms = Histogram::all(columns);
    let measure = |(group, heading, series, key, priority): &(&str, &str, &str, Key, usize)| {
        let of_histogram = |q| {
            let wanted = histograms
                .iter()
                .filter(|histogram| histogram.family == *series);
            let histograms: Vec<Histogram> = wanted.cloned().collect();
            (!histograms.is_empty() && !raw).then_some(Source::Quantile { histograms, q })
        };
        let list = columns.list().iter().enumerate();
        let found: Vec<usize> = list
            .filter(|(_, c)| c.name == *series)
            .map(|(i, _)| i)
            .collect();
        let source = match key {
            Key::P50 => of_histogram(0.5)?,
            Key::P99 => of_histogram(0.99)?,
            _ if found.is_empty() => return None,
            _ if raw => Source::Value { columns: found },
            Key::PerSecond => Source::Rate {
                columns: found,
                scale: 1.0,
            },
            Key::MegabytesPerSecond => Source::Rate {
                columns: found,
                scale: 1e6,
            },
        };
        let heading = match (raw, heading.strip_suffix("/s")) {
            (true, Some("")) => "calls",
            (true, Some("MB")) => "bytes",
            (true, Some(plain)) => plain,
            _ => heading,
        };
        Some(Measure {
            group: (*group).to_owned(),
            heading: heading.to_owned(),
            name: format!("{group} {heading}"),
            priority: *priority,
            source,
        })
    };
    KEYS.iter().filter_map(measure).collect()
}

/// One column for every series that was asked for; the buckets of a histogram are its quantiles.
/// The headings are letters, explained above the table.
pub(super) fn chosen(columns: &Columns, raw: bool) -> Vec<Measure> {
    let mut found: Vec<(String, Source)> = Vec::new();
    for (index, column) in columns.list().iter().enumerate() {
        let title = &column.title;
        let own = vec![index];
        found.push(match column.kind {
            Kind::Bucket if !raw => continue,
            kind if kind.is_cumulative() && !raw => {
                let unit = if column.unit.is_empty() {
                    ""
                } else {
                    column.unit.as_str()
                };
                let name = format!("{title}, {unit} per second").replace(",  per", ", per");
                (
                    name,
                    Source::Rate {
                        columns: own,
                        scale: 1.0,
                    },
                )
            }
            _ => (title.clone(), Source::Value { columns: own }),
        });
    }
    for histogram in Histogram::all(columns).into_iter().filter(|_| !raw) {
        for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
            let histograms = vec![histogram.clone()];
            found.push((
                format!("{word} of {}", histogram.family),
                Source::Quantile { histograms, q },
            ));
        }
    }
    let measure = |(index, (name, source)): (usize, (String, Source))| Measure {
        group: String::new(),
        heading: letters(index),
        name,
        priority: index,
        source,
    };
    found.into_iter().enumerate().map(measure).collect()
}

/// `a` to `z`, then `aa`, `ab`, ...
fn letters(index: usize) -> String {
    let letter = |i: usize| char::from(b'a' + u8::try_from(i % 26).unwrap_or(0));
    match index / 26 {
        0 => letter(index).to_string(),
        more => format!("{}{}", letters(more - 1), letter(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        let some = [0, 25, 26, 27, 701, 702].map(letters);
        assert_eq!(some, ["a", "z", "aa", "ab", "zz", "aaa"]);
    }

    #[test]
    fn every_key_has_its_own_priority() {
        let mut priorities: Vec<usize> = KEYS.iter().map(|key| key.4).collect();
        priorities.sort_unstable();
        assert_eq!(priorities, (0..KEYS.len()).collect::<Vec<_>>());
    }
}
