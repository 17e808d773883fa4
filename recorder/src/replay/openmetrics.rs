//! A range as OpenMetrics with timestamps, as `promtool tsdb create-blocks-from openmetrics` reads
//! it: family by family, set of labels by set of labels, each in recorded order.

use std::io::Write;

use ktm_format::Stamp;

use super::by_series::{BySeries, Points};
use super::columns::Columns;
use super::engine::{Outcome, Replay, ReplayError};
use super::exposition::{Dialect, Family, families, put_sample};
use super::frames::Cell;

pub(crate) fn write(replay: &Replay, out: &mut dyn Write) -> Result<Outcome, ReplayError> {
    let families = families(&replay.columns);
    let groups: Vec<Vec<usize>> = families
        .iter()
        .flat_map(|f| f.groups.iter().cloned())
        .collect();
    let family_of = families.iter().enumerate();
    let family_of = family_of
        .flat_map(|(index, f)| vec![index; f.groups.len()])
        .collect();
    let mut writer = Writer {
        out,
        columns: &replay.columns,
        families: &families,
        groups: &groups,
        family_of,
        begun: None,
        text: Vec::new(),
    };
    let by_series = BySeries {
        snapshot: &replay.snapshot,
        range: replay.query.range,
        interval: replay.query.interval,
        columns: &replay.columns,
        groups: &groups,
    };
    let outcome = by_series.run(&mut writer)?;
    out.write_all(b"# EOF\n")?;
    out.flush()?;
    Ok(outcome)
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    columns: &'a Columns,
    families: &'a [Family],
    groups: &'a [Vec<usize>],
    /// Which family each group belongs to.
    family_of: Vec<usize>,
    begun: Option<usize>,
    text: Vec<u8>,
}

impl Points for Writer<'_> {
    fn point(
        &mut self,
        group: usize,
        at: Stamp,
        cells: &[Option<Cell>],
    ) -> Result<(), ReplayError> {
        self.text.clear();
        let family = self.family_of.get(group).copied();
        if cells.iter().any(Option::is_some)
            && self.begun != family
            && let Some(head) = family.and_then(|family| self.families.get(family))
        {
            self.begun = family;
            head.head(Dialect::OpenMetrics, &mut self.text);
        }
        let columns = self.groups.get(group).map_or(&[][..], Vec::as_slice);
        for (column, cell) in columns.iter().zip(cells) {
            if let (Some(column), Some(cell)) = (self.columns.list().get(*column), cell) {
                put_sample(column, cell, Some(at.realtime_ns), &mut self.text);
            }
        }
        Ok(self.out.write_all(&self.text)?)
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Kind, Schema, Series, ValueType};

    use crate::replay::fixture::Fixture;
    use crate::replay::{Format, Parameter, QueryText};

    fn fixture() -> Fixture {
        let bucket = |le: &str| {
            Series::new("r_seconds_bucket", Kind::Bucket, ValueType::U64, "").label("le", le)
        };
        let series = vec![
            bucket("+Inf"),
            Series::counter("a_total", "A.").label("x", "1"),
            bucket("0.5"),
            Series::counter("a_total", "A.").label("x", "2"),
            Series::gauge("never", ""),
        ];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        fixture.at(1).stamp.realtime_ns += 250_000_000;
        fixture.row(&schema, &[Some(2), Some(10), Some(1), None, None]);
        fixture
            .at(2)
            .row(&schema, &[Some(4), Some(11), Some(3), Some(1), None]);
        fixture
    }

    #[test]
    fn families_and_label_sets_are_never_interleaved() {
        let text = fixture()
            .written(Format::OpenMetrics, QueryText::default())
            .expect("good");
        assert_eq!(
            text,
            "# TYPE a counter\n# HELP a A.\n\
             a_total{x=\"1\"} 10 1.25\na_total{x=\"1\"} 11 2\na_total{x=\"2\"} 1 2\n\
             # TYPE r_seconds histogram\n\
             r_seconds_bucket{le=\"0.5\"} 1 1.25\nr_seconds_bucket{le=\"+Inf\"} 2 1.25\n\
             r_seconds_bucket{le=\"0.5\"} 3 2\nr_seconds_bucket{le=\"+Inf\"} 4 2\n\
             # EOF\n"
        );
    }

    #[test]
    fn rates_are_left_to_the_reader() {
        let text = QueryText {
            rate: true,
            ..QueryText::default()
        };
        let error = fixture()
            .written(Format::OpenMetrics, text)
            .expect_err("refused");
        assert_eq!(error.parameter, Parameter::Rate);
    }
}
