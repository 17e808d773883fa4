//! The machine that measured, without its name.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::child::output;

/// What a reader needs to know of it, as a list.
pub(super) fn describe() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let today = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let mut text = String::new();
    writeln!(text, "- date: {}", today.trim())?;
    writeln!(
        text,
        "- processor: {}, {} cores",
        value(&read("/proc/cpuinfo")?, "model name").unwrap_or("unknown"),
        std::thread::available_parallelism()?
    )?;
    let memory = value(&read("/proc/meminfo")?, "MemTotal")
        .and_then(|total| total.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .context("no total of memory")?;
    writeln!(
        text,
        "- memory: {:.1} GiB",
        memory as f64 / f64::from(1 << 20)
    )?;
    let kernel = rustix::system::uname();
    writeln!(
        text,
        "- kernel: {} {}",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy()
    )?;
    let system = read("/etc/os-release")?;
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    writeln!(
        text,
        "- system: {}",
        system.unwrap_or("unknown").trim_matches('"')
    )?;
    writeln!(text, "- load average at the start: {}", load()?)?;
    Ok(text)
}

/// The load average of the last minute: what else was going on.
pub(super) fn load() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}

/// What stands behind `name` and a colon.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim_end() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_behind_its_name() {
        let text = "processor\t: 0\nmodel name\t: A B @ 2 GHz\nMemTotal:  24 kB\n";
        assert_eq!(value(text, "model name"), Some("A B @ 2 GHz"));
        assert_eq!(value(text, "MemTotal"), Some("24 kB"));
        assert_eq!(value(text, "Mem"), None);
    }
}
