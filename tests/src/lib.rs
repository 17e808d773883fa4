//! What the end-to-end tests share: starting the real binaries, a workload whose every system call
//! is known, waiting for conditions instead of times, and the comparison of what was done with what
//! was recorded.
//!
//! The comparisons in [`check`] are plain functions over parsed output, so that each is itself
//! tested with input that must make it fail.

pub mod check;
pub mod clock;
pub mod dump;
pub mod environment;
pub mod folder;
pub mod golden;
pub mod http;
pub mod outcome;
pub mod programs;
pub mod recorder;
pub mod table;
pub mod wait;
pub mod work;
pub mod workload;
