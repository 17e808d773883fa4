//! The command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ktm_recorder::replay::{Parameter, ParameterError, QueryText};
use ktm_recorder::time::Zone;

use crate::size;
use crate::status::Failure;

const EXAMPLES: &str = "\
Times: 1h, 3d2h, \"1h ago\" (before now; m is minutes), now, today, yesterday, 14:03[:21],
2026-11-20[ 14:03[:21]], RFC 3339 such as 2026-11-20T14:03:21Z, @1795184601 (seconds since 1970).

Globs are held against the sample name, the metric family and the whole series: ktm_fadvise_*,
ktm_sys_pread_latency_seconds, 'ktm_fadvise_advice_calls_total{advice=\"dontneed\"*'.

Examples:
  ktm-dump --since 1h                              what happened in the last hour
  ktm-dump -S 14:00 -U 14:30                       half an hour of today
  ktm-dump -S 1h -m 'ktm_fadvise_*'                only these series
  ktm-dump -S yesterday -o csv > yesterday.csv     recorded values, every sample
  ktm-dump -S 1h -o csv --rate --interval 1m       rates per second, a line per minute
  ktm-dump -F /mnt/box.ktm runs                    lives of the recorder and of its target
  ktm-dump events --since today --json             what happened, for a program
  ktm-dump verify                                  is it sound, and what was lost if not
  ktm-dump -F broken.ktm salvage sound.ktm         everything that is left, in a new file
  ktm-dump -F copy.ktm import yesterday.csv        a recording again

Exit status:
  0  complete
  1  input or output error
  2  usage: a wrong option, time or glob
  3  no data in the range
  4  damage was met and skipped; everything else was given
  5  not a recording, a recording of an unsupported version, or one damaged beyond use";

const VERIFY: &str = "\
Of every damaged place: where it is, what it was as far as it can tell, and which rows and events
were lost with it, by number and by the times of their neighbours. Numbers that are missing without
any damage to explain it are listed as holes.

Exit status 0 if the recording is sound, 4 if it is not, 5 if it is none.";

const SALVAGE: &str = "\
The damaged file is never changed. One that was cut short is read, one without superblocks, and
segments that stand in another's place. Rows and events keep their numbers, times, epochs and runs;
a `salvaged` event at the end says which numbers are missing.

Exit status 0 if nothing was lost, 4 if something was.";

const IMPORT: &str = "\
The recording is named by --file and must not exist. The CSV is that of -o csv without --rate, and
-o csv prints the same again from the recording. A number that would not print back as it is written
is refused with its line and column, and nothing is made. How a column is recorded follows from all
of its cells:

  integers from 0 on        u64
  integers, some negative   i64
  other numbers, NaN, +Inf  f64, if doubles print like that; otherwise integers with a decimal
                            exponent, such as 18446744073.709551615

Counters, gauges, histograms and summaries are told apart by the endings of their names and by the
labels le and quantile. Runs, events, help and boot times are not in a CSV.";

/// Reads the recordings of the KTM Flight Recorder.
///
/// Without a command: the samples, as a table of rates for a person, or with -o for a program.
/// Machine formats give recorded values and UTC; what is said to a person goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "ktm-dump", version = version(), after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// The recording
    #[arg(
        short = 'F',
        long,
        global = true,
        env = "KTM_FILE",
        default_value = "/var/lib/ktm/blackbox.ktm"
    )]
    pub(crate) file: PathBuf,

    /// From this time on
    #[arg(
        short = 'S',
        long,
        global = true,
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub(crate) since: Option<String>,

    /// Up to this time, inclusive
    #[arg(
        short = 'U',
        long,
        global = true,
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub(crate) until: Option<String>,

    /// Show and read times in UTC
    #[arg(long, global = true, conflicts_with = "tz")]
    utc: bool,

    /// Show and read times in this zone [default: the machine's]
    #[arg(long, global = true, value_name = "ZONE", allow_hyphen_values = true)]
    tz: Option<String>,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What the samples are written as.
#[derive(ClapArgs, Debug)]
pub(crate) struct Output {
    /// Only series that match; may be given several times
    #[arg(short = 'm', long = "metric", value_name = "GLOB")]
    pub(crate) metrics: Vec<String>,

    /// table, csv, json, ndjson or openmetrics [default: table]
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    pub(crate) format: Option<String>,

    /// Counters as rates per second in csv, json and ndjson; the table has rates anyway
    #[arg(long)]
    pub(crate) rate: bool,

    /// Recorded values instead of rates in the table
    #[arg(long, conflicts_with = "rate")]
    pub(crate) raw: bool,

    /// One line per this much time, with the last values in it and the rates over it
    #[arg(long, value_name = "DURATION")]
    pub(crate) interval: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the file says of itself, and how sound it is
    Info(View),
    /// Lives of the recorder and of the process it watched, and how each ended
    Runs(View),
    /// What happened, in recorded order
    Events(View),
    /// Which series are recorded, in which unit, from which source
    Schema(Schema),
    /// Read everything and list every damaged place, and what was lost with it
    #[command(after_help = VERIFY)]
    Verify(View),
    /// Write everything that can be read into a new, sound recording
    #[command(after_help = SALVAGE)]
    Salvage(Salvage),
    /// Make a recording, named by --file, of the CSV that -o csv prints
    #[command(after_help = IMPORT)]
    Import(Import),
}

impl Command {
    const fn name(&self) -> &'static str {
        match self {
            Command::Info(_) => "info",
            Command::Runs(_) => "runs",
            Command::Events(_) => "events",
            Command::Schema(_) => "schema",
            Command::Verify(_) => "verify",
            Command::Salvage(_) => "salvage",
            Command::Import(_) => "import",
        }
    }

    const fn has_range(&self) -> bool {
        matches!(self, Command::Runs(_) | Command::Events(_))
    }
}

#[derive(ClapArgs, Debug)]
pub(crate) struct View {
    /// As JSON, the same as over HTTP
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Schema {
    /// Only series that match; may be given several times
    #[arg(short = 'm', long = "metric", value_name = "GLOB")]
    pub(crate) metrics: Vec<String>,

    #[command(flatten)]
    pub(crate) view: View,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Salvage {
    /// The new recording, which must not exist
    pub(crate) out: PathBuf,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Import {
    /// The CSV, or - for standard input
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// Size of the recording, such as 64MiB; a small one keeps the newest lines [default: large
    /// enough for all]
    #[arg(long, value_parser = size::parse)]
    pub(crate) size: Option<u64>,
}

impl Args {
    /// Refuses an option that the command would have to ignore.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(command) = &self.command else {
            return Ok(());
        };
        let output = &self.output;
        let range = self.since.is_some() || self.until.is_some();
        let given = [
            (range && !command.has_range(), "--since and --until"),
            (!output.metrics.is_empty(), "--metric before it"),
            (output.format.is_some(), "--output"),
            (output.rate, "--rate"),
            (output.raw, "--raw"),
            (output.interval.is_some(), "--interval"),
        ];
        match given.iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(Failure::Usage(format!(
                "`{}` does not take {option}",
                command.name()
            ))),
            None => Ok(()),
        }
    }

    /// The zone that times are read and shown in.
    pub(crate) fn zone(&self) -> Result<Zone, Failure> {
        match &self.tz {
            _ if self.utc => Ok(Zone::utc()),
            None => Ok(Zone::local()),
            Some(name) => Zone::named(name)
                .map_err(|error| ParameterError::new(Parameter::Zone, name, error).into()),
        }
    }

    /// The query as it was written.
    pub(crate) fn query(&self) -> QueryText {
        QueryText {
            since: self.since.clone(),
            until: self.until.clone(),
            metrics: self.output.metrics.clone(),
            interval: self.output.interval.clone(),
            rate: self.output.rate,
        }
    }
}

fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let reads = ktm_format::VERSION;
        format!(
            "{} (reads format version {reads})",
            env!("CARGO_PKG_VERSION")
        )
    });
    &TEXT
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_time_may_begin_with_a_minus() {
        let args = Args::try_parse_from(["ktm-dump", "-S", "-1h", "--until", "-30m"]);
        let args = args.expect("times");
        assert_eq!(args.since.as_deref(), Some("-1h"));
        assert_eq!(args.until.as_deref(), Some("-30m"));
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        for line in [
            ["ktm-dump", "-F", "x", "runs"],
            ["ktm-dump", "runs", "-F", "x"],
        ] {
            let args = Args::try_parse_from(line).expect("a command");
            assert_eq!(args.file, PathBuf::from("x"));
        }
    }

    #[test]
    fn an_option_that_would_be_ignored_is_refused() {
        for line in [
            vec!["ktm-dump", "--rate", "info"],
            vec!["ktm-dump", "info", "-S", "1h"],
            vec!["ktm-dump", "-m", "x", "schema"],
            vec!["ktm-dump", "-o", "csv", "events"],
        ] {
            let args = Args::try_parse_from(&line).expect("clap takes it");
            assert!(args.check().is_err(), "{line:?}");
        }
    }
}
