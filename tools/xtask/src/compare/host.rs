//! This machine's own counters, once a second, while everything else is measured.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);
/// Fewer rows than this are waited for.
const ENOUGH: usize = 300;

/// Rows of counters, all of the same columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Vec<u64>>,
}

/// The thread that samples; it ends with the process.
pub(super) struct Sampler {
    table: Arc<Mutex<Table>>,
}

impl Sampler {
    pub(super) fn start() -> Sampler {
        let table = Arc::<Mutex<Table>>::default();
        let theirs = Arc::clone(&table);
        std::thread::spawn(move || {
            let begun = Instant::now();
            for turn in 0.. {
                let due = INTERVAL * turn;
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                theirs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(read());
            }
        });
        Sampler { table }
    }

    /// What has been sampled so far, once it is enough.
    pub(super) fn table(&self) -> Table {
        loop {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.rows.len() >= ENOUGH {
                return table.clone();
            }
            drop(table);
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Table {
    /// A sample with other columns than the first, of a device that came or went, is left out.
    fn push(&mut self, sample: Vec<(String, u64)>) {
        let (names, row): (Vec<_>, Vec<_>) = sample.into_iter().unzip();
        if self.names.is_empty() {
            self.names = names;
        } else if self.names != names {
            return;
        }
        self.rows.push(row);
    }

    /// These rows, played again and again.
    pub(super) fn player(&self) -> Player<'_> {
        let width = self.names.len();
        Player {
            rows: &self.rows,
            is_counter: (0..width)
                .map(|column| self.rows.is_sorted_by_key(|row| row[column]))
                .collect(),
        }
    }
}

/// As many rows as wanted. A counter goes on from where it was, so that every lap has the increases
/// of the first; a gauge begins anew.
pub(super) struct Player<'a> {
    rows: &'a [Vec<u64>],
    is_counter: Vec<bool>,
}

impl Player<'_> {
    pub(super) fn row(&self, index: usize) -> impl Iterator<Item = u64> {
        let lap = (index / self.rows.len()) as u64;
        let (first, last) = (&self.rows[0], &self.rows[self.rows.len() - 1]);
        let row = &self.rows[index % self.rows.len()];
        self.is_counter
            .iter()
            .enumerate()
            .map(move |(column, is_counter)| match is_counter {
                true => row[column] + lap * (last[column] - first[column]),
                false => row[column],
            })
    }
}

/// All numbers of four files of the kernel's.
fn read() -> Vec<(String, u64)> {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let mut sample = Vec::new();
    sample.extend(words(&text("/proc/stat"), "stat", 0));
    sample.extend(words(&text("/proc/vmstat"), "vmstat", 0));
    sample.extend(words(&text("/proc/meminfo"), "meminfo", 0));
    sample.extend(words(&text("/proc/diskstats"), "diskstats", 2));
    sample
}

/// The numbers of every line, named after the word at `name_at` and their place behind it. Of a
/// long line, the first few: the rest of `intr` is a number for every interrupt there could be.
fn words(text: &str, file: &str, name_at: usize) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut line = line.split_ascii_whitespace().skip(name_at);
        let Some(name) = line.next() else { continue };
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let numbers = line.filter_map(|word| word.parse().ok()).take(20);
        for (place, number) in numbers.enumerate() {
            found.push((format!("host_{file}_{name}_{place}"), number));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_gets_a_name() {
        let disk = "254 0 vda 10 20\n 254 1 vda1 1 2\n";
        let names: Vec<_> = words(disk, "diskstats", 2);
        assert_eq!(names.len(), 4);
        assert_eq!(names[1], ("host_diskstats_vda_1".to_owned(), 20));
        let memory = words("Active(anon):  5 kB\n", "meminfo", 0);
        assert_eq!(memory, [("host_meminfo_Active_anon___0".to_owned(), 5)]);
    }

    #[test]
    fn this_machine_has_counters() {
        let sample = read();
        assert!(sample.len() > 100, "{} values", sample.len());
    }

    #[test]
    fn laps_follow_each_other_without_a_step() {
        let mut table = Table::default();
        for (counter, gauge) in [(10, 7), (13, 9), (20, 2)] {
            table.push(vec![
                ("counter".to_owned(), counter),
                ("gauge".to_owned(), gauge),
            ]);
        }
        table.push(vec![("another".to_owned(), 1)]);
        let column = |column: usize| -> Vec<u64> {
            let player = table.player();
            let value = |row| player.row(row).nth(column).expect("there are two columns");
            (0..7).map(value).collect()
        };
        assert_eq!(column(0), [10, 13, 20, 20, 23, 30, 30]);
        assert_eq!(column(1), [7, 9, 2, 7, 9, 2, 7]);
    }
}
