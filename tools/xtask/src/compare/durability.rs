//! What each forces to the disk for a sample, and what is left of the samples after a SIGKILL.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ktm_format::{Recording, Select};
use rustix::process::{Pid, Signal, kill_process};

use super::append::SCRIPT;
use super::child::output;
use super::driven::Driven;
use super::ratio::digits;
use super::recorders::{Running, ours_command, samples_of_collectl};
use super::{Bench, Section};

const SAMPLES: u32 = 50;
/// Longer than a sync takes.
const PAUSE: Duration = Duration::from_millis(40);
/// Every call that forces something to the disk.
const CALLS: &str = "trace=fsync,fdatasync,msync,sync_file_range,syncfs,sync";

/// What was seen of one of them.
struct Seen {
    name: &'static str,
    forced: f64,
    /// Samples taken, and those read back after the kill.
    kept: Option<(u64, u64)>,
    /// What its design or manual says of a power cut.
    power_cut: &'static str,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let mut text = format!(
        "Forced writes are calls of fsync, fdatasync, msync and the like, counted by strace over \
        {SAMPLES} samples. Then the recorder gets SIGKILL, and its file is read back. The last \
        column is what follows from the calls, not measured.\n\n\
        | what | forced writes a sample | kept after SIGKILL | a power cut costs |\n\
        | --- | --: | --: | --- |\n"
    );
    let seen = [
        ours(bench)?,
        sadc(bench, &[], "sadc")?,
        sadc(bench, &["-f"], "sadc `-f`")?,
        atop(bench)?,
        collectl(bench)?,
        sqlite(bench, "NORMAL", "sqlite3, WAL, `synchronous=NORMAL`")?,
        sqlite(bench, "FULL", "sqlite3, WAL, `synchronous=FULL`")?,
        rrdtool(bench)?,
    ];
    for Seen {
        name,
        forced,
        kept,
        power_cut,
    } in seen
    {
        let kept = kept.map_or("-".to_owned(), |(taken, kept)| match kept >= taken {
            true => format!("all {taken}"),
            false => format!("{kept} of {taken}"),
        });
        writeln!(
            text,
            "| {name} | {} | {kept} | {power_cut} |",
            digits(forced)
        )?;
    }
    text.push_str(
        "\ncollectl tells no number while it runs: its samples taken are its interval's, 0.1 s. \
        What damage does to each kind of file is in the tests of ours, and not compared here.\n",
    );
    Ok(Section {
        title: "What is on the disk, and when",
        text,
    })
}

fn ours(bench: &Bench) -> Result<Seen> {
    let file = bench.path("kill.ktm");
    let recorder = Driven::saying(&mut ours_command(&file, "24h", "every-row")?)?;
    let (taken, forced) = watch(recorder)?;
    let snapshot = Recording::open(&file)?.snapshot()?;
    ensure!(snapshot.damage().is_empty(), "damage after a kill");
    let rows = snapshot.rows(&Select::all()).count() as u64;
    Ok(Seen {
        name: "ktm-recorder",
        forced,
        kept: Some((taken, rows / 2)),
        power_cut: "at most the last sample; a torn row is told by its checksum",
    })
}

fn sadc(bench: &Bench, options: &[&str], name: &'static str) -> Result<Seen> {
    let file = bench.path("kill.sa");
    let _ = fs::remove_file(&file);
    let mut command = bench.rivals.command("sadc");
    command.args(options).args(["100000", "1000000"]).arg(&file);
    let recorder = Driven::growing(&mut command, &file, Signal::ALARM)?;
    let (taken, forced) = watch(recorder)?;
    let rows = output(bench.rivals.command("sadf").arg("-d").arg(&file))?;
    let rows = rows.lines().filter(|line| !line.starts_with('#')).count() as u64;
    Ok(Seen {
        name,
        forced,
        // A row is what is between two samples.
        kept: Some((taken, rows + 1)),
        power_cut: if options.is_empty() {
            "what the kernel had not written back, and no checksum tells"
        } else {
            "at most the last sample, and no checksum tells"
        },
    })
}

fn atop(bench: &Bench) -> Result<Seen> {
    let file = bench.path("kill.atop");
    let mut command = bench.rivals.command("atop");
    command.arg("-w").arg(&file).args(["100000", "1000000"]);
    let (taken, forced) = watch(Driven::growing(&mut command, &file, Signal::USR1)?)?;
    let rows = output(
        bench
            .rivals
            .command("atop")
            .arg("-r")
            .arg(&file)
            .arg("-PCPU"),
    )?;
    let rows = rows.lines().filter(|line| line.starts_with("CPU ")).count() as u64;
    Ok(Seen {
        name: "atop",
        forced,
        kept: Some((taken, rows)),
        power_cut: "what the kernel had not written back",
    })
}

fn collectl(bench: &Bench) -> Result<Seen> {
    let folder = bench.path("kill.collectl");
    fs::create_dir_all(&folder)?;
    let mut command = bench.rivals.command("collectl");
    command.args(["--quiet", "-i", "0.1", "-f"]).arg(&folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let running = Running(vec![("collectl", command.spawn()?)]);
    std::thread::sleep(Duration::from_secs(2));
    let tracer = Tracer::attach(running.0[0].1.id(), &bench.path("calls"))?;
    std::thread::sleep(SAMPLES * Duration::from_millis(100));
    let forced = tracer.detach()?;
    drop(running);
    let taken = 20 + u64::from(SAMPLES);
    Ok(Seen {
        name: "collectl",
        forced: forced as f64 / f64::from(SAMPLES),
        kept: Some((taken, samples_of_collectl(&folder)?)),
        power_cut: "what it and the kernel had not written back",
    })
}

fn sqlite(bench: &Bench, synchronous: &str, name: &'static str) -> Result<Seen> {
    let file = bench.path(&format!("calls-{synchronous}.sqlite"));
    let mut python = Command::new("strace");
    python
        .args(["-f", "-c", "-e", CALLS, "-o"])
        .arg(bench.path("calls"));
    python.args(["python3", "-c", SCRIPT]).arg(file);
    python.args([
        synchronous,
        &SAMPLES.to_string(),
        &PAUSE.as_micros().to_string(),
    ]);
    output(&mut python)?;
    Ok(Seen {
        name,
        forced: forced_calls(&bench.path("calls"))? as f64 / f64::from(SAMPLES),
        kept: None,
        power_cut: match synchronous {
            "FULL" => "nothing that was committed",
            _ => "what was committed since the last checkpoint; the data base stays whole",
        },
    })
}

fn rrdtool(bench: &Bench) -> Result<Seen> {
    let file = bench.path("calls.rrd");
    let mut create = bench.rivals.command("rrdtool");
    create
        .arg("create")
        .arg(&file)
        .args(["--start", "1767225600", "--step", "1"]);
    output(create.args(["DS:c:GAUGE:10:U:U", "RRA:LAST:0.5:1:100"]))?;
    let mut update = Command::new("strace");
    update
        .args(["-f", "-c", "-e", CALLS, "-o"])
        .arg(bench.path("calls"));
    update
        .arg(bench.rivals.program("rrdtool"))
        .arg("update")
        .arg(&file);
    update.args((1..=SAMPLES).map(|row| format!("{}:{row}", 1_767_225_600 + row)));
    output(&mut update)?;
    Ok(Seen {
        name: "rrdtool `update`",
        forced: forced_calls(&bench.path("calls"))? as f64 / f64::from(SAMPLES),
        kept: None,
        power_cut: "what the kernel had not written back, and no checksum tells",
    })
}

/// Takes samples under strace and kills the recorder. How many it took, and calls a sample.
fn watch(mut recorder: Driven) -> Result<(u64, f64)> {
    let folder = tempfile::tempdir()?;
    let tracer = Tracer::attach(recorder.pid(), &folder.path().join("calls"))?;
    for _ in 0..SAMPLES {
        ensure!(recorder.sample()?, "a recorder has ended by itself");
        std::thread::sleep(PAUSE);
    }
    let calls = tracer.detach()?;
    drop(recorder);
    Ok((u64::from(SAMPLES) + 1, calls as f64 / f64::from(SAMPLES)))
}

/// strace, holding on to a process.
struct Tracer {
    child: Child,
    calls: std::path::PathBuf,
}

impl Tracer {
    fn attach(pid: u32, calls: &Path) -> Result<Tracer> {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-c", "-e", CALLS, "-p", &pid.to_string(), "-o"])
            .arg(calls);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("running strace")?;
        let said = child.stderr.take().context("it was piped")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line.contains("attached"), "strace: {}", line.trim());
        Ok(Tracer {
            child,
            calls: calls.to_owned(),
        })
    }

    fn detach(mut self) -> Result<u64> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has a number")?, Signal::INT)?;
        self.child.wait()?;
        forced_calls(&self.calls)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // After `detach` it has ended, and nothing happens.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forced_calls(summary: &Path) -> Result<u64> {
    Ok(calls_in(&fs::read_to_string(summary)?))
}

/// All calls in the summary that strace prints at its end.
fn calls_in(summary: &str) -> u64 {
    let calls = |line: &str| -> Option<u64> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let name = words.last()?;
        let is_call = CALLS.split(['=', ',']).skip(1).any(|call| call == *name);
        is_call.then(|| words.get(3)?.parse().ok()).flatten()
    };
    summary.lines().filter_map(calls).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_the_fourth_number_with_and_without_errors() {
        let summary = "\
            % time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
             90.00    0.001000          20        50           fdatasync\n\
             10.00    0.000100          50         2         1 msync\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.001100          21        52         1 total\n";
        assert_eq!(calls_in(summary), 52);
        assert_eq!(calls_in(""), 0);
    }
}
