//! Which cgroup of the v2 hierarchy a process is in, where that means something.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::mountinfo;

/// A cgroup of the v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupId {
    /// Its path as `/proc/<pid>/cgroup` shows it.
    pub path: String,
    /// The kernel's identifier of it, which is the inode of its directory.
    pub id: u64,
}

/// The identifier of the root cgroup. It is "no cgroup": on a machine that keeps its controllers in
/// the v1 hierarchies every process is in the v2 root.
const ROOT: u64 = 1;

/// The cgroup of a process. `asked` is the identifier that the kernel told by other means: it is
/// right in every namespace, which the path is not.
pub(super) fn of(pid: u32, asked: Option<u64>) -> Option<CgroupId> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = v2_path(&text)?;
    let id = asked.or_else(|| inode(path))?;
    is_specific(path, id).then(|| CgroupId {
        path: path.to_owned(),
        id,
    })
}

/// The path in the v2 hierarchy: the line of hierarchy 0, which names no controller.
fn v2_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

/// False for the root, which says nothing about a process.
fn is_specific(path: &str, id: u64) -> bool {
    path != "/" && id > ROOT
}

/// The identifier by the directory's inode. Where the path leads out of our own cgroup namespace
/// (`/../other`) no directory of ours is the one.
fn inode(path: &str) -> Option<u64> {
    let below = path.strip_prefix('/')?;
    if below.split('/').any(|part| part == "..") {
        return None;
    }
    let mounts = mountinfo::own().ok()?;
    let is_v2 =
        |mount: &&mountinfo::Mount| mount.fs_type == "cgroup2" && mount.root == Path::new("/");
    let directory = mounts.iter().find(is_v2)?.point.join(below);
    Some(std::fs::metadata(directory).ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_path_is_found_among_v1_hierarchies() {
        let hybrid = "9:name=systemd:/\n4:memory:/api/x\n0::/\n";
        assert_eq!(v2_path(hybrid), Some("/"));
        assert_eq!(
            v2_path("0::/system.slice/banyand.service\n"),
            Some("/system.slice/banyand.service")
        );
        assert_eq!(v2_path("0::/gone (deleted)\n"), Some("/gone"));
        assert_eq!(v2_path("10::/x\n"), None);
        assert_eq!(v2_path("4:memory:/only/v1\n"), None);
        assert_eq!(v2_path(""), None);
    }

    #[test]
    fn the_root_is_no_cgroup() {
        assert!(!is_specific("/", 1));
        assert!(!is_specific("/", 99));
        assert!(!is_specific("/x", 1));
        assert!(is_specific("/x", 42));
    }

    #[test]
    fn a_path_out_of_our_namespace_has_no_directory_of_ours() {
        assert_eq!(inode("/../sibling"), None);
        assert_eq!(inode("relative"), None);
    }
}
