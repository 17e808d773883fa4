//! Processor time of recorders: a day of samples at once, and one sample a second.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ktm_format::{Recording, Select};
use rustix::process::Signal;

use super::child::{output, processor_time, used_so_far};
use super::driven::Driven;
use super::ratio::{Side, digits, verdict};
use super::{Bench, Section, own, size_of};

/// A day of samples, one every 10 s.
const SAMPLES: u32 = 8_640;
/// atop's are dear: a part of a day, multiplied.
const SHARE_OF_ATOP: u32 = 40;
const ROUNDS: usize = 3;
const WINDOWS: usize = 3;
const WINDOW: Duration = Duration::from_secs(20);

/// What a day of samples took.
struct Cost {
    processor: Duration,
    bytes_a_sample: f64,
    values: Option<u64>,
}

/// One recorder, run for a day of samples at once.
struct Contender {
    name: &'static str,
    run: fn(&Bench) -> Result<Cost>,
}

const OURS: Contender = Contender {
    name: "ktm-recorder, every sample forced to the disk (the default)",
    run: |bench| ours(bench, "every-row"),
};
const OURS_UNFORCED: Contender = Contender {
    name: "ktm-recorder `--sync never`, nothing forced, as with all below",
    run: |bench| ours(bench, "never"),
};
const OTHERS: [Contender; 4] = [
    Contender {
        name: "sadc `-S DISK`, as Debian runs it",
        run: |bench| sadc(bench, "DISK"),
    },
    Contender {
        name: "sadc `-S ALL`",
        run: |bench| sadc(bench, "ALL"),
    },
    Contender {
        name: "collectl `-i 0`, its default subsystems",
        run: collectl,
    },
    Contender {
        name: "atop `-w`",
        run: atop,
    },
];

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let busy = Busy::start(&bench.path("work"))?;
    let mut text = at_once(bench)?;
    text.push_str(&one_a_second(bench)?);
    drop(busy);
    Ok(Section {
        title: "Processor time of the recorder",
        text,
    })
}

fn at_once(bench: &Bench) -> Result<String> {
    let mut text = format!(
        "User and system time of the whole process, its start included, for {SAMPLES} samples at \
        once, a day of one every 10 s; {ROUNDS} rounds. collectl's `-i 0` samples without a pause. \
        sadc takes a sample at SIGALRM, atop and ktm-recorder at SIGUSR1: each got an endless \
        interval, and the next signal when the last sample was written. ktm-recorder also pays \
        for an event and a line on standard error for each signal, and rests for half a \
        millisecond between \
        samples, as rows that come faster than it compresses are refused; what was refused on a \
        busy machine is taken again, at its cost. atop took a fortieth of the \
        samples, its time is multiplied, and its accounting of ended processes was off. What is \
        recorded is each one's own choice: the host with sadc, collectl and atop (and every \
        process with atop), one process in detail with ktm-recorder. As little happens between \
        samples taken at once, they are smaller on the disk than those of a real day.\n\n"
    );
    let mut all = vec![OURS, OURS_UNFORCED, OURS];
    all.extend(OTHERS);
    let mut sides = vec![Side::default(); all.len()];
    let mut last: Vec<Option<Cost>> = all.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        for (index, contender) in all.iter().enumerate() {
            let cost = (contender.run)(bench).context(contender.name)?;
            sides[index].push(cost.processor.as_secs_f64());
            last[index] = Some(cost);
        }
    }
    text.push_str(
        "| recorder | values a sample | bytes a sample | s | ratio, default: min | median | max \
        | `--sync never`: min | median | max |\n\
        | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    let mut verdicts = String::new();
    for (index, contender) in all.iter().enumerate() {
        let cost = last[index].as_ref().context("it ran")?;
        let name = match index {
            2 => "ktm-recorder, the default, measured again: ideally 1",
            _ => contender.name,
        };
        let ratio = sides[0].over(&sides[index]);
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            cost.values
                .map_or("-".to_owned(), |values| values.to_string()),
            digits(cost.bytes_a_sample),
            digits(sides[index].median()),
            ratio.cells(),
            sides[1].over(&sides[index]).cells(),
        )?;
        if index > 2 {
            verdicts.extend(verdict("its default's processor time", name, ratio));
        }
    }
    Ok(format!("{text}\n{verdicts}"))
}

fn ours(bench: &Bench, sync: &str) -> Result<Cost> {
    let file = bench.path("day-at-once.ktm");
    let mut recorder = Driven::saying(&mut ours_command(&file, "24h", sync)?)?;
    // It takes a last one when it ends.
    loop {
        let missing = (SAMPLES - 1).saturating_sub(rows_and_values(&file)?.0 / 2);
        if missing == 0 {
            break;
        }
        for _ in 0..missing {
            recorder.sample()?;
        }
    }
    let processor = recorder.end()?;
    let (rows, values) = rows_and_values(&file)?;
    ensure!(rows >= 2 * SAMPLES, "{rows} rows, two a sample");
    let snapshot = Recording::open(&file)?.snapshot()?;
    let info = snapshot.info();
    let cost = Cost {
        processor,
        bytes_a_sample: 2.0 * info.sealed_bytes as f64 / info.sealed_rows as f64,
        values: Some(2 * values / u64::from(rows)),
    };
    fs::remove_file(file)?;
    Ok(cost)
}

/// A sample is two rows: one of the module's and one of the recorder's own.
fn rows_and_values(file: &Path) -> Result<(u32, u64)> {
    let (mut rows, mut values) = (0, 0);
    for row in Recording::open(file)?.snapshot()?.rows(&Select::all()) {
        values += row?.values().len() as u64;
        rows += 1;
    }
    Ok((rows, values))
}

/// Watches this very process, whose [`Busy`] thread gives it something to count.
pub(super) fn ours_command(file: &Path, interval: &str, sync: &str) -> Result<Command> {
    let mut command = Command::new(own("ktm-recorder")?);
    command.arg("--file").arg(file);
    command.args(["--interval", interval, "--sync", sync]);
    command.args(["--listen", "127.0.0.1:0", "--target-pid"]);
    command.arg(std::process::id().to_string());
    Ok(command)
}

fn sadc(bench: &Bench, activities: &str) -> Result<Cost> {
    let file = bench.path("day-at-once.sa");
    let mut command = bench.rivals.command("sadc");
    command
        .args(["-S", activities, "100000", &SAMPLES.to_string()])
        .arg(&file);
    let mut recorder = Driven::growing(&mut command, &file, Signal::ALARM)?;
    while recorder.sample()? {}
    let processor = recorder.ended()?;
    let heading = output(bench.rivals.command("sadf").arg("-H").arg(&file))?;
    let cost = Cost {
        processor,
        bytes_a_sample: size_of(&file)? as f64 / f64::from(SAMPLES),
        values: Some(values_of_sadc(&heading)),
    };
    fs::remove_file(file)?;
    Ok(cost)
}

/// Every activity's items times the numbers in each, by what the file says of itself.
fn values_of_sadc(heading: &str) -> u64 {
    let activity = |line: &str| -> Option<u64> {
        let (_, tail) = line.split_once(": [")?;
        let (_, items) = tail.split_once(':')?;
        let (items, numbers) = items.trim().split_once('(')?;
        // A sub-item, where there is one, is written as `x2` behind the items.
        let items = items.trim().split('x').map(|n| n.trim().parse::<u64>());
        let items = items.product::<Result<u64, _>>().ok()?;
        let numbers = numbers.trim_end_matches(')').split(',');
        let numbers = numbers.map(|n| n.trim().parse::<u64>());
        Some(items * numbers.sum::<Result<u64, _>>().ok()?)
    };
    heading.lines().filter_map(activity).sum()
}

fn collectl(bench: &Bench) -> Result<Cost> {
    let folder = bench.path("collectl");
    fs::create_dir_all(&folder)?;
    let mut command = bench.rivals.command("collectl");
    // It takes two more than it is asked for.
    let count = (SAMPLES - 2).to_string();
    command
        .args(["--quiet", "-i", "0", "-c", &count, "-f"])
        .arg(&folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let processor = processor_time(&command.spawn()?)?;
    let taken = samples_of_collectl(&folder)?;
    ensure!(taken == u64::from(SAMPLES), "collectl took {taken} samples");
    let cost = Cost {
        processor,
        bytes_a_sample: size_of(&folder)? as f64 / f64::from(SAMPLES),
        values: None,
    };
    fs::remove_dir_all(folder)?;
    Ok(cost)
}

/// Samples that can be read back; a file cut short is read up to there.
pub(super) fn samples_of_collectl(folder: &Path) -> Result<u64> {
    let script = "for f in \"$1\"/*.gz; do gzip -dc \"$f\" 2>/dev/null; done | grep -c '^>>>'; :";
    let count = output(Command::new("sh").args(["-c", script, "sh"]).arg(folder))?;
    Ok(count.trim().parse()?)
}

fn atop(bench: &Bench) -> Result<Cost> {
    let file = bench.path("day-at-once.atop");
    let samples = SAMPLES / SHARE_OF_ATOP;
    let mut command = bench.rivals.command("atop");
    command
        .arg("-w")
        .arg(&file)
        .args(["100000", &samples.to_string()]);
    let mut recorder = Driven::growing(&mut command, &file, Signal::USR1)?;
    while recorder.sample()? {}
    let cost = Cost {
        processor: recorder.ended()? * SHARE_OF_ATOP,
        bytes_a_sample: size_of(&file)? as f64 / f64::from(samples),
        values: None,
    };
    fs::remove_file(file)?;
    Ok(cost)
}

/// All of them beside each other at one sample a second, which includes what waking up costs.
fn one_a_second(bench: &Bench) -> Result<String> {
    let mut text = format!(
        "The same with one sample a second, all recorders at the same time, in {WINDOWS} windows \
        of {} s, after their start: asleep between samples, as in use. Times are for one \
        sample.\n\n\
        | recorder | ms | ratio, default: min | median | max \
        | `--sync never`: min | median | max |\n\
        | --- | --: | --: | --: | --: | --: | --: | --: |\n",
        WINDOW.as_secs()
    );
    let folder = bench.path("one-a-second");
    fs::create_dir_all(&folder)?;
    let mut running = Running(Vec::new());
    for (name, mut command) in one_a_second_commands(bench, &folder)? {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        running.0.push((name, command.spawn().context(name)?));
    }
    std::thread::sleep(Duration::from_secs(4));
    let mut sides = vec![Side::default(); running.0.len()];
    for _ in 0..WINDOWS {
        let before = running.used()?;
        std::thread::sleep(WINDOW);
        for ((side, before), after) in sides.iter_mut().zip(before).zip(running.used()?) {
            let used = after.checked_sub(before).context("time runs backwards")?;
            side.push(used.as_secs_f64() * 1e3 / WINDOW.as_secs_f64());
        }
    }
    let mut verdicts = String::new();
    for (index, (name, _)) in running.0.iter().enumerate() {
        let ratio = sides[0].over(&sides[index]);
        let unforced = sides[1].over(&sides[index]).cells();
        let ms = digits(sides[index].median());
        writeln!(text, "| {name} | {ms} | {} | {unforced} |", ratio.cells())?;
        if index > 1 {
            verdicts.extend(verdict("its default's processor time", name, ratio));
        }
    }
    drop(running);
    fs::remove_dir_all(folder)?;
    Ok(format!("\n{text}\n{verdicts}"))
}

fn one_a_second_commands(bench: &Bench, folder: &Path) -> Result<Vec<(&'static str, Command)>> {
    let rival = |name: &str, arguments: &[&str], file: &str| {
        let mut command = bench.rivals.command(name);
        command.current_dir(folder).args(arguments).arg(file);
        command
    };
    fs::create_dir_all(folder.join("default"))?;
    fs::create_dir_all(folder.join("service"))?;
    let file = |name: &str| folder.join(name);
    Ok(vec![
        (OURS.name, ours_command(&file("a.ktm"), "1s", "every-row")?),
        (
            OURS_UNFORCED.name,
            ours_command(&file("b.ktm"), "1s", "never")?,
        ),
        (
            OTHERS[0].name,
            rival("sadc", &["-S", "DISK", "1"], "disk.sa"),
        ),
        (OTHERS[1].name, rival("sadc", &["-S", "ALL", "1"], "all.sa")),
        (
            "collectl, its default subsystems",
            rival("collectl", &["--quiet", "-i", "1", "-f"], "default"),
        ),
        (
            "collectl `-s+YZ`, as Debian's service runs it: processes and slabs every sixth time",
            rival(
                "collectl",
                &["--quiet", "-s+YZ", "-i", "1:6", "-f"],
                "service",
            ),
        ),
        (OTHERS[3].name, rival("atop", &["-w", "a.atop"], "1")),
    ])
}

/// Recorders that go on until this is dropped.
pub(super) struct Running(pub(super) Vec<(&'static str, Child)>);

impl Running {
    fn used(&self) -> Result<Vec<Duration>> {
        let used = |(name, child): &(&'static str, Child)| used_so_far(child.id()).context(*name);
        self.0.iter().map(used).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // One that has ended has been found out before.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A thread that reads, writes and syncs a little, so that there is something to count.
struct Busy {
    done: Arc<AtomicBool>,
}

impl Busy {
    fn start(file: &Path) -> Result<Busy> {
        use std::os::unix::fs::FileExt as _;
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let file = fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(file)?;
        file.write_all_at(&[0; 1 << 16], 0)?;
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            for turn in 0_u64.. {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                let at = turn % 16 * 4096;
                // Nothing depends on it.
                let _ = file.read_exact_at(&mut block, at);
                let _ = file.write_all_at(&block, at);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Busy { done })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_what_the_file_says() {
        let heading = "Number of activities in file: 19\n\
            List of activities:\n\
            01: [8b] A_CPU                Y:   3\t(10,0,0)\n\
            10: [8b] A_SERIAL             Y:   1\t(0,0,7)\n\
            37: [8b] A_SOMETHING          Y:   2 x 3\t(1,2,3)\n\
            Statistics:\n";
        assert_eq!(values_of_sadc(heading), 30 + 7 + 36);
        assert_eq!(values_of_sadc("no activities"), 0);
    }
}
