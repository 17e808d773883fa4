//! What runs inside a guest as process 1: this same program.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, init_module, reboot};

/// Where the archive keeps the modules, named so that they sort in loading order.
pub(crate) const MODULES: &str = "modules";

/// True in a guest.
pub(crate) fn is_guest() -> bool {
    std::process::id() == 1
}

/// Mounts what programs expect and loads the modules.
pub(crate) fn prepare() -> Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        attach(kind, kind, at)?;
    }
    let mut modules: Vec<_> = fs::read_dir(Path::new("/").join(MODULES))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    modules.sort();
    for module in modules {
        match init_module(&fs::read(&module)?, c"") {
            Ok(()) | Err(Errno::EXIST) => {}
            // A driver for hardware that is not there.
            Err(Errno::NODEV) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("module {}", module.display()));
            }
        }
    }
    Ok(())
}

/// Mounts a file system that needs no options.
pub(crate) fn attach(source: &str, kind: &str, at: &str) -> Result<()> {
    fs::create_dir_all(at)?;
    mount(source, at, kind, MountFlags::empty(), None)
        .with_context(|| format!("{source} cannot be mounted on {at}"))
}

/// Waits for a device to appear.
pub(crate) fn wait_for(device: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while !Path::new(device).exists() {
        ensure!(Instant::now() < end, "there is no {device}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The first serial port: every line that is said reaches the host whole.
#[derive(Debug)]
pub(crate) struct Port(Mutex<File>);

impl Port {
    pub(crate) fn open() -> Result<Port> {
        let file = OpenOptions::new().write(true).open("/dev/ttyS0")?;
        Ok(Port(Mutex::new(file)))
    }

    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        let line = format!("{what}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody could be told.
        let _ = file.write_all(line.as_bytes());
    }
}

/// What a program of the guest may say aloud goes to the second serial port, the kernel's console.
pub(crate) fn console() -> Result<File> {
    match OpenOptions::new().write(true).open("/dev/ttyS1") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(File::create("/dev/null")?),
        outcome => Ok(outcome?),
    }
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        std::thread::park();
    }
}
