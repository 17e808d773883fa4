//! Salvage: reading what is left of a file whose superblocks or whose order cannot be relied on.
//!
//! An ordinary reader takes a file's word for its geometry, and takes a segment only in its place.
//! Salvage looks at the segments themselves: their headers tell which file, ring and number they
//! belong to, and where they stand tells how the file was divided.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use zerocopy::FromBytes;

use crate::error::{Damage, DamageKind, Error, Result};
use crate::event::{Event, RecordedEvent};
use crate::geometry::{Geometry, Ring};
use crate::index::Indexer;
use crate::reader::{Recording, Snapshot};
use crate::segment::SegmentHeader;
use crate::source::{Found, ReadAt, read_headers, superblock_of, survey};
use crate::superblock::Superblock;
use crate::verify::{Hole, Span, Verification};

mod guess;

/// The event that declares numbers which a rewritten recording lacks.
const SALVAGED: &str = "salvaged";

/// The field that lists them: `17 20-25`.
const MISSING: &str = "missing";

/// Spans in an event at most. It has to fit a segment, whatever was lost.
const MOST_SPANS: usize = 500;

impl Recording {
    /// Finds everything that can still be read in a file, also where [`Recording::open`] refuses it
    /// because both superblocks are gone, and segments that stand in another's place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::UnsupportedVersion`]; what [`Recording::open`] says when nothing of
    /// a recording is found.
    pub fn salvage(path: impl AsRef<Path>) -> Result<Snapshot> {
        Recording::salvage_over(File::open(path)?)
    }

    /// As [`Recording::salvage`], from anything that gives its bytes.
    ///
    /// # Errors
    ///
    /// As [`Recording::salvage`].
    pub fn salvage_over(source: impl ReadAt + Send + Sync + 'static) -> Result<Snapshot> {
        let source: Arc<dyn ReadAt + Send + Sync> = Arc::new(source);
        let (superblock, mut damage) = match superblock_of(&source) {
            Ok(chosen) => (chosen.superblock, chosen.damage),
            Err(refused @ (Error::NotARecording(_) | Error::Corrupt(_))) => {
                guess::superblock(&source)?.ok_or(refused)?
            }
            Err(refused) => return Err(refused),
        };
        let [hot, cold] = search(&source, &superblock, &mut damage)?;
        Indexer::over(source, superblock).index_found(hot, cold, damage)
    }
}

/// The segments in force of both rings, wherever they stand, oldest first.
fn search(
    source: &impl ReadAt,
    superblock: &Superblock,
    damage: &mut Vec<Damage>,
) -> Result<[Vec<Found>; 2]> {
    let (geometry, uuid) = (superblock.geometry(), superblock.uuid);
    let mut in_place = |ring| survey(source, &geometry, &uuid, ring, damage);
    let mut rings = [in_place(Ring::Hot)?, in_place(Ring::Cold)?];
    for damage in damage.iter_mut() {
        if !matches!(damage.what, DamageKind::Segment | DamageKind::Missing) {
            continue;
        }
        let Some((ring, slot)) = slot_of(&geometry, damage.offset) else {
            continue;
        };
        let headers = read_headers(source, &geometry, ring, slot);
        let strays = headers.iter().filter_map(|bytes| header_in(bytes));
        let stray = strays
            .filter(|header| header.uuid == uuid)
            .max_by_key(|header| (header.seq.get(), header.run.get()));
        if let Some(header) = stray
            && let Some(found) = adopt(&mut rings, &header, ring, slot)
        {
            found.sort_by_key(|segment| segment.seq);
            damage.what = DamageKind::Misplaced;
        }
    }
    for (ring, found) in [Ring::Hot, Ring::Cold].into_iter().zip(&mut rings) {
        let newest = found.last().map_or(0, |segment| segment.seq);
        let count = u64::from(geometry.count(ring));
        found.retain(|segment| newest - segment.seq < count);
    }
    Ok(rings)
}

/// Takes a segment that stands elsewhere into its ring, unless that has one of its number.
fn adopt<'a>(
    rings: &'a mut [Vec<Found>; 2],
    header: &SegmentHeader,
    ring: Ring,
    slot: u32,
) -> Option<&'a mut Vec<Found>> {
    let [hot, cold] = rings;
    let found = match header.ring.get() {
        code if code == Ring::Hot.code() => hot,
        code if code == Ring::Cold.code() => cold,
        _ => return None,
    };
    let seq = header.seq.get();
    if found.iter().any(|known| known.seq == seq) {
        return None;
    }
    found.push(Found {
        ring,
        slot,
        seq,
        seed: header.seed(),
        run: header.run.get(),
    });
    Some(found)
}

/// A segment header that is whole, wherever it may belong.
pub(crate) fn header_in(bytes: &[u8]) -> Option<SegmentHeader> {
    let header = SegmentHeader::read_from_bytes(bytes).ok()?;
    header.is_intact().then_some(header)
}

/// The slot that begins at an offset.
fn slot_of(geometry: &Geometry, offset: u64) -> Option<(Ring, u32)> {
    let (ring, slot) = geometry.slot_at(offset)?;
    (geometry.offset(ring, slot) == offset).then_some((ring, slot))
}

/// The event by which a recording that was rewritten declares the numbers that it lacks, so that
/// nobody takes them for damage of the new file. The caller may add fields of its own.
///
/// Of very many holes, those closest to each other are declared as one.
pub fn salvaged(source: &Verification) -> Event {
    let before = source
        .first
        .and_then(|first| Span::of(1, first.seq.checked_sub(1)?));
    let missing = source.missing.iter().map(Hole::span);
    let mut spans = Span::union(missing.chain(before).collect());
    while spans.len() > MOST_SPANS {
        spans = close_narrowest(&spans);
    }
    let text: Vec<String> = spans.iter().map(Span::text).collect();
    Event::new(SALVAGED).with(MISSING, text.join(" "))
}

/// Closes the narrower half of the gaps between the spans.
fn close_narrowest(spans: &[Span]) -> Vec<Span> {
    let gaps = spans.windows(2).map(|pair| pair[1].first - pair[0].last);
    let mut widths: Vec<u64> = gaps.collect();
    widths.sort_unstable();
    let narrow = widths.get(widths.len() / 2).copied().unwrap_or(u64::MAX);
    let mut closed: Vec<Span> = Vec::new();
    for span in spans {
        match closed.last_mut() {
            Some(last) if span.first - last.last <= narrow => last.last = span.last,
            _ => closed.push(*span),
        }
    }
    closed
}

/// The numbers that events declare as missing.
pub(crate) fn declared(events: &[RecordedEvent]) -> Vec<Span> {
    let salvaged = events
        .iter()
        .filter(|recorded| recorded.event.kind == SALVAGED);
    let lists = salvaged.filter_map(|recorded| recorded.event.field(MISSING));
    lists
        .flat_map(|list| list.split(' ').filter_map(Span::parse))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(spans: impl IntoIterator<Item = (u64, u64)>) -> Verification {
        let hole = |(first, last)| Hole {
            first,
            last,
            before: None,
            after: None,
        };
        Verification {
            missing: spans.into_iter().map(hole).collect(),
            ..Verification::default()
        }
    }

    fn read_back(event: Event) -> Vec<(u64, u64)> {
        let recorded = RecordedEvent {
            seq: 1,
            stamp: crate::Stamp::default(),
            epoch: 1,
            run: 1,
            event,
        };
        declared(&[recorded])
            .iter()
            .map(|s| (s.first, s.last))
            .collect()
    }

    #[test]
    fn what_is_declared_reads_back() {
        let event = salvaged(&missing([(17, 17), (20, 25), (26, 26)]));
        assert_eq!(event.field(MISSING), Some("17 20-26"));
        assert_eq!(read_back(event), [(17, 17), (20, 26)]);
        assert_eq!(
            read_back(Event::new(SALVAGED).with(MISSING, "x 9-3 - 4-")),
            []
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn very_many_holes_are_declared_by_fewer_spans_that_cover_them() {
        let many = (0..100_000_u64).map(|n| (n * 10 + n % 7, n * 10 + n % 7 + 1));
        let spans = read_back(salvaged(&missing(many.clone())));
        assert!(spans.len() <= MOST_SPANS, "{}", spans.len());
        for (first, last) in many {
            assert!(
                spans.iter().any(|span| span.0 <= first && last <= span.1),
                "{first}"
            );
        }
    }
}
