//! The KTM Flight Recorder's file: a circular recording of fixed size that survives what kills its
//! writer.
//!
//! A [`Writer`] appends rows of 64-bit values and events; a [`Recording`] reads them back, from the
//! same file, at the same time or years later, on any machine. `docs/format.md` in the repository
//! describes every byte; its headings are this crate's modules.
//!
//! ```
//! use ktm_format::*;
//!
//! # fn main() -> Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("box.ktm");
//! let mut writer = Writer::create_file(
//!     &path, MIN_FILE_SIZE, "example", SystemClock.now(), &mut SystemEntropy)?;
//! let queue = writer.define(&Schema {
//!     module: "queue".into(),
//!     labels: vec![],
//!     series: vec![Series::gauge("queue_depth", "Jobs waiting.")],
//! })?;
//! let mut values = Values::new();
//! values.push_u64(17);
//! writer.append(queue, SystemClock.now(), &values)?;
//! writer.event(SystemClock.now(), &Event::new("mark").with("text", "deployed"))?;
//! writer.maintain()?;
//!
//! let snapshot = Recording::open(&path)?.snapshot()?;
//! let row = snapshot.rows(&Select::all()).next().expect("one row")?;
//! assert_eq!(row.value(0), Some(Value::U64(17)));
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

pub mod block;
mod bytes;
mod clock;
mod contents;
mod error;
mod event;
mod geometry;
mod index;
mod position;
mod reader;
pub mod record;
mod region;
mod salvage;
mod schema;
pub mod segment;
mod source;
pub mod superblock;
mod value;
mod verify;
mod writer;

pub use clock::{Clock, Entropy, Host, Stamp, SystemClock, SystemEntropy, uuid_text};
pub use error::{Damage, DamageKind, Error, Result};
pub use event::{Event, RecordedEvent};
pub use geometry::{Geometry, HEADER_ZONE, MAX_FILE_SIZE, MIN_FILE_SIZE, Ring};
pub use position::Position;
pub use reader::{Info, Recording, Row, Rows, Select, Snapshot};
pub use region::{FileRegion, HeapRegion, Region, Syncer};
pub use salvage::salvaged;
pub use schema::{Kind, Schema, Series, ValueType};
pub use source::ReadAt;
pub use superblock::VERSION;
pub use value::{Decimal, Value, Values};
pub use verify::{Held, HeldKind, Hole, Loss, Verification};
pub use writer::{LastRecord, Recovery, SchemaHandle, SealJob, Sealed, SealedThrough, Writer};
