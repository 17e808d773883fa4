//! See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktm_tools::main()
}
