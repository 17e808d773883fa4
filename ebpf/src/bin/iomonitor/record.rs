//! Fields of a tracepoint's record at constant offsets: the cheapest load, and one that lockdown
//! cannot take away.

use aya_ebpf::{EbpfContext as _, programs::TracePointContext};

/// The field at a constant offset, which user space has checked against the event's format file.
#[inline(always)]
pub(crate) fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: within the record; the kernel refuses to attach a program that reads beyond it.
    let place = unsafe { ctx.as_ptr().add(offset) }.cast::<T>();
    // SAFETY: as above, and fields are aligned.
    unsafe { *place }
}
