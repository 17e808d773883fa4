//! What was wrong with a text that should have been a time.

use std::fmt;

/// Why a text is not a time or a duration: what was wrong, where, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError {
    text: String,
    column: usize,
    what: String,
    accepted: &'static str,
}

impl TimeError {
    /// `at` is the byte offset in `text` at which reading stopped.
    pub(super) fn new(
        text: &str,
        at: usize,
        what: impl Into<String>,
        accepted: &'static str,
    ) -> Self {
        let before = text.get(..at).unwrap_or(text);
        TimeError {
            text: text.to_owned(),
            column: before.chars().count() + 1,
            what: what.into(),
            accepted,
        }
    }

    /// The whole text that was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The character, counted from 1, at which it went wrong.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What was wrong there.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What would have been understood, with examples.
    pub fn accepted(&self) -> &'static str {
        self.accepted
    }
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {} (at character {})",
            self.text, self.what, self.column
        )?;
        write!(f, "; accepted: {}", self.accepted)
    }
}

impl std::error::Error for TimeError {}
