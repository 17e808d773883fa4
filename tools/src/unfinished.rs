//! A new recording under a name of its own until it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ktm_format::{Clock, Error, FileRegion, SystemClock, SystemEntropy, Writer};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::status::Failure;

/// A recording being made. Unless it is finished, it is removed.
pub(crate) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// Beside `target`, which must not exist.
    pub(crate) fn beside(target: &Path) -> Result<Unfinished, Failure> {
        if target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        let mut name = target
            .file_name()
            .map_or_else(OsString::new, OsString::from);
        name.push(format!(".unfinished-{}", std::process::id()));
        Ok(Unfinished {
            path: target.with_file_name(name),
            target: target.to_owned(),
        })
    }

    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins it, or begins it again with another size.
    pub(crate) fn create(&self, size: u64) -> Result<Writer<FileRegion>, Failure> {
        // An earlier attempt, which was too small.
        let _ = std::fs::remove_file(&self.path);
        let software = format!("ktm-dump {}", env!("CARGO_PKG_VERSION"));
        let now = SystemClock.now();
        Writer::create_file(&self.path, size, &software, now, &mut SystemEntropy)
            .map_err(|error| self.failure(error))
    }

    /// Something about it went wrong.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        Failure::Recording {
            file: self.target.clone(),
            error,
        }
    }

    /// Gives it its name. What is written must be durable already.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(exists(&self.target)),
            Err(error) => return Err(self.failure(io::Error::from(error).into())),
        }
        let folder = self
            .target
            .parent()
            .filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.failure(error.into()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was finished there is nothing of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn exists(target: &Path) -> Failure {
    Failure::Refused(format!(
        "{} exists already, and is left as it is: choose another name, or move it away",
        target.display()
    ))
}
