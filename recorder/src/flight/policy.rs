//! When rows are forced to the disk.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::{duration_text, parse_duration};

/// When rows are forced to the disk, beside the seals that always need it.
///
/// The death of a process loses nothing at any policy: rows are in the page cache the moment they
/// are appended. The policy decides what a power cut costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// As soon as a row is appended, but not within 10 ms of the last sync. The rows that come
    /// until then, or while one sync runs, are covered together by the next. A power cut costs at
    /// most the last sample, or those of the last 10 ms.
    #[default]
    EveryRow,
    /// When rows are sealed into the cold ring. A power cut costs what was not yet sealed, less
    /// what the kernel wrote back by itself.
    OnSeal,
    /// Not at all: the kernel's own writeback decides, usually within 30 s.
    Never,
    /// At most this long after a row is appended.
    Every(Duration),
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncPolicy::EveryRow => f.write_str("every-row"),
            SyncPolicy::OnSeal => f.write_str("on-seal"),
            SyncPolicy::Never => f.write_str("never"),
            SyncPolicy::Every(period) => f.write_str(&duration_text(*period)),
        }
    }
}

impl FromStr for SyncPolicy {
    type Err = String;

    /// Reads `every-row`, `on-seal`, `never` or a duration of at least 10 ms.
    fn from_str(text: &str) -> Result<SyncPolicy, String> {
        match text.trim() {
            "every-row" => Ok(SyncPolicy::EveryRow),
            "on-seal" => Ok(SyncPolicy::OnSeal),
            "never" => Ok(SyncPolicy::Never),
            other => match parse_duration(other) {
                Ok(period) if period >= Duration::from_millis(10) => Ok(SyncPolicy::Every(period)),
                Ok(_) => Err(format!("\"{other}\" is shorter than 10ms")),
                Err(_) => Err(format!("\"{other}\" is neither a policy nor a duration")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_prints_as_it_reads() {
        for text in ["every-row", "on-seal", "never", "30s", "250ms"] {
            assert_eq!(
                text.parse::<SyncPolicy>().map(|policy| policy.to_string()),
                Ok(text.into())
            );
        }
        assert!("sometimes".parse::<SyncPolicy>().is_err());
        assert!("1ms".parse::<SyncPolicy>().is_err());
    }
}
