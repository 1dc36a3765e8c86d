//! The `bulkhead` program: everything is in the library beside it.

use std::process::ExitCode;

#[global_allocator]
static HEAP: bulkhead_sys::heap::Heap = bulkhead_sys::heap::Heap::new();

fn main() -> ExitCode {
    bulkhead_cli::main(std::env::args_os().collect())
}
