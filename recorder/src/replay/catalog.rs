//! The catalogue: what is recorded, under which name, in which unit.

use std::io::{self, Write};
use std::sync::Arc;

use ktm_format::{Kind, Schema, Series, Snapshot};
use serde::Serialize;

use super::columns::{Column, Columns};
use super::events::printable;
use super::glob::Globs;
use super::parameter::ParameterError;
use super::presentation::{Colour, Presentation};

/// Every series of a recording. An array of series in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Catalog {
    /// The series, in the order of the columns of a replay.
    pub series: Vec<SeriesView>,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeriesView {
    /// The module that samples it.
    pub module: String,
    /// The series as it heads a column: `name{label="value"}`.
    pub series: String,
    /// The sample name.
    pub name: String,
    /// The metric family.
    pub family: String,
    /// Labels, the series' own first, an object of strings in JSON.
    #[serde(serialize_with = "super::events::as_object")]
    pub labels: Vec<(String, String)>,
    /// What the values mean: `counter`, `gauge`, `histogram_bucket`, ...
    pub kind: &'static str,
    /// How the recorded bits are read: `u64`, `i64` or `f64`.
    #[serde(rename = "type")]
    pub value_type: &'static str,
    /// A value is the recorded number times ten to this power.
    pub exponent: i8,
    /// Base unit or empty.
    pub unit: String,
    /// What is counted.
    pub help: String,
}

/// The series that match, all of them without globs.
///
/// # Errors
///
/// [`ParameterError`] if a glob matches nothing.
pub fn catalog(snapshot: &Snapshot, globs: &Globs) -> Result<Catalog, ParameterError> {
    let columns = Columns::of(snapshot.schemas());
    globs.check(columns.list())?;
    let mut views: Vec<Option<SeriesView>> = vec![None; columns.len()];
    for schema in snapshot.schemas() {
        for place in columns.places(schema) {
            let series = schema.series.get(place.series);
            let column = columns.list().get(place.column);
            if let (Some(view), Some(series), Some(column)) =
                (views.get_mut(place.column), series, column)
                && globs.wants(column)
            {
                *view = Some(SeriesView::of(schema, series, column));
            }
        }
    }
    Ok(Catalog {
        series: views.into_iter().flatten().collect(),
    })
}

impl SeriesView {
    fn of(schema: &Arc<Schema>, series: &Series, column: &Column) -> SeriesView {
        SeriesView {
            module: schema.module.clone(),
            series: column.title.clone(),
            name: column.name.clone(),
            family: column.family().to_owned(),
            labels: column.labels.clone(),
            kind: column.kind.name(),
            value_type: series.value_type.name(),
            exponent: series.exponent,
            unit: column.unit.clone(),
            help: column.help.clone(),
        }
    }

    fn is_bucket(&self) -> bool {
        self.kind == Kind::Bucket.name()
    }

    /// The labels without `le`, as buckets of one histogram share them.
    fn without_bound(&self) -> Vec<(String, String)> {
        self.labels
            .iter()
            .filter(|(key, _)| key != "le")
            .cloned()
            .collect()
    }
}

impl Catalog {
    /// A line for every series, the buckets of a histogram on one line.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn print(&self, presentation: &Presentation, out: &mut dyn Write) -> io::Result<()> {
        let mut module = None;
        let mut rest = self.series.iter().peekable();
        while let Some(series) = rest.next() {
            if module != Some(&series.module) {
                let heading = format!("module {}", printable(&series.module));
                writeln!(out, "{}", presentation.paint(Colour::Bold, &heading))?;
                module = Some(&series.module);
            }
            let mut buckets = 1;
            while series.is_bucket() && rest.next_if(|next| same_histogram(series, next)).is_some()
            {
                buckets += 1;
            }
            let name = if series.is_bucket() {
                let labels = series.without_bound();
                let title = super::columns::title(&series.name, &labels);
                format!("{title}  le: {buckets} bounds")
            } else {
                series.series.clone()
            };
            let unit = if series.unit.is_empty() { "" } else { " in " };
            let (kind, base) = (series.kind, printable(&series.unit));
            writeln!(out, "  {}  {kind}{unit}{base}", printable(&name))?;
            if !series.help.is_empty() {
                let help = format!("      {}", printable(&series.help));
                writeln!(out, "{}", presentation.paint(Colour::Dim, &help))?;
            }
        }
        Ok(())
    }
}

fn same_histogram(one: &SeriesView, other: &SeriesView) -> bool {
    other.is_bucket() && one.name == other.name && one.without_bound() == other.without_bound()
}

#[cfg(test)]
mod tests {
    use ktm_format::ValueType;

    use super::*;
    use crate::replay::fixture::Fixture;
    use crate::time::Zone;

    fn fixture() -> Fixture {
        let bucket = |le: &str| {
            Series::new("r_seconds_bucket", Kind::Bucket, ValueType::U64, "Reads.").label("le", le)
        };
        let sum = Series::new("r_seconds_sum", Kind::Sum, ValueType::U64, "Reads.");
        let series = vec![
            Series::counter("a_total", "A.")
                .label("x", "1")
                .unit("pages"),
            bucket("0.5"),
            bucket("+Inf"),
            sum.exponent(-9).unit("seconds"),
        ];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        fixture.at(0).row(&schema, &[Some(1); 4]);
        fixture
    }

    #[test]
    fn the_buckets_of_a_histogram_are_one_line() {
        let catalog = catalog(&fixture().snapshot(), &Globs::default()).expect("no globs");
        let mut out = Vec::new();
        catalog
            .print(&Presentation::plain(Zone::utc(), "box.ktm"), &mut out)
            .expect("a Vec");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "module m\n  a_total{x=\"1\"}  counter in pages\n      A.\n\
             \u{20} r_seconds_bucket  le: 2 bounds  histogram_bucket\n      Reads.\n\
             \u{20} r_seconds_sum  histogram_sum in seconds\n      Reads.\n"
        );
    }

    #[test]
    fn json_has_every_series_with_what_is_needed_to_read_it() {
        let globs = Globs::parse(&["*_sum".into()]).expect("a glob");
        let catalog = catalog(&fixture().snapshot(), &globs).expect("known");
        let json = serde_json::to_value(&catalog).expect("serializable");
        assert_eq!(
            json,
            serde_json::json!([{
                "module": "m", "series": "r_seconds_sum", "name": "r_seconds_sum",
                "family": "r_seconds", "labels": {}, "kind": "histogram_sum", "type": "u64",
                "exponent": -9, "unit": "seconds", "help": "Reads."
            }])
        );
    }
}
