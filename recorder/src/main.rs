//! The recorder daemon. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktm_recorder::agent::main()
}
