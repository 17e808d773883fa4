//! What the kernel programs and `ktm` agree on: the layout of the maps and the histogram geometry.
//!
//! The programs count into one slot per CPU ([`Counters`]) that is never cleared, and look up whom
//! to count in one slot that user space writes ([`Filter`]). Both sides see these maps as arrays of
//! 64-bit words, so a counter's place is a word index and no value needs a conversion.
//!
//! The programs themselves are the binary `iomonitor`, built by `cargo xtask build-ebpf` alone:
//! user space embeds the committed object and never compiles them.

#![cfg_attr(not(test), no_std)]

pub mod counters;
pub mod filter;
pub mod histogram;

pub use counters::{Call, CallCounters, Counter, Counters, InFlight};
pub use filter::Filter;
pub use histogram::Histogram;
