//! `/proc/<pid>/mountinfo`: where a file system is mounted.

use std::path::PathBuf;

/// One line of mountinfo, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Which directory of the file system is mounted: `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type of the file system.
    pub fs_type: String,
}

/// The mounts that the calling thread sees, which other threads of the process may not.
///
/// # Errors
///
/// When there is no procfs to read them from.
pub fn own() -> std::io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read_to_string(
        "/proc/thread-self/mountinfo",
    )?))
}

/// The mounts in a mountinfo text; a line that cannot be read is passed over.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`: the number of optional fields
/// before the dash varies.
fn parse_line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let root = unescape(before.next()?);
    let point = unescape(before.next()?);
    let fs_type = after.split(' ').next()?.to_owned();
    Some(Mount {
        root: root.into(),
        point: point.into(),
        fs_type,
    })
}

/// Blanks, tabs, newlines and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                rest = &rest[at + 4..];
            }
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_its_v2_hierarchy_beside_the_others() {
        let text = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n\
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n\
32 30 0:28 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n";
        let mounts = parse(text);
        let v2 = mounts
            .iter()
            .find(|mount| mount.fs_type == "cgroup2")
            .expect("a v2 mount");
        assert_eq!(v2.point, PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(v2.root, PathBuf::from("/"));
    }

    #[test]
    fn any_number_of_optional_fields_and_escaped_blanks_are_understood() {
        let text = "36 35 98:0 /a\\040b /mnt\\011c rw - ext3 /dev/root rw\n\
                    37 35 98:0 / /x rw shared:1 master:2 propagate_from:3 - xfs /dev/sda rw\n\
                    garbage\n38 35 98:0 /\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].root, PathBuf::from("/a b"));
        assert_eq!(mounts[0].point, PathBuf::from("/mnt\tc"));
        assert_eq!(mounts[1].fs_type, "xfs");
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape("a\\"), "a\\");
        assert_eq!(unescape("a\\9xyz"), "a\\9xyz");
        assert_eq!(unescape("a\\134b"), "a\\b");
    }

    #[test]
    fn this_process_has_mounts() {
        let mounts = own().expect("mountinfo is readable");
        assert!(mounts.iter().any(|mount| mount.fs_type == "proc"));
    }
}
