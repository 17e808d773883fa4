//! The counters: one slot per CPU, added to by the programs, never cleared by anyone.
//!
//! Everything in it is a 64-bit word, so user space reads it as `[u64; Counters::WORDS]` and names
//! places by the word indices below.

use core::cell::UnsafeCell;
use core::ops::Range;

use crate::histogram::{CELLS, Histogram};

/// One counter as it lies in the map. The kernel programs alone add to it, atomically.
#[repr(transparent)]
#[derive(Debug)]
pub struct Counter(UnsafeCell<u64>);

// SAFETY: nothing here reads or writes through the pointer; whoever does does so atomically.
unsafe impl Sync for Counter {}

impl Counter {
    /// Where the value is.
    #[inline(always)]
    pub const fn as_ptr(&self) -> *mut u64 {
        self.0.get()
    }
}

/// The timed system calls.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `read`
    Read = 0,
    /// `pread64`
    Pread = 1,
    /// `write`
    Write = 2,
    /// `pwrite64`
    Pwrite = 3,
    /// `fsync` and `fdatasync`
    Fsync = 4,
}

impl Call {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// What is counted of one timed system call.
#[repr(C)]
#[derive(Debug)]
pub struct CallCounters {
    /// Time from entry to exit of calls that succeeded.
    pub latency: Histogram,
    /// Bytes moved by calls that succeeded.
    pub bytes: Counter,
    /// Calls that failed.
    pub errors: Counter,
    /// Calls that did nothing and are to be repeated: `EAGAIN`, or interrupted by a signal.
    pub again: Counter,
}

/// fadvise64 knows advice 0 to 5; everything else is invalid and counted together.
pub const ADVICES: usize = 7;
/// Calls by result: 0 the call succeeded, 1 it failed.
pub const RESULTS: usize = 2;

/// One CPU's counters.
#[repr(C)]
#[derive(Debug)]
pub struct Counters {
    /// Timed system calls, indexed by [`Call`].
    pub calls: [CallCounters; Call::COUNT],
    /// fadvise64 calls by advice and by result.
    pub fadvise: [[Counter; RESULTS]; ADVICES],
    /// Look-ups of the page cache.
    pub cache_lookups: Counter,
    /// Look-ups that had to read synchronously.
    pub cache_misses: Counter,
    /// Pages added to the page cache.
    pub cache_fills: Counter,
    /// Pages removed from the page cache.
    pub cache_deletes: Counter,
    /// Pages that reclaim looked at.
    pub lru_scanned: Counter,
    /// Pages that reclaim freed.
    pub lru_reclaimed: Counter,
    /// Batches that reclaim worked through.
    pub lru_events: Counter,
    /// Direct reclaims begun because the machine was short of memory.
    pub direct_reclaims: Counter,
    /// Direct reclaims begun because the cgroup was at its limit.
    pub memcg_reclaims: Counter,
    /// System calls not timed because the table of threads was full.
    pub lost: Counter,
}

/// Where words are, for user space.
macro_rules! word {
    ($($field:ident).+) => {
        core::mem::offset_of!(Counters, $($field).+) / size_of::<u64>()
    };
}

impl Counters {
    /// Size in 64-bit words.
    pub const WORDS: usize = size_of::<Counters>() / size_of::<u64>();

    /// Page cache look-ups.
    pub const CACHE_LOOKUPS: usize = word!(cache_lookups);
    /// Page cache misses.
    pub const CACHE_MISSES: usize = word!(cache_misses);
    /// Pages added.
    pub const CACHE_FILLS: usize = word!(cache_fills);
    /// Pages removed.
    pub const CACHE_DELETES: usize = word!(cache_deletes);
    /// Pages scanned.
    pub const LRU_SCANNED: usize = word!(lru_scanned);
    /// Pages reclaimed.
    pub const LRU_RECLAIMED: usize = word!(lru_reclaimed);
    /// Shrink batches.
    pub const LRU_EVENTS: usize = word!(lru_events);
    /// Global direct reclaims.
    pub const DIRECT_RECLAIMS: usize = word!(direct_reclaims);
    /// Memory-limit reclaims.
    pub const MEMCG_RECLAIMS: usize = word!(memcg_reclaims);
    /// Calls not timed.
    pub const LOST: usize = word!(lost);

    /// The cells of a call's latency histogram.
    pub const fn latency_cells(call: Call) -> Range<usize> {
        let first = Counters::call(call);
        first..first + CELLS
    }

    /// The sum of a call's latencies.
    pub const fn latency_sum(call: Call) -> usize {
        Counters::call(call) + CELLS
    }

    /// The bytes a call moved.
    pub const fn bytes(call: Call) -> usize {
        Counters::call(call) + core::mem::offset_of!(CallCounters, bytes) / size_of::<u64>()
    }

    /// A call's failures.
    pub const fn errors(call: Call) -> usize {
        Counters::call(call) + core::mem::offset_of!(CallCounters, errors) / size_of::<u64>()
    }

    /// A call's repetitions.
    pub const fn again(call: Call) -> usize {
        Counters::call(call) + core::mem::offset_of!(CallCounters, again) / size_of::<u64>()
    }

    /// fadvise64 calls with one advice: first those that succeeded, then those that failed.
    pub const fn fadvise(advice: usize) -> Range<usize> {
        assert!(advice < ADVICES, "advice out of range");
        let first = word!(fadvise) + advice * RESULTS;
        first..first + RESULTS
    }

    /// All fadvise64 calls.
    pub const fn fadvise_all() -> Range<usize> {
        word!(fadvise)..word!(fadvise) + ADVICES * RESULTS
    }

    const fn call(call: Call) -> usize {
        word!(calls) + call as usize * (size_of::<CallCounters>() / size_of::<u64>())
    }
}

// A per-CPU map value larger than the kernel's smallest per-CPU chunk cannot be allocated.
const _: () = assert!(size_of::<Counters>() <= 32 << 10);
// Read as words, so there must be nothing but words.
const _: () = assert!(align_of::<Counters>() == size_of::<u64>());

/// A thread's timed system call in flight. The slot stays for the thread's life and is written in
/// place, which costs less than to insert and to delete it with every call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// When the call was entered, by the monotonic clock; 0 when no call is in flight.
    pub entered_ns: u64,
    /// Number of the call, as the programs number them.
    pub call: u32,
    /// The advice of an fadvise64.
    pub advice: u32,
}

impl InFlight {
    /// Size in 64-bit words.
    pub const WORDS: usize = size_of::<InFlight>() / size_of::<u64>();
    /// Threads that can be timed at once; the Go runtime ends at 10,000.
    pub const MAX_THREADS: u32 = 10_240;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_indices_name_the_fields_they_say() {
        let mut words = [0_u64; Counters::WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = index as u64;
        }
        // SAFETY: both are as large and as aligned, and every bit pattern is a valid `Counters`.
        let counters: Counters = unsafe { core::mem::transmute(words) };
        // SAFETY: nobody else has the counters.
        let at = |counter: &Counter| unsafe { *counter.as_ptr() } as usize;

        assert_eq!(at(&counters.cache_fills), Counters::CACHE_FILLS);
        assert_eq!(at(&counters.lost), Counters::LOST);
        assert_eq!(Counters::LOST, Counters::WORDS - 1);
        let pwrite = &counters.calls[Call::Pwrite as usize];
        let cells = Counters::latency_cells(Call::Pwrite);
        assert_eq!(at(&pwrite.latency.cells[0]), cells.start);
        assert_eq!(at(&pwrite.latency.cells[CELLS - 1]) + 1, cells.end);
        assert_eq!(
            at(&pwrite.latency.sum_ns),
            Counters::latency_sum(Call::Pwrite)
        );
        assert_eq!(at(&pwrite.bytes), Counters::bytes(Call::Pwrite));
        assert_eq!(at(&pwrite.errors), Counters::errors(Call::Pwrite));
        assert_eq!(at(&pwrite.again), Counters::again(Call::Pwrite));
        assert_eq!(at(&counters.fadvise[4][0]), Counters::fadvise(4).start);
        assert_eq!(at(&counters.fadvise[4][1]) + 1, Counters::fadvise(4).end);
        assert_eq!(at(&counters.fadvise[6][1]) + 1, Counters::fadvise_all().end);
    }
}
