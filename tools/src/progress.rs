//! How far it is, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);

/// A line that a terminal shows while something takes time, and that is gone at the end.
pub(crate) struct Progress {
    doing: &'static str,
    of: u64,
    shown_at: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Not a terminal: nothing is shown.
    pub(crate) fn new(doing: &'static str, of: u64) -> Progress {
        Progress {
            doing,
            of: of.max(1),
            shown_at: io::stderr().is_terminal().then(Instant::now),
            is_shown: false,
        }
    }

    /// So much is done.
    pub(crate) fn show(&mut self, done: u64) {
        let Some(shown_at) = &mut self.shown_at else {
            return;
        };
        if shown_at.elapsed() < EVERY {
            return;
        }
        *shown_at = Instant::now();
        self.is_shown = true;
        let share = u128::from(done) * 100 / u128::from(self.of);
        let (doing, of) = (self.doing, self.of);
        // Whoever closed stderr is not interested.
        let _ = write!(io::stderr(), "\r{doing}: {share} % ({done} of {of}) ");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
