//! Opening: the recorder always starts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use ktm_format::{
    Error, FileRegion, LastRecord, Recording, Recovery, Select, Stamp, SystemEntropy, Writer,
};

use super::aside::{Aside, followed, set_aside};
use super::events::STOP;

/// What was found when a recording was opened, and what was done about it.
#[derive(Clone, Debug)]
pub struct StartReport {
    /// The recording.
    pub path: PathBuf,
    /// Whether it was made, taken up, or made anew in another's place.
    pub origin: FileOrigin,
    /// Its size in bytes, all of it allocated.
    pub size: u64,
    /// The size that was asked for; a recording that exists keeps its own.
    pub size_asked: u64,
    /// Rows found in it. `None` where counting them would have delayed the start.
    pub rows: Option<u64>,
    /// How the previous run ended.
    pub previous: Previous,
    /// What the writer had to read of it, damage included.
    pub recovery: Recovery,
}

/// Where the file came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOrigin {
    /// There was none.
    Created,
    /// It was there and sound enough to write on.
    Continued,
    /// What was there could not be written on; it is kept under another name.
    SetAside {
        /// The name it has now.
        to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
}

/// How the previous run in the file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previous {
    /// There was none.
    None,
    /// Its last record says that it stopped.
    Clean(LastRecord),
    /// Its last record is something else.
    Unclean(LastRecord),
}

impl Previous {
    fn of(recovery: &Recovery) -> Previous {
        let Some(last) = recovery.last else {
            return Previous::None;
        };
        match &recovery.last_event {
            Some(event) if event.event.kind == STOP && event.seq >= last.seq => {
                Previous::Clean(last)
            }
            _ => Previous::Unclean(last),
        }
    }

    /// `none`, `clean` or `unclean`.
    pub const fn name(&self) -> &'static str {
        match self {
            Previous::None => "none",
            Previous::Clean(_) => "clean",
            Previous::Unclean(_) => "unclean",
        }
    }

    /// The last record of the previous run.
    pub const fn last(&self) -> Option<&LastRecord> {
        match self {
            Previous::None => None,
            Previous::Clean(last) | Previous::Unclean(last) => Some(last),
        }
    }
}

/// Why a recording could be neither opened nor made.
#[derive(Debug)]
pub struct OpenError {
    /// The recording.
    pub path: PathBuf,
    /// What was being done: `open`, `create`, `set aside`.
    pub doing: &'static str,
    /// Why it failed.
    pub error: Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenError { path, doing, error } = self;
        write!(f, "cannot {doing} {}: {error}", path.display())?;
        match error {
            Error::InUse { .. } => f.write_str("; stop it, or use another file"),
            Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => f.write_str(
                "; free some space or ask for a smaller size: all of it is taken at once",
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Counting reads the whole file; beyond this size it could take longer than a start may.
const COUNTED_SIZE: u64 = 128 * 1024 * 1024;

pub(super) fn open_or_create(
    path: &Path,
    size: u64,
    software: &str,
    now: Stamp,
) -> Result<(Writer<FileRegion>, StartReport), OpenError> {
    let failed = |doing| {
        move |error: Error| OpenError {
            path: path.to_path_buf(),
            doing,
            error,
        }
    };
    let place = &followed(path).map_err(Error::Io).map_err(failed("open"))?;
    let create = || create(place, size, software, now).map_err(failed("create"));
    let (writer, census, origin) = match look(place) {
        Ok((writer, census)) => (writer, census, FileOrigin::Continued),
        Err(error) => match remedy(&error) {
            Remedy::Create => {
                make_parents(place)
                    .map_err(Error::Io)
                    .map_err(failed("create the folder of"))?;
                (create()?, None, FileOrigin::Created)
            }
            Remedy::SetAside => {
                let to = match set_aside(place, now.realtime_ns, false) {
                    Ok(Aside::Moved(to)) => to,
                    Ok(Aside::InUse) => return Err(failed("open")(Error::InUse { pid: None })),
                    // Somebody else replaced it: what is there now deserves a look of its own.
                    Ok(Aside::Gone) => return Err(failed("open")(error)),
                    Err(error) => return Err(failed("set aside")(error.into())),
                };
                let why = error.to_string();
                (create()?, None, FileOrigin::SetAside { to, why })
            }
            Remedy::Refuse => return Err(failed("open")(error)),
        },
    };
    let recovery = writer.recovery().clone();
    let report = StartReport {
        path: path.to_path_buf(),
        size: writer.geometry().file_size,
        size_asked: size,
        rows: match origin {
            FileOrigin::Continued => census.map(|census| census.rows(recovery.last)),
            _ => Some(0),
        },
        previous: Previous::of(&recovery),
        recovery,
        origin,
    };
    Ok((writer, report))
}

/// What is done where a path does not lead to a recording that can be written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Create,
    SetAside,
    /// A person has to decide.
    Refuse,
}

/// The table "What it finds" of docs/operations.md.
fn remedy(error: &Error) -> Remedy {
    match error {
        Error::NotARecording(_) | Error::UnsupportedVersion { .. } | Error::Corrupt(_) => {
            Remedy::SetAside
        }
        Error::InUse { .. } => Remedy::Refuse,
        Error::Io(error) => match Errno::from_io_error(error) {
            Some(Errno::NOENT) => Remedy::Create,
            // The disk itself: another file may lie on a better part of it.
            Some(Errno::IO) => Remedy::SetAside,
            _ => Remedy::Refuse,
        },
        // Whatever else keeps a writer from a file that is there, another file does not have.
        _ => Remedy::SetAside,
    }
}

/// Opens what is at the path for writing, and counts what is in it.
fn look(path: &Path) -> Result<(Writer<FileRegion>, Option<Census>), Error> {
    check_kind(path)?;
    let census = Census::take(path);
    Ok((Writer::open_file(path, &mut SystemEntropy)?, census))
}

/// Nothing but a file may be renamed or written on: `--file /dev/sda` is a slip, not a recording.
fn check_kind(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)? {
        found if found.is_file() => Ok(()),
        found if found.is_dir() => Err(io::Error::other("it is a directory")),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

fn make_parents(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => std::fs::create_dir_all(parent),
        None => Ok(()),
    }
}

fn create(path: &Path, size: u64, software: &str, now: Stamp) -> Result<Writer<FileRegion>, Error> {
    Writer::create_file(path, size, software, now, &mut SystemEntropy)
}

/// Rows and events share one count, so the rows are what lies between the first and the last number
/// and is not an event. A row met twice, raw and sealed, counts once this way.
struct Census {
    first_row: Option<u64>,
    events: u64,
}

impl Census {
    fn take(path: &Path) -> Option<Census> {
        if std::fs::metadata(path).ok()?.len() > COUNTED_SIZE {
            return None;
        }
        let snapshot = Recording::open(path).ok()?.snapshot().ok()?;
        let first = snapshot
            .rows(&Select::all())
            .find_map(Result::ok)
            .map(|row| row.seq);
        let later = |seq: u64| first.is_some_and(|first| seq > first);
        let events = snapshot
            .events()
            .iter()
            .filter(|event| later(event.seq))
            .count();
        Some(Census {
            first_row: first,
            events: events as u64,
        })
    }

    fn rows(&self, last: Option<LastRecord>) -> u64 {
        match (self.first_row, last) {
            (Some(first), Some(last)) => (last.seq + 1).saturating_sub(first + self.events),
            _ => 0,
        }
    }
}
