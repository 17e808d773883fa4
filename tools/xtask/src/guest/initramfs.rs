//! An initial file system: a cpio archive in the `newc` format, as the kernel unpacks it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;

/// An archive that is being made.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    present: BTreeSet<String>,
}

impl Initramfs {
    /// A directory, with those above it.
    pub(crate) fn directory(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        if !path.is_empty() && self.present.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, &[]);
        }
    }

    /// A file, with the directories above it; paths begin without a slash.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        if self.present.insert(path.to_owned()) {
            self.entry(path, FILE | permissions, contents);
        }
    }

    /// A program of the host, without what only a debugger reads, and the libraries it is linked
    /// with.
    pub(crate) fn program(&mut self, path: &str, program: &Path) -> Result<()> {
        self.file(path, 0o755, &stripped(program)?);
        for library in libraries(program)? {
            let contents = fs::read(&library).with_context(|| library.display().to_string())?;
            let name = library.display().to_string();
            self.file(name.trim_start_matches('/'), 0o755, &contents);
        }
        Ok(())
    }

    /// Ends the archive and writes it.
    pub(crate) fn write(mut self, to: &Path) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[]);
        fs::write(to, self.bytes).with_context(|| to.display().to_string())
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let inode = self.present.len();
        let (size, name_size) = (contents.len(), path.len() + 1);
        // Magic, inode, mode, uid, gid, links, mtime, size, device, its own device, name's size, 0.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}\
             {0:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn stripped(program: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("stripped");
    let status = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .args([&copy, program])
        .status()
        .context("strip cannot be run")?;
    ensure!(status.success(), "strip: {}", program.display());
    let permissions = fs::metadata(&copy)?.permissions();
    ensure!(
        permissions.mode() & 0o111 != 0,
        "{} is no program",
        program.display()
    );
    Ok(fs::read(&copy)?)
}

/// The paths of the libraries that the loader would load, the loader's own included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("ldd cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    Ok(paths.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_directories_come_first() {
        let mut archive = Initramfs::default();
        archive.file("lib/a", 0o644, b"abc");
        archive.file("lib/b", 0o644, b"");
        let text = String::from_utf8_lossy(&archive.bytes).into_owned();
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 3, "lib once, and two files");
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert!(text.contains("lib\0"), "{text}");
    }
}
