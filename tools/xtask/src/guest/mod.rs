//! A virtual machine that runs our programs on a stock Debian kernel: nothing is installed on the
//! host but qemu, and nothing of the host's kernel is used, so that it also works without KVM.
//!
//! [`kernel`] gets a kernel and its modules, [`initramfs`] packs them with the programs,
//! [`machine`] runs it, [`init`] is what runs inside as process 1.

pub(crate) mod init;
pub(crate) mod initramfs;
pub(crate) mod kernel;
pub(crate) mod machine;
