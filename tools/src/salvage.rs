//! `salvage`: everything that can be read, in a new recording.

use std::path::Path;
use std::sync::Arc;

use ktm_format::{
    Clock, Error, FileRegion, MAX_FILE_SIZE, MIN_FILE_SIZE, RecordedEvent, Recording, Row, Schema,
    SchemaHandle, Select, Snapshot, SystemClock, Verification, Writer, salvaged,
};

use crate::args::Args;
use crate::progress::Progress;
use crate::say;
use crate::status::{Failure, Status};
use crate::unfinished::Unfinished;
use crate::verify::{lines, verdict};

pub(crate) fn run(args: &Args, out: &Path) -> Result<Status, Failure> {
    let zone = args.zone()?;
    let failure = |error| Failure::Recording {
        file: args.file.clone(),
        error,
    };
    crate::source::check_kind(&args.file)?;
    let unfinished = Unfinished::beside(out)?;
    let source = Recording::salvage(&args.file).map_err(failure)?;
    let verification = source.verify().map_err(failure)?;
    let salvage = Salvage {
        args,
        source: &source,
        verification: &verification,
        unfinished: &unfinished,
    };
    let (kept, size) = salvage.write()?;
    unfinished.finish()?;
    for line in lines(&verification, &zone) {
        say(&line);
    }
    if !verification.is_sound() {
        say(&format!(
            "{}: {}",
            args.file.display(),
            verdict(&verification)
        ));
    }
    let Kept { rows, events, .. } = kept;
    let out = out.display();
    say(&format!(
        "{out}: {rows} rows and {events} events kept, in a sound file of {size} bytes"
    ));
    let lost = verification.has_lost_something() || kept.refused > 0;
    Ok(Status::of(lost, false))
}

/// What was written.
#[derive(Clone, Copy, Default)]
struct Kept {
    rows: u64,
    events: u64,
    /// Made by hand: numbers that come twice or out of order.
    refused: u64,
}

struct Salvage<'a> {
    args: &'a Args,
    source: &'a Snapshot,
    verification: &'a Verification,
    unfinished: &'a Unfinished,
}

impl Salvage<'_> {
    /// Writes the new recording, as large as the old one, or larger where its rows turn out not to
    /// fit: what was raw in the hot ring is sealed as well.
    fn write(&self) -> Result<(Kept, u64), Failure> {
        let old = self.source.info().geometry;
        let mut size = old.file_size.clamp(MIN_FILE_SIZE, MAX_FILE_SIZE);
        loop {
            match self.write_within(size) {
                Ok(kept) if self.holds_all(kept)? => return Ok((kept, size)),
                Ok(_) | Err(Attempt::TooSmall) if size < MAX_FILE_SIZE => {
                    size = size.saturating_mul(2).min(MAX_FILE_SIZE);
                }
                Ok(_) | Err(Attempt::TooSmall) => {
                    let file = self.args.file.display();
                    let reason = format!("{file}: no recording is large enough for all of it");
                    return Err(Failure::Refused(reason));
                }
                Err(Attempt::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn write_within(&self, size: u64) -> Result<Kept, Attempt> {
        let mut writer = self.unfinished.create(size)?;
        let mut adopting = Adopting {
            writer: &mut writer,
            schemas: Vec::new(),
            kept: Kept::default(),
        };
        let total = self.verification.rows + self.verification.events;
        let mut progress = Progress::new("salvaging", total);
        let refused = |error| self.refused(error);
        let mut events = self.source.events().iter().peekable();
        for row in self.source.rows(&Select::all()) {
            let row = match row {
                Ok(row) => row,
                // Told by the verification.
                Err(Error::Corrupt(_)) => continue,
                Err(error) => return Err(self.unreadable(error)),
            };
            while let Some(event) = events.next_if(|event| event.seq < row.seq) {
                adopting.event(event).map_err(refused)?;
            }
            adopting.row(&row).map_err(refused)?;
            progress.show(adopting.kept.rows + adopting.kept.events);
        }
        for event in events {
            adopting.event(event).map_err(refused)?;
        }
        let kept = adopting.kept;
        self.sign(&mut writer, kept).map_err(refused)?;
        Ok(kept)
    }

    /// The last event says where everything comes from, and which numbers are missing.
    fn sign(&self, writer: &mut Writer<FileRegion>, kept: Kept) -> Result<(), Error> {
        let event = salvaged(self.verification)
            .with("lost", self.verification.lost)
            .with("from", &self.source.info().uuid)
            .with("rows", kept.rows)
            .with("events", kept.events);
        writer.event(SystemClock.now(), &event)?;
        Ok(writer.syncer()?.sync()?)
    }

    /// Reads the new recording back and holds it against the old one.
    fn holds_all(&self, kept: Kept) -> Result<bool, Failure> {
        let failure = |error| self.unfinished.failure(error);
        let new = Recording::open(self.unfinished.path()).map_err(failure)?;
        let new = new.snapshot().map_err(failure)?;
        let rows =
            |snapshot: &Snapshot| snapshot.rows(&Select::all()).filter_map(Result::ok).count();
        let counts = (rows(&new) as u64, new.events().len() as u64);
        if counts != (kept.rows, kept.events + 1) || !new.damage().is_empty() {
            return Ok(false);
        }
        let all = Select::all();
        let old = self.source.rows(&all).filter_map(Result::ok);
        let new = new.rows(&all).filter_map(Result::ok);
        Ok(kept.refused > 0 || old.zip(new).all(|(old, new)| is_same(&old, &new)))
    }

    fn refused(&self, error: Error) -> Attempt {
        match error {
            Error::RowTooLarge { .. } => Attempt::TooSmall,
            error => Attempt::Failed(self.unfinished.failure(error)),
        }
    }

    fn unreadable(&self, error: Error) -> Attempt {
        Attempt::Failed(Failure::Recording {
            file: self.args.file.clone(),
            error,
        })
    }
}

fn is_same(old: &Row, new: &Row) -> bool {
    old.position() == new.position()
        && old.schema.module == new.schema.module
        && old.values() == new.values()
}

/// Why an attempt ended.
enum Attempt {
    TooSmall,
    Failed(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        Attempt::Failed(failure)
    }
}

/// Rows and events on their way into the new recording.
struct Adopting<'a> {
    writer: &'a mut Writer<FileRegion>,
    schemas: Vec<(Arc<Schema>, SchemaHandle)>,
    kept: Kept,
}

impl Adopting<'_> {
    fn row(&mut self, row: &Row) -> Result<(), Error> {
        let schema = self.schema(&row.schema)?;
        match self.writer.adopt(schema, row.position(), row.values()) {
            Ok(()) => self.kept.rows += 1,
            Err(Error::OutOfOrder { .. }) => self.kept.refused += 1,
            Err(error) => return Err(error),
        }
        self.writer.maintain()
    }

    fn schema(&mut self, schema: &Arc<Schema>) -> Result<SchemaHandle, Error> {
        if let Some((_, handle)) = self
            .schemas
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, schema))
        {
            return Ok(*handle);
        }
        // Every segment brings its own copy of a schema it uses: the newest copy is remembered.
        let handle = self.writer.define(schema)?;
        self.schemas.retain(|(_, known)| *known != handle);
        self.schemas.push((Arc::clone(schema), handle));
        Ok(handle)
    }

    fn event(&mut self, event: &RecordedEvent) -> Result<(), Error> {
        match self.writer.adopt_event(event.position(), &event.event) {
            Ok(()) => self.kept.events += 1,
            Err(Error::OutOfOrder { .. }) => self.kept.refused += 1,
            Err(error) => return Err(error),
        }
        self.writer.maintain()
    }
}
