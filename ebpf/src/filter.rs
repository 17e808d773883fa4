//! Whom the programs count: one slot in an array map, written by user space.

/// The filter values. All zero, as the map is created, means that nothing is counted.
///
/// They live in a map so that a new target needs no new program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Thread group (process) whose events are counted; 0 counts nothing.
    pub tgid: u64,
    /// Identifier of the target's cgroup in the v2 hierarchy, 0 where there is none. Recorded as
    /// identity; the programs do not compare it yet.
    pub cgroup: u64,
    /// Inode of the target's mount namespace, 0 where unknown. Not compared yet.
    pub mount_namespace: u64,
}

impl Filter {
    /// Size in 64-bit words.
    pub const WORDS: usize = size_of::<Filter>() / size_of::<u64>();

    /// The words in the map's order.
    pub const fn to_words(self) -> [u64; Filter::WORDS] {
        [self.tgid, self.cgroup, self.mount_namespace]
    }
}
