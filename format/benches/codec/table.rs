//! A CSV as columns of 64-bit words.

use std::ops::Range;

use ktm_format::ValueType;

pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) value_type: ValueType,
    /// `None` where the cell is empty.
    pub(crate) words: Vec<Option<u64>>,
}

pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// CLOCK_REALTIME of each row.
    pub(crate) times: Vec<i64>,
}

impl Table {
    pub(crate) fn read(path: &str) -> Result<Table, Box<dyn std::error::Error>> {
        let mut reader = csv::Reader::from_path(path)?;
        let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Err("no rows".into());
        }
        let mut columns = Vec::new();
        let mut times: Vec<i64> = (0..).map(|n| n * 1_000_000_000).take(rows.len()).collect();
        for (at, name) in names.into_iter().enumerate() {
            let cells = rows.iter().map(|row| row.get(at).unwrap_or_default());
            if name == "timestamp" {
                times = cells.map(nanoseconds).collect::<Result<_, _>>()?;
            } else if name != "epoch" {
                columns.extend(column(name, cells));
            }
        }
        Ok(Table { columns, times })
    }

    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = Option<u64>> {
        self.columns.iter().map(move |column| column.words[row])
    }

    pub(crate) fn doubles(&self) -> usize {
        self.columns
            .iter()
            .filter(|c| c.value_type == ValueType::F64)
            .count()
    }

    /// Cells that are not empty.
    pub(crate) fn values(&self) -> u64 {
        let cells = self.columns.iter().flat_map(|column| &column.words);
        cells.filter(|cell| cell.is_some()).count() as u64
    }

    pub(crate) fn changed(&self) -> usize {
        let pairs = self
            .columns
            .iter()
            .flat_map(|column| column.words.array_windows());
        pairs.filter(|[a, b]| a != b).count()
    }

    pub(crate) fn chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let end = self.rows();
        (0..end)
            .step_by(rows)
            .map(move |start| start..end.min(start + rows))
    }
}

fn nanoseconds(text: &str) -> Result<i64, Box<dyn std::error::Error>> {
    Ok(i64::try_from(
        text.parse::<jiff::Timestamp>()?.as_nanosecond(),
    )?)
}

/// The narrowest type that holds every cell exactly; `None` for a column of something else.
fn column<'a>(name: String, cells: impl Iterator<Item = &'a str> + Clone) -> Option<Column> {
    let of = |value_type, parse: fn(&str) -> Option<u64>| {
        let words = cells.clone().map(|cell| match cell {
            "" => Some(None),
            cell => parse(cell).map(Some),
        });
        let words = words.collect::<Option<_>>()?;
        Some(Column {
            name: name.clone(),
            value_type,
            words,
        })
    };
    of(ValueType::U64, |cell| cell.parse().ok())
        .or_else(|| {
            of(ValueType::I64, |cell| {
                cell.parse::<i64>().ok().map(i64::cast_unsigned)
            })
        })
        .or_else(|| {
            of(ValueType::F64, |cell| {
                cell.parse::<f64>().ok().map(f64::to_bits)
            })
        })
}
