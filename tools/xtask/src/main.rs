//! Build tasks that plain cargo cannot do. Run as `cargo xtask <task>`.

mod build_ebpf;
mod compare;
mod fuzz;
mod golden;
mod guest;
mod miri;
mod nightly;
mod power_cuts;
mod sample_host;
mod soak;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build tasks of KTM Flight Recorder")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs that ktm embeds, or check that the committed ones are what the
    /// source builds
    BuildEbpf(build_ebpf::Arguments),
    /// Measure the recorder beside others, fetched from Debian; as root, takes some minutes
    Compare(compare::Compare),
    /// Run the fuzz targets, each for some time, and say how far each got
    Fuzz(fuzz::Fuzz),
    /// Make a new set of golden files; those that are there stay as they are
    Golden(golden::Golden),
    /// Run the tests of ktm-format under Miri, where they neither map a file nor call zstd
    Miri(miri::Miri),
    /// Cut the power of a guest that records on ext4, and read what is left after the next boot
    PowerCuts(power_cuts::PowerCuts),
    /// Sample this host's counters into a CSV, for the codec's bench
    SampleHost(sample_host::SampleHost),
    /// Write a week of rows at full speed: the file keeps its size, the process its memory
    Soak(soak::Soak),
}

fn main() -> ExitCode {
    if guest::init::is_guest() {
        power_cuts::inside::main();
    }
    let result = match Arguments::parse().task {
        Task::BuildEbpf(arguments) => build_ebpf::run(&arguments),
        Task::Compare(compare) => compare.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Golden(golden) => golden.run(),
        Task::Miri(miri) => miri.run(),
        Task::PowerCuts(cuts) => cuts.run(),
        Task::SampleHost(sample) => sample.run(),
        Task::Soak(soak) => soak.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace that this program was built from.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .nth(2)
        .expect("xtask is two folders below the workspace")
        .to_owned()
}
