//! The file's own benchmark, at 1 GiB.

use anyhow::Result;

use super::child::output;
use super::{Bench, Section, cargo};

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let mut bench_command = cargo(&["bench", "--quiet", "--package", "ktm-format"]);
    bench_command.args(["--bench", "ring"]);
    bench_command
        .env("BENCH_SIZE", "1024")
        .env("BENCH_DIR", &bench.folder);
    let lines = output(&mut bench_command)?;
    let mut text = String::from(
        "`BENCH_SIZE=1024 cargo bench -p ktm-format --bench ring`, the one part without a rival: a \
        file of 1 GiB whose ring has come round, left by a writer that did not close it.\n\n",
    );
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        text.push_str("    ");
        text.push_str(&line.replace('\u{b5}', "u"));
        text.push('\n');
    }
    Ok(Section {
        title: "A full recording of 1 GiB",
        text,
    })
}
