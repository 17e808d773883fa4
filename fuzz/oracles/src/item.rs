//! Rows and events, as they were written and as they were found, to be compared.

use std::sync::Arc;

use ktm_format::{Error, Event, RecordedEvent, Row, Schema, Select, Snapshot, Stamp};

/// A row or an event with all that is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
    pub(crate) epoch: u32,
    pub(crate) run: u32,
    pub(crate) what: What,
}

/// What sets a row apart from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Row(Arc<Schema>, Vec<Option<u64>>),
    Event(Event),
}

impl Item {
    pub(crate) fn of_row(row: &Row) -> Item {
        let values = row.values();
        let words = (0..values.len()).map(|index| values.word(index));
        Item {
            seq: row.seq,
            stamp: row.stamp,
            epoch: row.epoch,
            run: row.run,
            what: What::Row(Arc::clone(&row.schema), words.collect()),
        }
    }

    fn of_event(event: &RecordedEvent) -> Item {
        Item {
            seq: event.seq,
            stamp: event.stamp,
            epoch: event.epoch,
            run: event.run,
            what: What::Event(event.event.clone()),
        }
    }

    /// Rows of one schema are a stream of their own, and so are the events.
    pub(crate) fn is_in_the_stream_of(&self, other: &Item) -> bool {
        match (&self.what, &other.what) {
            (What::Row(schema, _), What::Row(other, _)) => schema == other,
            (What::Event(_), What::Event(_)) => true,
            _ => false,
        }
    }
}

/// Everything that a snapshot gives, by number, and how many blocks turned out unreadable.
pub(crate) fn read(snapshot: &Snapshot) -> Result<(Vec<Item>, usize), String> {
    let mut unreadable = 0;
    let mut items: Vec<Item> = Vec::new();
    for row in snapshot.rows(&Select::all()) {
        match row {
            Ok(row) => items.push(Item::of_row(&row)),
            Err(Error::Corrupt(_)) => unreadable += 1,
            Err(error) => return Err(format!("reading failed: {error}")),
        }
    }
    is_ordered(&items, "rows")?;
    let events: Vec<Item> = snapshot.events().iter().map(Item::of_event).collect();
    is_ordered(&events, "events")?;
    items.extend(events);
    items.sort_by_key(|item| item.seq);
    Ok((items, unreadable))
}

fn is_ordered(items: &[Item], what: &str) -> Result<(), String> {
    let bad = items.windows(2).find(|pair| pair[0].seq >= pair[1].seq);
    match bad {
        None => Ok(()),
        Some(pair) => Err(format!(
            "{what} are out of order: {} is followed by {}",
            pair[0].seq, pair[1].seq
        )),
    }
}
