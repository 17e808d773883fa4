//! What the fuzz targets and the ordinary tests share: generators, which make a situation of any
//! bytes, and oracles, which say whether the promises held in it.
//!
//! Every target is a module with a `check`, a pure function of the input, a `run`, which panics
//! where `check` complains, and twins: the same oracle over code with a planted bug, which it must
//! find. `docs/testing.md` says how to run them.

pub mod any_bytes;
pub mod codec;
pub mod csv_import;
pub mod file;
mod generate;
mod history;
pub mod http_query;
mod item;
mod layout;
mod memory;
pub mod operations;
pub mod power_cut;
pub mod schema;
pub mod time_range;

/// What an oracle says: nothing, or in a sentence which promise was broken.
pub type Verdict = Result<(), String>;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// The oracle.
    pub check: fn(&[u8]) -> Verdict,
    /// The oracle over planted bugs, each of which it must find.
    pub twins: &'static [Twin],
}

/// An oracle over code with a planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Twin {
    /// The bug.
    pub bug: &'static str,
    /// The oracle over it.
    pub check: fn(&[u8]) -> Verdict,
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    any_bytes::TARGET,
    file::TARGET,
    codec::TARGET,
    operations::TARGET,
    power_cut::TARGET,
    schema::TARGET,
    time_range::TARGET,
    csv_import::TARGET,
    http_query::TARGET,
];

/// Ends the process, as a fuzzer wants it, where an oracle complains.
fn insist(verdict: Verdict) {
    if let Err(broken) = verdict {
        panic!("{broken}");
    }
}

/// Complains unless the condition holds.
fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}
