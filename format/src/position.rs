//! Positions: where a row or event stands in a recording.

use crate::clock::Stamp;
use crate::event::RecordedEvent;
use crate::reader::Row;

/// Where a row or event stands in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its number among all rows and events of the file.
    pub seq: u64,
    /// When it was recorded.
    pub stamp: Stamp,
    /// The epoch in force.
    pub epoch: u32,
    /// The run that recorded it.
    pub run: u32,
}

impl Row {
    /// Where the row stands.
    pub fn position(&self) -> Position {
        Position {
            seq: self.seq,
            stamp: self.stamp,
            epoch: self.epoch,
            run: self.run,
        }
    }
}

impl RecordedEvent {
    /// Where the event stands.
    pub fn position(&self) -> Position {
        Position {
            seq: self.seq,
            stamp: self.stamp,
            epoch: self.epoch,
            run: self.run,
        }
    }
}
