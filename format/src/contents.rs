//! What records mean: rows, events and blocks, with the schemas they refer to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::block::{self, BlockHeader, Cells};
use crate::bytes::Malformed;
use crate::event::{Event, RecordedEvent};
use crate::position::Position;
use crate::reader::Row;
use crate::record::{
    FLAG_ABSENT, KIND_BLOCK, KIND_EVENT, KIND_ROW, KIND_SCHEMA, MAX_SEQ, Record, Step,
    decode_schema,
};
use crate::schema::Schema;
use crate::segment;

/// Schemas by the id that records refer to them with, the CRC of their content.
pub(crate) type Library = BTreeMap<u32, Arc<Schema>>;

/// What one record turned out to be.
pub(crate) enum Item {
    Row(Row),
    Event(RecordedEvent),
    Block(BlockHeader, Arc<Schema>),
    /// A schema, or a kind of a later version.
    Other,
}

/// Why a record that verified could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Its schema has not been met.
    NoSchema,
    /// It makes no sense.
    Malformed,
}

impl From<Malformed> for Unread {
    fn from(Malformed: Malformed) -> Unread {
        Unread::Malformed
    }
}

/// Reads a segment's records one after the other, and remembers the schemas they bring.
///
/// A segment brings every schema it uses, before the first use. Should that record be damaged, the
/// same schema from anywhere else in the file does as well: an id is a checksum of the content.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) library: Library,
}

impl Contents {
    /// Reads with schemas known from elsewhere.
    pub(crate) fn with(library: Library) -> Contents {
        Contents { library }
    }

    /// The schemas that a segment's bytes bring.
    pub(crate) fn learn(&mut self, bytes: &[u8], seed: u32) {
        for step in segment::walk(bytes, seed) {
            if let Step::Record(record) = step
                && record.header.kind.get() == KIND_SCHEMA
            {
                // A malformed one is reported where the records are read in order.
                let _ = self.item(&record);
            }
        }
    }

    /// The schema of a row that can be read.
    pub(crate) fn schema_of_row(&self, record: &Record<'_>) -> Result<Arc<Schema>, Unread> {
        is_possible(record.header.seq.get())?;
        let schema = self.library.get(&record.header.schema.get());
        let schema = schema.cloned().ok_or(Unread::NoSchema)?;
        row_parts(record, &schema)?;
        Ok(schema)
    }

    pub(crate) fn item(&mut self, record: &Record<'_>) -> Result<Item, Unread> {
        let header = &record.header;
        is_possible(header.seq.get())?;
        let id = header.schema.get();
        let schema = || self.library.get(&id).cloned().ok_or(Unread::NoSchema);
        Ok(match header.kind.get() {
            KIND_ROW => Item::Row(read_row(record, schema()?)?),
            KIND_EVENT => Item::Event(RecordedEvent {
                seq: header.seq.get(),
                stamp: header.stamp(),
                epoch: header.epoch.get(),
                run: header.run.get(),
                event: Event::decode(record.payload)?,
            }),
            KIND_BLOCK => {
                let (block, _) = block::parse_header(record.payload)?;
                is_possible(block.last_seq.get())?;
                Item::Block(block, schema()?)
            }
            KIND_SCHEMA => {
                if let Entry::Vacant(place) = self.library.entry(id) {
                    place.insert(Arc::new(decode_schema(header, record.payload)?));
                }
                Item::Other
            }
            _ => Item::Other,
        })
    }
}

/// No writer ever comes to a number above this.
fn is_possible(seq: u64) -> Result<(), Unread> {
    if seq > MAX_SEQ {
        return Err(Unread::Malformed);
    }
    Ok(())
}

/// A row's words, and its absence bitmap or nothing.
fn row_parts<'a>(
    record: &Record<'a>,
    schema: &Schema,
) -> Result<(&'a [[u8; 8]], &'a [u8]), Malformed> {
    let columns = schema.series.len();
    let (words, rest) = record
        .payload
        .split_at_checked(columns * 8)
        .ok_or(Malformed)?;
    let bitmap = if record.header.flags.get() & FLAG_ABSENT != 0 {
        rest.get(..columns.div_ceil(8)).ok_or(Malformed)?
    } else {
        &[]
    };
    Ok((words.as_chunks::<8>().0, bitmap))
}

fn read_row(record: &Record<'_>, schema: Arc<Schema>) -> Result<Row, Malformed> {
    let (words, bitmap) = row_parts(record, &schema)?;
    let absent = |column: usize| {
        bitmap
            .get(column / 8)
            .is_some_and(|b| b >> (column % 8) & 1 == 1)
    };
    let absent = match bitmap {
        [] => Vec::new(),
        _ => (0..words.len()).map(absent).collect(),
    };
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let words = words.collect();
    let at = Position {
        seq: record.header.seq.get(),
        stamp: record.header.stamp(),
        epoch: record.header.epoch.get(),
        run: record.header.run.get(),
    };
    Ok(Row::new(
        at,
        schema,
        Arc::new(Cells::of_row(words, absent)),
        0,
    ))
}
