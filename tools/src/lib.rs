//! `ktm-dump` reads a recording: as a table for a person, as CSV, JSON or OpenMetrics for a
//! program. It verifies one, salvages what is left of a damaged one, and makes one of a CSV. It
//! needs nothing but the file.
//!
//! As a library it is [`main()`], and what reads a format of its own and is fuzzed: [`import`].

mod args;
mod dump;
mod import;
mod progress;
mod salvage;
mod size;
mod source;
mod status;
mod unfinished;
mod verify;
mod views;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

pub use import::{Imported, import};
pub use status::{Failure, Status};

/// The program: reads the command line, does what it says, and gives the exit status.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(status) => status.into(),
        // Whoever read our output has seen enough: `ktm-dump | head` is not a failure.
        Err(failure) if failure.is_closed_pipe() => Status::Complete.into(),
        Err(failure) => {
            say(&failure.to_string());
            failure.status().into()
        }
    }
}

fn run(args: &Args) -> Result<Status, Failure> {
    args.check()?;
    match &args.command {
        None => dump::run(args),
        Some(Command::Info(view)) => views::info(args, view.json),
        Some(Command::Runs(view)) => views::runs(args, view.json),
        Some(Command::Events(view)) => views::events(args, view.json),
        Some(Command::Schema(view)) => views::schema(args, &view.metrics, view.view.json),
        Some(Command::Verify(view)) => verify::run(args, view.json),
        Some(Command::Salvage(salvage)) => salvage::run(args, &salvage.out),
        Some(Command::Import(import)) => import::run(args, &import.input, import.size),
    }
}

/// Everything said to a person goes to stderr.
fn say(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "ktm-dump: {text}");
}
