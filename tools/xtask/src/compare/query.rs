//! Time to print the last hour of a day.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use super::child::wall_time;
use super::day::Day;
use super::ratio::{Side, digits, verdict};
use super::rivals::Rivals;
use super::{Bench, Section, own};

const ROUNDS: usize = 10;

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    bench.day()?;
    let Bench { rivals, day, .. } = bench;
    let mut text = format!(
        "The day of the section before: the whole process from start to end, output dropped; \
        {ROUNDS} rounds. sadf reads a day of sadc's own values (`-S ALL`), 10 s apart, and \
        computes rates from them; the others print the stored values.\n\n\
        | command | ms | ratio: min | median | max |\n| --- | --: | --: | --: | --: |\n"
    );
    let Some(day) = day else {
        unreachable!("it was made above");
    };
    let mut commands = commands(rivals, day)?;
    let mut sides = vec![Side::default(); commands.len()];
    for round in 0..=ROUNDS {
        for ((_, command), side) in commands.iter_mut().zip(&mut sides) {
            let took = wall_time(command)?.as_secs_f64() * 1e3;
            // The first round warms up the files.
            if round > 0 {
                side.push(took);
            }
        }
    }
    let mut verdicts = String::new();
    for (index, ((name, _), side)) in commands.iter().zip(&sides).enumerate() {
        let ratio = sides[0].over(side);
        let ms = digits(side.median());
        writeln!(text, "| {name} | {ms} | {} |", ratio.cells())?;
        if index > 1 {
            verdicts.extend(verdict("the time", name, ratio));
        }
    }
    Ok(Section {
        title: "Printing the last hour of a day",
        text: format!("{text}\n{verdicts}"),
    })
}

fn commands(rivals: &Rivals, day: &Day) -> Result<Vec<(&'static str, Command)>> {
    let since = day.last_hour_s();
    let mut ours = Command::new(own("ktm-dump")?);
    ours.arg("-F")
        .arg(&day.ktm)
        .args(["-o", "csv", "--since", &format!("@{since}")]);
    let mut again = Command::new(own("ktm-dump")?);
    again
        .arg("-F")
        .arg(&day.ktm)
        .args(["-o", "csv", "--since", &format!("@{since}")]);
    let mut sadf = rivals.command("sadf");
    sadf.args(["-d", "-U", "-s", "23:00:00", "-e", "23:59:59"])
        .arg(&day.sadc);
    sadf.args(["--", "-A"]);
    let mut rrdtool = rivals.command("rrdtool");
    rrdtool.arg("fetch").arg(&day.rrd).arg("LAST");
    // The start of a fetch is outside of it.
    rrdtool.args([
        "-s",
        &(since - 10).to_string(),
        "-e",
        &(day.last_s - 10).to_string(),
    ]);
    let mut sqlite = rivals.command("sqlite3");
    sqlite.args(["-readonly", "-csv"]).arg(&day.sqlite);
    sqlite.arg(format!("SELECT * FROM day WHERE t >= {since}"));
    let mut promtool = rivals.command("promtool");
    promtool.args(["tsdb", "dump", &format!("--min-time={}", since * 1000)]);
    promtool
        .arg(format!("--max-time={}", day.last_s * 1000))
        .arg(&day.prometheus);
    Ok(vec![
        ("`ktm-dump -o csv --since`", ours),
        ("the same again: ideally 1", again),
        ("`sadf -d -s -e FILE -- -A`", sadf),
        ("`rrdtool fetch`", rrdtool),
        ("`sqlite3 -csv`, by primary key", sqlite),
        ("`promtool tsdb dump`", promtool),
    ])
}
