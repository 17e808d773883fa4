//! A wall clock that steps: the recorder under a false one, and what a recording must tell of it.

use std::path::{Path, PathBuf};

use crate::recorder::Recorder;
use crate::table::Table;

/// The counter that the recorder adds one to with every sample.
pub const COUNTED: &str = "ktm_samples_total";

/// The wall clock of one process, which a test sets. Boot clock and monotonic clock stay true.
#[derive(Debug)]
pub struct FalseClock {
    library: PathBuf,
    file: PathBuf,
    offset: i64,
}

impl FalseClock {
    /// One that is right for the time being, kept in a file of this folder.
    ///
    /// # Errors
    ///
    /// When the library that replaces the clock is not installed.
    pub fn new(folder: &Path) -> Result<FalseClock, String> {
        let mut clock = FalseClock {
            library: library().ok_or("libfaketime is not installed")?,
            file: folder.join("clock"),
            offset: 0,
        };
        clock.step(0);
        Ok(clock)
    }

    /// Has a recorder read this clock.
    pub fn before(&self, recorder: Recorder) -> Recorder {
        let library = self.library.display();
        let file = self.file.display();
        recorder.wrapped([
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={file}"),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ])
    }

    /// Steps it.
    ///
    /// # Panics
    ///
    /// When the disk does not let us.
    pub fn step(&mut self, seconds: i64) {
        self.offset += seconds;
        // Never seen half written.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{:+}\n", self.offset)).expect("written");
        std::fs::rename(&new, &self.file).expect("renamed");
    }
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
}

/// A line of the table that `ktm-dump -m ktm_samples_total` prints.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A sample, and its rate if it has one.
    Sample(Option<f64>),
    /// A clock step of so many seconds.
    Step(f64),
    /// Time without samples.
    Gap,
}

/// The lines of that table which matter here.
///
/// # Errors
///
/// A line that is none of those there can be.
pub fn lines(table: &str) -> Result<Vec<Line>, String> {
    let body = table.lines().skip_while(|line| !line.starts_with("time "));
    let mut lines = Vec::new();
    for line in body.skip(1).take_while(|line| !line.is_empty()) {
        let line = match line.split_once('*') {
            Some((_, event)) => match event.trim().strip_prefix("clock stepped by ") {
                Some(step) => step
                    .strip_suffix(" s")
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Line::Step),
                None if event.trim().starts_with("gap") => Some(Line::Gap),
                None => continue,
            },
            None => match line.split_whitespace().last() {
                Some("-") => Some(Line::Sample(None)),
                Some(rate) => rate.parse().ok().map(|rate| Line::Sample(Some(rate))),
                None => None,
            },
        };
        lines.push(line.ok_or_else(|| format!("what is this? {table}"))?);
    }
    Ok(lines)
}

/// What was told of a recording.
#[derive(Clone, Debug)]
pub struct Told {
    /// The recorded values of [`COUNTED`].
    pub values: Table,
    /// Its rates, of the same samples.
    pub rates: Table,
    /// Its table.
    pub lines: Vec<Line>,
}

/// Every sample exactly once and in recorded order, every step marked with its size, a rate
/// everywhere but behind a step, a gap and the beginning.
///
/// # Errors
///
/// What is wrong.
pub fn judge(told: &Told, steps: &[i64]) -> Result<(), String> {
    for (index, instant) in told.values.instants.iter().enumerate() {
        let count = instant.whole(COUNTED)?;
        if count != index as u64 + 1 {
            return Err(format!("sample {count} is number {}", index + 1));
        }
    }
    let times = |table: &Table| -> Vec<String> {
        let instants = table.instants.iter();
        instants.map(|instant| instant.timestamp.clone()).collect()
    };
    if times(&told.values) != times(&told.rates) {
        return Err("values and rates are of other samples".to_owned());
    }
    let marked: Vec<f64> = told.lines.iter().filter_map(step_of).collect();
    let is_right = |(marked, step): (&f64, &i64)| (marked - *step as f64).abs() < 0.05;
    if marked.len() != steps.len() || !marked.iter().zip(steps).all(is_right) {
        return Err(format!("marked are {marked:?}, stepped was {steps:?}"));
    }
    judge_rates(told)
}

fn step_of(line: &Line) -> Option<f64> {
    match line {
        Line::Step(seconds) => Some(*seconds),
        _ => None,
    }
}

fn judge_rates(told: &Told) -> Result<(), String> {
    let mut rates = told.rates.instants.iter();
    let mut is_broken = true;
    for (number, line) in told.lines.iter().enumerate() {
        let Line::Sample(shown) = line else {
            is_broken = true;
            continue;
        };
        let instant = rates.next().ok_or("the table has more samples")?;
        let told = !instant.values.is_empty();
        if shown.is_some() == is_broken || told == is_broken {
            let time = &instant.timestamp;
            return Err(format!("line {number}, {time}: {shown:?}, rate {told}"));
        }
        is_broken = false;
    }
    match rates.next() {
        Some(_) => Err("the table has fewer samples".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        box.ktm: whatever\n\
        \n\
        11-21 09:05:41  * recorder started: version 0.1.0\n\
        time               a\n\
        11-21 09:05:42     -\n\
        11-21 09:05:43  2.02\n\
        11-21 09:04:44  * clock stepped by -60 s\n\
        11-21 09:04:44     -\n\
        11-21 09:04:45  1.98\n\
        11-21 09:04:45  * recorder stopped: SIGTERM, samples: 4\n\
        \n\
        all zero: x\n";

    fn told() -> Told {
        let csv = |title: &str, cells: [&str; 4]| {
            let seconds = [42, 43, -16, -15];
            let rows = seconds.iter().zip(cells).map(|(second, cell)| {
                let (minute, second) = (5 + second / 60 - i32::from(*second < 0), second % 60);
                let second = (second + 60) % 60;
                format!("2026-11-21T09:{minute:02}:{second:02}Z,1,{cell}\n")
            });
            let text = format!("timestamp,epoch,{title}\n{}", rows.collect::<String>());
            Table::parse(&text).expect("a table")
        };
        Told {
            values: csv(COUNTED, ["1", "2", "3", "4"]),
            rates: csv("rate(ktm_samples_total)", ["", "2.02", "", "1.98"]),
            lines: lines(TABLE).expect("a table"),
        }
    }

    #[test]
    fn the_faithful_story_passes() {
        assert_eq!(judge(&told(), &[-60]), Ok(()));
    }

    #[test]
    fn a_sample_told_twice_not_at_all_or_out_of_order_is_noticed() {
        let mut twice = told();
        let again = twice.values.instants[1].clone();
        twice.values.instants.insert(1, again);
        assert!(judge(&twice, &[-60]).is_err());
        let mut lost = told();
        lost.values.instants.remove(2);
        assert!(judge(&lost, &[-60]).is_err());
        let mut sorted = told();
        sorted
            .values
            .instants
            .sort_by_key(|instant| instant.unix_ns);
        assert!(
            judge(&sorted, &[-60]).is_err(),
            "by time is not as recorded"
        );
        let mut more = told();
        more.lines.push(Line::Sample(Some(2.0)));
        assert!(judge(&more, &[-60]).is_err());
    }

    #[test]
    fn a_step_that_is_not_marked_or_of_another_size_is_noticed() {
        assert!(judge(&told(), &[]).is_err());
        assert!(judge(&told(), &[-60, -1]).is_err());
        assert!(judge(&told(), &[-61]).is_err());
    }

    #[test]
    fn a_rate_across_a_step_and_a_rate_that_is_missing_are_noticed() {
        let mut across = told();
        across.lines[3] = Line::Sample(Some(-0.03));
        assert!(judge(&across, &[-60]).is_err(), "in the table");
        let mut across = told();
        let rate = across.rates.instants[1].values.clone();
        across.rates.instants[2].values = rate;
        assert!(judge(&across, &[-60]).is_err(), "in the CSV");
        let mut missing = told();
        missing.rates.instants[1].values.clear();
        assert!(judge(&missing, &[-60]).is_err());
    }
}
