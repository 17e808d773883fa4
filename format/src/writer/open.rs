//! Creating a recording, and taking one up again after whatever happened to the last writer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::{Tail, Writer};
use crate::block::{self, BlockHeader};
use crate::clock::{Entropy, Host, Stamp};
use crate::contents::{Contents, Item, Library, Unread};
use crate::error::{Damage, Error, Result};
use crate::event::RecordedEvent;
use crate::geometry::{Geometry, Ring};
use crate::index;
use crate::position::Position;
use crate::record::{
    END_MARK_SIZE, KIND_BLOCK, KIND_EVENT, KIND_ROW, KIND_SCHEMA, Label, MAX_SEQ,
    RECORD_HEADER_SIZE, Record, Step, StoredSchema,
};
use crate::region::{FileRegion, Region};
use crate::schema::Schema;
use crate::segment::{self, DATA_START, data_capacity, data_limit};
use crate::source::{Found, read_segment, superblock_of, survey, truncation};
use crate::superblock::{SUPERBLOCK_OFFSETS, Superblock};

/// The last thing found in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Its number.
    pub seq: u64,
    /// When it was recorded.
    pub stamp: Stamp,
    /// Its epoch.
    pub epoch: u32,
    /// Its run.
    pub run: u32,
}

impl LastRecord {
    fn of(label: &Label) -> LastRecord {
        LastRecord {
            seq: label.seq,
            stamp: label.stamp,
            epoch: label.epoch,
            run: label.run,
        }
    }

    /// The last row of a block that begins with this one.
    fn at_the_end_of(self, header: &BlockHeader) -> LastRecord {
        LastRecord {
            seq: header.last_seq.get(),
            epoch: header.last_epoch.get(),
            run: header.last_run.get(),
            ..self
        }
    }
}

/// What a writer found when it opened the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Rows found raw in the hot ring.
    pub hot_rows: u64,
    /// Segments in use in the cold ring.
    pub cold_segments: u32,
    /// The last row or event.
    pub last: Option<LastRecord>,
    /// The last row.
    pub last_row: Option<LastRecord>,
    /// The last event.
    pub last_event: Option<RecordedEvent>,
    /// Damage met in what had to be read: headers, the hot ring, the newest of the cold ring.
    pub damage: Vec<Damage>,
}

impl Writer<FileRegion> {
    /// Creates a file of exactly `size` bytes, all of them allocated.
    ///
    /// `software` is the creating program, shown by `ktm-dump info`; 32 bytes are kept.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`]; [`Error::Io`] when the disk has no room for all of it or the file
    /// exists.
    pub fn create_file(
        path: impl AsRef<Path>,
        size: u64,
        software: &str,
        created: Stamp,
        entropy: &mut impl Entropy,
    ) -> Result<Writer<FileRegion>> {
        let geometry = Geometry::for_size(size)?;
        let superblock = new_superblock(geometry, software, created, entropy);
        let region = FileRegion::create(path.as_ref(), &superblock)?;
        Writer::open(region, Host::current(), entropy)
    }

    /// Opens a file for writing.
    ///
    /// # Errors
    ///
    /// As [`FileRegion::open`] and [`Writer::open`].
    pub fn open_file(
        path: impl AsRef<Path>,
        entropy: &mut impl Entropy,
    ) -> Result<Writer<FileRegion>> {
        Writer::open(FileRegion::open(path.as_ref())?, Host::current(), entropy)
    }
}

fn new_superblock(
    geometry: Geometry,
    software: &str,
    created: Stamp,
    entropy: &mut impl Entropy,
) -> Superblock {
    let mut uuid = [0; 16];
    entropy.fill(&mut uuid);
    Superblock::new(geometry, uuid, created.realtime_ns, software)
}

impl<R: Region> Writer<R> {
    /// Makes a recording in a region of zeros.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`], or what the region says.
    pub fn create(
        region: R,
        geometry: Geometry,
        host: Host,
        created: Stamp,
        entropy: &mut impl Entropy,
    ) -> Result<Writer<R>> {
        let superblock = new_superblock(geometry, "", created, entropy);
        for offset in SUPERBLOCK_OFFSETS {
            region.write(offset, superblock.as_bytes())?;
        }
        Writer::open(region, host, entropy)
    }

    /// Takes up a recording, whatever happened to its last writer.
    ///
    /// Begins a new run and a new epoch. Nothing found is ever appended to: the first segment of
    /// this run is a new one.
    ///
    /// # Errors
    ///
    /// [`Error::NotARecording`], [`Error::UnsupportedVersion`], [`Error::Corrupt`], or what the
    /// region says.
    pub fn open(region: R, host: Host, entropy: &mut impl Entropy) -> Result<Writer<R>> {
        let chosen = superblock_of(&region)?;
        let geometry = chosen.superblock.geometry();
        if let Some(damage) = truncation(&region, &geometry)? {
            return Err(Error::Corrupt(damage));
        }
        let uuid = chosen.superblock.uuid;
        let mut found = Findings {
            damage: chosen.damage,
            ..Findings::default()
        };
        let hot = survey(&region, &geometry, &uuid, Ring::Hot, &mut found.damage)?;
        let cold = survey(&region, &geometry, &uuid, Ring::Cold, &mut found.damage)?;
        found.read_hot(&region, &geometry, &hot, &cold);
        found.read_newest_cold(&region, &geometry, &cold);
        let run = found
            .last
            .map_or(0, |last| last.run)
            .max(chosen.superblock.run.get());
        let next_hot = hot.last().map_or(0, |segment| segment.seq + 1);
        let mut nonce = [0; 8];
        entropy.fill(&mut nonce);
        let mut writer = Writer {
            geometry,
            uuid,
            host,
            nonce: u64::from_le_bytes(nonce),
            run: run.wrapping_add(1),
            epoch: found.last.map_or(0, |last| last.epoch).wrapping_add(1),
            next_seq: found.last.map_or(1, |last| last.seq + 1),
            latest: found.last.map_or(Stamp::default(), |last| last.stamp),
            hot: Tail::nowhere(next_hot),
            released: found.first_unsealed().unwrap_or(next_hot),
            backlog: false,
            sealing: None,
            cold: None,
            next_cold: cold.last().map_or(0, |segment| segment.seq + 1),
            schemas: Vec::new(),
            inherited: std::mem::take(&mut found.library),
            poisoned: None,
            scratch: Vec::new(),
            region,
            recovery: Recovery::default(),
        };
        writer.clear(&found.leftovers)?;
        writer.name_itself(&chosen.superblock, chosen.copy)?;
        writer.begin_first(&found)?;
        writer.recovery = found.into_recovery(cold.len());
        Ok(writer)
    }

    /// Overwrites with zeros what did not verify, before anything else is written.
    ///
    /// A cut can leave parts of records behind, or whole ones behind an older end mark. When a
    /// later cut tears the segment that takes their place, the old header can come back, and with
    /// a few bytes that happen to be the same a record that this run knows nothing of, whose number
    /// it has given to another.
    fn clear(&self, leftovers: &BTreeMap<u64, usize>) -> Result<()> {
        for (at, length) in leftovers {
            self.region.write(*at, &vec![0; *length])?;
        }
        Ok(())
    }

    /// Writes the next superblock generation over the older copy.
    fn name_itself(&self, current: &Superblock, copy: usize) -> Result<()> {
        let next = current.next(&self.host, self.run);
        self.region
            .write(SUPERBLOCK_OFFSETS[1 - copy], next.as_bytes())?;
        Ok(self.region.syncer()?.sync()?)
    }

    /// Begins this run's first hot segment.
    ///
    /// A crash loop would turn the hot ring once per few restarts and push history out of the cold
    /// one, so a little that is unsealed is carried forward into the new segment instead, and its
    /// old segments are free again. More than half a segment is sealed at the next occasion, so
    /// that the restarts after it find little again.
    fn begin_first(&mut self, found: &Findings) -> Result<()> {
        let count = u64::from(self.geometry.hot_count);
        let first = self.hot.seq;
        let is_full = first
            .checked_sub(count)
            .is_some_and(|old| old >= self.released);
        if is_full || found.borrows {
            // The last writer could not seal, or the segment to be overwritten may hold the only
            // schema of rows elsewhere. Nothing is being sampled yet: wait for the disk.
            self.seal_all_full()?;
            return self.begin_hot(first);
        }
        self.begin_hot(first)?;
        let schemas = found.schemas();
        let rows = found.unsealed.iter().map(|record| record.length);
        let carried = rows
            .chain(
                schemas
                    .values()
                    .map(|schema| schema.record_length() * self.copies(schema)),
            )
            .sum::<usize>();
        self.backlog = carried > data_capacity(self.geometry.segment_size as usize) / 2;
        if found.unsealed.is_empty() || self.backlog {
            return Ok(());
        }
        for schema in schemas.values() {
            self.put(&schema.label(), &[&schema.payload]);
        }
        let mut payload = Vec::new();
        for record in &found.unsealed {
            payload.resize(record.length - RECORD_HEADER_SIZE, 0);
            let at = record.offset + RECORD_HEADER_SIZE as u64;
            self.region.read_at(at, &mut payload)?;
            self.put(&record.label, &[&payload]);
        }
        for schema in schemas.values() {
            if self.copies(schema) > 1 {
                self.put(&schema.label(), &[&schema.payload]);
            }
        }
        self.hot.schemas.extend(schemas.keys());
        self.region.syncer()?.sync()?;
        self.released = first;
        Ok(())
    }
}

impl Tail {
    /// Before the first segment of a run.
    fn nowhere(seq: u64) -> Tail {
        Tail {
            seq,
            base: 0,
            seed: 0,
            offset: DATA_START,
            schemas: BTreeSet::new(),
        }
    }
}

/// A row or event that is in no sealed block.
#[derive(Debug)]
struct Unsealed {
    hot_seq: u64,
    label: Label,
    schema: Option<Arc<Schema>>,
    /// Where the record stands in the file.
    offset: u64,
    length: usize,
}

/// A record that an open has met, and can read.
enum Met {
    Row(Arc<Schema>),
    Event(RecordedEvent),
    Block(BlockHeader, Arc<Schema>),
    Other,
}

fn meet(contents: &mut Contents, record: &Record<'_>) -> std::result::Result<Met, Unread> {
    if record.header.kind.get() == KIND_ROW {
        return contents.schema_of_row(record).map(Met::Row);
    }
    contents.item(record).map(|item| match item {
        Item::Event(event) => Met::Event(event),
        Item::Block(header, schema) => Met::Block(header, schema),
        Item::Row(_) | Item::Other => Met::Other,
    })
}

/// What open learns from the file.
#[derive(Debug, Default)]
struct Findings {
    hot_rows: u64,
    last: Option<LastRecord>,
    last_row: Option<LastRecord>,
    last_event: Option<RecordedEvent>,
    damage: Vec<Damage>,
    unsealed: Vec<Unsealed>,
    library: Library,
    /// Ids of schemas that records refer to and that were not met.
    lacking: BTreeSet<u32>,
    /// Some hot segment lacks a schema that it uses, and depends on another segment's.
    borrows: bool,
    /// Bytes of no meaning in the segments read: where, and how many.
    leftovers: BTreeMap<u64, usize>,
}

impl Findings {
    /// Reads every hot segment. All of it counts as unsealed until the cold ring says otherwise.
    fn read_hot(
        &mut self,
        region: &impl Region,
        geometry: &Geometry,
        hot: &[Found],
        cold: &[Found],
    ) {
        let before = self.damage.len();
        self.look_at_hot(region, geometry, hot);
        if self.lacking.is_empty() {
            return;
        }
        // Where a segment's own schema is damaged, that of any other will do. A row that is not
        // read here is not sealed, and lost with its segment.
        let mut contents = Contents::with(std::mem::take(&mut self.library));
        let mut bytes = Vec::new();
        for found in cold.iter().rev() {
            let mut lacking = self.lacking.iter();
            if lacking.all(|id| contents.library.contains_key(id)) {
                break;
            }
            read_segment(region, geometry, found, &mut bytes, &mut Vec::new());
            contents.learn(&bytes, found.seed);
        }
        self.damage.truncate(before);
        *self = Findings {
            damage: std::mem::take(&mut self.damage),
            library: contents.library,
            ..Findings::default()
        };
        self.look_at_hot(region, geometry, hot);
    }

    fn look_at_hot(&mut self, region: &impl Region, geometry: &Geometry, segments: &[Found]) {
        let mut place: BTreeMap<u64, usize> = BTreeMap::new();
        for found in segments {
            let base = geometry.offset(found.ring, found.slot);
            self.each_record(region, geometry, found, |this, record, met| {
                let label = Label::of(&record.header);
                if !matches!(label.kind, KIND_ROW | KIND_EVENT) {
                    return;
                }
                let offset = base + record.offset as u64;
                if let Some(earlier) = place.get(&label.seq) {
                    // Carried forward by an earlier open: its newest copy is the one that counts.
                    let earlier = &mut this.unsealed[*earlier];
                    (earlier.hot_seq, earlier.offset) = (found.seq, offset);
                    return;
                }
                place.insert(label.seq, this.unsealed.len());
                this.hot_rows += u64::from(label.kind == KIND_ROW);
                let schema = match met {
                    Met::Row(schema) => Some(schema),
                    _ => None,
                };
                this.unsealed.push(Unsealed {
                    hot_seq: found.seq,
                    label,
                    schema,
                    offset,
                    length: record.header.length.get() as usize,
                });
            });
        }
    }

    /// Reads the cold ring backwards for as long as it overlaps the hot one, and its newest segment
    /// in any case, and strikes off what is sealed.
    fn read_newest_cold(&mut self, region: &impl Region, geometry: &Geometry, segments: &[Found]) {
        let first_hot = self.unsealed.iter().map(|record| record.label.seq).min();
        let mut sealed = BTreeSet::new();
        for found in segments.iter().rev() {
            let mut newest = 0;
            self.each_record(region, geometry, found, |this, record, met| {
                newest = newest.max(record.header.seq.get());
                match met {
                    Met::Event(event) => {
                        sealed.insert(event.seq);
                    }
                    Met::Block(header, schema) => {
                        newest = newest.max(header.last_seq.get());
                        let overlaps = first_hot.is_some_and(|hot| header.last_seq.get() >= hot);
                        if !overlaps && !this.is_last(header.last_seq.get()) {
                            return;
                        }
                        if let Ok(block) = block::decode(&schema, record.payload) {
                            sealed.extend(block.iter().map(|row| row.seq));
                            block
                                .iter()
                                .last()
                                .into_iter()
                                .for_each(|row| this.note_stamp(row));
                        }
                    }
                    Met::Row(_) | Met::Other => {}
                }
            });
            if newest > 0 && first_hot.is_none_or(|hot| newest < hot) {
                break;
            }
        }
        self.unsealed
            .retain(|record| !sealed.contains(&record.label.seq));
    }

    /// Visits every record that can be read.
    fn each_record(
        &mut self,
        region: &impl Region,
        geometry: &Geometry,
        found: &Found,
        mut visit: impl FnMut(&mut Findings, &Record<'_>, Met),
    ) {
        let mut bytes = Vec::new();
        read_segment(region, geometry, found, &mut bytes, &mut self.damage);
        let base = geometry.offset(found.ring, found.slot);
        let mut contents = Contents::with(std::mem::take(&mut self.library));
        let mut behind_the_mark = DATA_START + END_MARK_SIZE;
        let (mut used, mut brought) = (BTreeSet::new(), BTreeSet::new());
        for step in segment::walk(&bytes, found.seed) {
            match step {
                Step::Record(record) => {
                    let end = record.offset + record.header.length.get() as usize;
                    behind_the_mark = end + END_MARK_SIZE;
                    let id = record.header.schema.get();
                    match record.header.kind.get() {
                        KIND_ROW => used.insert(id),
                        KIND_SCHEMA => brought.insert(id),
                        _ => false,
                    };
                    match meet(&mut contents, &record) {
                        Ok(met) => {
                            self.note(&met, &record);
                            visit(self, &record, met);
                        }
                        Err(unread) => {
                            if unread == Unread::NoSchema {
                                self.lacking.insert(id);
                            }
                            self.note_unread(&record);
                        }
                    }
                }
                Step::Damaged {
                    offset,
                    length,
                    open_ended,
                } => {
                    self.note_leftover(base, offset..offset + length, &bytes);
                    behind_the_mark = offset + length + END_MARK_SIZE;
                    self.damage
                        .push(index::damage(base, offset, length, open_ended));
                }
            }
        }
        self.note_leftover(base, behind_the_mark..data_limit(bytes.len()), &bytes);
        self.borrows |= !used.is_subset(&brought);
        self.library = contents.library;
    }

    /// Notes bytes of a segment at `base` that are neither a record nor an end mark.
    fn note_leftover(&mut self, base: u64, range: Range<usize>, bytes: &[u8]) {
        let has_any = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
        if bytes.get(range.clone()).is_some_and(has_any) {
            self.leftovers
                .insert(base + range.start as u64, range.len());
        }
    }

    /// A record that cannot be read for want of its schema still has a number, which must not be
    /// given again.
    fn note_unread(&mut self, record: &Record<'_>) {
        let mut last = LastRecord::of(&Label::of(&record.header));
        if record.header.kind.get() == KIND_BLOCK
            && let Ok((header, _)) = block::parse_header(record.payload)
        {
            last = last.at_the_end_of(&header);
        }
        if last.seq <= MAX_SEQ && self.last.is_none_or(|known| known.seq < last.seq) {
            self.last = Some(last);
        }
    }

    fn note(&mut self, met: &Met, record: &Record<'_>) {
        let mut last = LastRecord::of(&Label::of(&record.header));
        match met {
            Met::Row(_) => {}
            Met::Event(event) => {
                let known = self.last_event.as_ref();
                if known.is_none_or(|known| known.seq < event.seq) {
                    self.last_event = Some(event.clone());
                }
            }
            Met::Block(header, _) => last = last.at_the_end_of(header),
            Met::Other => return,
        }
        let newer = |known: &Option<LastRecord>| known.is_none_or(|known| known.seq < last.seq);
        if newer(&self.last) {
            self.last = Some(last);
        }
        if !matches!(met, Met::Event(_)) && newer(&self.last_row) {
            self.last_row = Some(last);
        }
    }

    fn is_last(&self, seq: u64) -> bool {
        let lasts = [self.last, self.last_row].into_iter().flatten();
        lasts.into_iter().any(|last| last.seq == seq)
    }

    /// A block's header tells its last row's number, and not its time.
    fn note_stamp(&mut self, row: &Position) {
        for last in [&mut self.last, &mut self.last_row].into_iter().flatten() {
            if last.seq == row.seq {
                last.stamp = row.stamp;
            }
        }
    }

    /// The schemas of the unsealed rows, by the id the rows refer to.
    fn schemas(&self) -> BTreeMap<u32, StoredSchema> {
        let mut schemas = BTreeMap::new();
        for record in &self.unsealed {
            if let Some(schema) = &record.schema {
                schemas
                    .entry(record.label.schema)
                    .or_insert_with(|| StoredSchema::new(Arc::clone(schema)));
            }
        }
        schemas
    }

    /// The oldest hot segment that holds something not sealed.
    fn first_unsealed(&self) -> Option<u64> {
        self.unsealed.iter().map(|record| record.hot_seq).min()
    }

    fn into_recovery(self, cold_segments: usize) -> Recovery {
        Recovery {
            hot_rows: self.hot_rows,
            cold_segments: u32::try_from(cold_segments).unwrap_or(u32::MAX),
            last: self.last,
            last_row: self.last_row,
            last_event: self.last_event,
            damage: self.damage,
        }
    }
}
