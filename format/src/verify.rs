//! Verifying: everything is read, and of every damaged place is told what was lost with it.
//!
//! Rows and events have one sequence of numbers without holes. So what a damaged place has cost
//! need not be guessed from the place: it is the numbers that nobody else has.

use std::iter::Peekable;
use std::slice::Iter;

use crate::clock::uuid_text;
use crate::error::{Damage, Error, Result};
use crate::event::RecordedEvent;
use crate::geometry::Ring;
use crate::position::Position;
use crate::reader::{Row, Select, Snapshot};
use crate::record::RECORD_HEADER_SIZE;
use crate::salvage;
use crate::source::read_headers;

mod loss;
mod span;

use loss::Surroundings;
pub use loss::{Held, HeldKind, Loss};
pub(crate) use span::Span;

/// What reading everything has shown. Made by [`Snapshot::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Rows that can be read.
    pub rows: u64,
    /// Events that can be read.
    pub events: u64,
    /// Values in those rows, absent ones left out.
    pub values: u64,
    /// The row or event with the lowest number.
    pub first: Option<Position>,
    /// The row or event with the highest number.
    pub last: Option<Position>,
    /// Every damaged place by offset, with what was lost there: at least all that
    /// [`Snapshot::damage`] and [`Snapshot::rows`] tell of.
    pub damage: Vec<Loss>,
    /// Numbers that nobody has, that no damage explains, and that were not overwritten: lost to
    /// damage that has itself been overwritten since, or to a disk that has put old data back.
    pub holes: Vec<Hole>,
    /// All numbers that are missing before the last one: as long as the ring has not come round,
    /// from 1 on.
    pub missing: Vec<Hole>,
    /// How many numbers are missing where damage was met, each counted once.
    pub lost: u64,
    /// How many numbers are missing at the old end because the ring has come round: blocks of
    /// several schemas overlap, and the first of them goes first.
    pub overwritten: u64,
}

/// Numbers in a row that no row or event has that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The lowest of them.
    pub first: u64,
    /// The highest of them.
    pub last: u64,
    /// The row or event before them.
    pub before: Option<Position>,
    /// The row or event behind them.
    pub after: Option<Position>,
}

impl Hole {
    /// How many numbers. A row or event has one.
    pub fn count(&self) -> u64 {
        self.span().count()
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            first: self.first,
            last: self.last,
        }
    }

    fn within(&self, span: Span) -> Option<Hole> {
        let Span { first, last } = self.span().and(span)?;
        Some(Hole {
            first,
            last,
            ..*self
        })
    }
}

impl Verification {
    /// True where there is no damage and no hole.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.holes.is_empty()
    }

    /// True where a row or event is missing, or may be.
    pub fn has_lost_something(&self) -> bool {
        let tail = self.damage.iter().any(|loss| loss.tail);
        self.lost > 0 || tail || !self.holes.is_empty()
    }
}

impl Snapshot {
    /// Reads every row and decodes every block, and finds out what was lost with each damaged
    /// place.
    ///
    /// ```
    /// # use ktm_format::*;
    /// # fn main() -> Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("box.ktm");
    /// # let mut writer = Writer::create_file(
    /// #     &path, MIN_FILE_SIZE, "example", SystemClock.now(), &mut SystemEntropy)?;
    /// # writer.event(SystemClock.now(), &Event::new("mark"))?;
    /// let verification = Recording::open(&path)?.snapshot()?.verify()?;
    /// assert!(verification.is_sound());
    /// assert_eq!((verification.rows, verification.events), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be read at all. Damage is not an error.
    pub fn verify(&self) -> Result<Verification> {
        let mut reading = Reading::new(self);
        for row in self.rows(&Select::all()) {
            match row {
                Ok(row) => reading.row(&row),
                Err(Error::Corrupt(damage)) if self.is_gone(&damage) => {}
                Err(Error::Corrupt(damage)) => reading.damage.push(damage),
                Err(error) => return Err(error),
            }
        }
        reading.remaining_events();
        Ok(reading.judge(self))
    }

    /// True where a live writer has begun another segment in the place since the snapshot.
    fn is_gone(&self, damage: &Damage) -> bool {
        let size = u64::from(self.geometry.segment_size);
        let holds = |base: u64| (base..base + size).contains(&damage.offset);
        let place = |ring, slot| self.geometry.offset(ring, slot);
        let found = self
            .segments
            .iter()
            .find(|found| holds(place(found.ring, found.slot)));
        found.is_some_and(|found| {
            let headers = read_headers(&self.source, &self.geometry, found.ring, found.slot);
            let seeds = headers.iter().filter_map(|bytes| {
                let header = salvage::header_in(bytes)?;
                (uuid_text(&header.uuid) == self.info.uuid).then(|| header.seed())
            });
            let seeds: Vec<u32> = seeds.collect();
            let is_being_begun = headers.iter().all(|bytes| bytes.starts_with(&[0; 8]));
            is_being_begun || !seeds.is_empty() && !seeds.contains(&found.seed)
        })
    }
}

/// What is gathered while reading.
struct Reading<'a> {
    events: Peekable<Iter<'a, RecordedEvent>>,
    so_far: Verification,
    damage: Vec<Damage>,
    /// The numbers that may have been overwritten, once the ring has come round.
    overwritten: Option<Span>,
}

impl<'a> Reading<'a> {
    fn new(snapshot: &'a Snapshot) -> Reading<'a> {
        Reading {
            events: snapshot.events.iter().peekable(),
            so_far: Verification::default(),
            damage: snapshot.damage.clone(),
            overwritten: overwritten(snapshot),
        }
    }

    fn row(&mut self, row: &Row) {
        while let Some(event) = self.events.next_if(|event| event.seq < row.seq) {
            self.event(event);
        }
        self.so_far.rows += 1;
        let present = (0..row.values().len()).filter(|index| row.values().word(*index).is_some());
        self.so_far.values += present.count() as u64;
        self.number(row.position());
    }

    fn remaining_events(&mut self) {
        while let Some(event) = self.events.next() {
            self.event(event);
        }
    }

    fn event(&mut self, event: &RecordedEvent) {
        self.so_far.events += 1;
        self.number(event.position());
    }

    fn number(&mut self, position: Position) {
        self.so_far.first.get_or_insert(position);
        let before = self.so_far.last;
        let next = match before {
            Some(before) => before.seq.saturating_add(1),
            None if self.overwritten.is_some() => position.seq,
            None => 1,
        };
        // Only a file made by hand gives a number twice, or out of order.
        if before.is_some() && position.seq < next {
            return;
        }
        if position.seq > next {
            self.so_far.missing.push(Hole {
                first: next,
                last: position.seq - 1,
                before,
                after: Some(position),
            });
        }
        self.so_far.last = Some(position);
    }

    /// Says of every missing number why it is missing.
    fn judge(mut self, snapshot: &Snapshot) -> Verification {
        self.damage.sort_by_key(|damage| damage.offset);
        self.damage.dedup();
        let mut verification = self.so_far;
        if !self.damage.is_empty() {
            let surroundings = Surroundings::of(snapshot, &verification);
            let losses = self.damage.into_iter();
            let losses: Vec<Loss> = losses.map(|damage| surroundings.loss(damage)).collect();
            verification.damage = losses;
        }
        let lost = verification.damage.iter().flat_map(|loss| &loss.numbers);
        let lost = Span::union(lost.map(Hole::span).collect());
        verification.lost = lost.iter().map(Span::count).sum();
        let declared = Span::union(salvage::declared(&snapshot.events));
        let overwritten = self.overwritten;
        // A recording made from another one need not begin with 1.
        let inner = verification
            .missing
            .iter()
            .filter(|hole| hole.before.is_some());
        for hole in inner {
            let unexplained = hole.span().without(&lost).into_iter();
            for span in unexplained.flat_map(|span| span.without(&declared)) {
                let old = overwritten.and_then(|overwritten| span.and(overwritten));
                verification.overwritten += old.map_or(0, |old| old.count());
                let unknown = span.without(old.as_slice()).into_iter();
                verification
                    .holes
                    .extend(unknown.filter_map(|span| hole.within(span)));
            }
        }
        verification
    }
}

/// The numbers that may be missing because the cold ring has come round.
///
/// Blocks stand in the order of their last numbers: those overwritten ended before the oldest that
/// is left does.
fn overwritten(snapshot: &Snapshot) -> Option<Span> {
    let cold = snapshot
        .segments
        .iter()
        .filter(|found| found.ring == Ring::Cold);
    let newest = cold.map(|found| found.seq).max()?;
    if newest < u64::from(snapshot.geometry.cold_count) {
        return None;
    }
    let blocks = snapshot
        .chunks
        .iter()
        .filter(|chunk| chunk.schema.is_some());
    let oldest = blocks.min_by_key(|chunk| (chunk.found.seq, chunk.last_seq))?;
    Some(Span {
        first: 0,
        last: oldest.last_seq,
    })
}

/// How many rows and events one seal covers at most.
fn reach(snapshot: &Snapshot) -> u64 {
    snapshot.geometry.hot_range().1 / RECORD_HEADER_SIZE as u64
}
