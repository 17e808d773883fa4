//! What a recorder does with what it finds at its path, and whether it does that entirely.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::check::all_kept;
use crate::dump::{dump, readable};
use crate::recorder::Recorder;
use crate::wait::until;

/// What it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `create`, `go on`, `set aside` or `refuse`, the words of the table in the manual.
    pub what: &'static str,
    /// From its start until it said that it records, or ended.
    pub took: Duration,
}

/// Starts a recorder whose path leads to this place, waits for a sample, and ends it. `is_shared`
/// is true where another one records there.
///
/// # Errors
///
/// What it did halfway, or what was lost by it.
pub fn outcome(recorder: &Recorder, place: &Path, is_shared: bool) -> Result<Outcome, String> {
    let folder = place.parent().expect("a folder").to_owned();
    let before = everything_in(&folder);
    let kept = readable(place);
    let begun = Instant::now();
    let mut running = recorder.start();
    until("the recorder to record or to end", || {
        match running.said().contains("recording every") || running.has_ended() {
            true => Ok(()),
            false => Err(running.said()),
        }
    });
    let took = begun.elapsed();
    let did = |what| Ok(Outcome { what, took });
    if running.has_ended() {
        let said = running.said();
        let code = running.wait().code();
        let has_changed = !is_shared && everything_in(&folder) != before;
        return match (code, has_changed) {
            (Some(1), false) if !said.contains("panicked") => did("refuse"),
            _ => Err(format!("{code:?}, changed: {has_changed}; {said}")),
        };
    }
    let after = everything_in(&folder);
    let is_aside = |path: &&PathBuf| path.to_string_lossy().contains("set-aside");
    let aside: Vec<&PathBuf> = after.keys().filter(is_aside).collect();
    let others = after.len() - aside.len();
    let is_new = !aside.is_empty();
    running.wait_for_samples(if is_new { 1 } else { kept.instants.len() + 1 });
    let said = running.said();
    let events = dump(place, ["events"]).stdout;
    if !running.terminate().success() || said.contains("panicked") || others != 1 {
        return Err(format!("{others} files; {said}"));
    }
    match (before.get(place), &aside[..]) {
        (None, []) if said.contains(", new, ") => did("create"),
        (Some(_), []) => all_kept(&kept, &readable(place)).and(did("go on")),
        (Some(bytes), [aside]) => {
            let is_same = after.get(*aside) == Some(bytes);
            let lines = said.lines().filter(|line| line.contains("set-aside"));
            match is_same && lines.count() == 1 && events.contains("set-aside") {
                true => did("set aside"),
                false => Err(format!("the same: {is_same}; {said}; {events}")),
            }
        }
        _ => Err(format!("{aside:?}; {said}")),
    }
}

/// The files of a folder, by their contents where they have any.
fn everything_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let contents = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read(path).expect("readable"),
        Ok(found) => format!("{:?}", found.file_type()).into_bytes(),
        Err(_) => Vec::new(),
    };
    entries
        .map(|entry| (entry.path(), contents(&entry.path())))
        .collect()
}
