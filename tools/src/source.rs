//! Opening the recording, and how its reader likes things shown.

use std::io::{self, IsTerminal};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use ktm_format::{Recording, Snapshot};
use ktm_recorder::replay::Presentation;
use ktm_recorder::time::Zone;

use crate::args::Args;
use crate::status::Failure;

/// Characters to a line where nobody says.
const WIDTH: usize = 120;
/// A table narrower than this is no table.
const NARROWEST: usize = 60;

/// Refuses what has no bytes at a place: opening a pipe would wait for somebody to write.
pub(crate) fn check_kind(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_fifo() || kind.is_socket() || kind.is_char_device() => {
            let path = path.display();
            Err(Failure::Refused(format!("{path}: it is not a file")))
        }
        // Whatever else there is to say, opening says it.
        _ => Ok(()),
    }
}

/// Passes over the file once.
pub(crate) fn snapshot(args: &Args) -> Result<Arc<Snapshot>, Failure> {
    check_kind(&args.file)?;
    let recording = Recording::open(&args.file);
    let snapshot = recording.and_then(|recording| recording.snapshot());
    snapshot.map(Arc::new).map_err(|error| Failure::Recording {
        file: args.file.clone(),
        error,
    })
}

/// Colour and width as the terminal has them.
pub(crate) fn presentation(args: &Args, zone: Zone) -> Presentation {
    let terminal = io::stdout().is_terminal();
    // https://no-color.org: any value that is not empty.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    Presentation {
        colour: terminal && !no_colour && !dumb,
        raw: args.output.raw,
        width: width(),
        ..Presentation::plain(zone, args.file.display().to_string())
    }
}

fn width() -> usize {
    let asked = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then_some(usize::from(size.ws_col))
    };
    asked.or_else(terminal).unwrap_or(WIDTH).max(NARROWEST)
}
