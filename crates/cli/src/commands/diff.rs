//! `bulkhead diff`.

use std::io::IsTerminal;

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, escape};
use crate::wire::files::{self, Change};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "diff",
    about: "Show what a container has changed in its image's files",
    footer: "A is added, C is changed, D is deleted.\n\nExamples:\n  bulkhead diff web",
    flags: Flags::Anywhere,
    build: DiffRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// Whose changes to show.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DiffRequest {
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// One line for each change. A path may hold anything: a line end in it is always made visible, so that it is never two
/// changes, and on a terminal so is all that would drive it.
fn text(changes: &[Change], terminal: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for change in changes {
        text.extend_from_slice(format!("{} ", change.letter).as_bytes());
        if terminal {
            text.extend_from_slice(escape::cell(&String::from_utf8_lossy(&change.path)).as_bytes());
        } else {
            for byte in &change.path {
                match byte {
                    b'\n' => text.extend_from_slice(b"\\n"),
                    byte => text.push(*byte),
                }
            }
        }
        text.push(b'\n');
    }
    text
}

/// Prints the changes.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &DiffRequest) -> Result<u8, CliError> {
    let changes = files::diff(&request.container)?;
    output::raw(&text(&changes, std::io::stdout().is_terminal()))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_drives_no_terminal() {
        let change = Change { letter: 'A', path: b"/x\nD /etc\x1b]52;c\x07\xff".to_vec() };
        assert_eq!(text(std::slice::from_ref(&change), false), b"A /x\\nD /etc\x1b]52;c\x07\xff\n");
        let shown = String::from_utf8(text(&[change], true)).unwrap();
        assert!(!shown.contains('\x1b') && shown.lines().count() == 1, "{shown:?}");
    }
}
