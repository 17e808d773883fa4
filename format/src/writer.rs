//! Writing: rows and events into the hot ring, one after the other.
//!
//! A record becomes visible in one store. First the end mark goes behind the place the record will
//! take, then the record's bytes but its first word, then that word. Whoever looks in between, a
//! reader now or the next run after a kill, finds the old end mark or the whole record.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::{Host, Stamp};
use crate::contents::Library;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::geometry::{Geometry, Ring};
use crate::record::{
    FLAG_ABSENT, KIND_EVENT, KIND_ROW, Label, MAX_SEQ, StoredSchema, build, end_mark, record_length,
};
use crate::region::{Region, Syncer};
use crate::schema::Schema;
use crate::segment::{DATA_START, Identity, SegmentHeader, data_capacity, data_limit};
use crate::value::Values;

mod adopt;
mod open;
mod seal;

pub use open::{LastRecord, Recovery};
pub use seal::{SealJob, Sealed, SealedThrough};

/// Appends rows and events to a recording.
///
/// Every call returns as soon as the bytes are in the mapping: from then on they survive the death
/// of the process. They survive a power cut once [`Writer::syncer`]'s sync has returned.
///
/// Somebody has to seal full hot segments into the cold ring: [`Writer::maintain`] does it in
/// place; a program that must not wait does the steps on another thread, see [`SealJob`].
#[derive(Debug)]
pub struct Writer<R: Region> {
    region: R,
    geometry: Geometry,
    uuid: [u8; 16],
    host: Host,
    nonce: u64,
    run: u32,
    epoch: u32,
    next_seq: u64,
    /// The newest stamp given, for the headers of segments.
    latest: Stamp,
    hot: Tail,
    /// Hot segments below this number may be overwritten: all that is in them is durable elsewhere.
    released: u64,
    /// An earlier run left more than was carried forward: seal it without waiting for a full half.
    backlog: bool,
    /// A seal under way covers the hot segments below this number.
    sealing: Option<u64>,
    cold: Option<Tail>,
    next_cold: u64,
    schemas: Vec<StoredSchema>,
    /// Those that were in the file on open: segments may lack their own.
    inherited: Library,
    poisoned: Option<String>,
    recovery: Recovery,
    scratch: Vec<u8>,
}

/// The end of the segment being filled.
#[derive(Debug)]
struct Tail {
    seq: u64,
    base: u64,
    seed: u32,
    /// Where the next record goes, from the segment's start.
    offset: usize,
    /// Ids of the schemas already in the segment.
    schemas: BTreeSet<u32>,
}

/// A schema that a writer knows. Made by [`Writer::define`], valid for that writer only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaHandle(usize);

impl<R: Region> Writer<R> {
    /// Makes a schema known. Defining an equal schema again gives the same handle.
    ///
    /// # Errors
    ///
    /// [`Error::RowTooLarge`] when the schema and one row do not fit a segment.
    pub fn define(&mut self, schema: &Schema) -> Result<SchemaHandle> {
        if let Some(known) = self
            .schemas
            .iter()
            .position(|stored| *stored.schema == *schema)
        {
            return Ok(SchemaHandle(known));
        }
        let mut stored = StoredSchema::new(Arc::new(schema.clone()));
        // Two schemas of one id cannot stand in one segment. A space in the help of a series tells
        // the second apart; with 32 bits it will hardly ever be needed.
        while self.schemas.iter().any(|known| known.id == stored.id) {
            let mut altered = (*stored.schema).clone();
            altered
                .series
                .iter_mut()
                .take(1)
                .for_each(|series| series.help.push(' '));
            stored = StoredSchema::new(Arc::new(altered));
        }
        let columns = stored.schema.series.len();
        let row = record_length(columns * 8 + columns.div_ceil(8));
        // A sealed block of one row carries a second header and five numbers more.
        let needed = stored.record_length() * self.copies(&stored) + row + 128;
        let available = data_capacity(self.geometry.segment_size as usize);
        if needed > available {
            let (needed, available) = (needed as u64, available as u64);
            return Err(Error::RowTooLarge { needed, available });
        }
        self.schemas.push(stored);
        Ok(SchemaHandle(self.schemas.len() - 1))
    }

    /// Appends a row and returns its sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::WrongLength`]; [`Error::HotRingFull`] when sealing has not kept up, nothing is
    /// written then; [`Error::Poisoned`] after any failure of the file itself.
    ///
    /// # Panics
    ///
    /// When the handle comes from another writer.
    pub fn append(&mut self, schema: SchemaHandle, stamp: Stamp, values: &Values) -> Result<u64> {
        self.check()?;
        let stored = &self.schemas[schema.0];
        let columns = stored.schema.series.len();
        if values.len() != columns {
            return Err(Error::WrongLength {
                expected: columns,
                given: values.len(),
            });
        }
        let bitmap = values.absent().map(pack_bits);
        let bytes = values.bytes();
        let payload = bytes.len() + bitmap.as_ref().map_or(0, Vec::len);
        let id = stored.id;
        let is_new = self.make_room(record_length(payload), Some(schema))?;
        if is_new {
            self.put_schema(schema);
        }
        let label = Label {
            kind: KIND_ROW,
            flags: if bitmap.is_some() { FLAG_ABSENT } else { 0 },
            schema: id,
            ..self.label(stamp)
        };
        self.put(&label, &[bytes, bitmap.as_deref().unwrap_or_default()]);
        if is_new && self.copies(&self.schemas[schema.0]) > 1 {
            self.put_schema(schema);
        }
        Ok(self.take_seq())
    }

    /// Appends an event and returns its sequence number.
    ///
    /// # Errors
    ///
    /// As [`Writer::append`], and [`Error::RowTooLarge`] for an event larger than a segment.
    pub fn event(&mut self, stamp: Stamp, event: &Event) -> Result<u64> {
        self.check()?;
        let mut payload = Vec::new();
        event.encode(&mut payload);
        let needed = record_length(payload.len());
        let available = data_capacity(self.geometry.segment_size as usize);
        if needed > available {
            let (needed, available) = (needed as u64, available as u64);
            return Err(Error::RowTooLarge { needed, available });
        }
        self.make_room(needed, None)?;
        let label = Label {
            kind: KIND_EVENT,
            ..self.label(stamp)
        };
        self.put(&label, &[&payload]);
        Ok(self.take_seq())
    }

    /// Ends the epoch and begins the next: from here on counters have another zero. Returns its
    /// number.
    pub fn begin_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    /// The epoch in force.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// This run's number in the file.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// How the file is divided.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The file's uuid.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// What was found on open.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A handle that makes what is written durable, for another thread.
    ///
    /// # Errors
    ///
    /// When the file cannot be shared.
    pub fn syncer(&self) -> Result<Syncer> {
        Ok(self.region.syncer()?)
    }

    /// Refuses all further writing. For a sync that failed elsewhere: the kernel may have dropped
    /// what it could not write, and says so only once.
    pub fn poison(&mut self, why: impl Into<String>) {
        self.poisoned.get_or_insert_with(|| why.into());
    }

    fn check(&mut self) -> Result<()> {
        if self.poisoned.is_none()
            && let Err(error) = self.region.check()
        {
            self.poison(error.to_string());
        }
        if self.next_seq > MAX_SEQ {
            self.poison("the numbers of this file are used up");
        }
        match &self.poisoned {
            Some(why) => Err(Error::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn label(&mut self, stamp: Stamp) -> Label {
        self.latest = stamp;
        Label {
            seq: self.next_seq,
            stamp,
            epoch: self.epoch,
            run: self.run,
            ..Label::default()
        }
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Makes sure a record of this length fits the hot segment, with its schema where the segment
    /// lacks it, and begins the next segment where it does not. True where the schema must be put.
    fn make_room(&mut self, length: usize, schema: Option<SchemaHandle>) -> Result<bool> {
        let limit = data_limit(self.geometry.segment_size as usize);
        let lacks = |tail: &Tail| {
            let stored = schema.map(|schema| &self.schemas[schema.0]);
            stored.filter(|stored| !tail.schemas.contains(&stored.id))
        };
        let extra =
            lacks(&self.hot).map_or(0, |stored| stored.record_length() * self.copies(stored));
        if self.hot.offset + extra + length + 8 > limit {
            self.begin_hot(self.hot.seq + 1)?;
            return Ok(schema.is_some());
        }
        Ok(extra > 0)
    }

    fn copies(&self, schema: &StoredSchema) -> usize {
        schema_copies(schema, self.geometry.segment_size as usize)
    }

    fn put_schema(&mut self, schema: SchemaHandle) {
        let stored = self.schemas[schema.0].clone();
        self.hot.schemas.insert(stored.id);
        self.put(&stored.label(), &[&stored.payload]);
    }

    /// Begins a hot segment, in the place of one that has been released.
    fn begin_hot(&mut self, seq: u64) -> Result<()> {
        let count = u64::from(self.geometry.hot_count);
        if seq
            .checked_sub(count)
            .is_some_and(|old| old >= self.released)
        {
            return Err(Error::HotRingFull);
        }
        let (base, header) = self.segment_header(Ring::Hot, seq);
        for (at, bytes) in header.steps_to_begin(self.geometry.segment_size as usize) {
            match <[u8; 8]>::try_from(bytes.as_slice()) {
                Ok(word) => self.region.publish(base + at as u64, word),
                Err(_) => self.region.store(base + at as u64, &bytes),
            }
        }
        self.hot = Tail {
            seq,
            base,
            seed: header.seed(),
            offset: DATA_START,
            schemas: BTreeSet::new(),
        };
        Ok(())
    }

    fn segment_header(&self, ring: Ring, seq: u64) -> (u64, SegmentHeader) {
        let header = SegmentHeader::new(&Identity {
            ring,
            seq,
            run: self.run,
            nonce: self.nonce,
            uuid: self.uuid,
            boot_id: self.host.boot_id,
            begun: self.latest,
        });
        (
            self.geometry.offset(ring, self.geometry.slot(ring, seq)),
            header,
        )
    }

    /// Stores a record behind the last one. There is room: `make_room` saw to it.
    fn put(&mut self, label: &Label, payload: &[&[u8]]) {
        build(&mut self.scratch, self.hot.seed, label, payload);
        let next = self.hot.offset + self.scratch.len();
        let at = self.hot.base + self.hot.offset as u64;
        self.region
            .store(self.hot.base + next as u64, &end_mark(self.hot.seed, next));
        let (first, rest) = self
            .scratch
            .split_first_chunk::<8>()
            .expect("a record has a header");
        self.region.store(at + 8, rest);
        self.region.publish(at, *first);
        self.hot.offset = next;
    }
}

/// How often a schema is put into each segment that uses it: a second time, behind its first row,
/// where that costs little, so that a damaged sector does not take the rows with it.
fn schema_copies(schema: &StoredSchema, segment_size: usize) -> usize {
    if schema.record_length() <= segment_size / 16 {
        2
    } else {
        1
    }
}

/// One bit per value, set where it is absent, lowest bit first.
fn pack_bits(absent: &[bool]) -> Vec<u8> {
    let mut bits = vec![0; absent.len().div_ceil(8)];
    for (index, absent) in absent.iter().enumerate() {
        if *absent {
            bits[index / 8] |= 1 << (index % 8);
        }
    }
    bits
}
