//! Work for a process to do, and what it counted while it did it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Bytes of a page, the unit that the page cache is counted in.
pub const PAGE: u64 = 4096;

/// The name of the file that is read cold. Only ever read by the workload.
pub const COLD_FILE: &str = "cold";
/// The name of the file that is read warm and overwritten.
pub const WARM_FILE: &str = "warm";
/// The name of the file without a page, for advice that must change nothing.
pub const EMPTY_FILE: &str = "empty";

/// The advice a call may carry, by its number in the kernel, and the names of the series' labels.
/// The last stands for every number the kernel does not know.
pub const ADVICE: [&str; 7] = [
    "normal",
    "random",
    "sequential",
    "willneed",
    "dontneed",
    "noreuse",
    "other",
];
/// An advice the kernel does not know.
pub const INVALID_ADVICE: i32 = 77;

/// A number of calls of one size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// How many.
    pub calls: u32,
    /// Bytes of each.
    pub size: u32,
}

/// One piece of work. All of it happens in the order of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// fadvise calls that succeed, by advice 0 to 5.
    pub advised: [u32; 6],
    /// fadvise calls on a closed descriptor (`EBADF`), by advice 0 to 5.
    pub advised_closed: [u32; 6],
    /// fadvise calls with [`INVALID_ADVICE`] (`EINVAL`).
    pub advised_invalid: u32,
    /// `read` calls on cached data.
    pub reads: Vec<Burst>,
    /// `pread` calls on cached data, each burst by a thread of its own, all at the same time.
    pub preads: Vec<Burst>,
    /// `write` calls onto cached pages.
    pub writes: Vec<Burst>,
    /// `pwrite` calls onto cached pages.
    pub pwrites: Vec<Burst>,
    /// `fsync` calls.
    pub fsyncs: u32,
    /// `fdatasync` calls.
    pub fdatasyncs: u32,
    /// Calls of each kind on a closed descriptor (`EBADF`).
    pub failing: u32,
    /// `read` calls on an empty pipe that does not wait (`EAGAIN`).
    pub again: u32,
    /// How often the cold file is dropped from the page cache and read from end to end.
    pub cold_passes: u32,
    /// Pages of the cold file read in no order, after it was dropped and readahead switched off.
    pub random_pages: u32,
}

/// What happened to one kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// Calls that succeeded.
    pub calls: u64,
    /// Bytes they moved.
    pub bytes: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that were to be repeated.
    pub again: u64,
    /// Time the successful ones took as the caller sees it: never less than the kernel's part.
    pub nanoseconds: u64,
}

/// What a process did, counted by itself from the results of its calls and from `mincore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// fadvise calls by advice, those that succeeded and those that failed.
    pub fadvise: [[u64; 2]; ADVICE.len()],
    /// `read`
    pub read: CallCounts,
    /// `pread`
    pub pread: CallCounts,
    /// `write`
    pub write: CallCounts,
    /// `pwrite`
    pub pwrite: CallCounts,
    /// `fsync` and `fdatasync`
    pub fsync: CallCounts,
    /// Pages that came into the page cache.
    pub filled: u64,
    /// Pages that left the page cache.
    pub deleted: u64,
    /// Reads that had to wait for the device, at least.
    pub misses_min: u64,
    /// Reads that had to wait for the device, at most: how far readahead runs ahead is the
    /// kernel's to decide.
    pub misses_max: u64,
}

impl Counts {
    /// All fadvise calls.
    pub fn fadvise_all(&self) -> u64 {
        self.fadvise.iter().flatten().sum()
    }

    /// Calls that looked something up in the page cache.
    pub fn buffered_reads(&self) -> u64 {
        self.read.calls + self.pread.calls
    }
}

impl AddAssign for CallCounts {
    fn add_assign(&mut self, other: CallCounts) {
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.again += other.again;
        self.nanoseconds += other.nanoseconds;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        let both = self
            .fadvise
            .iter_mut()
            .flatten()
            .zip(other.fadvise.iter().flatten());
        both.for_each(|(sum, more)| *sum += more);
        self.read += other.read;
        self.pread += other.pread;
        self.write += other.write;
        self.pwrite += other.pwrite;
        self.fsync += other.fsync;
        self.filled += other.filled;
        self.deleted += other.deleted;
        self.misses_min += other.misses_min;
        self.misses_max += other.misses_max;
    }
}

/// What a workload is told, one JSON value a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Do this and report what was counted.
    Work(Plan),
    /// Exit with this status.
    Exit(i32),
}
