//! Setting a file aside: what cannot be written on is kept under another name, never overwritten.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::time::rfc3339_seconds;

/// Which file a path led to. Two paths lead to the same file if these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Identity> {
        std::fs::metadata(path).map(|found| Identity {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// Where a path leads: a link is followed also where there is nothing yet, so that a recording is
/// made, and set aside, on the disk that the link was made for.
pub(super) fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_path_buf();
    for _ in 0..LINKS {
        match std::fs::read_link(&place) {
            // An absolute target replaces the whole.
            Ok(target) => place = place.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(place),
        }
    }
    Err(Errno::LOOP.into())
}

/// As many links as Linux follows.
const LINKS: u32 = 40;

/// What came of setting a file aside.
pub(super) enum Aside {
    /// It has this name now.
    Moved(PathBuf),
    /// Another process holds it.
    InUse,
    /// The path leads to another file already, or to none.
    Gone,
}

/// Renames the file to `<name>.set-aside-<UTC time>`, unless somebody else is using it.
///
/// `ours` is true if the caller still holds the lock itself; then the lock proves nothing.
pub(super) fn set_aside(path: &Path, now_ns: i64, ours: bool) -> io::Result<Aside> {
    let path = &followed(path)?;
    let held = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Aside::Gone),
        Err(error) => return Err(error),
    };
    if !ours {
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Aside::InUse),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    // Between judging the file and holding it, somebody else may have put another in its place.
    let found = held.metadata()?;
    let judged = Identity {
        device: found.dev(),
        inode: found.ino(),
    };
    if Identity::of(path).ok() != Some(judged) {
        return Ok(Aside::Gone);
    }
    let target = rename_to_free_name(path, now_ns)?;
    sync_directory_of(path)?;
    Ok(Aside::Moved(target))
}

/// Two files can be set aside within one second.
const TRIES: u32 = 1000;

fn rename_to_free_name(path: &Path, now_ns: i64) -> io::Result<PathBuf> {
    let time: String = rfc3339_seconds(now_ns)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    for attempt in 1..TRIES {
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".set-aside-{time}"));
        if attempt > 1 {
            name.push(format!("-{attempt}"));
        }
        let target = path.with_file_name(name);
        match renameat_with(CWD, path, CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(target),
            Err(Errno::EXIST) => {}
            // A file system without that flag: link fails where the name is taken, too.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match std::fs::hard_link(path, &target) {
                    Ok(()) => return std::fs::remove_file(path).map(|()| target),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_overwritten() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("box.ktm");
        let mut names = Vec::new();
        for content in ["one", "two", "three"] {
            std::fs::write(&path, content).expect("written");
            match set_aside(&path, 0, false).expect("moved") {
                Aside::Moved(name) => names.push((name, content)),
                _ => panic!("nobody else uses it"),
            }
        }
        for (name, content) in &names {
            assert_eq!(std::fs::read_to_string(name).expect("kept"), *content);
        }
        let first = names[0]
            .0
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert_eq!(first, "box.ktm.set-aside-19700101T000000Z");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_somebody_holds_stays_where_it_is() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("box.ktm");
        std::fs::write(&path, "theirs").expect("written");
        let theirs = File::open(&path).expect("open");
        theirs.lock().expect("locked");
        assert!(matches!(set_aside(&path, 0, false), Ok(Aside::InUse)));
        assert!(path.exists());
    }
}
