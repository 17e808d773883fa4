//! What can go wrong with a file, and where damage was met.

use std::fmt;
use std::io;

/// Why an operation on a recording failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    Io(io::Error),
    /// Neither superblock is one of ours: another kind of file, or nothing at all.
    NotARecording(String),
    /// Written by a later version of the format.
    UnsupportedVersion {
        /// The file's version.
        found: u16,
        /// The newest version this library reads.
        supported: u16,
    },
    /// Both superblocks are ours and neither can be believed, or the file is shorter than it says.
    Corrupt(Damage),
    /// Another writer holds the file.
    InUse {
        /// The other writer's process id, if the file tells.
        pid: Option<u32>,
    },
    /// The size asked for cannot hold a recording.
    TooSmall {
        /// Bytes asked for.
        given: u64,
        /// The least that works.
        minimum: u64,
    },
    /// A row with this many values does not fit a segment of this file.
    RowTooLarge {
        /// Bytes that the schema and one row need.
        needed: u64,
        /// Bytes that a segment has.
        available: u64,
    },
    /// The number of values differs from the number of series in the schema.
    WrongLength {
        /// Series in the schema.
        expected: usize,
        /// Values given.
        given: usize,
    },
    /// A row or event to be adopted has a number that is taken, or one below the last.
    OutOfOrder {
        /// Its number.
        given: u64,
        /// The lowest that can follow.
        next: u64,
    },
    /// The hot ring is full of rows that are not yet sealed and durable: sealing has stalled.
    HotRingFull,
    /// An earlier write or sync failed, or the file was cut short under the writer. What is in it
    /// stays readable; write on into a new file.
    Poisoned(String),
}

/// The result of an operation on a recording.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "{error}"),
            Error::NotARecording(why) => write!(f, "not a KTM recording: {why}"),
            Error::UnsupportedVersion { found, supported } => write!(
                f,
                "the recording has format version {found}, this program reads up to {supported}: \
                 use a newer ktm-dump"
            ),
            Error::Corrupt(damage) => write!(f, "damaged beyond use: {damage}"),
            Error::InUse { pid: Some(pid) } => {
                write!(f, "another recorder (pid {pid}) is writing to it")
            }
            Error::InUse { pid: None } => f.write_str("another recorder is writing to it"),
            Error::TooSmall { given, minimum } => {
                write!(
                    f,
                    "{given} bytes is too small for a recording: the minimum is {minimum}"
                )
            }
            Error::RowTooLarge { needed, available } => write!(
                f,
                "a row and its schema need {needed} bytes, a segment of this file has \
                 {available}: use a larger file"
            ),
            Error::WrongLength { expected, given } => {
                write!(f, "{given} values for a schema of {expected} series")
            }
            Error::OutOfOrder { given, next } => {
                write!(
                    f,
                    "number {given} cannot be adopted: the next is {next} or above"
                )
            }
            Error::HotRingFull => {
                f.write_str("the hot ring is full: sealed rows are not reaching the disk")
            }
            Error::Poisoned(why) => write!(f, "writing stopped after an earlier failure: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// One damaged place: where, what, and what was lost with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes that cannot be used.
    pub length: u64,
    /// What was found.
    pub what: DamageKind,
}

/// The kinds of damage a reader can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// One superblock copy is unreadable; the other is in use. Nothing is lost.
    Superblock,
    /// One of a segment's two headers is unreadable; the other is in use. Nothing is lost.
    SegmentHeader,
    /// Neither header of a segment is readable: everything in it is lost.
    Segment,
    /// The numbers of a ring's segments show that one was written here, and an older one, or none,
    /// is in its place. A power cut can leave that, and then nothing is lost.
    Missing,
    /// An intact segment stands in another's place. Only salvage reads it.
    Misplaced,
    /// Both superblocks are unreadable. Salvage finds the geometry by the segments.
    Superblocks,
    /// A record's checksum or framing is wrong: that row, event, block or schema is lost.
    Record,
    /// The checksum holds and the contents do not make sense.
    Contents,
    /// The end-of-data mark is unreadable. Nothing that was acknowledged is lost.
    EndMark,
    /// The file ends before its geometry does.
    Truncated,
    /// The operating system could not read these bytes.
    Unreadable,
}

impl DamageKind {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            DamageKind::Superblock => "superblock",
            DamageKind::SegmentHeader => "segment_header",
            DamageKind::Segment => "segment",
            DamageKind::Missing => "missing",
            DamageKind::Misplaced => "misplaced",
            DamageKind::Superblocks => "superblocks",
            DamageKind::Record => "record",
            DamageKind::Contents => "contents",
            DamageKind::EndMark => "end_mark",
            DamageKind::Truncated => "truncated",
            DamageKind::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            DamageKind::Superblock => "one superblock is damaged, its copy is in use",
            DamageKind::SegmentHeader => "one segment header is damaged, its copy is in use",
            DamageKind::Segment => {
                "both headers of a segment are damaged, what it held is unreadable"
            }
            DamageKind::Missing => {
                "a segment that must have been here is not, an older one or none is in its place"
            }
            DamageKind::Misplaced => "a segment stands in another's place and is read all the same",
            DamageKind::Superblocks => {
                "both superblocks are damaged, the geometry was found by the segments"
            }
            DamageKind::Record => "a record is damaged and skipped",
            DamageKind::Contents => "a record's contents make no sense, skipped",
            DamageKind::EndMark => "the mark that ends a segment's data is damaged or torn",
            DamageKind::Truncated => "the file is cut short here",
            DamageKind::Unreadable => "the disk does not give these bytes back",
        };
        write!(
            f,
            "at offset {}, {} bytes: {what}",
            self.offset, self.length
        )
    }
}
