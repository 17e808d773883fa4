//! What building the kernel programs needs beyond cargo, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The compiler whose output is committed. Another one builds working programs of other bytes.
const RUSTC: &str = "1.95.0";
const BPF_LINKER: &str = "0.13.0";
const LLVM_STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";

/// The tools, found.
pub(crate) struct Toolchain {
    /// Where rustc has its own files.
    pub(crate) sysroot: PathBuf,
    /// Strips DWARF and leaves BTF.
    pub(crate) llvm_strip: PathBuf,
}

/// Something that is missing, and the commands that bring it.
struct Missing {
    what: &'static str,
    commands: &'static [&'static [&'static str]],
}

const RUST_SRC: Missing = Missing {
    what: "the source of core, which is built for BPF",
    commands: &[&["rustup", "component", "add", "rust-src"]],
};

const LLVM: Missing = Missing {
    what: "LLVM 22",
    commands: &[&["apt-get", "install", "-y", "llvm-22-dev"]],
};

const LINKER: Missing = Missing {
    what: "bpf-linker 0.13.0",
    commands: &[&[
        "env",
        "LLVM_PREFIX=/usr/lib/llvm-22",
        "cargo",
        "install",
        "bpf-linker@0.13.0",
        "--no-default-features",
        "--features",
        "llvm-22",
    ]],
};

/// Finds the tools. What is missing is installed if `install` is set; otherwise the error says how.
pub(crate) fn find(install: bool) -> Result<Toolchain> {
    check_rustc()?;
    let sysroot = sysroot()?;
    let mut missing = Vec::new();
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
    {
        missing.push(RUST_SRC);
    }
    if !Path::new(LLVM_STRIP).exists() {
        missing.push(LLVM);
    }
    if output("bpf-linker", &["--version"]).ok().as_deref() != Some(&linker_version()) {
        missing.push(LINKER);
    }
    for tool in &missing {
        if install {
            tool.install()?;
        }
    }
    if !install && !missing.is_empty() {
        let lines: Vec<_> = missing.iter().map(Missing::explain).collect();
        bail!(
            "building the kernel programs needs more than cargo:\n{}\n\
             `cargo xtask build-ebpf --install-toolchain` runs these commands",
            lines.join("\n")
        );
    }
    Ok(Toolchain {
        sysroot,
        llvm_strip: LLVM_STRIP.into(),
    })
}

fn linker_version() -> String {
    format!("bpf-linker {BPF_LINKER}")
}

fn check_rustc() -> Result<()> {
    let version = output("rustc", &["--version"])?;
    ensure!(
        version.split(' ').nth(1) == Some(RUSTC),
        "the committed kernel programs are built by rustc {RUSTC}, this is {version}; \
         try `RUSTUP_TOOLCHAIN={RUSTC} cargo xtask build-ebpf`"
    );
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    output("rustc", &["--print", "sysroot"]).map(PathBuf::from)
}

impl Missing {
    fn explain(&self) -> String {
        let commands: Vec<_> = self
            .commands
            .iter()
            .map(|command| command.join(" "))
            .collect();
        format!("  {}: {}", self.what, commands.join(" && "))
    }

    fn install(&self) -> Result<()> {
        for command in self.commands {
            eprintln!("xtask: {}", command.join(" "));
            run(Command::new(command[0]).args(&command[1..]))?;
        }
        Ok(())
    }
}

/// Runs a command and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// What a command prints, trimmed.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?} ended with {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
