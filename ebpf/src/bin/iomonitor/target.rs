//! Whom to count.

use aya_ebpf::{
    Global,
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_ns_current_pid_tgid},
    macros::map,
    maps::Array,
};
use ktm_ebpf::Filter;

#[map]
static FILTER: Array<Filter> = Array::with_max_entries(1, 0);

/// Device and inode of the pid namespace that the filter's `tgid` is a number of; 0 for the initial
/// one. Constants to the verifier, so the branch not taken costs nothing.
#[unsafe(no_mangle)]
static PID_NS_DEV: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static PID_NS_INO: Global<u64> = Global::new(0);

/// The current thread, if it is one of the target's. Everything else that runs on the machine pays
/// for this function and nothing more.
#[inline(always)]
pub(crate) fn current_thread() -> Option<u32> {
    let filter = FILTER.get(0)?;
    let ids = bpf_get_current_pid_tgid();
    if tgid(ids)? != filter.tgid || filter.tgid == 0 {
        return None;
    }
    Some(ids as u32)
}

#[inline(always)]
fn tgid(ids: u64) -> Option<u64> {
    let namespace = PID_NS_INO.load();
    if namespace == 0 {
        return Some(ids >> 32);
    }
    let mut seen = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: `seen` is as large as the helper is told, and outlives the call.
    let result = unsafe {
        bpf_get_ns_current_pid_tgid(
            PID_NS_DEV.load(),
            namespace,
            &raw mut seen,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    (result == 0).then_some(u64::from(seen.tgid))
}
