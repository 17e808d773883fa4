//! `/metrics-windows`: the Discovery Proxy's own shape, from the file, every sample with its time.
//!
//! A top-level array, one item for each series: `name`, `description`, `labels`, `agent_id` (the
//! file's uuid), `pod_name` (from the labels), `data`. JSON has no NaN and no infinity, so such
//! samples are not in `data`.

use std::io::Write;

use ktm_format::{Snapshot, Stamp};

use super::bounds::exposed;
use super::by_series::{BySeries, Points};
use super::columns::{Column, Columns};
use super::engine::ReplayError;
use super::frames::Cell;
use super::json::quoted;
use super::latest::Latest;
use super::query::Range;
use crate::time::{parse_rfc3339, rfc3339_seconds};

/// The parameters as they were written; an empty one is one that was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowText {
    /// RFC 3339.
    pub start_time: Option<String>,
    /// RFC 3339.
    pub end_time: Option<String>,
    /// Only series with this `node_role`.
    pub role: Option<String>,
    /// Only series with this `pod_name`.
    pub pod_name: Option<String>,
}

/// What is asked of `/metrics-windows`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowQuery {
    /// Only where both times were given; otherwise the newest values.
    range: Option<Range>,
    role: Option<String>,
    pod_name: Option<String>,
}

/// A time that is not RFC 3339. Its text is the body of the 400 that the proxy would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowError(String);

impl std::fmt::Display for WindowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WindowError {}

impl WindowQuery {
    /// Understands the parameters.
    ///
    /// # Errors
    ///
    /// [`WindowError`]: `Invalid start_time format: ...` or `Invalid end_time format: ...`.
    pub fn parse(text: &WindowText) -> Result<WindowQuery, WindowError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let time = |name: &str, text: &Option<String>| {
            let parse = |text: String| {
                parse_rfc3339(&text)
                    .map_err(|why| WindowError(format!("Invalid {name} format: {why}")))
            };
            given(text).map(parse).transpose()
        };
        let start = time("start_time", &text.start_time)?;
        let end = time("end_time", &text.end_time)?;
        let both = start.is_some() && end.is_some();
        Ok(WindowQuery {
            range: both.then_some(Range {
                since_ns: start,
                until_ns: end,
            }),
            role: given(&text.role),
            pod_name: given(&text.pod_name),
        })
    }

    fn wants(&self, column: &Column) -> bool {
        let fits = |wanted: &Option<String>, label: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| column.label(label) == Some(wanted))
        };
        fits(&self.role, "node_role") && fits(&self.pod_name, "pod_name")
    }
}

/// Writes the answer as `application/json`.
///
/// # Errors
///
/// [`ReplayError`].
pub fn write_windows(
    snapshot: &Snapshot,
    query: &WindowQuery,
    out: &mut dyn Write,
) -> Result<(), ReplayError> {
    let agent_id = quoted(&snapshot.info().uuid);
    match query.range {
        Some(range) => {
            let columns = exposed(&Columns::of(snapshot.schemas()));
            let columns = columns.retain(|column| query.wants(column));
            let groups: Vec<Vec<usize>> = (0..columns.len()).map(|index| vec![index]).collect();
            let mut items = Items::new(out, &columns, &agent_id);
            let interval = None;
            let by_series = BySeries {
                snapshot,
                range,
                interval,
                columns: &columns,
                groups: &groups,
            };
            by_series.run(&mut items)?;
            items.finish()
        }
        None => {
            let latest = Latest::from_snapshot(snapshot)?;
            let (columns, cells) = latest.cells();
            let mut items = Items::new(out, &columns, &agent_id);
            for (index, (cell, column)) in cells.iter().zip(columns.list()).enumerate() {
                if query.wants(column) {
                    items.point(index, latest.stamp(), &[*cell])?;
                }
            }
            items.finish()
        }
    }
}

/// Writes items as their points come, an item only once it has a point.
struct Items<'a> {
    out: &'a mut dyn Write,
    columns: &'a Columns,
    agent_id: &'a [u8],
    open: Option<usize>,
    text: Vec<u8>,
}

impl<'a> Items<'a> {
    fn new(out: &'a mut dyn Write, columns: &'a Columns, agent_id: &'a [u8]) -> Items<'a> {
        Items {
            out,
            columns,
            agent_id,
            open: None,
            text: b"[".to_vec(),
        }
    }

    fn begin(&mut self, index: usize) {
        let Some(column) = self.columns.list().get(index) else {
            return;
        };
        let mut labels: Vec<&(String, String)> = column.labels.iter().collect();
        labels.sort_unstable();
        let text = &mut self.text;
        text.extend_from_slice(if self.open.is_some() { b"]},\n" } else { b"\n" });
        text.extend_from_slice(b"{\"name\":");
        text.extend(quoted(&column.name));
        text.extend_from_slice(b",\"description\":");
        text.extend(quoted(&column.help));
        text.extend_from_slice(b",\"labels\":{");
        for (index, (key, value)) in labels.into_iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"" } else { b"," });
            text.extend(quoted(key));
            text.push(b':');
            text.extend(quoted(value));
        }
        text.extend_from_slice(b"},\"agent_id\":");
        text.extend_from_slice(self.agent_id);
        text.extend_from_slice(b",\"pod_name\":");
        text.extend(quoted(column.label("pod_name").unwrap_or_default()));
        text.extend_from_slice(b",\"data\":[");
        self.open = Some(index);
    }

    fn finish(mut self) -> Result<(), ReplayError> {
        self.text.extend_from_slice(if self.open.is_some() {
            b"]}\n]\n"
        } else {
            b"]\n"
        });
        self.out.write_all(&self.text)?;
        Ok(self.out.flush()?)
    }
}

impl Points for Items<'_> {
    fn point(
        &mut self,
        group: usize,
        at: Stamp,
        cells: &[Option<Cell>],
    ) -> Result<(), ReplayError> {
        let Some(Some(cell)) = cells
            .first()
            .filter(|cell| cell.is_some_and(|c| c.is_finite()))
        else {
            return Ok(());
        };
        if self.open == Some(group) {
            self.text.push(b',');
        } else {
            self.begin(group);
        }
        let time = rfc3339_seconds(at.realtime_ns);
        write!(
            self.text,
            "{{\"timestamp\":\"{time}\",\"value\":{}}}",
            cell.decimal()
        )?;
        if self.text.len() > 1 << 16 {
            self.out.write_all(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Kind, Schema, Series, ValueType};
    use serde_json::{Value, json};

    use super::*;
    use crate::replay::fixture::Fixture;

    fn fixture() -> Fixture {
        let schema = Schema {
            module: "m".into(),
            labels: [("pod_name", "data-0"), ("node_role", "ROLE_DATA")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec(),
            series: vec![
                Series::counter("ktm_a_total", "A.").label("x", "1"),
                Series::new("ktm_f", Kind::Gauge, ValueType::F64, "F."),
                Series::gauge("ktm_never", ""),
            ],
        };
        let bits = |value: f64| Some(value.to_bits());
        let mut fixture = Fixture::new();
        fixture.at(10).stamp.realtime_ns += 999_999_999;
        fixture.row(&schema, &[Some(1), bits(0.5), None]);
        fixture
            .at(20)
            .row(&schema, &[Some(2), bits(f64::NAN), None]);
        fixture.at(30).row(&schema, &[Some(3), bits(1.5), None]);
        fixture
    }

    fn asked(text: WindowText) -> Value {
        let query = WindowQuery::parse(&text).expect("good times");
        let mut out = Vec::new();
        write_windows(&fixture().snapshot(), &query, &mut out).expect("readable");
        serde_json::from_slice(&out).expect("JSON")
    }

    fn text(start: &str, end: &str) -> WindowText {
        let given = |text: &str| Some(text.to_owned());
        WindowText {
            start_time: given(start),
            end_time: given(end),
            ..WindowText::default()
        }
    }

    const START: &str = "1970-01-01T00:00:10Z";
    const END: &str = "1970-01-01T00:00:20Z";

    #[test]
    fn a_window_has_the_proxy_s_keys_and_every_sample_its_own_time() {
        let uuid = fixture().snapshot().info().uuid.clone();
        assert_eq!(
            asked(text(START, END)),
            json!([
                {
                    "name": "ktm_a_total",
                    "description": "A.",
                    "labels": {"node_role": "ROLE_DATA", "pod_name": "data-0", "x": "1"},
                    "agent_id": uuid,
                    "pod_name": "data-0",
                    "data": [
                        {"timestamp": "1970-01-01T00:00:10Z", "value": 1},
                        {"timestamp": "1970-01-01T00:00:20Z", "value": 2},
                    ],
                },
                {
                    "name": "ktm_f",
                    "description": "F.",
                    "labels": {"node_role": "ROLE_DATA", "pod_name": "data-0"},
                    "agent_id": uuid,
                    "pod_name": "data-0",
                    "data": [{"timestamp": "1970-01-01T00:00:10Z", "value": 0.5}],
                },
            ])
        );
    }

    #[test]
    fn only_both_times_make_a_window() {
        for query in [
            text("", ""),
            text(START, ""),
            text("", END),
            WindowText::default(),
        ] {
            let answer = asked(query);
            assert_eq!(
                answer[0]["data"],
                json!([{"timestamp": "1970-01-01T00:00:30Z", "value": 3}])
            );
        }
        assert_eq!(
            asked(text(END, START)),
            json!([]),
            "an empty window is an empty array"
        );
    }

    #[test]
    fn role_and_pod_name_select_by_label() {
        let role = |role: &str| Some(role.to_owned());
        assert_eq!(
            asked(WindowText {
                role: role("ROLE_LIAISON"),
                ..text(START, END)
            }),
            json!([])
        );
        assert_eq!(
            asked(WindowText {
                role: role("ROLE_LIAISON"),
                ..text("", "")
            }),
            json!([])
        );
        let found = asked(WindowText {
            pod_name: role("data-0"),
            ..text(START, END)
        });
        assert_eq!(found.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_bad_time_is_the_proxy_s_400() {
        let error = WindowQuery::parse(&text("1h", "")).expect_err("not RFC 3339");
        assert!(
            error.to_string().starts_with("Invalid start_time format: "),
            "{error}"
        );
        let error = WindowQuery::parse(&text("", "yesterday")).expect_err("not RFC 3339");
        assert!(
            error.to_string().starts_with("Invalid end_time format: "),
            "{error}"
        );
    }
}
