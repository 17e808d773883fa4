//! Reading a recording: no lock, no mapping, no help from the machine that wrote it.
//!
//! [`Recording::snapshot`] passes over the segments once and learns where everything is;
//! [`Snapshot::rows`] then decodes only what was asked for, in recorded order, with as much in
//! memory as the blocks that overlap each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::block::{self, Cells};
use crate::bytes::Malformed;
use crate::clock::Stamp;
use crate::contents::{Contents, Item, Library};
use crate::error::{Damage, DamageKind, Error, Result};
use crate::event::RecordedEvent;
use crate::geometry::Geometry;
use crate::index::{Chunk, Indexer};
use crate::position::Position;
use crate::record::{Step, Walk};
use crate::schema::Schema;
use crate::segment;
use crate::source::{Found, ReadAt, read_segment, read_what_is_there, superblock_of};
use crate::value::{Value, Values};

/// A recording open for reading.
pub struct Recording {
    source: Arc<dyn ReadAt + Send + Sync>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recording")
    }
}

impl Recording {
    /// Opens a file for reading. A writer may go on writing to it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::NotARecording`], [`Error::UnsupportedVersion`], or
    /// [`Error::Corrupt`] when neither superblock is intact.
    pub fn open(path: impl AsRef<Path>) -> Result<Recording> {
        Recording::over(File::open(path)?)
    }

    /// Reads a recording from anything that gives its bytes.
    ///
    /// # Errors
    ///
    /// As [`Recording::open`].
    pub fn over(source: impl ReadAt + Send + Sync + 'static) -> Result<Recording> {
        let recording = Recording {
            source: Arc::new(source),
        };
        superblock_of(&recording.source)?;
        Ok(recording)
    }

    /// Passes over the whole file once and finds out what is in it now.
    ///
    /// # Errors
    ///
    /// As [`Recording::open`]. Damage is not an error: see [`Snapshot::damage`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        Indexer::new(Arc::clone(&self.source))?.index()
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Format version.
    pub version: u16,
    /// The file's uuid as text.
    pub uuid: String,
    /// CLOCK_REALTIME at creation, nanoseconds.
    pub created_ns: i64,
    /// The program that created it.
    pub software: String,
    /// How it is divided.
    pub geometry: Geometry,
    /// Process id of the last writer, as it said itself.
    pub writer_pid: u32,
    /// Segments in use, hot ring.
    pub hot_used: u32,
    /// Segments in use, cold ring.
    pub cold_used: u32,
    /// Sealed blocks.
    pub blocks: u64,
    /// Rows in sealed blocks.
    pub sealed_rows: u64,
    /// Rows still raw in the hot ring, those sealed already included.
    pub hot_rows: u64,
    /// Bytes of the sealed blocks as stored.
    pub sealed_bytes: u64,
}

/// What a file held when it was passed over.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) source: Arc<dyn ReadAt + Send + Sync>,
    pub(crate) geometry: Geometry,
    pub(crate) info: Info,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) library: Library,
    pub(crate) schemas: Vec<Arc<Schema>>,
    /// The segments in force, of the hot ring and then of the cold one, each oldest first.
    pub(crate) segments: Vec<Found>,
    pub(crate) damage: Vec<Damage>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Which rows to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// From this CLOCK_REALTIME on, nanoseconds.
    pub since_ns: Option<i64>,
    /// Up to and including this CLOCK_REALTIME, nanoseconds.
    pub until_ns: Option<i64>,
    /// Only rows of these modules.
    pub modules: Option<Vec<String>>,
}

impl Select {
    /// Every row.
    pub fn all() -> Select {
        Select::default()
    }

    fn wants_time(&self, min: i64, max: i64) -> bool {
        self.since_ns.is_none_or(|since| max >= since)
            && self.until_ns.is_none_or(|until| min <= until)
    }

    fn wants_module(&self, module: &str) -> bool {
        self.modules
            .as_ref()
            .is_none_or(|modules| modules.iter().any(|m| m == module))
    }
}

impl Snapshot {
    /// What the file says of itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Every event, in recorded order.
    pub fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    /// Every distinct schema, in the order of first use among the rows there are.
    pub fn schemas(&self) -> impl ExactSizeIterator<Item = &Arc<Schema>> {
        self.schemas.iter()
    }

    /// Every damaged place.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The earliest and the latest CLOCK_REALTIME among the rows, nanoseconds.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let first = self
            .chunks
            .iter()
            .map(|chunk| chunk.min_realtime_ns)
            .min()?;
        let last = self
            .chunks
            .iter()
            .map(|chunk| chunk.max_realtime_ns)
            .max()?;
        Some((first, last))
    }

    /// The rows selected, in recorded order.
    pub fn rows(&self, select: &Select) -> Rows<'_> {
        let wanted = |chunk: &&Chunk| {
            select.wants_time(chunk.min_realtime_ns, chunk.max_realtime_ns)
                && chunk
                    .modules
                    .iter()
                    .any(|module| select.wants_module(module))
        };
        let mut chunks: Vec<&Chunk> = self.chunks.iter().filter(wanted).collect();
        chunks.sort_by_key(|chunk| chunk.first_seq);
        Rows {
            snapshot: self,
            select: select.clone(),
            waiting: chunks.into(),
            open: BinaryHeap::new(),
            last_seq: None,
        }
    }
}

/// One row.
///
/// It shares its values with the rows that were decoded along with it, up to 300, and keeps them in
/// memory: what is to be kept for long is better copied.
#[derive(Clone)]
pub struct Row {
    /// Its place among all rows and events of the file.
    pub seq: u64,
    /// When it was sampled.
    pub stamp: Stamp,
    /// The epoch in force.
    pub epoch: u32,
    /// The run that recorded it.
    pub run: u32,
    /// What the values are.
    pub schema: Arc<Schema>,
    cells: Arc<Cells>,
    /// Which of the rows in `cells` it is.
    place: usize,
    /// Put together when first asked for.
    values: OnceLock<Values>,
}

impl Row {
    pub(crate) fn new(at: Position, schema: Arc<Schema>, cells: Arc<Cells>, place: usize) -> Row {
        Row {
            seq: at.seq,
            stamp: at.stamp,
            epoch: at.epoch,
            run: at.run,
            schema,
            cells,
            place,
            values: OnceLock::new(),
        }
    }

    /// The value of the schema's series `index`, `None` where it was absent.
    pub fn value(&self, index: usize) -> Option<Value> {
        let series = self.schema.series.get(index)?;
        Some(Value::from_word(self.word(index)?, series.value_type))
    }

    /// The recorded bits of the series `index`, `None` where it was absent.
    #[inline]
    pub fn word(&self, index: usize) -> Option<u64> {
        self.cells.word(self.place, index)
    }

    /// The recorded bits of every series, `None` where it was absent.
    pub fn words(&self) -> impl ExactSizeIterator<Item = Option<u64>> {
        (0..self.cells.columns()).map(|index| self.word(index))
    }

    /// The values as they were appended. Put together for this: [`Row::words`] is faster.
    pub fn values(&self) -> &Values {
        self.values.get_or_init(|| self.words().collect())
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.position() == other.position()
            && self.schema == other.schema
            && self.words().eq(other.words())
    }
}

impl Eq for Row {}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("at", &self.position())
            .field("schema", &self.schema)
            .field("values", self.values())
            .finish()
    }
}

/// Rows in recorded order. Made by [`Snapshot::rows`].
///
/// Yields [`Error::Corrupt`] for a chunk that has become unreadable since the snapshot, and goes
/// on after it: the writer may have come round meanwhile.
#[derive(Debug)]
pub struct Rows<'a> {
    snapshot: &'a Snapshot,
    select: Select,
    waiting: VecDeque<&'a Chunk>,
    open: BinaryHeap<Reverse<OpenChunk>>,
    last_seq: Option<u64>,
}

/// A decoded chunk, ordered by its next row.
#[derive(Debug)]
struct OpenChunk {
    rows: VecDeque<Row>,
}

impl OpenChunk {
    fn next_seq(&self) -> u64 {
        self.rows.front().map_or(u64::MAX, |row| row.seq)
    }
}

impl PartialEq for OpenChunk {
    fn eq(&self, other: &OpenChunk) -> bool {
        self.next_seq() == other.next_seq()
    }
}

impl Eq for OpenChunk {}

impl PartialOrd for OpenChunk {
    fn partial_cmp(&self, other: &OpenChunk) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OpenChunk {
    fn cmp(&self, other: &OpenChunk) -> std::cmp::Ordering {
        self.next_seq().cmp(&other.next_seq())
    }
}

impl Rows<'_> {
    /// Opens every chunk that may hold a row before the next one of those open.
    fn open_chunks(&mut self) -> Result<()> {
        while let Some(chunk) = self.waiting.front() {
            let next = self
                .open
                .peek()
                .map_or(u64::MAX, |Reverse(open)| open.next_seq());
            if chunk.first_seq > next {
                break;
            }
            let chunk = self.waiting.pop_front().expect("there is a front");
            let mut rows = self.snapshot.decode(chunk)?;
            rows.retain(|row| {
                let time = row.stamp.realtime_ns;
                self.select.wants_time(time, time) && self.select.wants_module(&row.schema.module)
            });
            rows.sort_by_key(|row| row.seq);
            if !rows.is_empty() {
                self.open.push(Reverse(OpenChunk { rows: rows.into() }));
            }
        }
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            if let Err(error) = self.open_chunks() {
                return Some(Err(error));
            }
            let Reverse(mut chunk) = self.open.pop()?;
            let row = chunk
                .rows
                .pop_front()
                .expect("only chunks with rows are kept");
            if !chunk.rows.is_empty() {
                self.open.push(Reverse(chunk));
            }
            // A row that is sealed and still in the hot ring is met twice.
            if self.last_seq != Some(row.seq) {
                self.last_seq = Some(row.seq);
                return Some(Ok(row));
            }
        }
    }
}

impl Snapshot {
    fn decode(&self, chunk: &Chunk) -> Result<Vec<Row>> {
        let place = self.geometry.offset(chunk.found.ring, chunk.found.slot) + chunk.offset as u64;
        let gone = || {
            Error::Corrupt(Damage {
                offset: place,
                length: chunk.length as u64,
                what: DamageKind::Record,
            })
        };
        let Some(schema) = &chunk.schema else {
            return self.decode_hot(chunk);
        };
        // The record is read with the bytes before it missing: its place does not enter its CRC.
        let mut record = vec![0; chunk.length];
        read_what_is_there(&self.source, place, &mut record, &mut Vec::new());
        let mut walk = Walk::new(&record, chunk.found.seed, 0, record.len());
        let Some(Step::Record(record)) = walk.next() else {
            return Err(gone());
        };
        let block = block::decode(schema, record.payload).map_err(|Malformed| gone())?;
        // Reading in order relies on what the headers say of the rows.
        let at = &block.positions;
        let ends = [at.first(), at.last()].map(|at| at.map(|at| at.seq));
        let is_told = ends == [Some(chunk.first_seq), Some(chunk.last_seq)];
        if !is_told || !at.is_sorted_by(|one, next| one.seq < next.seq) {
            return Err(gone());
        }
        let cells = Arc::new(block.cells);
        let rows = block.positions.into_iter().enumerate();
        let row = |(place, at)| Row::new(at, Arc::clone(schema), Arc::clone(&cells), place);
        Ok(rows.map(row).collect())
    }

    fn decode_hot(&self, chunk: &Chunk) -> Result<Vec<Row>> {
        let mut bytes = Vec::new();
        read_segment(
            &self.source,
            &self.geometry,
            &chunk.found,
            &mut bytes,
            &mut Vec::new(),
        );
        let mut rows = Vec::new();
        let mut contents = Contents::with(self.library.clone());
        for step in segment::walk(&bytes, chunk.found.seed) {
            let Step::Record(record) = step else { continue };
            if let Ok(Item::Row(row)) = contents.item(&record)
                && row.seq <= chunk.last_seq
            {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}
