//! The slot that everything is added to.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{macros::map, maps::PerCpuArray};
use ktm_ebpf::{Counter, Counters};

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's counters.
#[inline(always)]
pub(crate) fn slot() -> Option<&'static Counters> {
    COUNTERS.get(0)
}

/// Adds to a counter.
///
/// An interrupt can run a second program on this CPU in the middle of the first, so even a per-CPU
/// counter needs an atomic add.
#[inline(always)]
pub(crate) fn add(counter: &Counter, amount: u64) {
    // SAFETY: a reference is valid and aligned, and all writers of a counter are atomic.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter.as_ptr(), amount) };
}
