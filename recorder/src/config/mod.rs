//! The recorder's configuration: flags over environment over file over defaults.
//!
//! Each source becomes a layer of texts that know where they were written; one function picks, per
//! setting, the first layer that has it and reads the text. So every mistake names its place, in
//! the same words, wherever it was made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::flight::SyncPolicy;

mod cli;
mod file;
mod key;
mod layer;
mod print;
mod problem;
mod resolve;
mod size;
#[cfg(test)]
mod tests;

pub use cli::Flags;
pub use problem::{Origin, Problem};
pub(crate) use size::size_text;

use layer::Layer;

/// Where a recording is looked for when nobody says.
pub const DEFAULT_FILE: &str = "/var/lib/ktm/blackbox.ktm";
const DEFAULT_SIZE: u64 = 64 * 1024 * 1024;
const DEFAULT_LISTEN: &str = "127.0.0.1:17914";
const DEFAULT_REGEX: &str = "banyand";

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time between samples.
    pub interval: Duration,
    /// Modules to sample, by name.
    pub modules: Vec<String>,
    /// Whether kernel events are scoped to the target's cgroup where it has one of its own.
    pub enable_cgroup_filter: bool,
    /// Whether kernel events are scoped to the target's mount namespace as well.
    pub enable_mntns_filter: bool,
    /// Which process to watch.
    pub target: TargetMatch,
    /// The recording.
    pub file: PathBuf,
    /// The size of a new recording in bytes.
    pub size: u64,
    /// When rows are forced to the disk.
    pub sync: SyncPolicy,
    /// The HTTP server's address, if there is to be one.
    pub listen: Option<String>,
    /// Identity labels on every series.
    pub labels: Vec<(String, String)>,
}

/// Which process to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetMatch {
    /// The one with this id.
    Pid(u32),
    /// The one with exactly this comm or executable name.
    Comm(String),
    /// The one whose comm or executable name matches this regular expression.
    CommRegex(String),
}

impl Default for TargetMatch {
    fn default() -> TargetMatch {
        TargetMatch::CommRegex(DEFAULT_REGEX.to_owned())
    }
}

/// Where each setting came from, by its path in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    settings: BTreeMap<String, Origin>,
}

/// A configuration with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each of its settings came from.
    pub origins: Origins,
    /// What looks like a mistake and is not an error.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The configuration as YAML that `--config` accepts, each line with where it came from.
    pub fn to_yaml(&self) -> String {
        print::to_yaml(&self.config, &self.origins)
    }
}

/// Reads the configuration of this process.
///
/// # Errors
///
/// Every problem found; a file that is no YAML, or has an unknown key, ends the search early.
pub fn load(flags: &Flags, known_modules: &[&str]) -> Result<Loaded, Vec<Problem>> {
    // Names and values that are not text cannot be meant for us.
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("KTM_"))
        .collect();
    load_from(flags, &variables, known_modules)
}

fn load_from(
    flags: &Flags,
    variables: &[(String, String)],
    known_modules: &[&str],
) -> Result<Loaded, Vec<Problem>> {
    let environment = Layer::of_environment(variables).map_err(|problem| vec![problem])?;
    let named = variables
        .iter()
        .find(|(name, path)| name == key::CONFIG_VARIABLE && !path.is_empty());
    let path = flags.config.as_ref().or(named.map(|(_, path)| path));
    let file = match path {
        Some(path) => file::read(Path::new(path)).map_err(|problem| vec![problem])?,
        None => Layer::default(),
    };
    let layers = [Layer::of_flags(flags), environment, file];
    let (config, origins) = resolve::resolve(&layers, known_modules)?;
    Ok(Loaded {
        config,
        origins,
        warnings: layer::suspicious_variables(variables),
    })
}
