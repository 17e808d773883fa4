//! Reading the CSV line by line, and saying exactly where something is wrong.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};
use ktm_recorder::time::parse_rfc3339;

use super::title::Title;
use crate::status::Failure;

/// The columns before the values.
const FRONT: [&str; 2] = ["timestamp", "epoch"];

/// A CSV that can be read from its begin several times.
pub(crate) struct Input {
    /// How it is called in messages.
    pub(crate) name: String,
    file: File,
}

/// What is in front of a line's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) realtime_ns: i64,
    pub(crate) epoch: u32,
}

/// How an input is called in messages.
pub(crate) fn name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard input".into(),
        _ => path.display().to_string(),
    }
}

impl Input {
    /// Opens a file, or with `-` keeps what standard input gives in a temporary one.
    pub(crate) fn open(path: &Path) -> Result<Input, Failure> {
        let name = name(path);
        let open = || match path.to_str() {
            Some("-") => {
                let mut kept = tempfile::tempfile()?;
                io::copy(&mut io::stdin().lock(), &mut kept)?;
                Ok(kept)
            }
            _ => File::open(path),
        };
        match open() {
            Ok(file) => Ok(Input { name, file }),
            Err(error) => Err(Failure::Refused(format!("{name}: {error}"))),
        }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Reads it from the begin.
    pub(crate) fn lines(&self) -> Result<Lines<'_>, Failure> {
        let failed = |error: io::Error| Failure::Refused(format!("{}: {error}", self.name));
        let mut file = self.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        let csv = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(BufReader::new(file));
        let mut lines = Lines {
            input: self,
            csv,
            record: ByteRecord::new(),
            columns: 0,
        };
        if !lines.advance()? {
            return Err(lines.wrong("is empty: a header and lines of values are expected"));
        }
        lines.columns = lines.record.len();
        Ok(lines)
    }
}

/// The lines, the header first.
pub(crate) struct Lines<'a> {
    input: &'a Input,
    csv: Reader<BufReader<File>>,
    record: ByteRecord,
    columns: usize,
}

impl Lines<'_> {
    /// The titles of the series. To be asked at the begin.
    pub(crate) fn titles(&self) -> Result<Vec<Title>, Failure> {
        for (index, expected) in FRONT.into_iter().enumerate() {
            let found = self.field(index).unwrap_or_default();
            if found != expected {
                let reason = format!(
                    "is {found:?} where {expected:?} is expected: only the CSV of `ktm-dump -o \
                     csv` can be imported"
                );
                return Err(self.wrong_at(index, &reason));
            }
        }
        let mut titles: Vec<Title> = Vec::new();
        let mut known = std::collections::BTreeMap::new();
        for index in FRONT.len()..self.columns {
            let title = Title::parse(self.text(index)?);
            let title = title.map_err(|reason| self.wrong_at(index, &reason))?;
            if let Some(first) = known.insert(title.identity(), index) {
                let reason = format!("is the series of column {} once more", first + 1);
                return Err(self.wrong_at(index, &reason));
            }
            titles.push(title);
        }
        Ok(titles)
    }

    /// Goes on to the next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Front>, Failure> {
        if !self.advance()? {
            return Ok(None);
        }
        if self.record.len() != self.columns {
            let (found, expected) = (self.record.len(), self.columns);
            return Err(self.wrong(&format!("has {found} fields, the header has {expected}")));
        }
        let realtime_ns = parse_rfc3339(self.text(0)?)
            .map_err(|reason| self.wrong_at(0, &format!("is no timestamp: {reason}")))?;
        let epoch = self.text(1)?;
        let epoch = epoch.parse().map_err(|_| {
            self.wrong_at(
                1,
                &format!("is {epoch:?}, which is not the number of an epoch"),
            )
        })?;
        Ok(Some(Front { realtime_ns, epoch }))
    }

    /// The text of one series' value, empty where it is absent.
    pub(crate) fn cell(&self, series: usize) -> Result<&str, Failure> {
        self.text(FRONT.len() + series)
    }

    /// Something is wrong with the value of a series.
    pub(crate) fn wrong_cell(&self, series: usize, reason: &str) -> Failure {
        self.wrong_at(FRONT.len() + series, reason)
    }

    fn advance(&mut self) -> Result<bool, Failure> {
        let read = self.csv.read_byte_record(&mut self.record);
        read.map_err(|error| Failure::Refused(format!("{}: {error}", self.input.name)))
    }

    fn field(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.record.get(index)?).ok()
    }

    fn text(&self, index: usize) -> Result<&str, Failure> {
        self.field(index)
            .ok_or_else(|| self.wrong_at(index, "is not UTF-8"))
    }

    /// Something is wrong with the line.
    pub(crate) fn wrong(&self, reason: &str) -> Failure {
        Failure::Refused(format!(
            "{}: line {} {reason}",
            self.input.name,
            self.number()
        ))
    }

    fn wrong_at(&self, index: usize, reason: &str) -> Failure {
        let (name, line, column) = (&self.input.name, self.number(), index + 1);
        Failure::Refused(format!("{name}: line {line}, column {column} {reason}"))
    }

    fn number(&self) -> u64 {
        self.record.position().map_or(1, csv::Position::line)
    }
}
