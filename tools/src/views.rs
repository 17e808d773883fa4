//! What is around the samples: `info`, `runs`, `events`, `schema`.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use ktm_format::Snapshot;
use ktm_recorder::replay::{
    self, Globs, Presentation, Query, Range, damage_notes, notes, write_json,
};
use ktm_recorder::time::Reference;

use crate::args::Args;
use crate::status::{Failure, Status};
use crate::{say, source};

/// What every view needs.
struct Asked {
    snapshot: Arc<Snapshot>,
    presentation: Presentation,
    reference: Reference,
    range: Range,
}

impl Asked {
    fn of(args: &Args) -> Result<Asked, Failure> {
        let reference = Reference::now(args.zone()?);
        let range = Query::parse(&args.query(), &reference)?.range;
        let snapshot = source::snapshot(args)?;
        let presentation = source::presentation(args, reference.zone.clone());
        Ok(Asked {
            snapshot,
            presentation,
            reference,
            range,
        })
    }

    /// Says what is damaged, and what was not found.
    fn finish(&self, empty: bool) -> Status {
        let damage = self.snapshot.damage();
        let notes = if empty {
            let nothing = replay::Outcome {
                damage: damage.to_vec(),
                ..Default::default()
            };
            notes(&self.snapshot, &self.range, &nothing, &self.reference)
        } else {
            damage_notes(damage)
        };
        notes.iter().for_each(|note| say(note));
        Status::of(!damage.is_empty(), empty)
    }
}

type Out = BufWriter<io::StdoutLock<'static>>;

fn stdout() -> Out {
    BufWriter::new(io::stdout().lock())
}

pub(crate) fn info(args: &Args, json: bool) -> Result<Status, Failure> {
    let asked = Asked::of(args)?;
    let info = replay::info(&asked.snapshot, &args.file.display().to_string());
    let mut out = stdout();
    if json {
        write_json(&info, &mut out)?;
    } else {
        info.print(&asked.presentation, &mut out)?;
    }
    out.flush()?;
    // What is damaged is in the answer itself.
    Ok(Status::of(!info.damage.is_empty(), false))
}

pub(crate) fn runs(args: &Args, json: bool) -> Result<Status, Failure> {
    let asked = Asked::of(args)?;
    let runs = replay::runs(&asked.snapshot, &asked.range).map_err(|error| Failure::Recording {
        file: args.file.clone(),
        error,
    })?;
    let mut out = stdout();
    if json {
        write_json(&runs, &mut out)?;
    } else {
        runs.print(&asked.presentation, &mut out)?;
    }
    out.flush()?;
    Ok(asked.finish(runs.runs.is_empty()))
}

pub(crate) fn events(args: &Args, json: bool) -> Result<Status, Failure> {
    let asked = Asked::of(args)?;
    let events = replay::events(&asked.snapshot, &asked.range);
    let mut out = stdout();
    if json {
        write_json(&events, &mut out)?;
    } else {
        events.print(&asked.presentation, &mut out)?;
    }
    out.flush()?;
    Ok(asked.finish(events.events.is_empty()))
}

pub(crate) fn schema(args: &Args, metrics: &[String], json: bool) -> Result<Status, Failure> {
    let globs = Globs::parse(metrics)?;
    let asked = Asked::of(args)?;
    let catalog = replay::catalog(&asked.snapshot, &globs)?;
    let mut out = stdout();
    if json {
        write_json(&catalog, &mut out)?;
    } else {
        catalog.print(&asked.presentation, &mut out)?;
    }
    out.flush()?;
    Ok(asked.finish(catalog.series.is_empty()))
}
