//! What a damaged place has cost.

use std::collections::BTreeSet;

use zerocopy::FromBytes;

use super::span::Span;
use super::{Hole, Verification, reach};
use crate::block;
use crate::clock::Stamp;
use crate::error::{Damage, DamageKind};
use crate::geometry::Ring;
use crate::position::Position;
use crate::reader::Snapshot;
use crate::record::{
    KIND_BLOCK, KIND_EVENT, KIND_ROW, KIND_SCHEMA, RECORD_HEADER_SIZE, RecordHeader, Step,
};
use crate::segment;
use crate::source::{in_force, read_segment};

/// A damaged place and what was lost with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where, and what was found.
    pub damage: Damage,
    /// What the damaged records say they were, where that can be told.
    pub held: Vec<Held>,
    /// The missing numbers that lay here, or may have lain here: places whose neighbours are the
    /// same cannot be told apart.
    pub numbers: Vec<Hole>,
    /// The newest rows and events may have lain here as well: none behind it tells how many.
    pub tail: bool,
}

impl Loss {
    /// How many numbers are missing that lay here, or may have.
    pub fn count(&self) -> u64 {
        self.numbers.iter().map(Hole::count).sum()
    }
}

/// What a damaged record says it was. It did not verify, and yet its header fits what is around it:
/// good enough for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it was.
    pub kind: HeldKind,
    /// Its number, or its first row's; of a schema, 0.
    pub first: u64,
    /// Its last row's number.
    pub last: u64,
    /// Rows.
    pub rows: u64,
    /// When it was recorded.
    pub stamp: Stamp,
    /// The module whose rows it held, where its schema is known.
    pub module: Option<String>,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldKind {
    /// One row.
    Row,
    /// One event.
    Event,
    /// A schema.
    Schema,
    /// Rows sealed together.
    Block,
}

impl HeldKind {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            HeldKind::Row => "row",
            HeldKind::Event => "event",
            HeldKind::Schema => "schema",
            HeldKind::Block => "block",
        }
    }

    const fn of_code(code: u16) -> Option<HeldKind> {
        Some(match code {
            KIND_ROW => HeldKind::Row,
            KIND_EVENT => HeldKind::Event,
            KIND_SCHEMA => HeldKind::Schema,
            KIND_BLOCK => HeldKind::Block,
            _ => return None,
        })
    }
}

/// The numbers of a record that verifies, and its place in the file.
#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    end: u64,
    first: u64,
    last: u64,
}

/// The records of a segment in force.
struct Strip {
    ring: Ring,
    slot: u32,
    seq: u64,
    entries: Vec<Entry>,
}

/// Everything readable by its place, to see what is around a damaged one.
pub(super) struct Surroundings<'a> {
    snapshot: &'a Snapshot,
    /// Of each ring, by the segments' numbers.
    strips: Vec<Strip>,
    first: Option<Position>,
    last: Option<Position>,
    /// All numbers that are missing between those two.
    missing: &'a [Hole],
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, so_far: &'a Verification) -> Surroundings<'a> {
        let mut bytes = Vec::new();
        let strips = snapshot.segments.iter().map(|found| {
            let geometry = &snapshot.geometry;
            read_segment(
                &snapshot.source,
                geometry,
                found,
                &mut bytes,
                &mut Vec::new(),
            );
            let base = geometry.offset(found.ring, found.slot);
            Strip {
                ring: found.ring,
                slot: found.slot,
                seq: found.seq,
                entries: entries(&bytes, base, found.seed),
            }
        });
        Surroundings {
            snapshot,
            strips: strips.collect(),
            first: so_far.first,
            last: so_far.last,
            missing: &so_far.missing,
        }
    }

    pub(super) fn loss(&self, damage: Damage) -> Loss {
        let windows = Span::union(self.windows(&damage));
        let held = self.held(&damage, &windows);
        if held.is_empty() {
            let behind = |span: &Span| self.last.is_none_or(|last| span.last > last.seq);
            return Loss {
                held,
                numbers: windows
                    .iter()
                    .flat_map(|window| self.missing_in(*window))
                    .collect(),
                tail: windows.iter().any(behind) && !self.is_end_mark(&damage),
                damage,
            };
        }
        // Those records alone were here, and say which numbers they had.
        let numbered = held.iter().filter(|held| held.kind != HeldKind::Schema);
        let mut numbers: Vec<Hole> = numbered.flat_map(|held| self.missing_of(held)).collect();
        numbers.sort_by_key(|hole| hole.first);
        numbers.dedup();
        Loss {
            damage,
            held,
            numbers,
            tail: false,
        }
    }

    fn missing_in(&self, window: Span) -> impl Iterator<Item = Hole> {
        let from = self
            .missing
            .partition_point(|hole| hole.last < window.first);
        let holes = self.missing.iter().skip(from);
        holes.map_while(move |hole| hole.within(window))
    }

    /// The missing numbers of a record, those before the first and behind the last readable one
    /// included.
    fn missing_of(&self, held: &Held) -> Vec<Hole> {
        let span = Span {
            first: held.first,
            last: held.last,
        };
        let mut numbers: Vec<Hole> = self.missing_in(span).collect();
        let end = |first, last, before, after| {
            let hole = Hole {
                first,
                last,
                before,
                after,
            };
            (first <= last).then(|| hole.within(span)).flatten()
        };
        let begins = |hole: &Hole| hole.before.is_none();
        if let Some(first) = self.first.filter(|_| !numbers.iter().any(begins)) {
            let before = first.seq.checked_sub(1);
            numbers.extend(before.and_then(|before| end(0, before, None, self.first)));
        }
        let behind = self.last.map_or(0, |last| last.seq.saturating_add(1));
        numbers.extend(end(behind, u64::MAX, self.last, None));
        numbers.sort_by_key(|hole| hole.first);
        numbers
    }

    /// The numbers that may have lain in a damaged place.
    fn windows(&self, damage: &Damage) -> Vec<Span> {
        let end = damage.offset + damage.length;
        match damage.what {
            DamageKind::Superblock
            | DamageKind::Superblocks
            | DamageKind::SegmentHeader
            | DamageKind::Misplaced => Vec::new(),
            DamageKind::Truncated => {
                let rings = [Ring::Hot, Ring::Cold].into_iter();
                let slots = rings.flat_map(|ring| {
                    let slots = self.slots_cut_off(ring, damage.offset);
                    slots.into_iter().map(move |slot| (ring, slot))
                });
                slots
                    .flat_map(|(ring, slot)| self.windows_of_slot(ring, slot, damage.offset, end))
                    .collect()
            }
            _ => match self.snapshot.geometry.slot_at(damage.offset) {
                Some((ring, slot)) => self.windows_of_slot(ring, slot, damage.offset, end),
                None => Vec::new(),
            },
        }
    }

    /// Of the slots that a file cut short lacks, wholly or in part, enough to tell what may have
    /// lain in all of them: those of segments that are left, and one for the numbers between two of
    /// those. There may be very many, and which numbers were between does not depend on how many.
    fn slots_cut_off(&self, ring: Ring, length: u64) -> BTreeSet<u32> {
        let geometry = &self.snapshot.geometry;
        let whole = length.saturating_sub(geometry.offset(ring, 0));
        let whole = whole / u64::from(geometry.segment_size);
        let count = u64::from(geometry.count(ring));
        if whole >= count {
            return BTreeSet::new();
        }
        let of_ring = self.strips.iter().filter(|strip| strip.ring == ring);
        let left: BTreeSet<u64> = of_ring.map(|strip| strip.seq).collect();
        // From a number on, the first whose slot is cut off.
        let first_cut = |number: u64| number + whole.saturating_sub(number % count);
        let cut = left.iter().flat_map(|number| {
            let own = (number % count >= whole).then_some(*number);
            own.into_iter().chain([first_cut(number + 1)])
        });
        let cut: BTreeSet<u32> = cut.map(|number| geometry.slot(ring, number)).collect();
        if cut.is_empty() {
            return [geometry.slot(ring, whole)].into();
        }
        cut
    }

    /// The numbers that may have lain between two offsets of a slot.
    fn windows_of_slot(&self, ring: Ring, slot: u32, from: u64, to: u64) -> Vec<Span> {
        let of_ring = || self.strips.iter().filter(|strip| strip.ring == ring);
        if let Some(strip) = of_ring().find(|strip| strip.slot == slot) {
            return self
                .between(ring, strip.seq, from, to)
                .into_iter()
                .collect();
        }
        let Some(newest) = of_ring().map(|strip| strip.seq).max() else {
            // Nothing of the ring is left.
            return self.below_the_most(ring, 0, u64::MAX).into_iter().collect();
        };
        let count = self.snapshot.geometry.count(ring);
        let mut windows: Vec<Span> = in_force(newest, count, slot)
            .and_then(|number| self.between(ring, number, from, to))
            .into_iter()
            .collect();
        // Without its header nobody knows whether it was newer than the newest that is left.
        let distance =
            (u64::from(slot) + u64::from(count) - newest % u64::from(count)) % u64::from(count);
        if (newest + 1..=newest + distance).all(|number| self.is_gone(ring, number)) {
            windows.extend(self.between(ring, newest + distance, from, to));
        }
        windows
    }

    /// True where the slot of a segment's number holds something unreadable, or is cut off.
    fn is_gone(&self, ring: Ring, number: u64) -> bool {
        let geometry = &self.snapshot.geometry;
        let offset = geometry.offset(ring, geometry.slot(ring, number));
        let end = offset + u64::from(geometry.segment_size);
        self.snapshot.damage.iter().any(|damage| match damage.what {
            DamageKind::Segment => damage.offset == offset,
            DamageKind::Truncated => damage.offset < end,
            _ => false,
        })
    }

    /// The cold ring has no number above the hot ring's.
    fn below_the_most(&self, ring: Ring, first: u64, last: u64) -> Option<Span> {
        let most = self
            .last
            .map(|last| last.seq)
            .filter(|_| ring == Ring::Cold);
        Span::of(first, most.map_or(last, |most| last.min(most)))
    }

    /// The numbers that may have lain in segment `number` of a ring between two file offsets.
    fn between(&self, ring: Ring, number: u64, from: u64, to: u64) -> Option<Span> {
        let of_ring = || self.strips.iter().filter(|strip| strip.ring == ring);
        let own = || of_ring().filter(|strip| strip.seq == number);
        let own_before = own()
            .flat_map(|s| s.entries.iter().rev())
            .find(|e| e.end <= from);
        let older = of_ring().filter(|strip| strip.seq < number);
        let before = own_before.or_else(|| older.filter_map(|s| s.entries.last()).next_back());
        let own_after = || {
            own()
                .flat_map(|s| &s.entries)
                .filter(move |e| e.offset >= to)
        };
        let newer = of_ring().filter(|strip| strip.seq > number);
        let mut after = own_after().chain(newer.flat_map(|strip| &strip.entries));
        let reach = reach(self.snapshot);
        let (first, last) = match ring {
            Ring::Hot => {
                let mut above = before.map_or(0, |entry| entry.last);
                // A run carries rows of the one before forward: its numbers step back there.
                if own_before.is_none()
                    && let Some(next) = own_after().next().filter(|next| next.first <= above)
                {
                    above = next.first.saturating_sub(reach);
                }
                let next = after.find(|entry| entry.first > above);
                (
                    above.saturating_add(1),
                    next.map(|next| next.first.saturating_sub(1)),
                )
            }
            // Blocks are in the order of their last numbers, and overlap.
            Ring::Cold => {
                let first = before.map_or(0, |before| before.last.saturating_sub(reach));
                (first, after.next().map(|next| next.last))
            }
        };
        self.below_the_most(ring, first, last.unwrap_or(u64::MAX))
    }

    /// What the damaged records' own headers say, if they follow each other from the damage's
    /// first byte to its last and fit what is around them.
    fn held(&self, damage: &Damage, windows: &[Span]) -> Vec<Held> {
        let mut held = Vec::new();
        if !matches!(damage.what, DamageKind::Record | DamageKind::Contents) {
            return held;
        }
        let mut bytes = vec![0; usize::try_from(damage.length).unwrap_or(0)];
        if self
            .snapshot
            .source
            .read_at(damage.offset, &mut bytes)
            .is_err()
        {
            return held;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some((record, length)) = self.held_record(rest, windows) else {
                return Vec::new();
            };
            held.push(record);
            rest = rest.get(length..).unwrap_or_default();
        }
        held
    }

    /// What the first of these records says of itself, and its length.
    fn held_record(&self, bytes: &[u8], windows: &[Span]) -> Option<(Held, usize)> {
        let (header, payload) = RecordHeader::read_from_prefix(bytes).ok()?;
        let length = header.length.get() as usize;
        let kind = HeldKind::of_code(header.kind.get())?;
        if !(RECORD_HEADER_SIZE..=bytes.len()).contains(&length) || !length.is_multiple_of(8) {
            return None;
        }
        let first = header.seq.get();
        let (last, rows) = match kind {
            HeldKind::Block => {
                let (block, _) = block::parse_header(payload).ok()?;
                (block.last_seq.get(), u64::from(block.rows.get()))
            }
            HeldKind::Row => (first, 1),
            HeldKind::Event | HeldKind::Schema => (first, 0),
        };
        let is_around = |window: &Span| {
            Span::of(first, last).is_some_and(|held| window.and(held) == Some(held))
        };
        if kind != HeldKind::Schema && !windows.iter().any(is_around) {
            return None;
        }
        let schema = self.snapshot.library.get(&header.schema.get());
        let held = Held {
            kind,
            first,
            last,
            rows,
            stamp: header.stamp(),
            module: schema.map(|schema| schema.module.clone()),
        };
        Some((held, length))
    }

    /// True where no record was, but the mark behind the last one: its first half is zero.
    fn is_end_mark(&self, damage: &Damage) -> bool {
        let mut word = [0; 8];
        damage.what == DamageKind::EndMark
            && self
                .snapshot
                .source
                .read_at(damage.offset, &mut word)
                .is_ok()
            && word[..4] == [0; 4]
            && word[4..] != [0; 4]
    }
}

/// The numbered records of a segment, in the order of their places.
fn entries(bytes: &[u8], base: u64, seed: u32) -> Vec<Entry> {
    let mut entries = Vec::new();
    for step in segment::walk(bytes, seed) {
        let Step::Record(record) = step else { continue };
        let first = record.header.seq.get();
        let last = match record.header.kind.get() {
            KIND_ROW | KIND_EVENT => first,
            KIND_BLOCK => match block::parse_header(record.payload) {
                Ok((header, _)) => header.last_seq.get(),
                Err(_) => continue,
            },
            _ => continue,
        };
        let offset = base + record.offset as u64;
        entries.push(Entry {
            offset,
            end: offset + u64::from(record.header.length.get()),
            first,
            last,
        });
    }
    entries
}
