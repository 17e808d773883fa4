//! Where the user's registers are in `struct pt_regs`: part of the user ABI, so constants.

/// `pt_regs` as the tracepoint hands it out.
pub(crate) type Registers = *const u8;

#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    /// `orig_ax`, the number of the system call.
    pub(crate) const NUMBER: usize = 120;
    /// `r10`, the fourth argument.
    pub(crate) const FOURTH: usize = 56;
    /// `cs`
    pub(crate) const MODE: usize = 136;

    /// True for a system call of 32-bit code, whose numbers mean other calls.
    #[inline(always)]
    pub(crate) fn is_32_bit(mode: u64) -> bool {
        mode & 0xffff == 0x23
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    /// `regs[8]`, the number of the system call; the kernel leaves it as it was.
    pub(crate) const NUMBER: usize = 64;
    /// `regs[3]`, the fourth argument.
    pub(crate) const FOURTH: usize = 24;
    /// `pstate`
    pub(crate) const MODE: usize = 264;

    /// True for a system call of 32-bit code, whose numbers mean other calls.
    #[inline(always)]
    pub(crate) fn is_32_bit(mode: u64) -> bool {
        mode & 0x10 != 0
    }
}

pub(crate) use layout::{FOURTH, MODE, NUMBER, is_32_bit};
