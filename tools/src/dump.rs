//! The samples.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use ktm_recorder::replay::{Format, Query, Replay, notes};
use ktm_recorder::time::Reference;

use crate::args::Args;
use crate::status::{Failure, Status};
use crate::{say, source};

/// Bytes written at once.
const BUFFER: usize = 1 << 16;

pub(crate) fn run(args: &Args) -> Result<Status, Failure> {
    let reference = Reference::now(args.zone()?);
    let format = args
        .output
        .format
        .as_deref()
        .map(Format::parse)
        .transpose()?
        .unwrap_or_default();
    let query = Query::parse(&args.query(), &reference)?;
    let range = query.range;
    let snapshot = source::snapshot(args)?;
    let replay = Replay::new(Arc::clone(&snapshot), query)?;
    replay.check(format)?;
    let presentation = source::presentation(args, reference.zone.clone());
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let outcome = replay
        .write(format, &presentation, &mut out)
        .map_err(|error| Failure::of_replay(&args.file, error))?;
    out.flush()?;
    for note in notes(&snapshot, &range, &outcome, &reference) {
        say(&note);
    }
    Ok(Status::of_outcome(&outcome))
}
