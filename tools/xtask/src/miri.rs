//! Miri: the tests of the file format's crate that neither map a file nor call zstd, run by an
//! interpreter that sees undefined behaviour.

use anyhow::Result;

use crate::nightly;
use crate::toolchain::run;

/// Runs the tests of ktm-format that it can under Miri
#[derive(Debug, clap::Args)]
pub(crate) struct Miri {
    /// Install the compiler and Miri where they are missing
    #[arg(long)]
    install: bool,
}

impl Miri {
    pub(crate) fn run(&self) -> Result<()> {
        nightly::find(&["miri", "rust-src"], self.install)?;
        let folder = nightly::target_folder().join("miri");
        run(nightly::cargo()
            .args([
                "miri",
                "test",
                "-p",
                "ktm-format",
                "--lib",
                "--test",
                "heap",
            ])
            .arg("--target-dir")
            .arg(folder))
    }
}
