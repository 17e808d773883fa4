//! CSV: `timestamp,epoch,<series>...`, quoted as in RFC 4180, absent values empty.

use std::io::Write;

use super::bins::Bin;
use super::engine::Lines;
use crate::time::rfc3339_nanos;

pub(crate) struct Csv;

impl Lines for Csv {
    fn head(&mut self, titles: &[String], line: &mut Vec<u8>) {
        line.extend_from_slice(b"timestamp,epoch");
        for title in titles {
            line.push(b',');
            put_field(line, title);
        }
        line.push(b'\n');
    }

    fn line(&mut self, bin: &Bin, line: &mut Vec<u8>) {
        line.extend_from_slice(rfc3339_nanos(bin.last.realtime_ns).as_bytes());
        write!(line, ",{}", bin.epoch).expect("a Vec takes everything");
        for cell in &bin.cells {
            line.push(b',');
            if let Some(cell) = cell {
                // Decimal text needs no quotes.
                write!(line, "{}", cell.decimal()).expect("a Vec takes everything");
            }
        }
        line.push(b'\n');
    }

    fn foot(&mut self, _line: &mut Vec<u8>) {}
}

fn put_field(line: &mut Vec<u8>, text: &str) {
    if !text.contains([',', '"', '\n', '\r']) {
        return line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use ktm_format::{Kind, Schema, Series, ValueType};

    use crate::replay::fixture::Fixture;
    use crate::replay::{Format, QueryText};

    fn csv(fixture: &Fixture, text: QueryText) -> String {
        fixture.written(Format::Csv, text).expect("a good query")
    }

    fn schema() -> Schema {
        let series = vec![
            Series::counter("a_total", "").label("path", "/x,\"y\""),
            Series::new("s_seconds_sum", Kind::Sum, ValueType::U64, "").exponent(-9),
            Series::new("f", Kind::Gauge, ValueType::F64, ""),
        ];
        Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
    }

    fn fixture() -> Fixture {
        let mut fixture = Fixture::new();
        let bits = |value: f64| Some(value.to_bits());
        fixture
            .at(0)
            .row(&schema(), &[Some(u64::MAX - 5), Some(1), bits(f64::NAN)]);
        fixture
            .at(10)
            .row(&schema(), &[Some(u64::MAX), None, bits(0.1)]);
        fixture
    }

    #[test]
    fn the_header_is_quoted_and_values_are_exact_and_absent_is_empty() {
        assert_eq!(
            csv(&fixture(), QueryText::default()),
            "timestamp,epoch,\"a_total{path=\"\"/x,\\\"\"y\\\"\"\"\"}\",s_seconds_sum,f\n\
             1970-01-01T00:00:00.000000000Z,1,18446744073709551610,0.000000001,NaN\n\
             1970-01-01T00:00:10.000000000Z,1,18446744073709551615,,0.1\n"
        );
    }

    #[test]
    fn rates_have_their_own_names_and_gauges_stay_as_they_are() {
        let text = csv(
            &fixture(),
            QueryText {
                rate: true,
                ..QueryText::default()
            },
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(",rate(s_seconds_sum),f"), "{}", lines[0]);
        assert_eq!(lines[1], "1970-01-01T00:00:00.000000000Z,1,,,NaN");
        assert_eq!(lines[2], "1970-01-01T00:00:10.000000000Z,1,0.5,,0.1");
    }

    #[test]
    fn an_interval_keeps_the_last_sample_and_its_own_time() {
        let query = QueryText {
            interval: Some("1m".into()),
            ..QueryText::default()
        };
        let text = csv(
            &fixture(),
            QueryText {
                metrics: vec!["f".into()],
                ..query
            },
        );
        assert_eq!(
            text,
            "timestamp,epoch,f\n1970-01-01T00:00:10.000000000Z,1,0.1\n"
        );
    }

    #[test]
    fn an_empty_recording_is_a_header() {
        assert_eq!(
            csv(&Fixture::new(), QueryText::default()),
            "timestamp,epoch\n"
        );
    }
}
