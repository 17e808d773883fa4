//! `/proc/<pid>`: the few fields that tell processes apart.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// `PF_KTHREAD`: a thread of the kernel's own.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What `/proc/<pid>/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Name of the first thread.
    pub(super) comm: String,
    /// `R`, `S`, `Z` and so on.
    pub(super) state: u8,
    /// Flags of the first thread.
    pub(super) flags: u64,
    /// Start time in clock ticks since boot.
    pub(super) start_time_ticks: u64,
    /// How it ended, as `wait` would tell; 0 while it runs, or if we may not know.
    pub(super) exit_code: i32,
}

impl Stat {
    pub(super) fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Ended, and perhaps not yet waited for.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    pub(super) fn is_zombie(&self) -> bool {
        self.state == b'Z'
    }

    /// Reads the text. The name may hold anything, blanks and parentheses too, but none of the
    /// fields after it holds a parenthesis.
    pub(super) fn parse(text: &[u8]) -> Option<Stat> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        // Numbered from 3, as proc(5) does.
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
        Some(Stat {
            comm,
            state: *field(3)?.as_bytes().first()?,
            flags: field(9)?.parse().ok()?,
            start_time_ticks: field(22)?.parse().ok()?,
            exit_code: field(52).and_then(|code| code.parse().ok()).unwrap_or(0),
        })
    }
}

/// Reads `/proc/<pid>/stat` into a buffer that is used again.
pub(super) fn read_stat(pid: u32, buffer: &mut Vec<u8>) -> io::Result<Stat> {
    buffer.clear();
    File::open(format!("/proc/{pid}/stat"))?.read_to_end(buffer)?;
    Stat::parse(buffer).ok_or_else(|| io::Error::other("unreadable /proc/<pid>/stat"))
}

/// The executable, `None` where it may not be read. A replaced one still has its old name.
pub(super) fn read_exe(pid: u32) -> Option<PathBuf> {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = exe
        .to_str()
        .and_then(|name| name.strip_suffix(" (deleted)"));
    Some(name.map_or_else(|| exe.clone(), PathBuf::from))
}

/// The pids that `/proc` shows, in its order.
pub(super) fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat_line(comm: &str) -> String {
        let fields: Vec<String> = (4..=52)
            .map(|number| match number {
                9 => "4194560".to_owned(),
                22 => "987654".to_owned(),
                52 => "9".to_owned(),
                _ => "0".to_owned(),
            })
            .collect();
        format!("4242 ({comm}) S {}\n", fields.join(" "))
    }

    #[test]
    fn hostile_names_do_not_move_the_fields() {
        for comm in [
            "banyand",
            "a) (b",
            ")",
            "(",
            "x) Z 1 2 3",
            "",
            "tab\there",
            "a\nb",
        ] {
            let stat = Stat::parse(stat_line(comm).as_bytes()).expect("a stat line");
            assert_eq!(stat.comm, comm);
            assert_eq!(stat.state, b'S', "{comm:?}");
            assert_eq!(stat.start_time_ticks, 987_654, "{comm:?}");
            assert_eq!(stat.exit_code, 9, "{comm:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_text_is_shown_as_far_as_it_is() {
        let mut line = stat_line("x").into_bytes();
        line[6] = 0xff;
        assert_eq!(Stat::parse(&line).expect("a stat line").comm, "\u{fffd}");
    }

    #[test]
    fn a_truncated_line_is_refused() {
        for text in ["", "1", "1 (x", "1 (x)", "1 (x) S 0 0", ") 1 ("] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn kernel_threads_and_zombies_are_told_apart() {
        let line = stat_line("kswapd0").replace("4194560", "2129984");
        assert!(
            Stat::parse(line.as_bytes())
                .expect("a stat line")
                .is_kernel_thread()
        );
        let line = stat_line("x").replace(") S ", ") Z ");
        let stat = Stat::parse(line.as_bytes()).expect("a stat line");
        assert!(stat.is_dead() && stat.is_zombie() && !stat.is_kernel_thread());
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        let stat = read_stat(pid, &mut Vec::new()).expect("own stat");
        assert!(!stat.is_dead() && stat.start_time_ticks > 0);
        assert!(read_exe(pid).is_some_and(|exe| exe.is_absolute()));
        assert!(pids().any(|other| other == pid));
    }
}
