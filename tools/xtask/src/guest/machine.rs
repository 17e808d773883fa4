//! A running qemu: emulation only, so that it runs where there is no KVM.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const QEMU: &str = "qemu-system-x86_64";

/// What to boot, and with what.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Words for process 1, behind its name.
    pub(crate) arguments: &'a str,
    /// Further arguments of qemu.
    pub(crate) devices: Vec<OsString>,
    /// Where the kernel's own messages and all that programs say aloud goes.
    pub(crate) log: PathBuf,
}

/// A guest that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

/// True where qemu is installed.
pub(crate) fn is_available() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(QEMU).is_file())
}

impl Machine {
    /// Boots. The first serial port is ours, line by line; the second is the kernel's console.
    pub(crate) fn boot(plan: Plan<'_>) -> Result<Machine> {
        let mut command = Command::new(QEMU);
        command
            .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max"])
            .args(["-smp", "2", "-m", "512"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none"])
            .args(["-chardev", "stdio,id=ours,signal=off"])
            .args(["-serial", "chardev:ours", "-serial"])
            .arg(format!("file:{}", plan.log.display()))
            .arg("-kernel")
            .arg(plan.kernel)
            .arg("-initrd")
            .arg(plan.initramfs)
            .arg("-append")
            .arg(format!(
                "console=ttyS1 panic=-1 rdinit=/init -- {}",
                plan.arguments
            ))
            .args(plan.devices)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command
            .spawn()
            .with_context(|| format!("{QEMU} cannot be run"))?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            // A killed guest leaves half a line: it was not said.
            while reader.read_until(b'\n', &mut line).is_ok() && line.ends_with(b"\n") {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                line.clear();
                if send.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Machine {
            child,
            lines,
            log: plan.log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the guest says; `None` once it has ended and all is read.
    pub(crate) fn line(&self, until: Instant) -> Result<Option<String>> {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the guest hangs; its console:\n{}", self.console())
            }
        }
    }

    /// The end of what the kernel and the programs said.
    pub(crate) fn console(&self) -> String {
        const END: usize = 4000;
        let bytes = fs::read(&self.log).unwrap_or_default();
        let end = bytes
            .get(bytes.len().saturating_sub(END)..)
            .unwrap_or_default();
        String::from_utf8_lossy(end).into_owned()
    }

    /// Kills it from outside, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.kill();
    }
}

/// A time from now.
pub(crate) fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
