//! The recorder that a program holds: a file and what has to be known to go on in another one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ktm_format::{
    Clock, Error, Event, FileRegion, Result, Schema, SchemaHandle, Stamp, SystemClock, Values,
};

use super::aside::{self, Aside, Identity};
use super::background::SyncStats;
use super::events;
use super::journal::Journal;
use super::open::{self, FileOrigin, OpenError, Previous, StartReport};
use super::policy::SyncPolicy;

/// How long [`FlightRecorder::stop`] and [`FlightRecorder::flush`] wait for the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// After a new file could not be made, how long until the next attempt.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// How a recording is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of a new file in bytes, all of it allocated at creation.
    pub size: u64,
    /// When rows are forced to the disk.
    pub sync: SyncPolicy,
    /// How long an append may wait when a disk that does not answer has kept all of the hot ring
    /// from being sealed. After that the row is refused.
    pub patience: Duration,
    /// The program's name, kept in a new file.
    pub software: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            size: 64 * 1024 * 1024,
            sync: SyncPolicy::EveryRow,
            patience: Duration::from_secs(10),
            software: String::new(),
        }
    }
}

/// A schema that a recorder knows. Made by [`FlightRecorder::define`], valid for that recorder for
/// as long as it lives, also when it has to go on in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(usize);

/// A recording kept by this process.
pub struct FlightRecorder {
    path: PathBuf,
    options: Options,
    /// `None` while the file has failed and no other could be made.
    journal: Option<Open>,
    schemas: Vec<Schema>,
    /// The event that [`FlightRecorder::start`] wrote, to begin another file with.
    start: Option<Event>,
    samples: u64,
    /// True between the first write of a group and its end.
    within_group: bool,
    group_has_rows: bool,
    notices: Vec<String>,
    retry_at: Option<Instant>,
}

struct Open {
    journal: Journal<FileRegion>,
    handles: Vec<SchemaHandle>,
    identity: Identity,
}

impl Open {
    fn new(
        path: &Path,
        options: &Options,
        now: Stamp,
    ) -> std::result::Result<(Open, StartReport), OpenError> {
        let failed = |error| OpenError {
            path: path.to_path_buf(),
            doing: "open",
            error,
        };
        let (writer, report) = open::open_or_create(path, options.size, &options.software, now)?;
        let journal = Journal::new(writer, options.sync, options.patience).map_err(failed)?;
        let identity = Identity::of(path).map_err(Error::Io).map_err(failed)?;
        Ok((
            Open {
                journal,
                handles: Vec::new(),
                identity,
            },
            report,
        ))
    }
}

impl FlightRecorder {
    /// Opens the recording, or makes one of `options.size` bytes with the folders it needs.
    ///
    /// A file that is damaged beyond writing on, cut short, empty, of another kind or of an unknown
    /// version is renamed to `<name>.set-aside-<UTC time>` and a new one made in its place. A
    /// recording of another size is kept as it is. Nothing is written to it but the superblock: a
    /// program that wants its runs told apart calls [`FlightRecorder::start`] next.
    ///
    /// # Errors
    ///
    /// When another writer holds the file, no file can be made, or the path leads to something that
    /// is no file.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        options: &Options,
    ) -> std::result::Result<(FlightRecorder, StartReport), OpenError> {
        let path = path.as_ref();
        let (open, report) = Open::new(path, options, SystemClock.now())?;
        let recorder = FlightRecorder {
            path: path.to_path_buf(),
            options: options.clone(),
            journal: Some(open),
            schemas: Vec::new(),
            start: None,
            samples: 0,
            within_group: false,
            group_has_rows: false,
            notices: Vec::new(),
            retry_at: None,
        };
        Ok((recorder, report))
    }

    /// Writes the first records of a run: `event` as `start`, with what was found on opening; which
    /// file was set aside, if one was; how the previous run ended, if it did not stop; and the time
    /// nobody recorded.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`].
    pub fn start(&mut self, stamp: Stamp, event: Event, report: &StartReport) -> Result<()> {
        self.start = Some(event.clone());
        let event = event
            .with(
                "rows_recovered",
                report.rows.unwrap_or(report.recovery.hot_rows),
            )
            .with("previous", report.previous.name());
        self.write_event(stamp, &event)?;
        if let FileOrigin::SetAside { to, why } = &report.origin {
            let kept = to.display().to_string();
            self.write_event(stamp, &events::file_replaced(why, &kept))?;
        }
        if let Previous::Unclean(last) = &report.previous {
            self.write_event(stamp, &events::unclean_end(last, stamp))?;
        }
        if let Some(last) = report.previous.last() {
            let passed = stamp.realtime_ns.saturating_sub(last.stamp.realtime_ns);
            // A clock that went back in between says nothing about the length.
            if let Ok(passed) = u64::try_from(passed) {
                let gap = events::gap(Duration::from_nanos(passed), "recorder was not running");
                self.write_event(stamp, &gap)?;
            }
        }
        self.settle()
    }

    /// Makes a schema known. An equal schema gives the same handle.
    ///
    /// # Errors
    ///
    /// [`Error::RowTooLarge`] when the schema and one row do not fit the file's segments.
    pub fn define(&mut self, schema: &Schema) -> Result<Handle> {
        if let Some(known) = self.schemas.iter().position(|known| known == schema) {
            return Ok(Handle(known));
        }
        if let Some(open) = &mut self.journal {
            let handle = open.journal.define(schema)?;
            open.handles.push(handle);
        }
        self.schemas.push(schema.clone());
        Ok(Handle(self.schemas.len() - 1))
    }

    /// Appends one row, and sees to it that it is synced as the policy says. Returns as soon as the
    /// row would survive the death of this process.
    ///
    /// # Errors
    ///
    /// [`Error::WrongLength`]; [`Error::HotRingFull`] when the disk has not answered for so long
    /// that there is no room; whatever keeps a new file from being made after this one has failed.
    /// The next call tries again.
    pub fn append(&mut self, schema: Handle, stamp: Stamp, values: &Values) -> Result<u64> {
        let seq = self.write_row(schema, stamp, values)?;
        self.settle()?;
        Ok(seq)
    }

    /// Appends one event.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`].
    pub fn event(&mut self, stamp: Stamp, event: &Event) -> Result<u64> {
        let seq = self.write_event(stamp, event)?;
        self.settle()?;
        Ok(seq)
    }

    /// Appends a row of a group that [`FlightRecorder::settle`] ends: rows and events of one
    /// sampling instant share a sync.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`].
    ///
    /// # Panics
    ///
    /// When the handle comes from another recorder.
    pub fn write_row(&mut self, schema: Handle, stamp: Stamp, values: &Values) -> Result<u64> {
        let seq = self.on_file(stamp, |open| {
            let handle = open.handles[schema.0];
            open.journal.append(handle, stamp, values)
        })?;
        self.group_has_rows = true;
        Ok(seq)
    }

    /// Appends an event of a group that [`FlightRecorder::settle`] ends.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`].
    pub fn write_event(&mut self, stamp: Stamp, event: &Event) -> Result<u64> {
        self.on_file(stamp, |open| open.journal.event(stamp, event))
    }

    /// Ends a group of rows and events.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`].
    pub fn settle(&mut self) -> Result<()> {
        self.within_group = false;
        self.samples += u64::from(std::mem::take(&mut self.group_has_rows));
        let Some(open) = &mut self.journal else {
            return Ok(());
        };
        match open.journal.settle() {
            Err(error) if is_final(&error) => {
                self.replace(&cause(error), SystemClock.now())?;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Ends the epoch: from here on counters have another zero. Returns the new epoch's number.
    pub fn begin_epoch(&mut self) -> u32 {
        self.journal
            .as_mut()
            .map_or(0, |open| open.journal.begin_epoch())
    }

    /// The epoch in force; 0 while there is no file to write to.
    pub fn epoch(&self) -> u32 {
        self.journal
            .as_ref()
            .map_or(0, |open| open.journal.writer().epoch())
    }

    /// This run's number in the file; 0 while there is no file to write to.
    pub fn run(&self) -> u32 {
        self.journal
            .as_ref()
            .map_or(0, |open| open.journal.writer().run())
    }

    /// Groups of rows written by this recorder: what was sampled together counts once.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// How the disk has been answering.
    pub fn sync_stats(&self) -> SyncStats {
        self.journal
            .as_ref()
            .map(|open| open.journal.sync_stats())
            .unwrap_or_default()
    }

    /// What has happened to the file that somebody should be told, one sentence each, once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    ///
    /// When the disk fails, or has not answered within ten seconds.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.journal {
            Some(open) => open.journal.flush(FLUSH_PATIENCE),
            None => Ok(()),
        }
    }

    /// Ends the run cleanly: writes `stop` and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// As [`FlightRecorder::append`] and [`FlightRecorder::flush`].
    pub fn stop(mut self, stamp: Stamp, reason: &str) -> Result<()> {
        let samples = self.samples;
        self.event(stamp, &events::stop(reason, samples))?;
        self.flush()
    }

    /// Writes to the file; if the file itself fails, to a new one.
    fn on_file(
        &mut self,
        stamp: Stamp,
        mut write: impl FnMut(&mut Open) -> Result<u64>,
    ) -> Result<u64> {
        let first = !std::mem::replace(&mut self.within_group, true);
        let why = match &mut self.journal {
            // Rows written to a file without a name would be lost to everybody.
            Some(open) if first && Identity::of(&self.path).ok() != Some(open.identity) => {
                "the file was removed or replaced by someone else".to_owned()
            }
            Some(open) => match write(open) {
                Err(error) if is_final(&error) => cause(error),
                outcome => return outcome,
            },
            None if self.retry_at.is_some_and(|at| Instant::now() < at) => {
                return Err(Error::Poisoned("no new file could be made yet".into()));
            }
            None => "there was none".to_owned(),
        };
        write(self.replace(&why, stamp)?)
    }

    /// Keeps the failed file under another name and goes on in a new one.
    fn replace(&mut self, why: &str, stamp: Stamp) -> Result<&mut Open> {
        self.retry_at = Some(Instant::now() + RETRY_EVERY);
        let previous = match self.journal.take() {
            Some(failed) => self.leave(failed, stamp)?,
            None => None,
        };
        let (mut open, report) = match Open::new(&self.path, &self.options, stamp) {
            Ok(made) => made,
            Err(error) => {
                self.notices
                    .push(format!("NOT RECORDING: {error}; trying again every 5 s"));
                return Err(error.error);
            }
        };
        for schema in &self.schemas {
            open.handles.push(open.journal.define(schema)?);
        }
        let kept = previous
            .as_ref()
            .map_or("lost".to_owned(), |kept| kept.display().to_string());
        if let Some(start) = &self.start {
            let start = start
                .clone()
                .with(
                    "rows_recovered",
                    report.rows.unwrap_or(report.recovery.hot_rows),
                )
                .with("previous", report.previous.name());
            open.journal.event(stamp, &start)?;
        }
        open.journal
            .event(stamp, &events::file_replaced(why, &kept))?;
        self.notices.push(match previous {
            Some(kept) => format!(
                "{why}: kept as {}, recording into a new file",
                kept.display()
            ),
            None => format!("{why}: recording into a new file"),
        });
        self.retry_at = None;
        Ok(self.journal.insert(open))
    }

    /// Closes a failed file and gives it another name, if it still has its own.
    fn leave(&mut self, failed: Open, stamp: Stamp) -> Result<Option<PathBuf>> {
        let identity = failed.identity;
        let aside = match Identity::of(&self.path) {
            Ok(found) if found == identity => aside::set_aside(&self.path, stamp.realtime_ns, true),
            _ => Ok(Aside::Gone),
        };
        // The lock is held until here, so that nobody else took the file up in between.
        drop(failed);
        match aside {
            Ok(Aside::Moved(kept)) => Ok(Some(kept)),
            Ok(Aside::InUse | Aside::Gone) => Ok(None),
            Err(error) => {
                self.notices.push(format!(
                    "NOT RECORDING: cannot set {} aside: {error}; trying again every 5 s",
                    self.path.display()
                ));
                Err(error.into())
            }
        }
    }
}

impl std::fmt::Debug for FlightRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlightRecorder")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// True where the file will accept nothing more.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Poisoned(_) | Error::Io(_))
}

/// The first failure, without the remark that it was an earlier one.
fn cause(error: Error) -> String {
    match error {
        Error::Poisoned(why) => why,
        other => other.to_string(),
    }
}
