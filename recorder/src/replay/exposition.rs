//! The words of the Prometheus text format 0.0.4 and of OpenMetrics 1.0: families, heads, samples.

use std::collections::BTreeMap;
use std::io::Write;

use ktm_format::Kind;

use super::columns::{Column, Columns};
use super::frames::Cell;

/// The two dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

/// The types both dialects know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
}

impl Type {
    fn of(kind: Kind) -> Type {
        match kind {
            Kind::Counter => Type::Counter,
            Kind::Gauge => Type::Gauge,
            Kind::Bucket | Kind::Sum | Kind::Count => Type::Histogram,
            Kind::Quantile | Kind::SummarySum | Kind::SummaryCount => Type::Summary,
            Kind::Untyped => Type::Unknown,
        }
    }

    fn word(self, dialect: Dialect) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
            Type::Summary => "summary",
            Type::Unknown if dialect == Dialect::Text => "untyped",
            Type::Unknown => "unknown",
        }
    }
}

/// Columns of one name that differ in their labels.
#[derive(Debug)]
pub(crate) struct Family {
    name: String,
    kind: Type,
    help: String,
    unit: String,
    /// The columns of each set of labels, in order of output: a histogram's buckets by bound, then
    /// its count and sum.
    pub(crate) groups: Vec<Vec<usize>>,
}

/// All families in order of name.
pub(crate) fn families(columns: &Columns) -> Vec<Family> {
    type Groups<'a> = Vec<(Vec<(&'a str, &'a str)>, Vec<usize>)>;
    let mut families: BTreeMap<(&str, Type), Groups<'_>> = BTreeMap::new();
    for (index, column) in columns.list().iter().enumerate() {
        let groups = families
            .entry((column.family(), Type::of(column.kind)))
            .or_default();
        let identity = column.identity();
        match groups.iter_mut().find(|(known, _)| *known == identity) {
            Some((_, members)) => members.push(index),
            None => groups.push((identity, vec![index])),
        }
    }
    let place = |index: &usize| columns.list().get(*index).map(order_in_group);
    let finish = |((name, kind), groups): ((&str, Type), Groups<'_>)| {
        let first = groups
            .first()
            .and_then(|(_, members)| columns.list().get(*members.first()?));
        // Buckets and counts of a histogram have no unit: the family's is that of the sum.
        let members = groups.iter().flat_map(|(_, members)| members);
        let unit = members
            .filter_map(|member| columns.list().get(*member))
            .map(|column| column.unit.clone())
            .find(|unit| !unit.is_empty())
            .unwrap_or_default();
        let groups = groups.into_iter().map(|(_, mut members)| {
            members.sort_by(|a, b| {
                place(a)
                    .partial_cmp(&place(b))
                    .unwrap_or(std::cmp::Ordering::Equal)
            });
            members
        });
        Family {
            name: name.to_owned(),
            kind,
            help: first.map(|column| column.help.clone()).unwrap_or_default(),
            unit,
            groups: groups.collect(),
        }
    };
    families.into_iter().map(finish).collect()
}

fn order_in_group(column: &Column) -> (u8, f64) {
    match column.kind {
        Kind::Bucket => (0, column.bound().unwrap_or(f64::INFINITY)),
        Kind::Count | Kind::SummaryCount => (1, 0.0),
        Kind::Sum | Kind::SummarySum => (2, 0.0),
        _ => (
            0,
            column
                .label("quantile")
                .and_then(|q| q.parse().ok())
                .unwrap_or(0.0),
        ),
    }
}

impl Family {
    /// `# HELP` and `# TYPE`, and in OpenMetrics `# UNIT`.
    pub(crate) fn head(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let (name, kind) = self.declared(dialect);
        let help = match escaped_help(&self.help, dialect) {
            help if help.is_empty() => help,
            help => format!("# HELP {name} {help}\n"),
        };
        let kind = format!("# TYPE {name} {}\n", kind.word(dialect));
        match dialect {
            Dialect::Text => out.extend([help, kind].concat().bytes()),
            Dialect::OpenMetrics => {
                let has_unit = !self.unit.is_empty() && name.ends_with(&format!("_{}", self.unit));
                let unit = if has_unit {
                    format!("# UNIT {name} {}\n", self.unit)
                } else {
                    String::new()
                };
                out.extend([kind, unit, help].concat().bytes());
            }
        }
    }

    /// OpenMetrics declares a counter without `_total` and has no counter that lacks it.
    fn declared(&self, dialect: Dialect) -> (&str, Type) {
        match (dialect, self.kind) {
            (Dialect::OpenMetrics, Type::Counter) => match self.name.strip_suffix("_total") {
                Some(name) => (name, Type::Counter),
                None => (&self.name, Type::Unknown),
            },
            _ => (&self.name, self.kind),
        }
    }
}

fn escaped_help(help: &str, dialect: Dialect) -> String {
    let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
    match dialect {
        Dialect::Text => escaped,
        Dialect::OpenMetrics => escaped.replace('"', "\\\""),
    }
}

/// One sample. A time is written as OpenMetrics wants it, in seconds.
pub(crate) fn put_sample(column: &Column, cell: &Cell, at_ns: Option<i64>, out: &mut Vec<u8>) {
    // A column's title is the sample's name and labels, escaped as both dialects have it.
    write!(out, "{} {}", column.title, cell.decimal()).expect("a Vec takes everything");
    if let Some(at) = at_ns {
        let seconds = ktm_format::Value::I64(at).decimal(-9);
        write!(out, " {seconds}").expect("a Vec takes everything");
    }
    out.push(b'\n');
}
