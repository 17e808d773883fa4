//! The pass over a whole file that finds out what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::BlockHeader;
use crate::clock::uuid_text;
use crate::contents::{Contents, Item, Library, Unread};
use crate::error::{Damage, DamageKind, Result};
use crate::event::RecordedEvent;
use crate::geometry::{Geometry, Ring};
use crate::reader::{Info, Row, Snapshot};
use crate::record::{Record, Step};
use crate::schema::Schema;
use crate::segment::{self, SlotState};
use crate::source::{Found, ReadAt, read_segment, superblock_of, survey, truncation};
use crate::superblock::{Superblock, VERSION};

/// Rows that are read together: a sealed block, or the rows of a hot segment.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) found: Found,
    /// The block record's place in the segment; a hot segment's records begin at the first.
    pub(crate) offset: usize,
    pub(crate) length: usize,
    pub(crate) rows: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) min_realtime_ns: i64,
    pub(crate) max_realtime_ns: i64,
    /// A block's schema; a hot segment's rows bring their own.
    pub(crate) schema: Option<Arc<Schema>>,
    pub(crate) modules: Vec<String>,
}

/// A damaged stretch of a segment that begins at `base`.
pub(crate) fn damage(base: u64, offset: usize, length: usize, open_ended: bool) -> Damage {
    let what = if open_ended {
        DamageKind::EndMark
    } else {
        DamageKind::Record
    };
    Damage {
        offset: base + offset as u64,
        length: length as u64,
        what,
    }
}

/// Builds a snapshot.
pub(crate) struct Indexer {
    source: Arc<dyn ReadAt + Send + Sync>,
    superblock: Superblock,
    geometry: Geometry,
    damage: Vec<Damage>,
    chunks: Vec<Chunk>,
    events: BTreeMap<u64, RecordedEvent>,
    library: Library,
    first_use: FirstUse,
}

/// The number of the first row of each schema, by the schema's id.
type FirstUse = BTreeMap<u32, u64>;

/// What one segment held.
#[derive(Default)]
struct Indexed {
    damage: Vec<Damage>,
    chunks: Vec<Chunk>,
    events: Vec<RecordedEvent>,
    first_use: FirstUse,
    /// Some record's schema was not met: worth another try once all of them are known.
    lacks_schema: bool,
}

impl Indexer {
    pub(crate) fn new(source: Arc<dyn ReadAt + Send + Sync>) -> Result<Indexer> {
        let chosen = superblock_of(&source)?;
        let mut indexer = Indexer::over(source, chosen.superblock);
        indexer.damage = chosen.damage;
        Ok(indexer)
    }

    /// Over a file that is what this superblock says.
    pub(crate) fn over(source: Arc<dyn ReadAt + Send + Sync>, superblock: Superblock) -> Indexer {
        Indexer {
            source,
            geometry: superblock.geometry(),
            superblock,
            damage: Vec::new(),
            chunks: Vec::new(),
            events: BTreeMap::new(),
            library: Library::new(),
            first_use: FirstUse::new(),
        }
    }

    pub(crate) fn index(mut self) -> Result<Snapshot> {
        // Hot before cold: a block sealed in between is then met twice, never missed.
        let hot = self.survey(Ring::Hot)?;
        let again = self.index_segments(&hot);
        let cold = self.survey(Ring::Cold)?;
        let again = [again, self.index_segments(&cold)].concat();
        self.finish(hot, cold, again)
    }

    /// Indexes these segments, found by other means, and adds the damage met on the way.
    pub(crate) fn index_found(
        mut self,
        hot: Vec<Found>,
        cold: Vec<Found>,
        damage: Vec<Damage>,
    ) -> Result<Snapshot> {
        self.damage.extend(damage);
        let again = [self.index_segments(&hot), self.index_segments(&cold)].concat();
        self.finish(hot, cold, again)
    }

    fn finish(
        mut self,
        hot: Vec<Found>,
        cold: Vec<Found>,
        lacking_schemas: Vec<Found>,
    ) -> Result<Snapshot> {
        for found in &lacking_schemas {
            let indexed = self.index_segment(found, self.library.clone()).0;
            self.keep(indexed);
        }
        self.finish_damage()?;
        let info = self.info(hot.len(), cold.len());
        let schemas = self.schemas_by_first_use();
        Ok(Snapshot {
            source: self.source,
            geometry: self.geometry,
            info,
            chunks: self.chunks,
            events: self.events.into_values().collect(),
            library: self.library,
            schemas,
            segments: [hot, cold].concat(),
            damage: self.damage,
        })
    }

    fn schemas_by_first_use(&self) -> Vec<Arc<Schema>> {
        let mut schemas: Vec<_> = self.library.iter().collect();
        schemas.sort_by_key(|(id, _)| self.first_use.get(id).copied().unwrap_or(u64::MAX));
        schemas
            .into_iter()
            .map(|(_, schema)| Arc::clone(schema))
            .collect()
    }

    /// Puts the damage in order. Of a file cut short, what lies behind its end is one damage.
    fn finish_damage(&mut self) -> Result<()> {
        if let Some(cut) = truncation(&self.source, &self.geometry)? {
            self.damage.retain(|damage| damage.offset < cut.offset);
            for damage in &mut self.damage {
                damage.length = damage.length.min(cut.offset - damage.offset);
            }
            self.damage.push(cut);
        }
        self.damage.sort_by_key(|damage| damage.offset);
        self.damage.dedup();
        Ok(())
    }

    fn survey(&mut self, ring: Ring) -> Result<Vec<Found>> {
        let uuid = self.superblock.uuid;
        survey(&self.source, &self.geometry, &uuid, ring, &mut self.damage)
    }

    /// Indexes segments and gives those that lacked a schema.
    fn index_segments(&mut self, segments: &[Found]) -> Vec<Found> {
        let mut again = Vec::new();
        for found in segments {
            let (indexed, library) = self.index_segment(found, Library::new());
            self.library.extend(library);
            if indexed.lacks_schema {
                again.push(*found);
            } else {
                self.keep(indexed);
            }
        }
        again
    }

    fn keep(&mut self, indexed: Indexed) {
        self.damage.extend(indexed.damage);
        self.chunks.extend(indexed.chunks);
        self.events
            .extend(indexed.events.into_iter().map(|event| (event.seq, event)));
        for (id, seq) in indexed.first_use {
            let first = self.first_use.entry(id).or_insert(seq);
            *first = (*first).min(seq);
        }
    }

    fn index_segment(&self, found: &Found, library: Library) -> (Indexed, Library) {
        let mut indexed = Indexed::default();
        let (found, bytes) = self.read(found, &mut indexed.damage);
        let base = self.geometry.offset(found.ring, found.slot);
        let mut contents = Contents::with(library);
        let mut hot = HotRows::default();
        for step in segment::walk(&bytes, found.seed) {
            let record = match step {
                Step::Record(record) => record,
                Step::Damaged {
                    offset,
                    length,
                    open_ended,
                } => {
                    indexed
                        .damage
                        .push(damage(base, offset, length, open_ended));
                    continue;
                }
            };
            let (id, seq) = (record.header.schema.get(), record.header.seq.get());
            match contents.item(&record) {
                Ok(Item::Row(row)) => {
                    indexed.first_use.entry(id).or_insert(seq);
                    hot.add(&row);
                }
                Ok(Item::Event(event)) => indexed.events.push(event),
                Ok(Item::Block(header, schema)) => {
                    indexed.first_use.entry(id).or_insert(seq);
                    indexed
                        .chunks
                        .push(Chunk::of_block(&found, &record, &header, schema));
                }
                Ok(Item::Other) => {}
                Err(why) => {
                    indexed.lacks_schema |= why == Unread::NoSchema;
                    indexed.damage.push(Damage {
                        offset: base + record.offset as u64,
                        length: u64::from(record.header.length.get()),
                        what: DamageKind::Contents,
                    });
                }
            }
        }
        indexed.chunks.extend(hot.chunk(&found, bytes.len()));
        (indexed, contents.library)
    }

    /// A live writer may be in the middle of a record, or beginning a new lap here: what looks
    /// damaged is read once more before it is believed.
    fn read(&self, found: &Found, damage: &mut Vec<Damage>) -> (Found, Vec<u8>) {
        let mut bytes = Vec::new();
        read_segment(&self.source, &self.geometry, found, &mut bytes, damage);
        if segment::walk(&bytes, found.seed).all(|step| matches!(step, Step::Record(_))) {
            return (*found, bytes);
        }
        damage.clear();
        read_segment(&self.source, &self.geometry, found, &mut bytes, damage);
        let uuid = &self.superblock.uuid;
        match segment::judge_segment(&bytes, &self.geometry, uuid, found.ring, found.slot) {
            SlotState::Used { seq, seed, run, .. } => (
                Found {
                    seq,
                    seed,
                    run,
                    ..*found
                },
                bytes,
            ),
            SlotState::Begun => (*found, Vec::new()),
            SlotState::Empty | SlotState::Unreadable => (*found, bytes),
        }
    }

    fn info(&self, hot_used: usize, cold_used: usize) -> Info {
        let blocks = || self.chunks.iter().filter(|chunk| chunk.schema.is_some());
        let hot = || self.chunks.iter().filter(|chunk| chunk.schema.is_none());
        Info {
            version: VERSION,
            uuid: uuid_text(&self.superblock.uuid),
            created_ns: self.superblock.created_ns.get(),
            software: self.superblock.software(),
            geometry: self.geometry,
            writer_pid: self.superblock.pid.get(),
            hot_used: u32::try_from(hot_used).unwrap_or(u32::MAX),
            cold_used: u32::try_from(cold_used).unwrap_or(u32::MAX),
            blocks: blocks().count() as u64,
            sealed_rows: blocks().map(|chunk| chunk.rows).sum(),
            hot_rows: hot().map(|chunk| chunk.rows).sum(),
            sealed_bytes: blocks().map(|chunk| chunk.length as u64).sum(),
        }
    }
}

impl Chunk {
    fn of_block(
        found: &Found,
        record: &Record<'_>,
        header: &BlockHeader,
        schema: Arc<Schema>,
    ) -> Chunk {
        Chunk {
            found: *found,
            offset: record.offset,
            length: record.header.length.get() as usize,
            rows: u64::from(header.rows.get()),
            first_seq: record.header.seq.get(),
            last_seq: header.last_seq.get(),
            min_realtime_ns: header.min_realtime_ns.get(),
            max_realtime_ns: header.max_realtime_ns.get(),
            modules: vec![schema.module.clone()],
            schema: Some(schema),
        }
    }
}

/// What the index keeps of a hot segment's rows.
#[derive(Default)]
struct HotRows {
    rows: u64,
    seqs: Option<(u64, u64)>,
    times: Option<(i64, i64)>,
    modules: Vec<String>,
}

impl HotRows {
    fn add(&mut self, row: &Row) {
        self.rows += 1;
        let (first, last) = self.seqs.unwrap_or((row.seq, row.seq));
        self.seqs = Some((first.min(row.seq), last.max(row.seq)));
        let time = row.stamp.realtime_ns;
        let (min, max) = self.times.unwrap_or((time, time));
        self.times = Some((min.min(time), max.max(time)));
        if !self.modules.contains(&row.schema.module) {
            self.modules.push(row.schema.module.clone());
        }
    }

    fn chunk(self, found: &Found, length: usize) -> Option<Chunk> {
        let ((first_seq, last_seq), (min, max)) = self.seqs.zip(self.times)?;
        Some(Chunk {
            found: *found,
            offset: 0,
            length,
            rows: self.rows,
            first_seq,
            last_seq,
            min_realtime_ns: min,
            max_realtime_ns: max,
            schema: None,
            modules: self.modules,
        })
    }
}
