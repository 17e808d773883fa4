//! Schemas: which series a row's values belong to.
//!
//! A [`Schema`] names the series of one module, in column order. It travels in the file, inside
//! every segment that uses it, so that any later reader knows the names, types, units, labels and
//! help of what it reads without asking the machine that wrote it.

use crate::bytes::{Cursor, Malformed, put_pairs, put_string};

/// What a series counts, in the words of the Prometheus exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Only grows within an epoch. Its rate is meaningful, its value alone seldom is.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// The cumulative count of a histogram's observations up to the inclusive bound in label `le`.
    Bucket = 3,
    /// The sum of a histogram's observations.
    Sum = 4,
    /// The number of a histogram's observations.
    Count = 5,
    /// Of unknown meaning, as scraped from someone who did not say.
    Untyped = 6,
    /// A summary's quantile, named by label `quantile`.
    Quantile = 7,
    /// The sum of a summary's observations.
    SummarySum = 8,
    /// The number of a summary's observations.
    SummaryCount = 9,
}

impl Kind {
    /// True where values only grow within an epoch, so that a difference is an increase.
    pub const fn is_cumulative(self) -> bool {
        matches!(
            self,
            Kind::Counter
                | Kind::Bucket
                | Kind::Sum
                | Kind::Count
                | Kind::SummarySum
                | Kind::SummaryCount
        )
    }

    /// The name used in `ktm-dump schema` and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Bucket => "histogram_bucket",
            Kind::Sum => "histogram_sum",
            Kind::Count => "histogram_count",
            Kind::Untyped => "untyped",
            Kind::Quantile => "summary_quantile",
            Kind::SummarySum => "summary_sum",
            Kind::SummaryCount => "summary_count",
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Counter,
            2 => Kind::Gauge,
            3 => Kind::Bucket,
            4 => Kind::Sum,
            5 => Kind::Count,
            6 => Kind::Untyped,
            7 => Kind::Quantile,
            8 => Kind::SummarySum,
            9 => Kind::SummaryCount,
            _ => return None,
        })
    }
}

/// How the 64 bits of a recorded value are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ValueType {
    /// An unsigned integer.
    U64 = 1,
    /// A signed integer, two's complement.
    I64 = 2,
    /// An IEEE 754 double, bit for bit, NaN payloads included.
    F64 = 3,
}

impl ValueType {
    /// The name used in `ktm-dump schema` and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    fn from_code(code: u8) -> Option<ValueType> {
        Some(match code {
            1 => ValueType::U64,
            2 => ValueType::I64,
            3 => ValueType::F64,
            _ => return None,
        })
    }
}

/// One column: a metric name with its labels, and how to read its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The full sample name, suffix included: `ktm_sys_read_latency_seconds_bucket`.
    pub name: String,
    /// Labels in the order they are to be shown, `le` included.
    pub labels: Vec<(String, String)>,
    /// What the values mean.
    pub kind: Kind,
    /// How the 64 bits are read.
    pub value_type: ValueType,
    /// Decimal exponent of an integer column: the value is `stored * 10^exponent`. Nanoseconds
    /// shown as seconds have -9. Always 0 for [`ValueType::F64`]. Within -18..=18.
    pub exponent: i8,
    /// Base unit, `seconds`, `bytes`, `pages`, or empty.
    pub unit: String,
    /// One sentence: what is counted, in which context, from which source.
    pub help: String,
}

impl Series {
    /// A counter of unsigned integers without labels or unit.
    pub fn counter(name: impl Into<String>, help: impl Into<String>) -> Series {
        Series::new(name, Kind::Counter, ValueType::U64, help)
    }

    /// A gauge of unsigned integers without labels or unit.
    pub fn gauge(name: impl Into<String>, help: impl Into<String>) -> Series {
        Series::new(name, Kind::Gauge, ValueType::U64, help)
    }

    /// A series without labels or unit, exponent 0.
    pub fn new(
        name: impl Into<String>,
        kind: Kind,
        value_type: ValueType,
        help: impl Into<String>,
    ) -> Series {
        Series {
            name: name.into(),
            labels: Vec::new(),
            kind,
            value_type,
            exponent: 0,
            unit: String::new(),
            help: help.into(),
        }
    }

    /// The same series with one more label.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Series {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// The same series with this unit.
    pub fn unit(mut self, unit: impl Into<String>) -> Series {
        self.unit = unit.into();
        self
    }

    /// The same series with this value type.
    pub fn value_type(mut self, value_type: ValueType) -> Series {
        self.value_type = value_type;
        self
    }

    /// The same series with this decimal exponent.
    pub fn exponent(mut self, exponent: i8) -> Series {
        self.exponent = exponent;
        self
    }

    /// The metric family: the name without the suffix that its kind adds.
    ///
    /// ```
    /// use ktm_format::{Kind, Series, ValueType};
    /// let bucket = Series::new("x_seconds_bucket", Kind::Bucket, ValueType::U64, "");
    /// assert_eq!(bucket.family(), "x_seconds");
    /// assert_eq!(Series::counter("x_total", "").family(), "x_total");
    /// ```
    pub fn family(&self) -> &str {
        let suffix = match self.kind {
            Kind::Bucket => "_bucket",
            Kind::Sum | Kind::SummarySum => "_sum",
            Kind::Count | Kind::SummaryCount => "_count",
            _ => return &self.name,
        };
        self.name.strip_suffix(suffix).unwrap_or(&self.name)
    }
}

/// The columns of one module, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The module that fills the rows: `iomonitor`.
    pub module: String,
    /// Identity labels that sit on every series of this schema: `pod_name`, `node_role`.
    pub labels: Vec<(String, String)>,
    /// The columns.
    pub series: Vec<Series>,
}

impl Schema {
    /// The bytes of a schema record, before compression. Equal schemas have equal bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, &self.module);
        put_pairs(&mut out, &self.labels);
        let count = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for series in &self.series {
            out.push(series.kind as u8);
            out.push(series.value_type as u8);
            out.extend_from_slice(&series.exponent.to_le_bytes());
            put_string(&mut out, &series.name);
            put_string(&mut out, &series.unit);
            put_string(&mut out, &series.help);
            put_pairs(&mut out, &series.labels);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Schema, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let module = cursor.string()?.to_owned();
        let labels = cursor.pairs()?;
        let count = cursor.u32()?;
        let mut series = Vec::new();
        for _ in 0..count {
            series.push(decode_series(&mut cursor)?);
        }
        match cursor.remaining() {
            0 => Ok(Schema {
                module,
                labels,
                series,
            }),
            _ => Err(Malformed),
        }
    }
}

fn decode_series(cursor: &mut Cursor<'_>) -> Result<Series, Malformed> {
    let kind = Kind::from_code(cursor.u8()?).ok_or(Malformed)?;
    let value_type = ValueType::from_code(cursor.u8()?).ok_or(Malformed)?;
    let exponent = i8::from_le_bytes([cursor.u8()?]);
    if !(-18..=18).contains(&exponent) || (value_type == ValueType::F64 && exponent != 0) {
        return Err(Malformed);
    }
    Ok(Series {
        kind,
        value_type,
        exponent,
        name: cursor.string()?.to_owned(),
        unit: cursor.string()?.to_owned(),
        help: cursor.string()?.to_owned(),
        labels: cursor.pairs()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Schema {
        Schema {
            module: "iomonitor".into(),
            labels: vec![("pod_name".into(), "data-0".into())],
            series: vec![
                Series::counter("a_total", "A.")
                    .label("advice", "dontneed")
                    .unit("pages"),
                Series::new("b_seconds_sum", Kind::Sum, ValueType::U64, "B.").exponent(-9),
                Series::new("c", Kind::Gauge, ValueType::F64, "").label("x", "\"\\\n"),
            ],
        }
    }

    #[test]
    fn a_schema_reads_back_equal() {
        assert_eq!(Schema::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn a_schema_cut_anywhere_or_followed_by_more_is_refused() {
        let bytes = example().encode();
        for length in 0..bytes.len() {
            assert_eq!(
                Schema::decode(&bytes[..length]),
                Err(Malformed),
                "cut to {length}"
            );
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert_eq!(Schema::decode(&longer), Err(Malformed));
    }
}
