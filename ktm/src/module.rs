//! What the Flight Recorder sees of a module, and the list of all modules.

use std::fmt;

use ktm_format::{Series, Values};

use crate::plan::{HookKinds, ProbeReport};
use crate::target::Target;
use crate::tracefs::TraceFs;

/// Something that is sampled: one row of values for every sampling instant.
pub trait Module: Send {
    /// The name in the recording, in the configuration and in `ktm-dump`.
    fn name(&self) -> &'static str;

    /// The columns of a row. They change only where [`Module::generation`] does.
    ///
    /// A signal that could not be attached has no columns: absent is not zero.
    fn series(&self) -> Vec<Series>;

    /// Grows when [`Module::series`] has changed.
    fn generation(&self) -> u64 {
        0
    }

    /// Empties `out` and pushes exactly one value for each of [`Module::series`].
    ///
    /// # Errors
    ///
    /// Why there is no row this time; the next call tries again.
    fn sample(&mut self, out: &mut Values) -> Result<(), ModuleError>;

    /// Follows another process, or none. Counters restart at 0 for a new target, and nothing of an
    /// earlier one is in them; with no target nothing is counted and the last values stay.
    ///
    /// Take the old target's last sample before this call.
    ///
    /// # Errors
    ///
    /// Why the new target is not followed; nothing may be recorded as its own then.
    fn retarget(&mut self, target: Option<&Target>) -> Result<(), ModuleError>;

    /// True if rows mean something only while there is a target.
    fn needs_target(&self) -> bool;

    /// What each signal is taken from, or why it is absent.
    fn probes(&self) -> &[ProbeReport];
}

/// What a module is given to start with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the tracepoint descriptions are, or why there are none.
    pub tracefs: TraceFs,
    /// The kinds of hook that may be tried. All of them, unless a test wants a lower rung.
    pub hooks: HookKinds,
}

impl Context {
    /// Everything may be tried.
    pub fn new(tracefs: TraceFs) -> Context {
        Context {
            tracefs,
            hooks: HookKinds::ALL,
        }
    }
}

/// A module that can be started by name.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The module's name.
    pub name: &'static str,
    /// One line for `--help` and the manual.
    pub help: &'static str,
    /// Starts it. A module whose signals cannot be attached starts all the same, with fewer series.
    pub start: fn(&Context) -> Result<Box<dyn Module>, ModuleError>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All modules, in the order they are sampled.
pub const REGISTRY: &[Registration] = &[crate::iomonitor::REGISTRATION];

/// A module could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ModuleError {
    what: String,
    why: String,
}

impl ModuleError {
    /// `what` failed because of `why`.
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> ModuleError {
        ModuleError {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_registry_are_unique() {
        let mut names: Vec<_> = REGISTRY
            .iter()
            .map(|registration| registration.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REGISTRY.len());
    }
}
