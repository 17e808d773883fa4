//! The golden files: recordings of every version there has been, and what they read as.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::Folder;

/// One golden file.
#[derive(Debug)]
pub struct Golden {
    /// Its set and name, for messages.
    pub name: String,
    recording: Vec<u8>,
    /// The CSV it reads as.
    pub csv: String,
    /// Its events in JSON.
    pub events: String,
}

impl Golden {
    /// The exit code of whoever reads it: what is damaged is called so.
    pub fn code(&self) -> i32 {
        if self.name.contains("damaged") { 4 } else { 0 }
    }

    /// Unpacks it into a folder.
    pub fn unpack(&self, folder: &Folder) -> PathBuf {
        folder.write("golden.ktm", &self.recording)
    }
}

/// All of them.
///
/// # Panics
///
/// When there is none, or one lacks what it reads as.
pub fn files() -> Vec<Golden> {
    let sets = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files = Vec::new();
    for set in entries(&sets).into_iter().filter(|entry| entry.is_dir()) {
        for file in entries(&set) {
            let path = file.to_str().expect("golden files have ASCII names");
            let Some(stem) = path.strip_suffix(".ktm.zst") else {
                continue;
            };
            let text = |what: &str| {
                let path = format!("{stem}.{what}.zst");
                String::from_utf8(unpacked(Path::new(&path))).expect("text")
            };
            let name = stem.rsplit('/').take(2).collect::<Vec<_>>();
            files.push(Golden {
                name: name.into_iter().rev().collect::<Vec<_>>().join("/"),
                recording: unpacked(&file),
                csv: text("csv"),
                events: text("events.json"),
            });
        }
    }
    assert!(!files.is_empty(), "no golden files in {}", sets.display());
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of golden files");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn unpacked(path: &Path) -> Vec<u8> {
    let packed = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::stream::decode_all(packed.as_slice()).expect("zstd")
}
