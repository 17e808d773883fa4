//! Reclaim that runs in the target's own context: what kswapd does for it is not seen here.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};

use crate::{
    counters::{add, slot},
    record::field,
    target::current_thread,
};

#[inline(always)]
fn count_shrink(scanned: u64, reclaimed: u64) {
    if let Some(counters) = slot() {
        add(&counters.lru_scanned, scanned);
        add(&counters.lru_reclaimed, reclaimed);
        add(&counters.lru_events, 1);
    }
}

#[inline(always)]
fn count_direct_reclaim() {
    if current_thread().is_some()
        && let Some(counters) = slot()
    {
        add(&counters.direct_reclaims, 1);
    }
}

#[inline(always)]
fn count_memcg_reclaim() {
    if current_thread().is_some()
        && let Some(counters) = slot()
    {
        add(&counters.memcg_reclaims, 1);
    }
}

// The arguments of the tracepoint: nid, nr_scanned, nr_reclaimed, and more.

#[btf_tracepoint(function = "mm_vmscan_lru_shrink_inactive")]
fn shrink_btf(ctx: BtfTracePointContext) -> i32 {
    if current_thread().is_some() {
        count_shrink(ctx.arg(1), ctx.arg(2));
    }
    0
}

#[raw_tracepoint(tracepoint = "mm_vmscan_lru_shrink_inactive")]
fn shrink_raw(ctx: RawTracePointContext) -> i32 {
    if current_thread().is_some() {
        count_shrink(ctx.arg(1), ctx.arg(2));
    }
    0
}

/// The record: nr_scanned at 16, nr_reclaimed at 24.
#[tracepoint(category = "vmscan", name = "mm_vmscan_lru_shrink_inactive")]
fn shrink_tp(ctx: TracePointContext) -> u32 {
    if current_thread().is_some() {
        count_shrink(field(&ctx, 16), field(&ctx, 24));
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_direct_reclaim_begin")]
fn direct_btf(_: BtfTracePointContext) -> i32 {
    count_direct_reclaim();
    0
}

#[raw_tracepoint(tracepoint = "mm_vmscan_direct_reclaim_begin")]
fn direct_raw(_: RawTracePointContext) -> i32 {
    count_direct_reclaim();
    0
}

#[tracepoint(category = "vmscan", name = "mm_vmscan_direct_reclaim_begin")]
fn direct_tp(_: TracePointContext) -> u32 {
    count_direct_reclaim();
    0
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_begin")]
fn memcg_btf(_: BtfTracePointContext) -> i32 {
    count_memcg_reclaim();
    0
}

#[raw_tracepoint(tracepoint = "mm_vmscan_memcg_reclaim_begin")]
fn memcg_raw(_: RawTracePointContext) -> i32 {
    count_memcg_reclaim();
    0
}

#[tracepoint(category = "vmscan", name = "mm_vmscan_memcg_reclaim_begin")]
fn memcg_tp(_: TracePointContext) -> u32 {
    count_memcg_reclaim();
    0
}
