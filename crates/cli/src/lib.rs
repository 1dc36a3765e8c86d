//! The command line of bulkhead: flags in, requests out; answers in, text out.
//!
//! The first word chooses the command, and only that command's parser is built: a start costs no more than it needs.
//! Nothing is decided here: [`flags`] turns words into the request types of the engine, [`wire`] calls the engine, and
//! [`output`] prints what came back. Called as an OCI runtime, it is another command line: [`runc`].

pub mod attach;
pub mod commands;
mod dispatch;
pub mod error;
pub mod flags;
pub mod line;
pub mod output;
pub mod runc;
pub mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let code = match dispatch::dispatch(args) {
        Ok(code) => code,
        Err(error) => {
            error::print(&error);
            error.code
        }
    };
    ExitCode::from(code)
}
