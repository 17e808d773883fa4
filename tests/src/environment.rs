//! What this machine lets us do, asked without the programs under test: a defect of theirs must
//! fail a test, never skip it.

use std::io::{self, Write};
use std::path::PathBuf;

/// Says that a test does not run here, and why.
///
/// With `KTM_TESTS_SKIP_NOTHING` set, as in continuous integration, that is a failure.
///
/// # Panics
///
/// With that variable set.
pub fn skip(what: &str, why: &str) {
    assert!(
        std::env::var_os("KTM_TESTS_SKIP_NOTHING").is_none(),
        "{what} must run here, and cannot: {why}"
    );
    // Not `eprintln`, which the test runner swallows.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}: {why}");
}

/// The reason why no BPF program can be loaded and attached here, if there is one.
pub fn bpf_is_refused() -> Option<String> {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_PERFMON: u32 = 38;
    const CAP_BPF: u32 = 39;
    let held = effective_capabilities();
    let has = |capability: u32| held >> capability & 1 == 1;
    let is_capable = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if !is_capable {
        return Some("neither CAP_BPF with CAP_PERFMON nor CAP_SYS_ADMIN is held".to_owned());
    }
    create_map()
        .err()
        .map(|error| format!("the kernel refuses bpf(): {error}"))
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

/// Creates the smallest of maps and closes it: sandboxes refuse the whole system call.
fn create_map() -> io::Result<()> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    // Type, size of a key, size of a value, number of entries, flags.
    let attributes: [u32; 5] = [BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0];
    let size = size_of_val(&attributes);
    let at = attributes.as_ptr();
    // SAFETY: the kernel reads `size` bytes of the attributes.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, at, size) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else has it.
    unsafe { libc::close(fd) };
    Ok(())
}

/// True where files are only in memory: their pages are never dropped and never read.
///
/// # Panics
///
/// When the file system does not say what it is.
pub fn is_in_memory(path: &std::path::Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    let found = rustix::fs::statfs(path).expect("a file system says what it is");
    found.f_type == TMPFS
}

/// Counts that grow when somebody takes pages away from the page cache, and the kernel threads that
/// do it unasked. Where two readings differ, or name such a thread, a page that was read may be
/// gone a moment later, and no count of pages is exact.
pub fn reclaim_by_others() -> String {
    let is_telling = |line: &&str| {
        let names = ["pgsteal_", "workingset_refault_file", "drop_pagecache"];
        names.iter().any(|name| line.starts_with(name))
    };
    let statistics = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let mut found: Vec<String> = statistics
        .lines()
        .filter(is_telling)
        .map(str::to_owned)
        .collect();
    found.extend(
        processes()
            .into_iter()
            .filter(|name| name.starts_with("kdamond")),
    );
    found.join(", ")
}

/// True if others have taken pages since that reading.
pub fn is_reclaimed_since(reading: &str) -> bool {
    reading.contains("kdamond") || reclaim_by_others() != reading
}

/// The names of all processes and kernel threads.
fn processes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let comm = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).ok();
    let comms = entries.filter_map(|entry| comm(entry.ok()?));
    comms.map(|comm| comm.trim().to_owned()).collect()
}

/// A program on the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
