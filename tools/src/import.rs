//! `import`: the CSV that `-o csv` prints, as a recording.
//!
//! It is read twice. The first time every line is checked, and every column learned from all its
//! cells, so that a wrong line is found before anything is made. The second time it is written.

use std::path::Path;

use crate::args::Args;
use crate::say;
use crate::status::{Failure, Status};
use crate::unfinished::Unfinished;

mod group;
mod lines;
mod number;
mod title;
mod write;

use lines::{Front, Input, Lines};
use number::{Learned, suggestion};
use title::Title;

/// What an import has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Lines of values in the CSV.
    pub lines: u64,
    /// How many of them the recording holds, the newest: all, unless a size was asked for.
    pub kept: u64,
    /// Series.
    pub series: usize,
    /// The recording's size in bytes.
    pub size: u64,
}

/// Makes the recording `file` of the CSV `input`, or of standard input where that is `-`. Without a
/// size it is as large as it has to be. `None` where the CSV holds no values: then nothing is made.
///
/// # Errors
///
/// [`Failure`] names line and column of what cannot be imported, and nothing is made.
pub fn import(file: &Path, input: &Path, size: Option<u64>) -> Result<Option<Imported>, Failure> {
    let unfinished = Unfinished::beside(file)?;
    let input = Input::open(input)?;
    let plan = Plan::learn(&input)?;
    let Some(first) = plan.first.filter(|_| !plan.titles.is_empty()) else {
        return Ok(None);
    };
    let writing = write::Writing {
        plan: &plan,
        first,
        input: &input,
        unfinished: &unfinished,
    };
    let (kept, size) = match size {
        Some(size) => (writing.within(size)?, size),
        None => writing.whole()?,
    };
    unfinished.finish()?;
    Ok(Some(Imported {
        lines: plan.lines,
        kept,
        series: plan.titles.len(),
        size,
    }))
}

pub(crate) fn run(args: &Args, input: &Path, size: Option<u64>) -> Result<Status, Failure> {
    let Some(imported) = import(&args.file, input, size)? else {
        let name = lines::name(input);
        say(&format!(
            "{name}: no values in it, and so no recording was made"
        ));
        return Ok(Status::NoData);
    };
    let file = args.file.display();
    let Imported {
        lines,
        kept,
        series,
        size,
    } = imported;
    say(&format!(
        "{file}: {kept} lines of {series} series, in {size} bytes"
    ));
    if kept < lines {
        let overwritten = lines - kept;
        say(&format!(
            "{file}: the oldest {overwritten} of {lines} lines did not fit and were overwritten; \
             without --size it is made large enough"
        ));
    }
    Ok(Status::Complete)
}

/// What the first reading has shown.
struct Plan {
    titles: Vec<Title>,
    columns: Vec<Learned>,
    lines: u64,
    first: Option<Front>,
}

impl Plan {
    fn learn(input: &Input) -> Result<Plan, Failure> {
        let mut lines = input.lines()?;
        let titles = lines.titles()?;
        let mut plan = Plan {
            columns: vec![Learned::default(); titles.len()],
            titles,
            lines: 0,
            first: None,
        };
        let mut epoch = 0;
        while let Some(front) = lines.next()? {
            if front.epoch < epoch {
                let found = front.epoch;
                let reason = format!("has epoch {found} after {epoch}: epochs only count up");
                return Err(lines.wrong(&reason));
            }
            epoch = front.epoch;
            plan.first.get_or_insert(front);
            plan.lines += 1;
            plan.learn_line(&lines)?;
        }
        Ok(plan)
    }

    fn learn_line(&mut self, lines: &Lines<'_>) -> Result<(), Failure> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let cell = lines.cell(index)?;
            if !cell.is_empty() && !column.learn(cell) {
                let hint = match suggestion(cell) {
                    Some(text) => format!("which would be printed as {text}: write that"),
                    None => "where a number, NaN, +Inf, -Inf or nothing is expected".into(),
                };
                return Err(lines.wrong_cell(index, &format!("is {cell:?}, {hint}")));
            }
        }
        Ok(())
    }
}
