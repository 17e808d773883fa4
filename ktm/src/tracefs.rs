//! tracefs: the kernel's description of its tracepoints, mounted where only we see it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

const USUAL_POINT: &str = "/sys/kernel/tracing";
/// Where it is found under debugfs, which mounts it by itself when it is looked at.
const DEBUGFS_POINT: &str = "/sys/kernel/debug/tracing";

/// Where tracefs is, or why it is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceFs {
    /// Somebody has mounted it.
    Found(PathBuf),
    /// We have mounted it, in a mount namespace of our own.
    MountedPrivately(PathBuf),
    /// There is none, and why.
    Missing(String),
}

impl TraceFs {
    /// Where it is.
    pub fn path(&self) -> Option<&Path> {
        match self {
            TraceFs::Found(path) | TraceFs::MountedPrivately(path) => Some(path),
            TraceFs::Missing(_) => None,
        }
    }
}

impl fmt::Display for TraceFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceFs::Found(path) => write!(f, "tracefs at {}", path.display()),
            TraceFs::MountedPrivately(path) => {
                write!(
                    f,
                    "tracefs mounted at {} for this process only",
                    path.display()
                )
            }
            TraceFs::Missing(why) => write!(f, "no tracefs: {why}"),
        }
    }
}

/// Looks for tracefs and changes nothing.
pub fn find() -> TraceFs {
    match look() {
        Ok(Some(path)) => TraceFs::Found(path),
        Ok(None) => TraceFs::Missing(format!("it is not mounted at {USUAL_POINT}")),
        Err(why) => TraceFs::Missing(why),
    }
}

/// Looks for tracefs, and mounts it if need be in a mount namespace of our own, so that nobody else
/// on the machine sees a difference.
///
/// Call it before any thread is started: the namespace is the calling thread's, and is inherited
/// only by threads and processes that it starts later. Mounts and unmounts done elsewhere
/// on the machine still arrive here.
pub fn ensure() -> TraceFs {
    match look() {
        Ok(Some(path)) => return TraceFs::Found(path),
        Ok(None) => {}
        // It is there, and not for us.
        Err(why) => return TraceFs::Missing(why),
    }
    match mount_privately() {
        Ok(()) => match find() {
            TraceFs::Found(path) => TraceFs::MountedPrivately(path),
            missing => missing,
        },
        Err(why) => TraceFs::Missing(why),
    }
}

fn look() -> Result<Option<PathBuf>, String> {
    for point in [USUAL_POINT, DEBUGFS_POINT] {
        match Path::new(point).join("events").try_exists() {
            Ok(true) => return Ok(Some(point.into())),
            Ok(false) => {}
            Err(error) => return Err(format!("{point}: {error}")),
        }
    }
    Ok(None)
}

fn mount_privately() -> Result<(), String> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.split_whitespace().any(|word| word == "tracefs") {
        return Err("this kernel has no tracefs".to_owned());
    }
    if !Path::new(USUAL_POINT).is_dir() {
        return Err(format!("{USUAL_POINT} does not exist"));
    }
    let failed = |what: &'static str| {
        move |errno: rustix::io::Errno| {
            format!(
                "it is not mounted, and {what} is refused: {}",
                io::Error::from(errno)
            )
        }
    };
    // SAFETY: only the mount namespace is left, and with it the sharing of root and working
    // directory with other threads; no file descriptor table is, which the contract is about.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(failed("a mount namespace of our own"))?;
    // Without this the new mount would travel back to where we came from.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(failed("keeping mounts to ourselves"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tracefs", USUAL_POINT, "tracefs", flags, None).map_err(failed("mounting it"))
}

/// Where a field lies in an event's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// Offset from the record's start, in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// The record layout of one tracepoint, from its `format` file.
#[derive(Clone, Debug, Default)]
pub struct Format {
    fields: Vec<(String, FieldPlace)>,
}

impl Format {
    /// Reads `events/<category>/<name>/format`.
    ///
    /// # Errors
    ///
    /// When this kernel has no such event, or tracefs may not be read.
    pub fn read(tracefs: &Path, category: &str, name: &str) -> io::Result<Format> {
        let path = tracefs
            .join("events")
            .join(category)
            .join(name)
            .join("format");
        Ok(Format::parse(&std::fs::read_to_string(path)?))
    }

    /// Reads the text of a `format` file; a line that is no field is passed over.
    pub fn parse(text: &str) -> Format {
        Format {
            fields: text.lines().filter_map(parse_field).collect(),
        }
    }

    /// Where a field is, `None` where this kernel's record does not have it.
    pub fn field(&self, name: &str) -> Option<FieldPlace> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, place)| *place)
    }
}

/// `field:unsigned char order; offset:36; size:1; signed:0;`
fn parse_field(line: &str) -> Option<(String, FieldPlace)> {
    let mut declaration = None;
    let mut offset = None;
    let mut size = None;
    for part in line.split(';') {
        match part.trim().split_once(':') {
            Some(("field", text)) => declaration = Some(text),
            Some(("offset", text)) => offset = text.parse().ok(),
            Some(("size", text)) => size = text.parse().ok(),
            _ => {}
        }
    }
    // The last word of the declaration, without an array's length: `char comm[16]`.
    let name = declaration?.split_whitespace().next_back()?;
    let name = name.split('[').next()?.trim_start_matches('*');
    Some((
        name.to_owned(),
        FieldPlace {
            offset: offset?,
            size: size?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo;

    const FORMAT: &str = "name: mm_filemap_add_to_page_cache\nID: 644\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \n\
        \tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:char * buf;\toffset:24;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n\
        \tfield:dev_t s_dev;\toffset:32;\tsize:4;\tsigned:0;\n\
        \tfield:unsigned char order;\toffset:36;\tsize:1;\tsigned:0;\n\
        \nprint fmt: \"dev %d field:x\", REC->order\n";

    #[test]
    fn fields_are_found_with_their_place_and_a_missing_one_is_missing() {
        let format = Format::parse(FORMAT);
        assert_eq!(
            format.field("order"),
            Some(FieldPlace {
                offset: 36,
                size: 1
            })
        );
        assert_eq!(
            format.field("args"),
            Some(FieldPlace {
                offset: 16,
                size: 48
            })
        );
        assert_eq!(
            format.field("buf"),
            Some(FieldPlace {
                offset: 24,
                size: 8
            })
        );
        assert_eq!(format.field("folio"), None);
        assert_eq!(Format::parse("").field("order"), None);
    }

    fn is_mounted() -> bool {
        let mounts = mountinfo::own().expect("mountinfo is readable");
        mounts
            .iter()
            .any(|mount| mount.fs_type == "tracefs" && mount.point == Path::new(USUAL_POINT))
    }

    #[test]
    fn a_private_mount_is_seen_by_the_thread_that_made_it_and_by_nobody_else() {
        if find().path().is_some() {
            println!("SKIPPED: tracefs is mounted for all");
            return;
        }
        let made = std::thread::spawn(|| (ensure(), is_mounted()))
            .join()
            .expect("no panic");
        match made {
            (TraceFs::MountedPrivately(_), mounted) => assert!(mounted),
            (other, _) => println!("SKIPPED: {other}"),
        }
        assert!(
            !is_mounted(),
            "a thread that was there before sees no difference"
        );
        assert!(find().path().is_none());
    }
}
