//! The `bulkhead` program: everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead_cli::main(std::env::args_os().collect())
}
