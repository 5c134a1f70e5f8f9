//! The binary: arguments, configuration, logging, one command, an exit code.

use std::process::ExitCode;

use clap::Parser;
use tidings::cli::{self, Cli};

/// Wrong arguments end in here with 2, a wrong configuration with 64, a command that failed with 1.
fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("tidings: {failure}");
            failure.exit_code()
        }
    }
}
