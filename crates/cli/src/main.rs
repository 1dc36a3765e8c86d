//! The `bulkhead` program: everything is in the library beside it.

use std::process::ExitCode;

/// The C library's own asks the kernel for every few pages: a hundred times in a start of a container.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    bulkhead_cli::main(std::env::args_os().collect())
}
