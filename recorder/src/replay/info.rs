//! What a file says of itself, and how sound it is.

use std::io::{self, Write};

use ktm_format::{Damage, Snapshot};
use serde::Serialize;

use super::columns::Columns;
use super::events::{Time, printable};
use super::presentation::Presentation;

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileInfo {
    /// The name it was opened by.
    pub file: String,
    /// Its size, all of it allocated.
    pub size_bytes: u64,
    /// Format version.
    pub format_version: u16,
    /// The file's uuid.
    pub uuid: String,
    /// When it was created.
    pub created: Time,
    /// The program that created it.
    pub created_by: String,
    /// Process id of the last writer, as it said itself.
    pub writer_pid: u32,
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// Segments of the hot ring in use, of how many.
    pub hot_segments: Used,
    /// Segments of the cold ring in use, of how many.
    pub cold_segments: Used,
    /// The earliest sample.
    pub first_sample: Option<Time>,
    /// The latest sample.
    pub last_sample: Option<Time>,
    /// Rows in sealed blocks.
    pub sealed_rows: u64,
    /// Rows raw in the hot ring, those sealed already included.
    pub hot_rows: u64,
    /// Sealed blocks.
    pub blocks: u64,
    /// Bytes of the sealed blocks.
    pub sealed_bytes: u64,
    /// Series.
    pub series: usize,
    /// Events.
    pub events: usize,
    /// Every damaged place.
    pub damage: Vec<DamageView>,
}

/// Some of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// In use.
    pub used: u32,
    /// All.
    pub of: u32,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamageView {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes that cannot be used.
    pub length: u64,
    /// The kind of damage.
    pub what: &'static str,
    /// The same in words.
    pub text: String,
}

impl DamageView {
    /// One damaged place.
    pub fn of(damage: &Damage) -> DamageView {
        DamageView {
            offset: damage.offset,
            length: damage.length,
            what: damage.what.name(),
            text: damage.to_string(),
        }
    }
}

/// What the file says of itself, `file` being the name it was opened by.
pub fn info(snapshot: &Snapshot, file: &str) -> FileInfo {
    let info = snapshot.info();
    let geometry = info.geometry;
    let bounds = snapshot.bounds();
    FileInfo {
        file: file.to_owned(),
        size_bytes: geometry.file_size,
        format_version: info.version,
        uuid: info.uuid.clone(),
        created: Time(info.created_ns),
        created_by: info.software.clone(),
        writer_pid: info.writer_pid,
        segment_bytes: geometry.segment_size,
        hot_segments: Used {
            used: info.hot_used,
            of: geometry.hot_count,
        },
        cold_segments: Used {
            used: info.cold_used,
            of: geometry.cold_count,
        },
        first_sample: bounds.map(|(first, _)| Time(first)),
        last_sample: bounds.map(|(_, last)| Time(last)),
        sealed_rows: info.sealed_rows,
        hot_rows: info.hot_rows,
        blocks: info.blocks,
        sealed_bytes: info.sealed_bytes,
        series: Columns::of(snapshot.schemas()).len(),
        events: snapshot.events().len(),
        damage: snapshot.damage().iter().map(DamageView::of).collect(),
    }
}

impl FileInfo {
    /// A line for every fact.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn print(&self, presentation: &Presentation, out: &mut dyn Write) -> io::Result<()> {
        let zone = &presentation.zone;
        let creator = match self.created_by.as_str() {
            "" => String::new(),
            name => format!(" by {}", printable(name)),
        };
        let time = |Time(at): Time| format!("{} ({zone})", zone.civil(at));
        writeln!(out, "file      {}", printable(&self.file))?;
        writeln!(out, "size      {}, all allocated", bytes(self.size_bytes))?;
        writeln!(
            out,
            "format    version {}, uuid {}",
            self.format_version, self.uuid
        )?;
        writeln!(out, "created   {}{creator}", time(self.created))?;
        writeln!(out, "writer    last was pid {}", self.writer_pid)?;
        match (self.first_sample, self.last_sample) {
            (Some(first), Some(last)) => {
                writeln!(out, "samples   {} to {}", time(first), time(last))?;
            }
            _ => writeln!(out, "samples   none")?,
        }
        writeln!(out, "series    {}, events {}", self.series, self.events)?;
        let (hot, cold) = (self.hot_segments, self.cold_segments);
        writeln!(
            out,
            "hot ring  {} of {} segments, {} rows",
            hot.used, hot.of, self.hot_rows
        )?;
        let sealed = bytes(self.sealed_bytes);
        writeln!(
            out,
            "cold ring {} of {} segments, {} rows in {} blocks, {sealed}",
            cold.used, cold.of, self.sealed_rows, self.blocks
        )?;
        match self.damage.len() {
            0 => writeln!(out, "damage    none"),
            count => {
                writeln!(out, "damage    {count} places")?;
                self.damage
                    .iter()
                    .try_for_each(|damage| writeln!(out, "          {}", damage.text))
            }
        }
    }
}

/// `64 MiB`, `1.5 GiB`, `100 bytes`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| count >= *size) {
        Some((name, size)) if count.is_multiple_of(*size) => format!("{} {name}", count / size),
        Some((name, size)) => format!("{:.1} {name}", count as f64 / *size as f64),
        None => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::fixture::Fixture;
    use crate::time::Zone;

    #[test]
    fn an_empty_recording_says_so() {
        let info = info(&Fixture::new().snapshot(), "box.ktm");
        assert_eq!(
            (info.first_sample, info.series, info.damage.len()),
            (None, 0, 0)
        );
        let mut out = Vec::new();
        info.print(&Presentation::plain(Zone::utc(), "box.ktm"), &mut out)
            .expect("a Vec");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("size      1 MiB, all allocated\n"), "{text}");
        assert!(text.contains("samples   none\n"), "{text}");
        assert!(text.ends_with("damage    none\n"), "{text}");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(0), "0 bytes");
    }
}
