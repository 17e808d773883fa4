//! Adopting: rows and events of another recording, with their own numbers, times, epochs and runs.

use super::{SchemaHandle, Writer};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::position::Position;
use crate::record::MAX_SEQ;
use crate::region::Region;
use crate::value::Values;

impl<R: Region> Writer<R> {
    /// Appends a row of another recording with everything that places it there: to rewrite a
    /// recording, or to make one from elsewhere. Rows and events have to come in the order of their
    /// numbers; numbers may be left out.
    ///
    /// What is appended afterwards by [`Writer::append`] and [`Writer::event`] continues the
    /// adopted row's epoch and run, with the next number.
    ///
    /// ```
    /// # use ktm_format::*;
    /// # fn main() -> Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let (old, new) = (folder.path().join("old.ktm"), folder.path().join("new.ktm"));
    /// # Writer::create_file(&old, MIN_FILE_SIZE, "", SystemClock.now(), &mut SystemEntropy)?;
    /// let mut writer = Writer::create_file(
    ///     &new, 2 * MIN_FILE_SIZE, "example", SystemClock.now(), &mut SystemEntropy)?;
    /// for row in Recording::open(&old)?.snapshot()?.rows(&Select::all()) {
    ///     let row = row?;
    ///     let schema = writer.define(&row.schema)?;
    ///     writer.adopt(schema, row.position(), row.values())?;
    ///     writer.maintain()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Writer::append`], and [`Error::OutOfOrder`] for a number that is not above the last.
    ///
    /// # Panics
    ///
    /// When the handle comes from another writer.
    pub fn adopt(&mut self, schema: SchemaHandle, at: Position, values: &Values) -> Result<()> {
        self.stand_at(at)?;
        self.append(schema, at.stamp, values).map(|_| ())
    }

    /// Appends an event of another recording as [`Writer::adopt`] appends a row.
    ///
    /// # Errors
    ///
    /// As [`Writer::event`], and [`Error::OutOfOrder`] for a number that is not above the last.
    pub fn adopt_event(&mut self, at: Position, event: &Event) -> Result<()> {
        self.stand_at(at)?;
        self.event(at.stamp, event).map(|_| ())
    }

    fn stand_at(&mut self, at: Position) -> Result<()> {
        if at.seq < self.next_seq || at.seq > MAX_SEQ {
            return Err(Error::OutOfOrder {
                given: at.seq,
                next: self.next_seq,
            });
        }
        self.next_seq = at.seq;
        self.epoch = at.epoch;
        self.run = at.run;
        Ok(())
    }
}
