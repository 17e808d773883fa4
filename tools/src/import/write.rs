//! The second reading: the lines are written.

use ktm_format::{
    Error, Event, FileRegion, MAX_FILE_SIZE, MIN_FILE_SIZE, Position, Recording, Select, Stamp,
    Writer,
};

use super::group::{Group, groups};
use super::lines::{Front, Input};
use super::{Lines, Plan};
use crate::progress::Progress;
use crate::status::Failure;
use crate::unfinished::Unfinished;

/// Everything that writing needs.
pub(crate) struct Writing<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) first: Front,
    pub(crate) input: &'a Input,
    pub(crate) unfinished: &'a Unfinished,
}

/// Why writing stopped.
enum Stopped {
    RowTooLarge,
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Failed(failure)
    }
}

impl Writing<'_> {
    /// Writes into a file that holds all lines. Tells how many lines are in it, and its size.
    pub(crate) fn whole(&self) -> Result<(u64, u64), Failure> {
        // Text takes more than the recording does, nearly always.
        let size = self.input.size().clamp(MIN_FILE_SIZE, MAX_FILE_SIZE);
        let mut size = size.next_multiple_of(MIN_FILE_SIZE);
        loop {
            let kept = self.within(size)?;
            if kept == self.plan.lines || size >= MAX_FILE_SIZE {
                return Ok((kept, size));
            }
            size = size.saturating_mul(2).min(MAX_FILE_SIZE);
        }
    }

    /// Writes into a file of this size. Tells how many lines are in it: of a small one, the newest.
    pub(crate) fn within(&self, size: u64) -> Result<u64, Failure> {
        let mut together = self.plan.titles.len();
        loop {
            match self.write(size, groups(self.plan, together)) {
                Ok(kept) => return Ok(kept),
                // Then with fewer series to a row.
                Err(Stopped::RowTooLarge) if together > 1 => together = together.div_ceil(2),
                Err(Stopped::RowTooLarge) => {
                    return Err(Failure::Refused(format!(
                        "{}: a single series does not fit {size} bytes: give a larger --size",
                        self.input.name
                    )));
                }
                Err(Stopped::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn write(&self, size: u64, mut groups: Vec<Group>) -> Result<u64, Stopped> {
        let mut writer = self.unfinished.create(size)?;
        let mut lines = self.input.lines()?;
        let mut clock = Clock::default();
        let mut progress = Progress::new("importing", self.plan.lines);
        let mut at = Position {
            seq: 1,
            stamp: clock.stamp(self.first),
            epoch: self.first.epoch,
            run: 1,
        };
        self.sign(&mut writer, at)
            .map_err(|error| self.stopped(error))?;
        let mut done = 0;
        while let Some(front) = lines.next()? {
            at.stamp = clock.stamp(front);
            at.epoch = front.epoch;
            for group in &mut groups {
                at.seq += 1;
                self.write_row(group, &lines, &mut writer, at)?;
            }
            done += 1;
            progress.show(done);
        }
        let synced = writer.syncer().and_then(|syncer| Ok(syncer.sync()?));
        synced.map_err(|error| self.stopped(error))?;
        drop(writer);
        let first_module = groups.first().map(|group| group.schema.module.clone());
        self.count_lines(first_module.unwrap_or_default())
    }

    fn write_row(
        &self,
        group: &mut Group,
        lines: &Lines<'_>,
        writer: &mut Writer<FileRegion>,
        at: Position,
    ) -> Result<(), Stopped> {
        group.read(lines)?;
        if group.is_too_mixed() {
            let reason = "mixes integers and fractions of so many kinds in its columns that they \
                          cannot be recorded: import it in parts";
            return Err(lines.wrong(reason).into());
        }
        let written = group.write(writer, at).and_then(|()| writer.maintain());
        written.map_err(|error| self.stopped(error))
    }

    /// The first event says where everything comes from.
    fn sign(&self, writer: &mut Writer<FileRegion>, at: Position) -> Result<(), Error> {
        let event = Event::new("imported")
            .with("from", &self.input.name)
            .with("lines", self.plan.lines)
            .with("series", self.plan.titles.len());
        writer.adopt_event(at, &event)
    }

    /// Reads back how many lines there are. Every one has a row of the first module.
    fn count_lines(&self, first_module: String) -> Result<u64, Stopped> {
        let failure = |error| self.unfinished.failure(error);
        let recording = Recording::open(self.unfinished.path()).map_err(failure)?;
        let snapshot = recording.snapshot().map_err(failure)?;
        let select = Select {
            modules: Some(vec![first_module]),
            ..Select::all()
        };
        let mut count = 0;
        for row in snapshot.rows(&select) {
            row.map_err(failure)?;
            count += 1;
        }
        Ok(count)
    }

    fn stopped(&self, error: Error) -> Stopped {
        match error {
            Error::RowTooLarge { .. } => Stopped::RowTooLarge,
            error => Stopped::Failed(self.unfinished.failure(error)),
        }
    }
}

/// Boot times are not in the CSV. They grow with the timestamps, and stand still where those go
/// back, so that rates over imported counters are those of the original.
#[derive(Default)]
struct Clock {
    last: Option<Stamp>,
}

impl Clock {
    fn stamp(&mut self, front: Front) -> Stamp {
        let realtime_ns = front.realtime_ns;
        let boottime_ns = self.last.map_or(0, |last| {
            let passed = i128::from(realtime_ns) - i128::from(last.realtime_ns);
            last.boottime_ns
                .saturating_add(u64::try_from(passed).unwrap_or(0))
        });
        let stamp = Stamp {
            realtime_ns,
            boottime_ns,
        };
        self.last = Some(stamp);
        stamp
    }
}
