//! A kernel from a Debian package: downloaded and unpacked, not installed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The package that always depends on Debian's newest kernel for virtual machines.
pub(crate) const DEFAULT_PACKAGE: &str = "linux-image-cloud-amd64";

/// What a guest with a virtio disk needs, where it is not built in.
pub(crate) const DISK_MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "crc32c_cryptoapi",
    "ext4",
];

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    pub(crate) release: String,
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Downloads a package with `apt-get`, or takes what an earlier call left in `cache`.
    pub(crate) fn fetch(package: &str, cache: &Path) -> Result<Kernel> {
        let package = concrete(package)?;
        let folder = cache.join(&package);
        if !folder.join("boot").is_dir() {
            unpack(&package, cache, &folder)?;
        }
        Kernel::in_folder(&folder)
    }

    fn in_folder(folder: &Path) -> Result<Kernel> {
        let image = entry_starting(&folder.join("boot"), "vmlinuz-")?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        let mut modules = BTreeMap::new();
        for root in ["lib/modules", "usr/lib/modules"] {
            collect(&folder.join(root).join(&release), &mut modules)?;
        }
        Ok(Kernel {
            image,
            release,
            modules,
        })
    }

    /// The modules of these names and all they depend on, unpacked, in the order in which they
    /// load. A name that the kernel has no module of is built in, or not there.
    pub(crate) fn modules(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut ordered = Vec::new();
        for name in wanted {
            self.add(name, &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        let name = name.replace('-', "_");
        let Some(path) = self.modules.get(&name) else {
            return Ok(());
        };
        if ordered.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        let bytes = unpacked(path)?;
        for needed in dependencies(&bytes) {
            self.add(&needed, ordered)?;
        }
        ordered.push((name, bytes));
        Ok(())
    }
}

/// The package itself, or the one that a package without contents stands for.
fn concrete(package: &str) -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", package])
        .output()
        .context("apt-cache cannot be run: kernels come from Debian")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains("Depends: "),
        "apt knows no kernel {package}; run apt-get update"
    );
    let real = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"));
    Ok(real.unwrap_or(package).to_owned())
}

fn unpack(package: &str, cache: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(cache)?;
    let work = tempfile::tempdir_in(cache)?;
    let mut download = Command::new("apt-get");
    download
        .args(["-q", "-o", "Acquire::Retries=3", "download", package])
        .current_dir(work.path());
    run_quietly(&mut download)?;
    let archive = entry_starting(work.path(), "linux-image-")?;
    let root = work.path().join("root");
    run_quietly(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
    fs::rename(&root, folder)?;
    Ok(())
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn entry_starting(folder: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("nothing named {prefix}... in {}", folder.display())
}

fn collect(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            collect(&path, modules)?;
        } else if let Some((name, _)) = name.split_once(".ko") {
            modules.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// A module's bytes as the kernel takes them: many kernels cannot unpack them themselves.
fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => {
            let mut plain = Vec::new();
            zstd::Decoder::new(bytes.as_slice())?.read_to_end(&mut plain)?;
            Ok(plain)
        }
        Some("xz") => {
            let output = Command::new("xz").arg("-dc").arg(path).output();
            let output = output.context("xz is needed for this kernel's modules")?;
            ensure!(output.status.success(), "xz cannot unpack {path:?}");
            Ok(output.stdout)
        }
        _ => Ok(bytes),
    }
}

/// What a module says it needs: a `depends=` string of its own, ended by zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = module.get(at + KEY.len()..).unwrap_or_default();
    let end = value.iter().position(|byte| *byte == 0).unwrap_or_default();
    let names = String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio_ring,virtio\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["virtio_ring", "virtio"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"no module").is_empty());
    }
}
