//! A recording's file: allocated in full, locked, mapped where it is hot.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with};

use super::map::HotMap;
use super::{Region, Syncer};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::source::ReadAt;
use crate::superblock::{self, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE, Superblock};

/// Files up to this size have their cold ring written with zeros at creation, without waiting for
/// the disk. Otherwise a file system that tells allocated from written extents keeps account of the
/// difference during the first lap, and takes a block or two more for it. In larger files that
/// would hold up the start.
const ZEROED_SIZE: u64 = 256 << 20;

/// At most so much of the hot ring is made ready after a sync for the stores to come.
const READY_SIZE: u64 = 64 << 10;

/// A recording's file, open for writing.
#[derive(Debug)]
pub struct FileRegion {
    file: File,
    size: u64,
    hot: Arc<HotMap>,
}

impl FileRegion {
    /// Opens an existing recording for writing and locks it.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while another writer holds it; [`Error::NotARecording`],
    /// [`Error::UnsupportedVersion`] or [`Error::Corrupt`] when it cannot be written on, shorter
    /// than its own geometry included; [`Error::Io`] otherwise.
    pub fn open(path: &Path) -> Result<FileRegion> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        let chosen = superblock::choose(read_superblocks(&file))?;
        let geometry = chosen.superblock.geometry();
        FileRegion::map(file, geometry)
    }

    /// Creates a recording of exactly the geometry's size, with this superblock in both places.
    ///
    /// The file appears under its name only when it is complete: it is made beside it and renamed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the disk is too full for the whole size, or a file of that name exists.
    pub(crate) fn create(path: &Path, superblock: &Superblock) -> Result<FileRegion> {
        let geometry = superblock.geometry();
        remove_unfinished(path);
        let unfinished = beside(path, &std::process::id().to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&unfinished)?;
        let made = prepare(&file, superblock, geometry)
            .and_then(|()| {
                renameat_with(CWD, &unfinished, CWD, path, RenameFlags::NOREPLACE)
                    .map_err(io::Error::from)
            })
            .and_then(|()| sync_directory_of(path));
        if let Err(error) = made {
            let _ = std::fs::remove_file(&unfinished);
            return Err(error.into());
        }
        if geometry.file_size <= ZEROED_SIZE {
            let (start, length) = geometry.hot_range();
            write_zeros(&file, start + length, geometry.file_size)?;
        }
        FileRegion::map(file, geometry)
    }

    fn map(file: File, geometry: Geometry) -> Result<FileRegion> {
        let size = geometry.file_size;
        let found = file.metadata()?;
        if found.len() < size {
            return Err(Error::Corrupt(crate::error::Damage {
                offset: found.len(),
                length: size - found.len(),
                what: crate::error::DamageKind::Truncated,
            }));
        }
        if found.blocks().saturating_mul(512) < size {
            take_space(&file, size)?;
        }
        let (start, length) = geometry.hot_range();
        let hot = Arc::new(HotMap::new(&file, start, length)?);
        Ok(FileRegion { file, size, hot })
    }
}

/// The name of a recording that is being made.
fn beside(path: &Path, by: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".creating-");
    name.push(by);
    path.with_file_name(name)
}

/// Removes what processes left that were killed while making this recording. Whoever is still at it
/// holds a lock.
fn remove_unfinished(path: &Path) {
    let prefix = beside(path, "");
    let Some(prefix) = prefix.file_name().and_then(OsStr::to_str) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(directory_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix))
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            // If it cannot be removed it only takes room.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Takes the space, zeroes what will be mapped, writes both superblocks, makes it all durable.
fn prepare(file: &File, superblock: &Superblock, geometry: Geometry) -> io::Result<()> {
    use zerocopy::IntoBytes;
    file.try_lock().map_err(io::Error::from)?;
    allocate(file, geometry.file_size)?;
    // Allocated is not written: without this the first lap would convert extents under the
    // sampling thread. The cold ring is written off that thread and can wait.
    let (start, length) = geometry.hot_range();
    write_zeros(file, 0, start + length)?;
    for offset in SUPERBLOCK_OFFSETS {
        file.write_all_at(superblock.as_bytes(), offset)?;
    }
    file.sync_all()
}

/// Takes what a recording lacks: one that was copied, or came out of an archive, may have holes. A
/// full disk refuses here, and not a store later on. Where nobody can tell, as on file systems that
/// compress, it is used as it is.
fn take_space(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `fallocate`, so that a full disk fails here and never again. A file system without it gets the
/// whole size written.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, 0, size),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    const CHUNK: u64 = 256 * 1024;
    let zeros = vec![0; CHUNK as usize];
    let mut offset = from;
    while offset < to {
        let length = usize::try_from((to - offset).min(CHUNK)).expect("at most a chunk");
        file.write_all_at(zeros.get(..length).unwrap_or_default(), offset)?;
        offset += length as u64;
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn lock(file: &File) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        // The lock is the truth; the pid in the superblock only makes the message useful.
        Err(TryLockError::WouldBlock) => {
            let pid = superblock::choose(read_superblocks(file))
                .ok()
                .map(|chosen| chosen.superblock.pid.get())
                .filter(|pid| *pid != 0);
            Err(Error::InUse { pid })
        }
    }
}

pub(crate) fn read_superblocks(file: &File) -> [Option<[u8; SUPERBLOCK_SIZE]>; 2] {
    SUPERBLOCK_OFFSETS.map(|offset| {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        file.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    })
}

impl ReadAt for FileRegion {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl Region for FileRegion {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn store(&self, offset: u64, bytes: &[u8]) {
        self.hot.store(offset, bytes);
    }

    fn publish(&self, offset: u64, word: [u8; 8]) {
        self.hot.publish(offset, word);
    }

    fn check(&self) -> io::Result<()> {
        let found = self.file.metadata()?.len();
        if found < self.size {
            return Err(io::Error::other(format!(
                "the file was cut short to {found} of {} bytes by someone else",
                self.size
            )));
        }
        if self.hot.has_failed() {
            return Err(io::Error::other(
                "the file was cut short by someone else, or failed, under the mapping",
            ));
        }
        Ok(())
    }

    fn syncer(&self) -> io::Result<Syncer> {
        let file = self.file.try_clone()?;
        let hot = Arc::clone(&self.hot);
        let before = AtomicU64::new(hot.tail());
        Ok(Syncer::new(move || {
            let tail = hot.tail();
            file.sync_data()?;
            // What is stored until the next sync will take as much room as what this one covered:
            // pages that the next one writes anyway.
            let covered = tail.saturating_sub(before.swap(tail, Ordering::Relaxed));
            hot.make_writable(tail, covered.clamp(1, READY_SIZE) as usize);
            Ok(())
        }))
    }
}
