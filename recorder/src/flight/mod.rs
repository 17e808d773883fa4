//! The Flight Recorder: an embeddable black box over one file.
//!
//! [`FlightRecorder::open_or_create`] always starts: a file that cannot be written on is set aside
//! under another name and a new one is made. After that, appending is a few stores into a mapping:
//! compressing and waiting for the disk happen on a thread of the recorder's own.
//!
//! ```
//! use ktm_format::{Clock, Schema, Series, SystemClock, Values};
//! use ktm_recorder::flight::{FlightRecorder, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("box.ktm");
//! let (mut recorder, report) = FlightRecorder::open_or_create(&path, &Options::default())?;
//! println!("{} rows recovered", report.rows.unwrap_or(0));
//! let jobs = recorder.define(&Schema {
//!     module: "jobs".into(),
//!     labels: vec![("host".into(), "db-1".into())],
//!     series: vec![Series::counter("jobs_done_total", "Jobs that were finished.")],
//! })?;
//! let mut values = Values::new();
//! values.push_u64(17);
//! recorder.append(jobs, SystemClock.now(), &values)?;
//! recorder.stop(SystemClock.now(), "done")?;
//! # Ok(())
//! # }
//! ```

mod aside;
mod background;
pub mod events;
mod journal;
mod open;
mod policy;
mod recorder;
#[cfg(test)]
mod tests;

pub use background::SyncStats;
pub use open::{FileOrigin, OpenError, Previous, StartReport};
pub use policy::SyncPolicy;
pub use recorder::{FlightRecorder, Handle, Options};
