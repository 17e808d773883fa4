//! Sealing: full hot segments become compressed blocks in the cold ring.
//!
//! Four steps, so that the slow ones can run beside the sampling thread:
//!
//! 1. [`Writer::begin_seal`] copies the full hot segments,
//! 2. [`SealJob::encode`] sorts their rows by schema and compresses them, on any thread,
//! 3. [`Writer::commit_seal`] writes the blocks into the cold ring,
//! 4. after a sync, [`Writer::seal_durable`] gives the hot segments free.
//!
//! A death or a power cut between any two steps loses nothing: until the last one the hot segments
//! stay as they are, and rows met twice are the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Tail, Writer, schema_copies};
use crate::block::{self, MAX_ROWS, RawRow};
use crate::contents::{Contents, Item, Library};
use crate::error::Result;
use crate::geometry::Ring;
use crate::record::{
    KIND_BLOCK, KIND_EVENT, Label, Step, StoredSchema, build, end_mark, record_length,
};
use crate::region::Region;
use crate::schema::Schema;
use crate::segment::{self, DATA_START, data_capacity, data_limit};
use crate::source::read_segment;

/// Copies of full hot segments, to be encoded. See [`Writer::begin_seal`].
#[derive(Debug)]
pub struct SealJob {
    segments: Vec<(u32, Vec<u8>)>,
    library: Library,
    through: u64,
    segment_size: usize,
}

/// Encoded blocks, to be written. See [`SealJob::encode`].
#[derive(Debug)]
pub struct Sealed {
    records: Vec<ColdRecord>,
    through: u64,
}

/// Proof that blocks were written; after a sync it frees their hot segments.
#[derive(Debug)]
#[must_use = "the hot ring fills up unless `seal_durable` is called after a sync"]
pub struct SealedThrough(u64);

#[derive(Debug)]
struct ColdRecord {
    label: Label,
    /// The highest number in it.
    last_seq: u64,
    schema: Option<Arc<StoredSchema>>,
    payload: Vec<u8>,
}

impl<R: Region> Writer<R> {
    /// True when enough of the hot ring is full and not sealed, or an earlier run left much.
    ///
    /// Enough is half the ring, and in a small one all but two segments: one to fill while the seal
    /// is under way, one to spare. Long blocks compress better.
    pub fn needs_seal(&self) -> bool {
        let full = self.hot.seq.saturating_sub(self.released);
        let count = u64::from(self.geometry.hot_count);
        let enough = if self.backlog {
            1
        } else {
            (count / 2).max(count.saturating_sub(2).min(6))
        };
        self.sealing.is_none() && full >= enough
    }

    /// Copies the full hot segments, if there are enough of them and no seal is under way.
    pub fn begin_seal(&mut self) -> Option<SealJob> {
        if !self.needs_seal() {
            return None;
        }
        self.begin_seal_through(self.hot.seq)
    }

    /// Copies the hot segments below this number.
    fn begin_seal_through(&mut self, through: u64) -> Option<SealJob> {
        let mut ignored = Vec::new();
        let found = crate::source::survey(
            &self.region,
            &self.geometry,
            &self.uuid,
            Ring::Hot,
            &mut ignored,
        )
        .ok()?;
        let mut segments = Vec::new();
        for found in found
            .iter()
            .filter(|f| f.seq >= self.released && f.seq < through)
        {
            let mut bytes = Vec::new();
            read_segment(
                &self.region,
                &self.geometry,
                found,
                &mut bytes,
                &mut ignored,
            );
            segments.push((found.seed, bytes));
        }
        self.sealing = Some(through);
        self.backlog = false;
        let segment_size = self.geometry.segment_size as usize;
        Some(SealJob {
            segments,
            library: self.inherited.clone(),
            through,
            segment_size,
        })
    }

    /// Writes encoded blocks into the cold ring, over its oldest segments.
    ///
    /// # Errors
    ///
    /// What the disk says; the writer is poisoned then, and the hot segments keep their rows.
    pub fn commit_seal(&mut self, sealed: Sealed) -> Result<SealedThrough> {
        self.check()?;
        for record in &sealed.records {
            if let Err(error) = self.put_cold(record) {
                self.poison(format!("writing to the cold ring failed: {error}"));
                return Err(error);
            }
        }
        Ok(SealedThrough(sealed.through))
    }

    /// Frees the hot segments of a seal. A sync that began after [`Writer::commit_seal`] returned
    /// must have succeeded.
    pub fn seal_durable(&mut self, sealed: SealedThrough) {
        self.released = self.released.max(sealed.0);
        self.sealing = None;
    }

    /// Seals in place if it is time to, waiting for the disk. For programs without a thread to
    /// spare.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit_seal`], or what the sync says, which poisons the writer too.
    pub fn maintain(&mut self) -> Result<()> {
        match self.begin_seal() {
            Some(job) => self.finish_seal(job),
            None => Ok(()),
        }
    }

    pub(super) fn finish_seal(&mut self, job: SealJob) -> Result<()> {
        let through = self.commit_seal(job.encode())?;
        if let Err(error) = self.region.syncer().and_then(|syncer| syncer.sync()) {
            self.poison(format!("sync failed: {error}"));
            return Err(error.into());
        }
        self.seal_durable(through);
        Ok(())
    }

    /// Seals every hot segment before the one being filled.
    pub(super) fn seal_all_full(&mut self) -> Result<()> {
        match self.begin_seal_through(self.hot.seq) {
            Some(job) => self.finish_seal(job),
            None => Ok(()),
        }
    }

    fn put_cold(&mut self, record: &ColdRecord) -> Result<()> {
        let length = record_length(record.payload.len());
        self.make_cold_room(length, record.schema.as_deref())?;
        let mut tail = self.cold.take().expect("make_cold_room leaves a segment");
        let schema = record
            .schema
            .as_deref()
            .filter(|schema| tail.schemas.insert(schema.id));
        let copies = schema.map_or(0, |schema| self.copies(schema));
        let mut put = || -> Result<()> {
            if let Some(schema) = schema {
                self.write_cold(&mut tail, &schema.label(), &schema.payload)?;
            }
            self.write_cold(&mut tail, &record.label, &record.payload)?;
            if let Some(schema) = schema
                && copies > 1
            {
                self.write_cold(&mut tail, &schema.label(), &schema.payload)?;
            }
            Ok(())
        };
        let outcome = put();
        self.cold = Some(tail);
        outcome
    }

    fn make_cold_room(&mut self, length: usize, schema: Option<&StoredSchema>) -> Result<()> {
        let limit = data_limit(self.geometry.segment_size as usize);
        if let Some(tail) = &self.cold {
            let extra = schema
                .filter(|schema| !tail.schemas.contains(&schema.id))
                .map_or(0, |schema| schema.record_length() * self.copies(schema));
            if tail.offset + extra + length + 8 <= limit {
                return Ok(());
            }
        }
        self.begin_cold()
    }

    fn begin_cold(&mut self) -> Result<()> {
        let seq = self.next_cold;
        let (base, header) = self.segment_header(Ring::Cold, seq);
        for (at, bytes) in header.steps_to_begin(self.geometry.segment_size as usize) {
            self.region.write(base + at as u64, &bytes)?;
        }
        self.next_cold += 1;
        let schemas = BTreeSet::new();
        self.cold = Some(Tail {
            seq,
            base,
            seed: header.seed(),
            offset: DATA_START,
            schemas,
        });
        Ok(())
    }

    /// Writes a record as the hot ring would: all but its first word, then that word.
    fn write_cold(&mut self, tail: &mut Tail, label: &Label, payload: &[u8]) -> Result<()> {
        build(&mut self.scratch, tail.seed, label, &[payload]);
        let next = tail.offset + self.scratch.len();
        self.scratch.extend_from_slice(&end_mark(tail.seed, next));
        let at = tail.base + tail.offset as u64;
        let (first, rest) = self.scratch.split_at(8);
        self.region.write(at + 8, rest)?;
        self.region.write(at, first)?;
        tail.offset = next;
        Ok(())
    }
}

impl SealJob {
    /// Sorts the rows by schema and compresses them. Pure computation, for any thread.
    pub fn encode(self) -> Sealed {
        let mut gathered = Gathered::default();
        let mut contents = Contents::with(self.library);
        for (seed, bytes) in &self.segments {
            contents.learn(bytes, *seed);
        }
        for (seed, bytes) in &self.segments {
            gathered.add(*seed, bytes, &mut contents);
        }
        let capacity = data_capacity(self.segment_size);
        let mut records = gathered.events;
        for (schema, rows) in gathered.rows {
            let stored = Arc::new(StoredSchema::new(schema));
            let copies = schema_copies(&stored, self.segment_size);
            let room = capacity - stored.record_length() * copies;
            let rows: Vec<RawRow> = rows.into_values().collect();
            for rows in rows.chunks(MAX_ROWS) {
                push_blocks(&mut records, &stored, rows, room);
            }
        }
        // The newest cold segment then has the highest number, which is all that recovery has to
        // go by once the hot ring has come round without a record.
        records.sort_by_key(|record| record.last_seq);
        Sealed {
            records,
            through: self.through,
        }
    }
}

/// Encodes rows into one block, or into more where one would not fit an empty segment.
fn push_blocks(
    records: &mut Vec<ColdRecord>,
    schema: &Arc<StoredSchema>,
    rows: &[RawRow],
    room: usize,
) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return;
    };
    let payload = block::encode(&schema.schema, rows);
    if record_length(payload.len()) > room && rows.len() > 1 {
        let (front, back) = rows.split_at(rows.len() / 2);
        push_blocks(records, schema, front, room);
        push_blocks(records, schema, back, room);
        return;
    }
    let label = Label {
        kind: KIND_BLOCK,
        flags: 0,
        schema: schema.id,
        seq: first.seq,
        stamp: first.stamp,
        epoch: first.epoch,
        run: first.run,
    };
    records.push(ColdRecord {
        label,
        last_seq: last.seq,
        schema: Some(Arc::clone(schema)),
        payload,
    });
}

/// Rows by schema and by number, and events, as the segments give them.
#[derive(Default)]
struct Gathered {
    rows: Vec<(Arc<Schema>, BTreeMap<u64, RawRow>)>,
    events: Vec<ColdRecord>,
    event_seqs: BTreeSet<u64>,
}

impl Gathered {
    fn add(&mut self, seed: u32, bytes: &[u8], contents: &mut Contents) {
        for step in segment::walk(bytes, seed) {
            // What is damaged here has been reported by whoever read the file before.
            let Step::Record(record) = step else { continue };
            match contents.item(&record) {
                Ok(Item::Row(row)) => {
                    let raw = RawRow {
                        seq: row.seq,
                        stamp: row.stamp,
                        epoch: row.epoch,
                        run: row.run,
                        values: row.values().clone(),
                    };
                    self.rows_of(&row.schema).insert(raw.seq, raw);
                }
                Ok(Item::Event(event)) if self.event_seqs.insert(event.seq) => {
                    self.events.push(ColdRecord {
                        last_seq: event.seq,
                        label: Label {
                            kind: KIND_EVENT,
                            ..Label::of(&record.header)
                        },
                        schema: None,
                        payload: record.payload.to_vec(),
                    });
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn rows_of(&mut self, schema: &Arc<Schema>) -> &mut BTreeMap<u64, RawRow> {
        let known = self.rows.iter().position(|(known, _)| known == schema);
        let index = known.unwrap_or_else(|| {
            self.rows.push((Arc::clone(schema), BTreeMap::new()));
            self.rows.len() - 1
        });
        &mut self.rows[index].1
    }
}
