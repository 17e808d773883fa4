//! `cargo xtask build-ebpf`: the object with the kernel programs that `ktm` embeds.
//!
//! The object is committed so that whoever builds the recorder needs nothing but cargo. It has to
//! be the same bytes wherever it is built: paths are remapped to ones that exist nowhere (LLVM
//! copies source lines into BTF where it can read the file), DWARF is stripped and BTF stays,
//! and the profile is spelled out here instead of taken from the workspace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::toolchain::{self, Toolchain};

const OBJECT: &str = "ktm/bpf/iomonitor.bpf.o";
const DIGEST: &str = "ktm/bpf/iomonitor.bpf.o.sha256";
const TARGET: &str = "bpfel-unknown-none";
const PROGRAMS: &str = "iomonitor";
/// The machine that the programs are to run on: it decides system call numbers and registers.
const MACHINE: &str = "x86_64";

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build into a temporary folder and fail if the bytes differ from the committed ones
    #[arg(long)]
    check: bool,
    /// Install what is missing of the toolchain instead of saying what it is
    #[arg(long)]
    install_toolchain: bool,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let toolchain = toolchain::find(arguments.install_toolchain)?;
    let workspace = crate::workspace();
    if arguments.check {
        let folder = tempfile::tempdir()?;
        let built = build(&workspace, &toolchain, folder.path())?;
        return check(&workspace, &built);
    }
    let built = build(&workspace, &toolchain, &target_folder(&workspace))?;
    fs::write(workspace.join(OBJECT), &built)?;
    fs::write(workspace.join(DIGEST), digest_line(&built))?;
    println!("{OBJECT}: {} bytes, sha256 {}", built.len(), digest(&built));
    Ok(())
}

fn target_folder(workspace: &Path) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| workspace.join("target"))
        .join("ebpf")
}

/// Compares the committed object and its digest with what was built.
fn check(workspace: &Path, built: &[u8]) -> Result<()> {
    const REMEDY: &str = "run `cargo xtask build-ebpf` and commit ktm/bpf";
    let committed = fs::read(workspace.join(OBJECT)).context(OBJECT)?;
    if committed != built {
        bail!(
            "{OBJECT} is not what the source builds: committed sha256 {}, built {}; {REMEDY}",
            digest(&committed),
            digest(built)
        );
    }
    let line = fs::read_to_string(workspace.join(DIGEST)).context(DIGEST)?;
    ensure!(
        line == digest_line(built),
        "{DIGEST} is not the digest of {OBJECT}; {REMEDY}"
    );
    println!(
        "{OBJECT} is what the source builds: sha256 {}",
        digest(built)
    );
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// As `sha256sum` writes it, so that `sha256sum -c` reads it.
fn digest_line(bytes: &[u8]) -> String {
    format!("{}  iomonitor.bpf.o\n", digest(bytes))
}

/// Builds, strips and checks the object.
fn build(workspace: &Path, toolchain: &Toolchain, target: &Path) -> Result<Vec<u8>> {
    // Crates have to be there before their folders can be remapped.
    toolchain::run(cargo(workspace).args(["fetch", "--locked", "--quiet"]))?;
    let remaps = remaps(workspace, toolchain)?;
    let mut command = cargo(workspace);
    command.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "ktm-ebpf",
        "--bin",
        PROGRAMS,
    ]);
    command.args([
        "--features",
        "programs",
        "--target",
        TARGET,
        "-Zbuild-std=core",
    ]);
    command.arg("--target-dir").arg(target);
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(&remaps));
    toolchain::run(&mut command)?;

    let folder = target.join(TARGET).join("release");
    let stripped = folder.join("stripped.o");
    let mut strip = Command::new(&toolchain.llvm_strip);
    strip
        .arg("--strip-debug")
        .arg("-o")
        .arg(&stripped)
        .arg(folder.join(PROGRAMS));
    toolchain::run(&mut strip)?;
    let object = fs::read(&stripped).with_context(|| stripped.display().to_string())?;
    check_no_path(&object, &remaps)?;
    Ok(object)
}

/// A cargo that nothing in our environment makes build otherwise.
fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace);
    for name in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_TARGET_DIR",
    ] {
        command.env_remove(name);
    }
    // `-Zbuild-std` and the atomic add are not stable; the compiler is pinned.
    command.env("RUSTC_BOOTSTRAP", "1");
    for (name, value) in [
        ("OPT_LEVEL", "3"),
        ("DEBUG", "2"),
        ("STRIP", "none"),
        ("LTO", "off"),
        ("PANIC", "abort"),
        ("CODEGEN_UNITS", "1"),
        ("INCREMENTAL", "false"),
        ("OVERFLOW_CHECKS", "false"),
        ("DEBUG_ASSERTIONS", "false"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    command
}

fn rustflags(remaps: &[(PathBuf, &str)]) -> String {
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{MACHINE}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    for (from, to) in remaps {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    flags.join("\x1f")
}

/// Folders of this machine and what stands for them in the object. The last match counts.
fn remaps(workspace: &Path, toolchain: &Toolchain) -> Result<Vec<(PathBuf, &'static str)>> {
    let mut remaps = vec![(workspace.to_owned(), "/ktm-source")];
    for folder in registry_folders()? {
        remaps.push((folder, "/crates"));
    }
    remaps.push((
        toolchain.sysroot.join("lib/rustlib/src/rust"),
        "/rust-source",
    ));
    let canonical: Vec<_> = remaps
        .iter()
        .filter_map(|(folder, name)| Some((fs::canonicalize(folder).ok()?, *name)))
        .filter(|remap| !remaps.contains(remap))
        .collect();
    remaps.extend(canonical);
    Ok(remaps)
}

/// Where crates are unpacked: one folder for every registry, named after its host.
fn registry_folders() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let sources = home.join("registry/src");
    let Ok(entries) = fs::read_dir(&sources) else {
        return Ok(Vec::new());
    };
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.sort();
    Ok(folders)
}

/// An object that names a folder of this machine would differ on the next one.
fn check_no_path(object: &[u8], remaps: &[(PathBuf, &str)]) -> Result<()> {
    for (folder, _) in remaps {
        let name = folder.to_string_lossy();
        let found = object
            .windows(name.len())
            .any(|window| window == name.as_bytes());
        ensure!(!found, "the object contains the path {name}");
    }
    Ok(())
}
