//! JSON and newline-delimited JSON: `{"timestamp": ..., "epoch": ..., "values": {series: number}}`.
//!
//! Absent values are left out. Numbers keep every digit, also beyond 2^53. JSON has no number for
//! `NaN`, `+Inf` and `-Inf`: they are these strings.

use std::io::{self, Write};

use serde::Serialize;

use super::bins::Bin;
use super::engine::Lines;
use super::frames::Cell;
use crate::time::rfc3339_nanos;

/// Writes a view as JSON, indented, with one newline at the end. `ktm-dump --json` and HTTP both
/// write through here, so that they give the same bytes.
///
/// # Errors
///
/// What `out` says.
pub fn write_json<T: Serialize + ?Sized>(view: &T, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, view)?;
    out.write_all(b"\n")
}

pub(crate) struct Json {
    array: bool,
    titles: Vec<Vec<u8>>,
    lines: u64,
}

impl Json {
    /// One array of all objects, each on its own line.
    pub(crate) fn array() -> Json {
        Json {
            array: true,
            titles: Vec::new(),
            lines: 0,
        }
    }

    /// One object per line and nothing else.
    pub(crate) fn lines() -> Json {
        Json {
            array: false,
            ..Json::array()
        }
    }
}

impl Lines for Json {
    fn head(&mut self, titles: &[String], line: &mut Vec<u8>) {
        self.titles = titles.iter().map(|title| quoted(title)).collect();
        if self.array {
            line.extend_from_slice(b"[");
        }
    }

    fn line(&mut self, bin: &Bin, line: &mut Vec<u8>) {
        if self.array {
            line.extend_from_slice(if self.lines == 0 { b"\n" } else { b",\n" });
        }
        self.lines += 1;
        let time = rfc3339_nanos(bin.last.realtime_ns);
        write!(
            line,
            "{{\"timestamp\":\"{time}\",\"epoch\":{},\"values\":{{",
            bin.epoch
        )
        .expect("a Vec takes everything");
        let mut first = true;
        for (cell, title) in bin.cells.iter().zip(&self.titles) {
            let Some(cell) = cell else { continue };
            if !std::mem::take(&mut first) {
                line.push(b',');
            }
            line.extend_from_slice(title);
            line.push(b':');
            put_number(line, cell);
        }
        line.extend_from_slice(b"}}");
        if !self.array {
            line.push(b'\n');
        }
    }

    fn foot(&mut self, line: &mut Vec<u8>) {
        if self.array {
            line.extend_from_slice(if self.lines == 0 { b"]\n" } else { b"\n]\n" });
        }
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("any text is a JSON string")
}

fn put_number(line: &mut Vec<u8>, cell: &Cell) {
    let decimal = cell.decimal();
    if cell.is_finite() {
        write!(line, "{decimal}").expect("a Vec takes everything");
    } else {
        write!(line, "\"{decimal}\"").expect("a Vec takes everything");
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Kind, Schema, Series, ValueType};

    use crate::replay::fixture::Fixture;
    use crate::replay::{Format, QueryText};

    fn fixture() -> Fixture {
        let series = vec![
            Series::counter("a_total", "").label("x", "\"\u{1}"),
            Series::new("f", Kind::Gauge, ValueType::F64, ""),
        ];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        fixture
            .at(0)
            .row(&schema, &[Some(u64::MAX), Some(f64::INFINITY.to_bits())]);
        fixture
            .at(10)
            .row(&schema, &[None, Some(1e300_f64.to_bits())]);
        fixture
    }

    #[test]
    fn every_object_is_json_with_exact_numbers_and_named_infinities() {
        let text = fixture()
            .written(Format::Ndjson, QueryText::default())
            .expect("good");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"timestamp\":\"1970-01-01T00:00:00.000000000Z\",\"epoch\":1,\"values\":{\
             \"a_total{x=\\\"\\\\\\\"\\u0001\\\"}\":18446744073709551615,\"f\":\"+Inf\"}}"
        );
        for line in lines {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        }
    }

    #[test]
    fn the_array_holds_the_same_objects() {
        let array = fixture()
            .written(Format::Json, QueryText::default())
            .expect("good");
        let lines = fixture()
            .written(Format::Ndjson, QueryText::default())
            .expect("good");
        let array: serde_json::Value = serde_json::from_str(&array).expect("JSON");
        let objects: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(array, serde_json::Value::Array(objects));
        let empty = Fixture::new().written(Format::Json, QueryText::default());
        assert_eq!(empty.as_deref(), Ok("[]\n"));
    }
}
