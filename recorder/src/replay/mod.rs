//! The replay engine: what the command line and the HTTP server both answer from.
//!
//! A [`Query`] is understood from text by [`Query::parse`] and put to a snapshot by [`Replay`],
//! which writes it as a table for a person or as CSV, JSON or OpenMetrics for a program.
//! [`runs`], [`events`], [`catalog`] and [`info`] answer what is around the samples; [`Latest`] and
//! [`write_windows`] are what Prometheus and the Discovery Proxy's consumers read.
//!
//! Rules that hold everywhere: lines are in recorded order and have their sample's own time; a
//! counter's rate is its increase over boot time and never crosses an epoch, a run, a gap or a
//! clock step; what was absent is left empty and never zero; memory does not grow with the range.
//!
//! ```
//! use std::sync::Arc;
//! use ktm_recorder::replay::{Format, Presentation, Query, QueryText, Replay};
//! use ktm_recorder::time::{Reference, Zone};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("box.ktm");
//! # use ktm_format::{SystemClock, SystemEntropy, Clock};
//! # ktm_format::Writer::create_file(
//! #     &path, ktm_format::MIN_FILE_SIZE, "example", SystemClock.now(), &mut SystemEntropy)?;
//! let snapshot = Arc::new(ktm_format::Recording::open(&path)?.snapshot()?);
//! let text = QueryText { since: Some("1h ago".into()), ..QueryText::default() };
//! let query = Query::parse(&text, &Reference::now(Zone::local()))?;
//! let replay = Replay::new(snapshot, query)?;
//! let mut csv = Vec::new();
//! let outcome = replay.write(Format::Csv, &Presentation::plain(Zone::utc(), "box"), &mut csv)?;
//! assert_eq!((outcome.instants, csv.as_slice()), (0, &b"timestamp,epoch\n"[..]));
//! # Ok(())
//! # }
//! ```

mod bins;
mod bounds;
mod by_series;
mod catalog;
mod columns;
mod csv;
mod engine;
mod events;
mod exposition;
#[cfg(test)]
mod fixture;
mod frames;
mod glob;
mod histogram;
mod info;
mod json;
mod latest;
mod notes;
mod openmetrics;
mod parameter;
mod presentation;
mod query;
mod runs;
mod steps;
mod table;
mod timeline;
mod windows;

pub use catalog::{Catalog, SeriesView, catalog};
pub use columns::{Column, Columns};
pub use engine::{Format, Outcome, Replay, ReplayError};
pub use events::{EventView, Events, Time, events};
pub use glob::Globs;
pub use info::{DamageView, FileInfo, Used, info};
pub use json::write_json;
pub use latest::{Latest, OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
pub use notes::{damage_notes, notes};
pub use parameter::{Parameter, ParameterError};
pub use presentation::Presentation;
pub use query::{Query, QueryText, Range};
pub use runs::{End, Epoch, Run, Runs, TargetLife, runs};
pub use windows::{WindowError, WindowQuery, WindowText, write_windows};
