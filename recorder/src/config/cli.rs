//! The command line.

use clap::Parser;

use super::key::Key;

const EXAMPLES: &str = "\
Examples:
  Record the process named banyand, every 10 s, into /var/lib/ktm/blackbox.ktm:
    ktm-recorder

  A process of your own, every second, a larger file, no HTTP:
    ktm-recorder --target-comm postgres --interval 1s --size 1GiB --listen none

  From a file, overridden where a flag says so; look first at what would be used:
    ktm-recorder --config /etc/ktm/recorder.yaml --interval 1s --print-config

Every setting has three names: a flag, an environment variable (KTM_INTERVAL) and a key of the
file (collector.interval). Flags beat the environment, the environment beats the file. Identity
labels for every exposed series come from `labels:` in the file, from KTM_POD_NAME, KTM_NODE_ROLE,
KTM_CONTAINER_NAME and KTM_NODE_TYPE, and from KTM_LABELS=key=value,key=value.

Signals: SIGTERM and SIGINT end the recording cleanly, SIGUSR1 takes a sample at once.

Exit codes: 0 ended cleanly, 1 input/output or runtime error, 2 usage or configuration.";

/// Records kernel counters of one process into a fixed-size file that survives crashes.
///
/// Read it back with ktm-dump, or over HTTP from this process.
#[derive(Debug, Default, Parser)]
#[command(
    name = "ktm-recorder",
    version,
    long_version = concat!(env!("CARGO_PKG_VERSION"), "\nfile format version 1"),
    after_long_help = EXAMPLES,
    after_help = "`--help` shows examples, the environment and the exit codes."
)]
pub struct Flags {
    /// YAML configuration file [environment: KTM_CONFIG]
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: Option<String>,

    /// The recording; made if it is missing [default: /var/lib/ktm/blackbox.ktm]
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<String>,

    /// Size of a new recording, all of it allocated at once: 64MiB, 500MB, bytes [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub(super) size: Option<String>,

    /// Time between samples, 100ms or more: 10s, 1500ms, 1m [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(super) interval: Option<String>,

    /// Modules to sample, separated by commas [default: iomonitor]
    #[arg(long, value_name = "LIST")]
    pub(super) modules: Option<String>,

    /// Watch the process with this id
    #[arg(long, value_name = "N")]
    pub(super) target_pid: Option<String>,

    /// Watch the process with exactly this comm or executable name
    #[arg(long, value_name = "NAME")]
    pub(super) target_comm: Option<String>,

    /// Watch the process whose comm or executable name matches [default: banyand]
    #[arg(long, value_name = "RE")]
    pub(super) target_comm_regex: Option<String>,

    /// Address of the HTTP server, or `none` [default: 127.0.0.1:17914]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,

    /// When to force rows to the disk: every-row, on-seal, never, a duration [default: every-row]
    #[arg(long, value_name = "WHEN")]
    pub(super) sync: Option<String>,

    /// Print the configuration in force, as YAML that --config accepts, and exit
    #[arg(long)]
    pub print_config: bool,

    /// Check the configuration and exit
    #[arg(long)]
    pub check_config: bool,
}

impl Flags {
    /// The settings given, with the flags that gave them.
    pub(super) fn given(&self) -> impl Iterator<Item = (Key, &'static str, &str)> {
        [
            (Key::File, "--file", &self.file),
            (Key::Size, "--size", &self.size),
            (Key::Interval, "--interval", &self.interval),
            (Key::Modules, "--modules", &self.modules),
            (Key::TargetPid, "--target-pid", &self.target_pid),
            (Key::TargetComm, "--target-comm", &self.target_comm),
            (
                Key::TargetCommRegex,
                "--target-comm-regex",
                &self.target_comm_regex,
            ),
            (Key::Listen, "--listen", &self.listen),
            (Key::Sync, "--sync", &self.sync),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| value.as_deref().map(|value| (key, flag, value)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_version_names_the_file_format() {
        let version = Flags::command().render_long_version();
        let format = format!("file format version {}\n", ktm_format::VERSION);
        assert!(version.ends_with(&format), "{version}");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Flags::command().debug_assert();
    }
}
