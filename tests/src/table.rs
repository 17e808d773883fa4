//! The CSV that `ktm-dump -o csv` and the replay over HTTP give.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One sampling instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instant {
    /// As it was printed.
    pub timestamp: String,
    /// Nanoseconds since 1970.
    pub unix_ns: i128,
    /// The epoch.
    pub epoch: u32,
    /// The fields by series. An absent value is not in here.
    pub values: BTreeMap<String, String>,
}

/// A parsed table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The series in the order of their columns.
    pub series: Vec<String>,
    /// The lines in their order.
    pub instants: Vec<Instant>,
}

impl Table {
    /// Parses one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Table, String> {
        if text.is_empty() {
            return Ok(Table::default());
        }
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?.clone();
        let mut names = header.iter().map(str::to_owned);
        if (names.next().as_deref(), names.next().as_deref()) != (Some("timestamp"), Some("epoch"))
        {
            return Err(format!("the header begins otherwise: {header:?}"));
        }
        let series: Vec<String> = names.collect();
        let mut instants = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            instants.push(instant(&series, &record).map_err(|why| format!("{why}: {record:?}"))?);
        }
        Ok(Table { series, instants })
    }

    /// The instants of one epoch.
    pub fn epoch(&self, epoch: u32) -> Vec<&Instant> {
        self.instants
            .iter()
            .filter(|instant| instant.epoch == epoch)
            .collect()
    }
}

impl Instant {
    /// The value of a series as a whole number of the smallest recorded unit: seconds come back as
    /// nanoseconds, everything else as it is.
    ///
    /// # Errors
    ///
    /// When it is absent or no such number.
    pub fn whole(&self, series: &str) -> Result<u64, String> {
        let text = self
            .values
            .get(series)
            .ok_or_else(|| format!("{series} is absent"))?;
        let number = match family(series).ends_with("_seconds_sum") {
            true => nanoseconds(text),
            false => text.parse().ok(),
        };
        number.ok_or_else(|| format!("{series} is {text:?}"))
    }
}

/// A series' name without its labels.
fn family(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

fn instant(series: &[String], record: &csv::StringRecord) -> Result<Instant, String> {
    let field = |index: usize| record.get(index).unwrap_or_default();
    let timestamp = field(0);
    let parsed: Timestamp = timestamp.parse().map_err(|error| format!("{error}"))?;
    let epoch = field(1)
        .parse()
        .map_err(|error| format!("epoch: {error}"))?;
    let values = series
        .iter()
        .zip(record.iter().skip(2))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.clone(), value.to_owned()))
        .collect();
    Ok(Instant {
        timestamp: timestamp.to_owned(),
        unix_ns: parsed.as_nanosecond(),
        epoch,
        values,
    })
}

/// Decimal seconds as nanoseconds, exactly.
fn nanoseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<9}");
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = (fraction.len() == 9)
        .then(|| fraction.parse().ok())
        .flatten()?;
    whole.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_and_absent_fields_are_understood() {
        let table = Table::parse(
            "timestamp,epoch,a_total,\"b{x=\"\"1,2\"\"}\"\n\
             2026-11-20T18:30:00.000000001Z,3,5,\n",
        )
        .expect("well formed");
        assert_eq!(table.series, ["a_total", "b{x=\"1,2\"}"]);
        let instant = &table.epoch(3)[0];
        assert_eq!(instant.unix_ns % 1_000_000_000, 1);
        assert_eq!(instant.whole("a_total"), Ok(5));
        assert!(instant.whole("b{x=\"1,2\"}").is_err(), "absent is not zero");
    }

    #[test]
    fn seconds_become_nanoseconds_exactly() {
        assert_eq!(nanoseconds("4.780000123"), Some(4_780_000_123));
        assert_eq!(nanoseconds("0.00001"), Some(10_000));
        assert_eq!(nanoseconds("5"), Some(5_000_000_000));
        assert_eq!(nanoseconds("1.0000000001"), None);
        assert_eq!(nanoseconds("1e-3"), None);
    }

    #[test]
    fn what_is_no_such_table_is_refused() {
        for text in [
            "a,b\n",
            "timestamp,epoch,x\n1,2,3\n",
            "timestamp,epoch\nyesterday,1\n",
        ] {
            assert!(Table::parse(text).is_err(), "{text:?}");
        }
    }
}
