//! The Kernel Telemetry Module: what one process does to the kernel, sampled.
//!
//! - [`module`] is what the Flight Recorder sees: a [`Module`] names its series once and then fills
//!   one row at every sampling. [`REGISTRY`] lists them all; a further module is one file and one
//!   line there.
//! - [`target`] finds the one process that is watched and tells when and how it ended.
//! - [`plan`] attaches kernel programs, each signal by the first hook that this kernel accepts, and
//!   keeps what was tried and why it failed as data.
//! - [`tracefs`] makes the kernel's tracepoint descriptions readable without touching anyone else's
//!   mounts.
//! - [`iomonitor`] is the module for system calls, page cache and reclaim.
//!
//! Nothing in here changes the kernel's behaviour or blocks anyone, and nothing needs permission to
//! start: what cannot be attached is absent, with the kernel's own reason.
//!
//! ```no_run
//! use ktm::{Context, Discovery, Matcher, Observation, REGISTRY};
//! use ktm_format::Values;
//!
//! let context = Context::new(ktm::tracefs::ensure());
//! let mut discovery = Discovery::new(Matcher::Comm("banyand".into()));
//! let mut values = Values::new();
//! for registration in REGISTRY {
//!     let mut module = (registration.start)(&context)?;
//!     if let Observation::Found(target) = discovery.poll() {
//!         module.retarget(Some(&target))?;
//!     }
//!     module.sample(&mut values)?;
//!     assert_eq!(values.len(), module.series().len());
//! }
//! # Ok::<(), ktm::ModuleError>(())
//! ```

pub mod iomonitor;
pub mod module;
pub mod mountinfo;
pub mod plan;
pub mod target;
pub mod tracefs;

mod per_cpu;

pub use module::{Context, Module, ModuleError, REGISTRY, Registration};
pub use plan::{Attempt, HookKinds, ProbeReport};
pub use target::{CgroupId, Discovery, Exit, Matcher, Observation, Scope, Target};
pub use tracefs::TraceFs;
