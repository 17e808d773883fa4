//! Events: what happened, in the same order as the rows.

use crate::bytes::{Cursor, Malformed, put_pairs, put_string};
use crate::clock::Stamp;

/// Something that happened: a start, a target lost, a clock step, an operator's mark.
///
/// A kind and text fields, so that a later reader shows an event it has never heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened, in `snake_case`.
    pub kind: String,
    /// Details in the order they are to be shown.
    pub fields: Vec<(String, String)>,
}

impl Event {
    /// An event without fields.
    pub fn new(kind: impl Into<String>) -> Event {
        Event {
            kind: kind.into(),
            fields: Vec::new(),
        }
    }

    /// The same event with one more field.
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Event {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.kind);
        put_pairs(out, &self.fields);
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Event, Malformed> {
        let mut cursor = Cursor::new(payload);
        let kind = cursor.string()?.to_owned();
        let fields = cursor.pairs()?;
        Ok(Event { kind, fields })
    }
}

/// An event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its place among all rows and events of the file.
    pub seq: u64,
    /// When it was recorded.
    pub stamp: Stamp,
    /// The epoch in force.
    pub epoch: u32,
    /// The run that recorded it.
    pub run: u32,
    /// What happened.
    pub event: Event,
}
