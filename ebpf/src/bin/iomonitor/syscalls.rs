//! Timed system calls and fadvise64: entry and exit of every system call, and the end of threads.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_kernel},
    macros::{btf_tracepoint, map, raw_tracepoint, tracepoint},
    maps::HashMap,
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};
use ktm_ebpf::{Call, Counters, InFlight, counters::ADVICES, histogram};

use crate::{
    counters::{add, slot},
    record::field,
    registers::{self, Registers},
    target::current_thread,
};

/// Calls in flight by thread. A thread's entry is made at its first call and removed when it ends.
#[map]
static IN_FLIGHT: HashMap<u32, InFlight> = HashMap::with_max_entries(InFlight::MAX_THREADS, 0);

/// The number that stands for fadvise64 beside those of [`Call`].
const FADVISE: u32 = Call::COUNT as u32;

/// What a system call number means here, `None` for all that is not counted.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn call(number: u64) -> Option<u32> {
    Some(match number {
        0 => Call::Read as u32,
        1 => Call::Write as u32,
        17 => Call::Pread as u32,
        18 => Call::Pwrite as u32,
        74 | 75 => Call::Fsync as u32,
        221 => FADVISE,
        _ => return None,
    })
}

/// What a system call number means here, `None` for all that is not counted.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn call(number: u64) -> Option<u32> {
    Some(match number {
        63 => Call::Read as u32,
        64 => Call::Write as u32,
        67 => Call::Pread as u32,
        68 => Call::Pwrite as u32,
        82 | 83 => Call::Fsync as u32,
        223 => FADVISE,
        _ => return None,
    })
}

/// Where the hook finds what is not among its own arguments.
trait Source {
    /// The word at a constant offset of the user's registers.
    fn register(&self, offset: usize) -> Option<u64>;
}

/// A pointer whose type the verifier knows: loads need no helper.
struct Typed(Registers);

impl Source for Typed {
    #[inline(always)]
    fn register(&self, offset: usize) -> Option<u64> {
        // SAFETY: within `struct pt_regs`, which the verifier checks.
        let place = unsafe { self.0.add(offset) }.cast::<u64>();
        // SAFETY: as above; a bad page would read as 0.
        Some(unsafe { *place })
    }
}

/// A pointer that is but a number to the verifier.
struct Untyped(Registers);

impl Source for Untyped {
    #[inline(always)]
    fn register(&self, offset: usize) -> Option<u64> {
        let place = self.0.wrapping_add(offset).cast::<u64>();
        // SAFETY: the helper checks the address that it reads from.
        unsafe { bpf_probe_read_kernel(place) }.ok()
    }
}

#[inline(always)]
fn enter(number: u64, source: impl Source) -> Option<()> {
    let thread = current_thread()?;
    let call = call(number)?;
    if registers::is_32_bit(source.register(registers::MODE)?) {
        return None;
    }
    let advice = if call == FADVISE {
        source.register(registers::FOURTH)? as u32
    } else {
        0
    };
    note(thread, call, advice);
    Some(())
}

/// Notes that a call was entered, in place where the thread has made one before.
#[inline(always)]
fn note(thread: u32, call: u32, advice: u32) {
    // SAFETY: the helper has no precondition.
    let entered_ns = unsafe { bpf_ktime_get_ns() };
    let now = InFlight {
        entered_ns,
        call,
        advice,
    };
    if let Some(in_flight) = IN_FLIGHT.get_ptr_mut(thread) {
        // SAFETY: a value of the map; only the thread itself writes it, and it is here.
        unsafe { *in_flight = now };
    } else if IN_FLIGHT.insert(thread, now, 0).is_err()
        && let Some(counters) = slot()
    {
        add(&counters.lost, 1);
    }
}

#[inline(always)]
fn exit(number: u64, result: i64) -> Option<()> {
    let thread = current_thread()?;
    finish(thread, call(number)?, result)
}

#[inline(always)]
fn finish(thread: u32, call: u32, result: i64) -> Option<()> {
    let in_flight = IN_FLIGHT.get_ptr_mut(thread)?;
    // SAFETY: a value of the map; only the thread itself writes it, and it is here.
    let InFlight {
        entered_ns,
        call: entered,
        advice,
    } = unsafe { *in_flight };
    // SAFETY: as above.
    unsafe { (*in_flight).entered_ns = 0 };
    if entered_ns == 0 || entered != call {
        // Entered before there was anyone to note it.
        return None;
    }
    let counters = slot()?;
    if call == FADVISE {
        count_fadvise(counters, advice, result);
    } else {
        // SAFETY: the helper has no precondition.
        let now = unsafe { bpf_ktime_get_ns() };
        count_call(counters, call, now.saturating_sub(entered_ns), result);
    }
    Some(())
}

#[inline(always)]
fn count_fadvise(counters: &Counters, advice: u32, result: i64) {
    let [ok, error] = &counters.fadvise[(advice as usize).min(ADVICES - 1)];
    add(if result == 0 { ok } else { error }, 1);
}

#[inline(always)]
fn count_call(counters: &Counters, call: u32, nanoseconds: u64, result: i64) {
    let Some(counts) = counters.calls.get(call as usize) else {
        return;
    };
    if result < 0 {
        let is_again = is_to_be_repeated(result);
        add(
            if is_again {
                &counts.again
            } else {
                &counts.errors
            },
            1,
        );
        return;
    }
    // The compiler knows the range and would leave out the check that the verifier asks for.
    let cell = core::hint::black_box(histogram::cell(nanoseconds));
    let Some(cell) = counts.latency.cells.get(cell) else {
        return;
    };
    if call != Call::Fsync as u32 {
        add(&counts.bytes, result as u64);
    }
    add(&counts.latency.sum_ns, nanoseconds);
    add(cell, 1);
}

/// `EINTR`, `EAGAIN`, and the codes by which the kernel tells itself to restart a call that a
/// signal interrupted: nothing was done and nothing is wrong.
#[inline(always)]
fn is_to_be_repeated(result: i64) -> bool {
    matches!(result, -4 | -11 | -512 | -513 | -514 | -516)
}

/// A thread of the target ends: its place is free for another.
#[inline(always)]
fn thread_exit() {
    if let Some(thread) = current_thread() {
        // A thread without timed calls has no entry; there is nothing to do about it.
        let _ = IN_FLIGHT.remove(thread);
    }
}

#[btf_tracepoint(function = "sys_enter")]
fn sys_enter_btf(ctx: BtfTracePointContext) -> i32 {
    enter(ctx.arg(1), Typed(ctx.arg(0)));
    0
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_btf(ctx: BtfTracePointContext) -> i32 {
    if let Some(thread) = current_thread()
        && let Some(number) = Typed(ctx.arg(0)).register(registers::NUMBER)
        && let Some(call) = call(number)
    {
        finish(thread, call, ctx.arg(1));
    }
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn thread_exit_btf(_: BtfTracePointContext) -> i32 {
    thread_exit();
    0
}

#[raw_tracepoint(tracepoint = "sys_enter")]
fn sys_enter_raw(ctx: RawTracePointContext) -> i32 {
    enter(ctx.arg(1), Untyped(ctx.arg(0)));
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit_raw(ctx: RawTracePointContext) -> i32 {
    if let Some(thread) = current_thread()
        && let Some(number) = Untyped(ctx.arg(0)).register(registers::NUMBER)
        && let Some(call) = call(number)
    {
        finish(thread, call, ctx.arg(1));
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn thread_exit_raw(_: RawTracePointContext) -> i32 {
    thread_exit();
    0
}

/// The record of `raw_syscalls:sys_enter`: the number at 8, six arguments from 16 on.
#[tracepoint(category = "raw_syscalls", name = "sys_enter")]
fn sys_enter_tp(ctx: TracePointContext) -> u32 {
    if let Some(thread) = current_thread()
        && let Some(call) = call(field(&ctx, 8))
    {
        note(thread, call, field::<u64>(&ctx, 40) as u32);
    }
    0
}

/// The record of `raw_syscalls:sys_exit`: the number at 8, the result at 16.
#[tracepoint(category = "raw_syscalls", name = "sys_exit")]
fn sys_exit_tp(ctx: TracePointContext) -> u32 {
    exit(field(&ctx, 8), field(&ctx, 16));
    0
}

#[tracepoint(category = "sched", name = "sched_process_exit")]
fn thread_exit_tp(_: TracePointContext) -> u32 {
    thread_exit();
    0
}
