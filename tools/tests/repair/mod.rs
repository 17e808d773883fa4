//! `verify`, `salvage` and `import`.

mod import;
mod round_trip;
mod salvage;
mod verify;

use super::{Recorded, dump, text, told};

/// What `-o csv` prints of a file in the recording's folder.
fn csv(recorded: &Recorded, file: &str) -> String {
    let output = dump(recorded, &["-F", file, "-o", "csv"]);
    let (status, said) = told(&output);
    assert_eq!((status, said.as_str()), (Some(0), ""), "{file}");
    text(&output.stdout)
}

/// Runs it, expects this exit status, and returns what was said to a person.
fn said(recorded: &Recorded, arguments: &[&str], expected: i32) -> String {
    let (status, said) = told(&dump(recorded, arguments));
    assert_eq!(status, Some(expected), "{arguments:?}: {said}");
    said
}
