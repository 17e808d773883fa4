//! How it ended, as a number that a script can rely on.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ktm_format::Error;
use ktm_recorder::replay::{Outcome, ParameterError, ReplayError};

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything there was in the range was given.
    Complete = 0,
    /// The operating system refused.
    InputOutput = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is nothing in the range.
    NoData = 3,
    /// Damage was met; everything else was given.
    Damage = 4,
    /// This cannot be read as a recording.
    NotARecording = 5,
}

impl Status {
    /// Damage comes first: what is missing may have been in the damaged place.
    pub(crate) fn of(damaged: bool, empty: bool) -> Status {
        match (damaged, empty) {
            (true, _) => Status::Damage,
            (false, true) => Status::NoData,
            (false, false) => Status::Complete,
        }
    }

    pub(crate) fn of_outcome(outcome: &Outcome) -> Status {
        Status::of(!outcome.damage.is_empty(), outcome.instants == 0)
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// A recording cannot be read or written.
    Recording {
        /// Which one.
        file: PathBuf,
        /// Why.
        error: Error,
    },
    /// The output takes no more.
    Output(io::Error),
    /// Something that is not as it has to be, in words.
    Refused(String),
}

impl Failure {
    /// The exit status that goes with it.
    pub fn status(&self) -> Status {
        match self {
            Failure::Usage(_) => Status::Usage,
            Failure::Output(_) | Failure::Refused(_) => Status::InputOutput,
            Failure::Recording { error, .. } => match error {
                Error::NotARecording(_) | Error::UnsupportedVersion { .. } | Error::Corrupt(_) => {
                    Status::NotARecording
                }
                _ => Status::InputOutput,
            },
        }
    }

    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(reason) | Failure::Refused(reason) => f.write_str(reason),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
            Failure::Recording { file, error } => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl From<ParameterError> for Failure {
    fn from(error: ParameterError) -> Failure {
        Failure::Usage(format!("{}: {error}", error.parameter.flag()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl Failure {
    /// A replay that stopped.
    pub(crate) fn of_replay(file: &std::path::Path, error: ReplayError) -> Failure {
        match error {
            ReplayError::Output(error) => Failure::Output(error),
            ReplayError::Recording(error) => Failure::Recording {
                file: file.into(),
                error,
            },
            other => Failure::Output(io::Error::other(other.to_string())),
        }
    }
}
