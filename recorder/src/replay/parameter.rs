//! A parameter that somebody wrote wrongly, on the command line or in a URL.

use std::fmt;

/// The parameters of a query, with their name on the command line and in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameter {
    /// The beginning of the range.
    Since,
    /// The end of the range, inclusive.
    Until,
    /// Which series.
    Metric,
    /// One line per this much time.
    Interval,
    /// Counters as rates.
    Rate,
    /// The output format.
    Format,
    /// The zone times are read and shown in.
    Zone,
}

impl Parameter {
    /// The option of `ktm-dump`.
    pub const fn flag(self) -> &'static str {
        match self {
            Parameter::Since => "--since",
            Parameter::Until => "--until",
            Parameter::Metric => "--metric",
            Parameter::Interval => "--interval",
            Parameter::Rate => "--rate",
            Parameter::Format => "--output",
            Parameter::Zone => "--tz",
        }
    }

    /// The parameter of `/api/v1/replay`.
    pub const fn query(self) -> &'static str {
        match self {
            Parameter::Since => "since",
            Parameter::Until => "until",
            Parameter::Metric => "metric",
            Parameter::Interval => "step",
            Parameter::Rate => "rate",
            Parameter::Format => "format",
            Parameter::Zone => "tz",
        }
    }
}

/// A parameter whose value cannot be used.
///
/// The command line prints `parameter.flag()` with it and ends with status 2; HTTP answers 400 with
/// a body that has `parameter.query()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterError {
    /// Which one.
    pub parameter: Parameter,
    /// What was given.
    pub value: String,
    /// What is wrong with it and what is accepted.
    pub reason: String,
}

impl ParameterError {
    /// An error about one parameter.
    pub fn new(
        parameter: Parameter,
        value: impl Into<String>,
        reason: impl fmt::Display,
    ) -> ParameterError {
        ParameterError {
            parameter,
            value: value.into(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ParameterError {}
