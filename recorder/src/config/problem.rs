//! What is wrong with a setting: where it was set, what is wrong, what to do.

use std::fmt;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag: `--interval`.
    Flag(&'static str),
    /// An environment variable: `KTM_INTERVAL`.
    Variable(String),
    /// A line of the configuration file.
    Line {
        /// The file as it was named.
        file: String,
        /// Counted from one; 0 where the parser could not tell.
        line: u64,
        /// The key's full path: `collector.interval`.
        path: String,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Line { file, line, path } => {
                f.write_str(file)?;
                if *line > 0 {
                    write!(f, ", line {line}")?;
                }
                if path.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", {path}")
                }
            }
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, as a clause without its full stop.
    pub what: String,
    /// What to do about it, as a clause without its full stop. May be empty.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(
        origin: &Origin,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem {
            origin: origin.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)?;
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.remedy)
        }
    }
}

impl std::error::Error for Problem {}
