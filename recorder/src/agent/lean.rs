//! Giving back what only the start needed.
//!
//! Reading the command line, the kernel's type information and the programs it loads runs through
//! most of this program's code once. Those pages are the file's own and can be read again at any
//! time, but they count as resident until the machine is short of memory. A recorder that is always
//! on gives them back by itself.
#![allow(unsafe_code, reason = "unmapping pages is a promise about memory")]

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};

/// Drops the pages of all code of this process. What is still needed comes back as it is used.
pub(super) fn give_back() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(code) {
        let place = std::ptr::with_exposed_provenance_mut::<c_void>(start);
        // SAFETY: `code` gives whole mappings of files that may be executed and not written. Nobody
        // has changed a byte of them, so what comes back from the file is what was there.
        let _ = unsafe { madvise(place, length, Advice::LinuxDontNeed) };
    }
}

/// Keeps the C library from giving each thread a heap of its own and holding on to it: threads that
/// serve requests come and go, and what one of them freed is of use to nobody else. Call it before
/// the first of them.
pub(super) fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
    ] {
        // SAFETY: it may be called at any time; a setting that is refused changes nothing.
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}

/// Free memory at the end of the heap beyond this goes back to the system.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 256 * 1024;

/// Returns all freed memory to the system.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Start and length of a line's mapping, if it is code of a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp" && words.nth(3)?.starts_with('/');
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    is_code.then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let lines = "\
            55d0c0000000-55d0c0001000 r--p 00000000 fe:00 12 /usr/bin/ktm-recorder\n\
            55d0c0001000-55d0c0003000 r-xp 00001000 fe:00 12 /usr/bin/ktm-recorder\n\
            55d0c0003000-55d0c0004000 rw-p 00003000 fe:00 12 /usr/bin/ktm-recorder\n\
            7f00a0000000-7f00a0001000 rwxp 00000000 00:00 0\n\
            7f00b0000000-7f00b0001000 rw-s 00010000 fe:00 13 /var/lib/ktm/blackbox.ktm\n\
            7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]\n";
        let found: Vec<_> = lines.lines().filter_map(code).collect();
        assert_eq!(found, [(0x55d0_c000_1000, 0x2000)]);
    }

    #[test]
    fn the_program_goes_on_afterwards() {
        give_back();
        assert_eq!(format!("{:.1}", 2.0_f64.sqrt()), "1.4");
    }
}
