//! The signals of `iomonitor` and the ladder of hooks for each.
//!
//! `tp_btf` comes first: cheapest, and it needs neither tracefs nor a probe read. `raw_tp` needs no
//! BTF either. A tracepoint's record comes last where it costs more, first where it alone has what
//! is needed: the order of a folio.

use super::columns::{self, Column};
use crate::plan::{Hook, Probe, Signal};
use crate::tracefs::FieldPlace;

/// A signal and the columns that it fills.
pub(super) struct Counted {
    pub(super) signal: Signal,
    /// The columns, given what the signal is taken from.
    pub(super) columns: fn(&str) -> Vec<Column>,
}

/// All signals, in the order of their columns.
pub(super) const SIGNALS: &[Counted] = &[
    Counted {
        signal: SYSCALLS,
        columns: columns::syscalls,
    },
    Counted {
        signal: CACHE_LOOKUPS,
        columns: columns::cache_lookups,
    },
    Counted {
        signal: CACHE_MISSES,
        columns: columns::cache_misses,
    },
    Counted {
        signal: CACHE_FILLS,
        columns: columns::cache_fills,
    },
    Counted {
        signal: CACHE_DELETES,
        columns: columns::cache_deletes,
    },
    Counted {
        signal: LRU_SHRINK,
        columns: columns::lru_shrink,
    },
    Counted {
        signal: DIRECT_RECLAIM,
        columns: columns::direct_reclaim,
    },
    Counted {
        signal: MEMCG_RECLAIM,
        columns: columns::memcg_reclaim,
    },
];

const fn btf(program: &'static str, name: &'static str) -> Probe {
    Probe {
        program,
        hook: Hook::BtfTracepoint(name),
    }
}

const fn raw(program: &'static str, name: &'static str) -> Probe {
    Probe {
        program,
        hook: Hook::RawTracepoint(name),
    }
}

const fn record(
    program: &'static str,
    category: &'static str,
    name: &'static str,
    fields: &'static [(&'static str, FieldPlace)],
) -> Probe {
    Probe {
        program,
        hook: Hook::Tracepoint {
            category,
            name,
            fields,
        },
    }
}

const fn at(offset: usize, size: usize) -> FieldPlace {
    FieldPlace { offset, size }
}

/// Entry before exit: an exit whose entry was not seen is passed over, an entry whose exit is not
/// seen would be taken for a long call.
const SYSCALLS: Signal = Signal {
    name: "syscalls",
    rungs: &[
        &[
            btf("sys_enter_btf", "sys_enter"),
            btf("sys_exit_btf", "sys_exit"),
            btf("thread_exit_btf", "sched_process_exit"),
        ],
        &[
            raw("sys_enter_raw", "sys_enter"),
            raw("sys_exit_raw", "sys_exit"),
            raw("thread_exit_raw", "sched_process_exit"),
        ],
        &[
            record(
                "sys_enter_tp",
                "raw_syscalls",
                "sys_enter",
                &[("id", at(8, 8)), ("args", at(16, 48))],
            ),
            record(
                "sys_exit_tp",
                "raw_syscalls",
                "sys_exit",
                &[("id", at(8, 8)), ("ret", at(16, 8))],
            ),
            record("thread_exit_tp", "sched", "sched_process_exit", &[]),
        ],
    ],
};

const CACHE_LOOKUPS: Signal = Signal {
    name: "cache_lookups",
    rungs: &[
        &[btf("lookup_btf", "mm_filemap_get_pages")],
        &[raw("lookup_raw", "mm_filemap_get_pages")],
        &[record("lookup_tp", "filemap", "mm_filemap_get_pages", &[])],
    ],
};

const CACHE_MISSES: Signal = Signal {
    name: "cache_misses",
    rungs: &[
        &[btf("miss_btf", "page_cache_sync_ra")],
        &[raw("miss_raw", "page_cache_sync_ra")],
        &[record("miss_tp", "readahead", "page_cache_sync_ra", &[])],
    ],
};

/// The usual place of the folio's order, read by a plain load.
const ORDER: &[(&str, FieldPlace)] = &[("order", at(36, 1))];

const CACHE_FILLS: Signal = Signal {
    name: "cache_fills",
    rungs: &[
        &[record(
            "fill_tp",
            "filemap",
            "mm_filemap_add_to_page_cache",
            ORDER,
        )],
        &[record(
            "fill_at_tp",
            "filemap",
            "mm_filemap_add_to_page_cache",
            &[],
        )],
    ],
};

const CACHE_DELETES: Signal = Signal {
    name: "cache_deletes",
    rungs: &[
        &[record(
            "delete_tp",
            "filemap",
            "mm_filemap_delete_from_page_cache",
            ORDER,
        )],
        &[record(
            "delete_at_tp",
            "filemap",
            "mm_filemap_delete_from_page_cache",
            &[],
        )],
    ],
};

const LRU_SHRINK: Signal = Signal {
    name: "lru_shrink",
    rungs: &[
        &[btf("shrink_btf", "mm_vmscan_lru_shrink_inactive")],
        &[raw("shrink_raw", "mm_vmscan_lru_shrink_inactive")],
        &[record(
            "shrink_tp",
            "vmscan",
            "mm_vmscan_lru_shrink_inactive",
            &[("nr_scanned", at(16, 8)), ("nr_reclaimed", at(24, 8))],
        )],
    ],
};

const DIRECT_RECLAIM: Signal = Signal {
    name: "direct_reclaim",
    rungs: &[
        &[btf("direct_btf", "mm_vmscan_direct_reclaim_begin")],
        &[raw("direct_raw", "mm_vmscan_direct_reclaim_begin")],
        &[record(
            "direct_tp",
            "vmscan",
            "mm_vmscan_direct_reclaim_begin",
            &[],
        )],
    ],
};

const MEMCG_RECLAIM: Signal = Signal {
    name: "memcg_reclaim",
    rungs: &[
        &[btf("memcg_btf", "mm_vmscan_memcg_reclaim_begin")],
        &[raw("memcg_raw", "mm_vmscan_memcg_reclaim_begin")],
        &[record(
            "memcg_tp",
            "vmscan",
            "mm_vmscan_memcg_reclaim_begin",
            &[],
        )],
    ],
};
