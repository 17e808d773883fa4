//! The kernel programs of module `iomonitor`.
//!
//! Every signal has several programs that count the same into the same place, one for each hook it
//! can be taken from; `ktm` loads and attaches the first that this kernel accepts. All of them
//! leave at once when the current process is not the target ([`target::current_thread`]).

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// BPF has no compare-and-swap, so `core::sync::atomic` has nothing to offer for 64 bits there.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "the intrinsic is the only atomic add there is"
    )
)]

#[cfg(target_arch = "bpf")]
mod cache;
#[cfg(target_arch = "bpf")]
mod counters;
#[cfg(target_arch = "bpf")]
mod reclaim;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod registers;
#[cfg(target_arch = "bpf")]
mod syscalls;
#[cfg(target_arch = "bpf")]
mod target;

/// The kernel lends `bpf_probe_read_kernel` and `bpf_ktime_get_ns` to such programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Cannot be reached: the verifier accepts only programs without a way here.
    loop {}
}

/// Host builds of the whole workspace with all features meet an empty program.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
