//! Reading: random access to a recording's bytes, and whole segments out of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::{Damage, DamageKind, Result};
use crate::geometry::{Geometry, Ring};
use crate::segment::{self, SEGMENT_HEADER_SIZE, SlotState, trailer_offset};
use crate::superblock::{self, Chosen, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE};

/// Random access for reading. Files, and bytes in memory.
pub trait ReadAt {
    /// Bytes there are.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// True when there are no bytes.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// What the operating system says, or `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.as_slice().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start
            .checked_add(buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

/// Reads and judges both superblocks.
pub(crate) fn superblock_of(source: &impl ReadAt) -> Result<Chosen> {
    superblock::choose(SUPERBLOCK_OFFSETS.map(|offset| {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        source.read_at(offset, &mut bytes).ok().map(|()| bytes)
    }))
}

/// A segment that a survey found, and how to verify what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ring: Ring,
    pub(crate) slot: u32,
    pub(crate) seq: u64,
    pub(crate) seed: u32,
    pub(crate) run: u32,
}

/// The segments of one ring in force, oldest first, and the damage of the headers.
///
/// A ring of n segments holds the numbers from `newest - n + 1` to `newest`. An older number is
/// what a lost header left behind, and its rows were released long ago.
pub(crate) fn survey(
    source: &impl ReadAt,
    geometry: &Geometry,
    uuid: &[u8; 16],
    ring: Ring,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Found>> {
    let survey = Survey {
        source,
        geometry,
        uuid,
        ring,
        length: source.len()?,
    };
    // What a file lacks is not looked for: a superblock can promise any number of slots.
    let slots = geometry.slots_within(ring, survey.length);
    let slots = (0..slots).map(|slot| survey.look(slot, damage));
    let mut slots: Vec<Slot> = slots.collect();
    survey.look_for_missing(&mut slots, damage);
    let mut found: Vec<Found> = slots.into_iter().filter_map(Slot::found).collect();
    found.sort_by_key(|segment| segment.seq);
    let newest = found.last().map_or(0, |segment| segment.seq);
    let count = u64::from(geometry.count(ring));
    found.retain(|segment| newest - segment.seq < count);
    Ok(found)
}

/// The number that is in force in a slot of a ring of `count` segments.
pub(crate) fn in_force(newest: u64, count: u32, slot: u32) -> Option<u64> {
    let count = u64::from(count);
    let back = (newest % count + count - u64::from(slot)) % count;
    newest.checked_sub(back)
}

/// What a survey found in one slot.
enum Slot {
    Segment(Found),
    Empty,
    /// Nothing more to say of it: being begun, or unreadable and reported, or behind the end of a
    /// file cut short.
    Gone,
}

impl Slot {
    fn found(self) -> Option<Found> {
        match self {
            Slot::Segment(found) => Some(found),
            Slot::Empty | Slot::Gone => None,
        }
    }
}

/// The look at one ring.
struct Survey<'a, R> {
    source: &'a R,
    geometry: &'a Geometry,
    uuid: &'a [u8; 16],
    ring: Ring,
    /// The file's, which may have been cut short.
    length: u64,
}

impl<R: ReadAt> Survey<'_, R> {
    fn look(&self, slot: u32, damage: &mut Vec<Damage>) -> Slot {
        let offset = self.geometry.offset(self.ring, slot);
        if offset + SEGMENT_HEADER_SIZE as u64 > self.length {
            return Slot::Gone;
        }
        match judge_slot(self.source, self.geometry, self.uuid, self.ring, slot) {
            SlotState::Used {
                seq,
                seed,
                run,
                damaged_header,
            } => {
                let header = damaged_header.map(|at| Damage {
                    offset: offset + at as u64,
                    length: SEGMENT_HEADER_SIZE as u64,
                    what: DamageKind::SegmentHeader,
                });
                let is_there = |header: &Damage| header.offset + header.length <= self.length;
                damage.extend(header.filter(is_there));
                Slot::Segment(Found {
                    ring: self.ring,
                    slot,
                    seq,
                    seed,
                    run,
                })
            }
            SlotState::Empty => Slot::Empty,
            SlotState::Begun => Slot::Gone,
            SlotState::Unreadable => {
                damage.push(self.damage(slot, DamageKind::Segment));
                Slot::Gone
            }
        }
    }

    /// Numbers of a ring follow each other. Where an older one, or none, stands in place of a
    /// number that must have been used, that segment was lost, or never reached the disk.
    fn look_for_missing(&self, slots: &mut [Slot], damage: &mut Vec<Damage>) {
        let numbers = slots.iter().filter_map(|slot| match slot {
            Slot::Segment(found) => Some(found.seq),
            Slot::Empty | Slot::Gone => None,
        });
        let Some(newest) = numbers.max() else { return };
        for (index, known) in (0..).zip(slots) {
            let expected = in_force(newest, self.geometry.count(self.ring), index);
            let is_missing = |slot: &Slot| match slot {
                Slot::Segment(found) => Some(found.seq) < expected,
                Slot::Empty => expected.is_some(),
                Slot::Gone => false,
            };
            if !is_missing(known) {
                continue;
            }
            // A live writer may have come round since the first look.
            *known = self.look(index, &mut Vec::new());
            if is_missing(known) {
                damage.push(self.damage(index, DamageKind::Missing));
            }
        }
    }

    fn damage(&self, slot: u32, what: DamageKind) -> Damage {
        let offset = self.geometry.offset(self.ring, slot);
        let length = u64::from(self.geometry.segment_size);
        Damage {
            offset,
            length: length.min(self.length - offset),
            what,
        }
    }
}

fn judge_slot(
    source: &impl ReadAt,
    geometry: &Geometry,
    uuid: &[u8; 16],
    ring: Ring,
    slot: u32,
) -> SlotState {
    let [first, second] = read_headers(source, geometry, ring, slot);
    segment::judge(&first, &second, geometry, uuid, ring, slot)
}

/// A slot's two headers. What the disk does not give back is judged as damaged, what a file cut
/// short lacks as zeros.
pub(crate) fn read_headers(
    source: &impl ReadAt,
    geometry: &Geometry,
    ring: Ring,
    slot: u32,
) -> [[u8; SEGMENT_HEADER_SIZE]; 2] {
    let offset = geometry.offset(ring, slot);
    let trailer = trailer_offset(geometry.segment_size as usize) as u64;
    [offset, offset + trailer].map(|offset| {
        let mut header = [0; SEGMENT_HEADER_SIZE];
        let is_there = || {
            let length = source.len().unwrap_or(u64::MAX);
            offset + SEGMENT_HEADER_SIZE as u64 <= length
        };
        if source.read_at(offset, &mut header).is_err() {
            header.fill(if is_there() { 0xff } else { 0 });
        }
        header
    })
}

/// Reads a whole segment. Where the disk refuses, the pieces it does give back are read one by one
/// and the rest stays zero, which no checksum passes; so does what a file cut short lacks.
pub(crate) fn read_segment(
    source: &impl ReadAt,
    geometry: &Geometry,
    found: &Found,
    buffer: &mut Vec<u8>,
    damage: &mut Vec<Damage>,
) {
    buffer.clear();
    buffer.resize(geometry.segment_size as usize, 0);
    let offset = geometry.offset(found.ring, found.slot);
    read_what_is_there(source, offset, buffer, damage);
}

/// Fills a buffer of zeros, as [`read_segment`] does.
pub(crate) fn read_what_is_there(
    source: &impl ReadAt,
    offset: u64,
    buffer: &mut [u8],
    damage: &mut Vec<Damage>,
) {
    const PIECE: usize = 4096;
    if source.read_at(offset, buffer).is_ok() {
        return;
    }
    let length = source.len().unwrap_or(0).saturating_sub(offset);
    let there = usize::try_from(length).unwrap_or(usize::MAX);
    let there = there.min(buffer.len());
    buffer.fill(0);
    let mut at = offset;
    for piece in buffer.split_at_mut(there).0.chunks_mut(PIECE) {
        if source.read_at(at, piece).is_err() {
            piece.fill(0);
            let length = piece.len() as u64;
            damage.push(Damage {
                offset: at,
                length,
                what: DamageKind::Unreadable,
            });
        }
        at += PIECE as u64;
    }
}

/// Damage of a file that ends before its geometry does.
pub(crate) fn truncation(source: &impl ReadAt, geometry: &Geometry) -> Result<Option<Damage>> {
    let length = source.len()?;
    Ok((length < geometry.file_size).then(|| Damage {
        offset: length,
        length: geometry.file_size - length,
        what: DamageKind::Truncated,
    }))
}
