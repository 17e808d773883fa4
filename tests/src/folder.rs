//! A folder for one test, gone with it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A new folder. It is made beside the build's own files and not in `/tmp`, which may be in memory:
/// the page cache of such files is not what is tested.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// When the disk does not let us.
    pub fn new() -> Folder {
        let ourselves = std::env::current_exe().expect("a process has an executable");
        let beside = ourselves.parent().expect("a file is in a folder");
        let made = tempfile::Builder::new()
            .prefix("ktm-test-")
            .tempdir_in(beside);
        Folder(made.expect("a temporary folder"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A name in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a small file and returns its path.
    ///
    /// # Panics
    ///
    /// When the disk does not let us.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, contents).expect("a file in the temporary folder");
        path
    }

    /// The names in it, sorted.
    ///
    /// # Panics
    ///
    /// When the disk does not let us.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the temporary folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}
