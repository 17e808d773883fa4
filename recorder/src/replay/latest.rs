//! The newest values, for `/metrics`.

use std::io::{self, Write};
use std::sync::Arc;

use ktm_format::{Error, Row, Schema, Select, Snapshot, Stamp, Value, Values};

use super::bounds::exposed;
use super::columns::Columns;
use super::exposition::{Dialect, families, put_sample};
use super::frames::Cell;

/// The media type of [`Latest::write_text`].
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of [`Latest::write_openmetrics`].
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The rows of the newest sampling instant.
///
/// A recorder keeps one and refills it with every sample; a reader takes it from a snapshot. What
/// was not sampled at that instant is not in it: a value without a time must not be an old one.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    stamp: Stamp,
    rows: Vec<(Arc<Schema>, Vec<Option<Value>>)>,
}

impl Latest {
    /// The newest instant of a recording; empty where it has no rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the recording cannot be read.
    pub fn from_snapshot(snapshot: &Snapshot) -> Result<Latest, Error> {
        let Some((_, newest_time)) = snapshot.bounds() else {
            return Ok(Latest::default());
        };
        let mut last = last_instant(snapshot, newest_time)?;
        // After the clock was set back the newest row does not have the latest time.
        let seq = last.last().map_or(0, |row| row.seq);
        let later = snapshot.events().iter().filter(|event| event.seq > seq);
        if let Some(since) = later.map(|event| event.stamp.realtime_ns).min()
            && since < newest_time
        {
            let after = last_instant(snapshot, since)?;
            if after.last().is_some_and(|row| row.seq > seq) {
                last = after;
            }
        }
        let mut latest = Latest::default();
        for row in last {
            latest.begin_if_new(row.stamp);
            latest.push(Arc::clone(&row.schema), row.values());
        }
        Ok(latest)
    }

    fn begin_if_new(&mut self, stamp: Stamp) {
        if self.stamp != stamp {
            self.begin(stamp);
        }
    }

    /// A new sampling instant: what was there before is forgotten.
    pub fn begin(&mut self, stamp: Stamp) {
        self.stamp = stamp;
        self.rows.clear();
    }

    /// One module's row of this instant.
    pub fn push(&mut self, schema: Arc<Schema>, values: &Values) {
        let value = |(index, series): (usize, &ktm_format::Series)| {
            Some(Value::from_word(values.word(index)?, series.value_type))
        };
        let values = schema.series.iter().enumerate().map(value).collect();
        self.rows.push((schema, values));
    }

    /// When it was sampled.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Prometheus text format 0.0.4, see [`TEXT_CONTENT_TYPE`].
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.exposition(Dialect::Text))
    }

    /// OpenMetrics 1.0, see [`OPENMETRICS_CONTENT_TYPE`].
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write_openmetrics(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = self.exposition(Dialect::OpenMetrics);
        text.extend_from_slice(b"# EOF\n");
        out.write_all(&text)
    }

    /// The columns that are exposed, each with its value.
    pub(crate) fn cells(&self) -> (Columns, Vec<Option<Cell>>) {
        let schemas: Vec<Arc<Schema>> = self.rows.iter().map(|(s, _)| Arc::clone(s)).collect();
        let columns = exposed(&Columns::of(&schemas));
        let mut cells = vec![None; columns.len()];
        for (schema, values) in &self.rows {
            for place in columns.places(schema) {
                let value = values.get(place.series).copied().flatten();
                if let (Some(value), Some(cell)) = (value, cells.get_mut(place.column)) {
                    *cell = Some(Cell {
                        value,
                        exponent: place.exponent,
                    });
                }
            }
        }
        (columns, cells)
    }

    fn exposition(&self, dialect: Dialect) -> Vec<u8> {
        let (columns, cells) = self.cells();
        let mut out = Vec::new();
        for family in families(&columns) {
            let mut samples = Vec::new();
            for index in family.groups.iter().flatten() {
                let cell = cells.get(*index).copied().flatten();
                if let (Some(column), Some(cell)) = (columns.list().get(*index), cell) {
                    put_sample(column, &cell, None, &mut samples);
                }
            }
            if !samples.is_empty() {
                family.head(dialect, &mut out);
                out.append(&mut samples);
            }
        }
        out
    }
}

/// The rows of the last instant recorded at `since_ns` or later.
fn last_instant(snapshot: &Snapshot, since_ns: i64) -> Result<Vec<Row>, Error> {
    let mut last: Vec<Row> = Vec::new();
    for row in snapshot.rows(&Select {
        since_ns: Some(since_ns),
        ..Select::default()
    }) {
        let row = match row {
            Ok(row) => row,
            Err(Error::Corrupt(_)) => continue,
            Err(error) => return Err(error),
        };
        let instant = |row: &Row| (row.stamp, row.epoch, row.run);
        if last
            .first()
            .is_some_and(|first| instant(first) != instant(&row))
        {
            last.clear();
        }
        last.push(row);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use ktm_format::{Event, Kind, Series, ValueType};

    use super::*;
    use crate::replay::fixture::{Fixture, SECOND};

    fn schema() -> Schema {
        let bucket = |le: &str| {
            Series::new(
                "ktm_read_seconds_bucket",
                Kind::Bucket,
                ValueType::U64,
                "Reads.",
            )
            .label("le", le)
            .unit("seconds")
        };
        Schema {
            module: "iomonitor".into(),
            labels: vec![("pod_name".into(), "data-\"0\"".into())],
            series: vec![
                Series::counter("ktm_calls_total", "Calls\nof \"all\" kinds.").label("a", "x"),
                bucket("+Inf"),
                bucket("1e-06"),
                bucket("2e-06"),
                Series::new("ktm_read_seconds_sum", Kind::Sum, ValueType::U64, "Reads.")
                    .exponent(-9)
                    .unit("seconds"),
                Series::new(
                    "ktm_read_seconds_count",
                    Kind::Count,
                    ValueType::U64,
                    "Reads.",
                ),
                Series::counter("ktm_calls_total", "Calls.").label("a", "y"),
                Series::gauge("ktm_status", "Status."),
            ],
        }
    }

    fn fixture() -> Fixture {
        let mut fixture = Fixture::new();
        let values = [7, 3, 1, 2, 5_500, 3, 9].map(Some);
        fixture.at(10).row(&schema(), &[Some(1); 8]);
        fixture
            .at(20)
            .row(&schema(), &[&values[..], &[None]].concat());
        fixture
    }

    fn text(fixture: &Fixture, dialect: Dialect) -> String {
        let latest = Latest::from_snapshot(&fixture.snapshot()).expect("readable");
        let mut out = Vec::new();
        match dialect {
            Dialect::Text => latest.write_text(&mut out).expect("a Vec"),
            Dialect::OpenMetrics => latest.write_openmetrics(&mut out).expect("a Vec"),
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn families_are_whole_typed_and_cumulative_and_absent_series_are_left_out() {
        let pod = r#"pod_name="data-\"0\"""#;
        assert_eq!(
            text(&fixture(), Dialect::Text),
            format!(
                "# HELP ktm_calls_total Calls\\nof \"all\" kinds.\n\
                 # TYPE ktm_calls_total counter\n\
                 ktm_calls_total{{a=\"x\",{pod}}} 7\n\
                 ktm_calls_total{{a=\"y\",{pod}}} 9\n\
                 # HELP ktm_read_seconds Reads.\n\
                 # TYPE ktm_read_seconds histogram\n\
                 ktm_read_seconds_bucket{{le=\"1e-06\",{pod}}} 1\n\
                 ktm_read_seconds_bucket{{le=\"2e-06\",{pod}}} 2\n\
                 ktm_read_seconds_bucket{{le=\"+Inf\",{pod}}} 3\n\
                 ktm_read_seconds_count{{{pod}}} 3\n\
                 ktm_read_seconds_sum{{{pod}}} 0.0000055\n"
            )
        );
    }

    #[test]
    fn an_observation_on_a_bound_is_within_it_also_after_finer_bounds_are_left_out() {
        let bounds: Vec<u64> = (0..32)
            .flat_map(|power| (8..16).map(move |e| (125 * e) << power))
            .collect();
        let powers: Vec<u64> = (0..32).map(|power| 1000 << power).collect();
        // One observation on every power of two microseconds and one a nanosecond above it.
        let observed: Vec<u64> = powers
            .iter()
            .flat_map(|bound| [*bound, bound + 1])
            .collect();
        let within = |bound: u64| observed.iter().filter(|ns| **ns <= bound).count() as u64;
        let bucket = |le: String| {
            Series::new("x_seconds_bucket", Kind::Bucket, ValueType::U64, "").label("le", le)
        };
        let le = |bound: &u64| Value::U64(*bound).decimal(-9).to_string();
        let mut series: Vec<Series> = bounds.iter().map(|bound| bucket(le(bound))).collect();
        series.push(bucket("+Inf".into()));
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut values = Values::new();
        bounds
            .iter()
            .for_each(|bound| values.push_u64(within(*bound)));
        values.push_u64(observed.len() as u64);
        let mut latest = Latest::default();
        latest.push(schema.into(), &values);
        let mut out = Vec::new();
        latest.write_text(&mut out).expect("a Vec");

        let mut expected = String::from("# TYPE x_seconds histogram\n");
        for (index, bound) in powers.iter().enumerate() {
            let count = 2 * index + 1;
            expected += &format!("x_seconds_bucket{{le=\"{}\"}} {count}\n", le(bound));
        }
        expected += "x_seconds_bucket{le=\"+Inf\"} 64\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn openmetrics_declares_counters_without_total_and_ends_with_eof() {
        let text = text(&fixture(), Dialect::OpenMetrics);
        assert!(text.starts_with(
            "# TYPE ktm_calls counter\n# HELP ktm_calls Calls\\nof \\\"all\\\" kinds.\n"
        ));
        assert!(text.contains("ktm_calls_total{a=\"x\""), "{text}");
        assert!(text.contains("# UNIT ktm_read_seconds seconds\n"), "{text}");
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn the_newest_is_the_last_recorded_also_after_the_clock_was_set_back() {
        let mut fixture = fixture();
        fixture.at(30).stamp.realtime_ns = 5 * SECOND;
        fixture.event(Event::new("clock_step").with("seconds", -25));
        let values = [Some(70), None, None, None, None, None, None, Some(2)];
        fixture.row(&schema(), &values);
        let text = text(&fixture, Dialect::Text);
        assert!(
            text.contains(" 70\n") && text.contains("ktm_status"),
            "{text}"
        );
        let empty = Latest::from_snapshot(&Fixture::new().snapshot()).expect("readable");
        let mut out = Vec::new();
        empty.write_openmetrics(&mut out).expect("a Vec");
        assert_eq!(out, b"# EOF\n");
    }
}
