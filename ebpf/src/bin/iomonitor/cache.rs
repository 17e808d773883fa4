//! The page cache: look-ups, misses, pages that come and go.

use aya_ebpf::{
    Global,
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};

use crate::{
    counters::{add, slot},
    record::field,
    target::current_thread,
};

/// Where `order` is in the record of `mm_filemap_add_to_page_cache`, from the event's format file;
/// [`ABSENT`] on kernels before 5.16, which add page by page.
#[unsafe(no_mangle)]
static ADD_ORDER_AT: Global<u64> = Global::new(ABSENT);
/// The same for `mm_filemap_delete_from_page_cache`.
#[unsafe(no_mangle)]
static DELETE_ORDER_AT: Global<u64> = Global::new(ABSENT);
const ABSENT: u64 = 0xffff;
/// Where `order` is on all kernels that have it, so far.
const USUAL_ORDER_AT: usize = 36;

#[inline(always)]
fn count_lookup() {
    if current_thread().is_some()
        && let Some(counters) = slot()
    {
        add(&counters.cache_lookups, 1);
    }
}

#[inline(always)]
fn count_miss() {
    if current_thread().is_some()
        && let Some(counters) = slot()
    {
        add(&counters.cache_misses, 1);
    }
}

/// An event is about a folio: 2^order pages.
#[inline(always)]
fn count_fill(order: u8) {
    if let Some(counters) = slot() {
        add(&counters.cache_fills, 1 << (order & 31));
    }
}

#[inline(always)]
fn count_delete(order: u8) {
    if let Some(counters) = slot() {
        add(&counters.cache_deletes, 1 << (order & 31));
    }
}

#[btf_tracepoint(function = "mm_filemap_get_pages")]
fn lookup_btf(_: BtfTracePointContext) -> i32 {
    count_lookup();
    0
}

#[raw_tracepoint(tracepoint = "mm_filemap_get_pages")]
fn lookup_raw(_: RawTracePointContext) -> i32 {
    count_lookup();
    0
}

#[tracepoint(category = "filemap", name = "mm_filemap_get_pages")]
fn lookup_tp(_: TracePointContext) -> u32 {
    count_lookup();
    0
}

#[btf_tracepoint(function = "page_cache_sync_ra")]
fn miss_btf(_: BtfTracePointContext) -> i32 {
    count_miss();
    0
}

#[raw_tracepoint(tracepoint = "page_cache_sync_ra")]
fn miss_raw(_: RawTracePointContext) -> i32 {
    count_miss();
    0
}

#[tracepoint(category = "readahead", name = "page_cache_sync_ra")]
fn miss_tp(_: TracePointContext) -> u32 {
    count_miss();
    0
}

#[tracepoint(category = "filemap", name = "mm_filemap_add_to_page_cache")]
fn fill_tp(ctx: TracePointContext) -> u32 {
    if current_thread().is_some() {
        count_fill(field(&ctx, USUAL_ORDER_AT));
    }
    0
}

#[tracepoint(category = "filemap", name = "mm_filemap_add_to_page_cache")]
fn fill_at_tp(ctx: TracePointContext) -> u32 {
    if current_thread().is_some()
        && let Some(order) = order_at(&ctx, ADD_ORDER_AT.load())
    {
        count_fill(order);
    }
    0
}

#[tracepoint(category = "filemap", name = "mm_filemap_delete_from_page_cache")]
fn delete_tp(ctx: TracePointContext) -> u32 {
    if current_thread().is_some() {
        count_delete(field(&ctx, USUAL_ORDER_AT));
    }
    0
}

#[tracepoint(category = "filemap", name = "mm_filemap_delete_from_page_cache")]
fn delete_at_tp(ctx: TracePointContext) -> u32 {
    if current_thread().is_some()
        && let Some(order) = order_at(&ctx, DELETE_ORDER_AT.load())
    {
        count_delete(order);
    }
    0
}

/// A load at an offset known since this kernel booted. The verifier refuses a plain load there.
#[inline(always)]
fn order_at(ctx: &TracePointContext, offset: u64) -> Option<u8> {
    if offset == ABSENT {
        return Some(0);
    }
    // SAFETY: the helper checks the address that it reads from.
    unsafe { ctx.read_at::<u8>(offset as usize) }.ok()
}
