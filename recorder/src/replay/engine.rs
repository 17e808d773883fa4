//! The engine: one query over one snapshot, written in one format.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use ktm_format::{Damage, Error, Snapshot, Stamp};

use super::bins::{Bin, Bins};
use super::columns::Columns;
use super::frames::Frames;
use super::parameter::{Parameter, ParameterError};
use super::presentation::Presentation;
use super::query::Query;
use super::{csv, json, openmetrics, table};

/// The formats of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    #[default]
    Table,
    /// A header and one line per sampling instant, RFC 4180.
    Csv,
    /// One array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// OpenMetrics text with timestamps.
    OpenMetrics,
}

impl Format {
    /// Every format with its name.
    pub const NAMES: [(&str, Format); 5] = [
        ("table", Format::Table),
        ("csv", Format::Csv),
        ("json", Format::Json),
        ("ndjson", Format::Ndjson),
        ("openmetrics", Format::OpenMetrics),
    ];

    /// A format by name.
    ///
    /// # Errors
    ///
    /// [`ParameterError`] about [`Parameter::Format`] lists the names.
    pub fn parse(name: &str) -> Result<Format, ParameterError> {
        let found = Format::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
            let reason = format!("{name:?} is not a format; accepted: {}", names.join(", "));
            ParameterError::new(Parameter::Format, name, reason)
        })
    }

    /// The media type for HTTP.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::OpenMetrics => super::latest::OPENMETRICS_CONTENT_TYPE,
        }
    }
}

/// Why a replay stopped before its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The output takes no more: its reader has gone, or its disk is full.
    Output(io::Error),
    /// The recording cannot be read.
    Recording(Error),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Output(error) => write!(f, "cannot write the output: {error}"),
            ReplayError::Recording(error) => write!(f, "cannot read the recording: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReplayError::Output(error) => Some(error),
            ReplayError::Recording(error) => Some(error),
        }
    }
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> ReplayError {
        ReplayError::Output(error)
    }
}

impl From<Error> for ReplayError {
    fn from(error: Error) -> ReplayError {
        ReplayError::Recording(error)
    }
}

/// What a replay met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sampling instants in the range, whether or not several made one line.
    pub instants: u64,
    /// The earliest sample's time.
    pub first_ns: Option<i64>,
    /// The latest sample's time.
    pub last_ns: Option<i64>,
    /// Every damaged place known: the snapshot's, and those met while decoding.
    pub damage: Vec<Damage>,
}

impl Outcome {
    pub(crate) fn count(&mut self, bin: &Bin) {
        self.count_samples(bin.first, bin.last, bin.samples);
    }

    pub(crate) fn count_samples(&mut self, first: Stamp, last: Stamp, samples: u64) {
        let earlier = |known: i64| known.min(first.realtime_ns).min(last.realtime_ns);
        let later = |known: i64| known.max(first.realtime_ns).max(last.realtime_ns);
        self.instants += samples;
        self.first_ns = Some(earlier(self.first_ns.unwrap_or(i64::MAX)));
        self.last_ns = Some(later(self.last_ns.unwrap_or(i64::MIN)));
    }

    pub(crate) fn add_damage(&mut self, snapshot: &Snapshot, met: &[Damage]) {
        self.damage = snapshot.damage().to_vec();
        for damage in met {
            if !self.damage.contains(damage) {
                self.damage.push(damage.clone());
            }
        }
    }
}

/// One query over one snapshot.
#[derive(Clone, Debug)]
pub struct Replay {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) query: Query,
    pub(crate) columns: Arc<Columns>,
}

impl Replay {
    /// Chooses the columns.
    ///
    /// # Errors
    ///
    /// [`ParameterError`] if a glob matches no series of the recording.
    pub fn new(snapshot: Arc<Snapshot>, query: Query) -> Result<Replay, ParameterError> {
        let all = Columns::of(snapshot.schemas());
        query.metrics.check(all.list())?;
        let columns = if query.metrics.is_empty() {
            all
        } else {
            all.retain(|column| query.metrics.wants(column))
        };
        Ok(Replay {
            snapshot,
            query,
            columns: Arc::new(columns),
        })
    }

    /// The columns of every line.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Refuses what a format cannot carry, before anything is written.
    ///
    /// # Errors
    ///
    /// [`ParameterError`] for rates as OpenMetrics, which has counters and leaves rates to its
    /// reader.
    pub fn check(&self, format: Format) -> Result<(), ParameterError> {
        if format == Format::OpenMetrics && self.query.rate {
            let reason = "openmetrics carries counters as they were recorded, its reader computes \
                          rates: leave the rate out, or choose csv, json or ndjson";
            return Err(ParameterError::new(Parameter::Rate, "true", reason));
        }
        Ok(())
    }

    /// Writes the answer. It is streamed; how much is in memory does not depend on the range.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]. Damage is not an error: it is in the [`Outcome`].
    pub fn write(
        &self,
        format: Format,
        presentation: &Presentation,
        out: &mut dyn Write,
    ) -> Result<Outcome, ReplayError> {
        match format {
            Format::Table => table::write(self, presentation, out),
            Format::Csv => self.lines(&mut csv::Csv, out),
            Format::Json => self.lines(&mut json::Json::array(), out),
            Format::Ndjson => self.lines(&mut json::Json::lines(), out),
            Format::OpenMetrics => openmetrics::write(self, out),
        }
    }

    fn lines(&self, format: &mut dyn Lines, out: &mut dyn Write) -> Result<Outcome, ReplayError> {
        let mut line = Vec::new();
        let mut outcome = Outcome::default();
        format.head(&self.titles(), &mut line);
        let columns = Arc::clone(&self.columns);
        let Query {
            range,
            interval,
            rate,
            ..
        } = &self.query;
        let frames = Frames::of_columns(&self.snapshot, range, columns);
        let mut bins = Bins::new(&self.snapshot, frames, *interval, *rate);
        let mut bin = Bin::default();
        while bins.next(&mut bin)? {
            outcome.count(&bin);
            if *rate {
                self.counters_to_rates(&mut bin);
            }
            format.line(&bin, &mut line);
            out.write_all(&line)?;
            line.clear();
        }
        format.foot(&mut line);
        out.write_all(&line)?;
        out.flush()?;
        outcome.add_damage(&self.snapshot, bins.frames.damage());
        Ok(outcome)
    }

    /// A counter turned into a rate is another series, and says so: its values must not be taken
    /// for the counter's when they are read again.
    fn titles(&self) -> Vec<String> {
        let title = |column: &super::columns::Column| {
            if self.query.rate && column.kind.is_cumulative() {
                format!("rate({})", column.title)
            } else {
                column.title.clone()
            }
        };
        self.columns.list().iter().map(title).collect()
    }

    fn counters_to_rates(&self, bin: &mut Bin) {
        let columns = self.columns.list().iter();
        for ((cell, increase), column) in bin.cells.iter_mut().zip(&bin.increases).zip(columns) {
            if column.kind.is_cumulative() {
                *cell = increase.rate().map(super::frames::Cell::of_f64);
            }
        }
    }
}

/// A format that is one line after another.
pub(crate) trait Lines {
    fn head(&mut self, titles: &[String], line: &mut Vec<u8>);
    fn line(&mut self, bin: &Bin, line: &mut Vec<u8>);
    fn foot(&mut self, line: &mut Vec<u8>);
}
