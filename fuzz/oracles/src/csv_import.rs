//! CSV as a recording, and back.
//!
//! Any text is imported or refused by line, and by column where it is a cell. What is refused
//! leaves nothing behind. What is imported prints back: a table in our own form to the byte, any
//! other with the same titles, times, epochs and cells.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use csv::ReaderBuilder;
use jiff::Timestamp;
use ktm_format::{Recording, Value};
use ktm_recorder::replay::{Format, Presentation, Query, Replay};
use ktm_recorder::time::Zone;
use ktm_tools::{Failure, import};
use tempfile::TempDir;

use crate::generate::Course;
use crate::{Target, Twin, Verdict, ensure, insist};

/// This target.
pub const TARGET: Target = Target {
    name: "csv_import",
    check,
    twins: &[
        Twin {
            bug: "the last line is not read",
            check: |data| {
                over(
                    data,
                    &Importer {
                        before: |text| match text.trim_end_matches('\n').rfind('\n') {
                            Some(end) if end > 0 => text[..=end].to_owned(),
                            _ => text.to_owned(),
                        },
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "a cell that is no number is taken for a zero",
            check: |data| {
                over(
                    data,
                    &Importer {
                        before: |text| text.replace("1x", "0"),
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "an error names the line before its own",
            check: |data| {
                over(
                    data,
                    &Importer {
                        told: |text| text.replace("line 3", "line 2"),
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "what was begun stays behind",
            check: |data| {
                over(
                    data,
                    &Importer {
                        after: |folder| {
                            let _ = fs::write(folder.join("new.ktm.unfinished-1"), "");
                        },
                        ..HONEST
                    },
                )
            },
        },
    ],
};

/// What is under test, with what is planted around it.
struct Importer {
    before: fn(&str) -> String,
    told: fn(String) -> String,
    after: fn(&Path),
}

const HONEST: Importer = Importer {
    before: str::to_owned,
    told: |text| text,
    after: |_| (),
};

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, &HONEST)
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn over(data: &[u8], importer: &Importer) -> Verdict {
    match data.split_first() {
        Some((mode, bytes)) if mode.is_multiple_of(2) => any_text(bytes, importer),
        Some((_, bytes)) => match Table::new(&mut Unstructured::new(bytes)) {
            Ok(table) => table.check(importer),
            Err(_) => Ok(()),
        },
        None => Ok(()),
    }
}

/// How an import ended.
enum Outcome {
    /// The CSV that the recording prints.
    Made(String),
    NoValues,
    Refused(String),
}

impl Importer {
    fn import(&self, text: &[u8]) -> std::result::Result<Outcome, String> {
        let folder = folder();
        let (input, file) = (folder.path().join("in.csv"), folder.path().join("new.ktm"));
        let text = match std::str::from_utf8(text) {
            Ok(text) => (self.before)(text).into_bytes(),
            Err(_) => text.to_owned(),
        };
        fs::write(&input, text).expect("the folder is ours");
        let imported = import(&file, &input, None);
        (self.after)(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .expect("the folder is ours")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        left.sort();
        let expected: &[&str] = match imported {
            Ok(Some(_)) => &["in.csv", "new.ktm"],
            _ => &["in.csv"],
        };
        ensure(left == expected, || {
            format!("the import has left {left:?} behind")
        })?;
        Ok(match imported {
            Ok(Some(_)) => Outcome::Made(exported(&file)?),
            Ok(None) => Outcome::NoValues,
            Err(Failure::Refused(told)) => {
                let name = input.display().to_string();
                Outcome::Refused((self.told)(told.replace(&name, "in.csv")))
            }
            Err(failure) => return Err(format!("the import failed: {failure}")),
        })
    }
}

/// A folder in memory, where there is one.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir())
        .expect("a folder can be made")
}

fn exported(file: &Path) -> std::result::Result<String, String> {
    let snapshot = Recording::open(file)
        .and_then(|recording| recording.snapshot())
        .map_err(|error| format!("what was imported cannot be read: {error}"))?;
    let replay = Replay::new(Arc::new(snapshot), Query::default())
        .map_err(|error| format!("what was imported cannot be replayed: {error}"))?;
    let mut out = Vec::new();
    replay
        .write(Format::Csv, &Presentation::plain(Zone::utc(), ""), &mut out)
        .map_err(|error| format!("what was imported cannot be printed: {error}"))?;
    String::from_utf8(out).map_err(|_| "the CSV is not UTF-8".into())
}

fn any_text(text: &[u8], importer: &Importer) -> Verdict {
    match importer.import(text)? {
        Outcome::Made(printed) => is_the_same_table(text, printed.as_bytes()),
        Outcome::NoValues => Ok(()),
        Outcome::Refused(told) => {
            let place = told.strip_prefix("in.csv: line ").map(|rest| {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                rest[..digits].parse::<usize>()
            });
            let ends = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
            let lines = ends.count() + 1;
            let is_there = matches!(place, Some(Ok(line)) if (1..=lines).contains(&line));
            ensure(is_there || told.contains("does not fit"), || {
                format!("the error names none of the {lines} lines: {told}")
            })
        }
    }
}

fn is_the_same_table(written: &[u8], printed: &[u8]) -> Verdict {
    let (written, printed) = (table(written)?, table(printed)?);
    ensure(written.len() == printed.len(), || {
        format!(
            "{} lines were read, {} come back",
            written.len(),
            printed.len()
        )
    })?;
    for (line, (written, printed)) in written.iter().zip(&printed).enumerate() {
        let same = match line {
            0 => written == printed,
            _ => {
                let point = |line: &[String]| line[0].parse::<Timestamp>().ok();
                let epoch = |line: &[String]| line[1].parse::<u32>().ok();
                point(written) == point(printed)
                    && epoch(written) == epoch(printed)
                    && written[2..] == printed[2..]
            }
        };
        ensure(same, || format!("{written:?} comes back as {printed:?}"))?;
    }
    Ok(())
}

fn table(text: &[u8]) -> std::result::Result<Vec<Vec<String>>, String> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text);
    let records = reader.records().map(|record| {
        let record = record.map_err(|error| format!("no table: {error}"))?;
        Ok(record.iter().map(str::to_owned).collect())
    });
    records.collect()
}

/// A table in our own form, and what is wrong with it.
struct Table {
    titles: Vec<String>,
    lines: Vec<Vec<String>>,
    /// Where the import has to say that something is wrong.
    wrong: Option<String>,
}

const MOST_LINES: usize = 40;

impl Table {
    fn new(u: &mut Unstructured<'_>) -> Result<Table> {
        let count = u.int_in_range(1..=8)?;
        let titles = (0..count)
            .map(|index| title(u, index))
            .collect::<Result<_>>()?;
        let mut columns = (0..count)
            .map(|_| Ok((u.int_in_range(0..=4_u8)?, Course::new(u)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut realtime: i64 = u.arbitrary()?;
        let mut epoch = u32::from(u.arbitrary::<u16>()?);
        let mut lines = Vec::new();
        for _ in 0..u.int_in_range(1..=MOST_LINES)? {
            let step = i64::from(u.arbitrary::<i32>().unwrap_or(1));
            realtime = realtime.saturating_add(step);
            epoch += u32::from(step % 16 == 7);
            let at = Timestamp::from_nanosecond(realtime.into()).expect("in range");
            let mut line = vec![format!("{at:.9}"), epoch.to_string()];
            line.extend(columns.iter_mut().map(|(kind, course)| cell(*kind, course)));
            lines.push(line);
        }
        let mut table = Table {
            titles,
            lines,
            wrong: None,
        };
        table.spoil(u)?;
        Ok(table)
    }

    /// Makes something wrong, or leaves it as it is.
    fn spoil(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let line = u.choose_index(self.lines.len())?;
        let column = u.choose_index(self.titles.len())?;
        let number = line + 2;
        let fields = &mut self.lines[line];
        let wrong = match u.int_in_range(0..=9_u8)? {
            0 => {
                fields[column + 2] = (*u.choose(&["1x", "01", " 1", "1e5", "+1", "nan"])?).into();
                format!("line {number}, column {}", column + 3)
            }
            1 => {
                fields.pop();
                format!("line {number} has {} fields", fields.len())
            }
            2 => {
                fields[0].truncate(19);
                format!("line {number}, column 1")
            }
            3 => {
                fields[1] = "one".into();
                format!("line {number}, column 2")
            }
            4 if line > 0 && fields[1] != "0" => {
                fields[1] = "0".into();
                let before: u32 = self.lines[line - 1][1].parse().expect("our own number");
                if before == 0 {
                    return Ok(());
                }
                format!("line {number} has epoch 0 after {before}")
            }
            5 if column > 0 => {
                self.titles[column] = self.titles[0].clone();
                format!("line 1, column {}", column + 3)
            }
            _ => return Ok(()),
        };
        self.wrong = Some(wrong);
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = "timestamp,epoch".to_owned();
        for title in &self.titles {
            text += &format!(",{}", quoted(title));
        }
        for line in &self.lines {
            text += "\n";
            text += &line.join(",");
        }
        text + "\n"
    }

    fn check(&self, importer: &Importer) -> Verdict {
        let text = self.text();
        match (importer.import(text.as_bytes())?, &self.wrong) {
            (Outcome::Made(printed), None) => ensure(printed == text, || {
                format!("{text:?} comes back as {printed:?}")
            }),
            (Outcome::Refused(told), Some(wrong)) => ensure(told.contains(wrong.as_str()), || {
                format!("the error is in {wrong}, and is told as {told:?}")
            }),
            (Outcome::Refused(told), None) => Err(format!("{text:?} is refused: {told}")),
            (_, Some(wrong)) => Err(format!("{text:?} is taken, wrong as {wrong} is")),
            (Outcome::NoValues, None) => Err(format!("{text:?} is said to hold no values")),
        }
    }
}

fn title(u: &mut Unstructured<'_>, index: usize) -> Result<String> {
    let name = format!("s{index}");
    Ok(match u.int_in_range(0..=6_u8)? {
        0 => format!("{name}_total"),
        1 => format!("{name}_seconds_bucket{{le=\"+Inf\"}}"),
        2 => format!("{name}_seconds_sum{{path=\"/x,\\\"y\\\"\\\\\\n\"}}"),
        3 => format!("{name}{{quantile=\"0.5\",of=\"\"}}"),
        4 => format!("{name}_bytes_count"),
        5 => format!("{name}, \"depth\""),
        _ => name,
    })
}

fn cell(kind: u8, course: &mut Course) -> String {
    let Some(word) = course.next() else {
        return String::new();
    };
    match kind {
        0 => word.to_string(),
        1 => word.cast_signed().to_string(),
        2 => Value::F64(f64::from_bits(word)).decimal(0).to_string(),
        // More digits than a double has.
        3 => Value::U64(word).decimal(-9).to_string(),
        _ => (word & 0xffff).to_string(),
    }
}

fn quoted(title: &str) -> String {
    match title.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", title.replace('"', "\"\"")),
        false => title.to_owned(),
    }
}
