//! `bulkhead cp`.

use std::io::IsTerminal;

use clap::Args;

use super::{Entry, flags_of};
use crate::error::{CliError, FAILED};
use crate::line::Flags;
use crate::output::{self, human};
use crate::wire::files::{self, CopyOptions, HostSide};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "cp",
    about: "Copy files between a container and this host",
    footer: "\
Use - as the source for a tar archive on standard input, which is unpacked in a
directory of the container, or as the destination for one on standard output.

Examples:
  bulkhead cp web:/etc/nginx ./nginx
  bulkhead cp index.html web:/srv/
  bulkhead cp web:/var/log/. - | tar -t",
    flags: Flags::Anywhere,
    build: CpFlags::augment_args,
    run: |matches| execute(&flags_of::<CpFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct CpFlags {
    /// Keep owners and groups
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that SRC_PATH names
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of this host, or -
    #[arg(value_name = "SRC_PATH")]
    source: String,
    /// CONTAINER:PATH, a path of this host, or -
    #[arg(value_name = "DEST_PATH")]
    destination: String,
}

/// Which way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Out { container: String, path: String, to: HostSide },
    In { from: HostSide, container: String, path: String },
}

/// What to copy, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpRequest {
    way: Way,
    options: CopyOptions,
    quiet: bool,
}

/// `CONTAINER:PATH`; nothing for a path of the host: it begins with `/` or `.`, or has no colon.
fn side(text: &str) -> (Option<&str>, &str) {
    if text.starts_with(['/', '.']) || text == "-" {
        return (None, text);
    }
    match text.split_once(':') {
        // What comes before the colon has no slash: `./a:b` and `a/b:c` are files.
        Some((container, path)) if !container.contains('/') => (Some(container), path),
        _ => (None, text),
    }
}

fn host(text: &str) -> HostSide {
    if text == "-" { HostSide::Stream } else { HostSide::Path(text.to_owned()) }
}

/// A path in a container begins at its root.
fn inside(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

impl CpFlags {
    fn into_request(self) -> Result<CpRequest, CliError> {
        let wrong = |text: &str| CliError::usage(text).with_code(FAILED);
        for (name, text) in [("source", &self.source), ("destination", &self.destination)] {
            if text.is_empty() {
                return Err(wrong(&format!("{name} can not be empty")));
            }
        }
        let way = match (side(&self.source), side(&self.destination)) {
            ((Some(_), _), (Some(_), _)) => return Err(wrong("copying between containers is not supported")),
            ((None, _), (None, _)) => return Err(wrong("must specify at least one container source")),
            ((Some(container), path), (None, to)) => {
                Way::Out { container: container.to_owned(), path: inside(path), to: host(to) }
            }
            ((None, from), (Some(container), path)) => {
                Way::In { from: host(from), container: container.to_owned(), path: inside(path) }
            }
        };
        let (Way::Out { container, .. } | Way::In { container, .. }) = &way;
        if container.is_empty() {
            return Err(wrong("the name of a container is needed before the colon"));
        }
        let options = CopyOptions { archive: self.archive, follow: self.follow_link };
        Ok(CpRequest { way, options, quiet: self.quiet })
    }
}

/// Copies, and says how much.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &CpRequest) -> Result<u8, CliError> {
    let (bytes, to) = match &request.way {
        Way::Out { container, path, to } => {
            if *to == HostSide::Stream && std::io::stdout().is_terminal() {
                let error = CliError::usage("standard output is a terminal, and an archive would be written to it");
                return Err(error.with_code(FAILED).with_hint("pipe it, or name a path"));
            }
            let bytes = files::copy_out(container, path, to, request.options)?;
            (
                bytes,
                match to {
                    HostSide::Path(path) => Some(path.clone()),
                    HostSide::Stream => None,
                },
            )
        }
        Way::In { from, container, path } => {
            if *from == HostSide::Stream && std::io::stdin().is_terminal() {
                return Err(CliError::usage("standard input is a terminal, and an archive is needed").with_code(FAILED));
            }
            let bytes = files::copy_in(from, container, path, request.options)?;
            (bytes, (*from != HostSide::Stream).then(|| format!("{container}:{path}")))
        }
    };
    if let Some(to) = to.filter(|_| !request.quiet) {
        output::note(&format!("Successfully copied {} to {to}", human::size(bytes)));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    fn request(words: &[&str]) -> Result<CpRequest, CliError> {
        flags_of::<CpFlags>(&parsed(&ENTRY, words)?)?.into_request()
    }

    #[test]
    fn sides_are_told_apart() {
        let out = request(&["-aL", "web:etc/x", "."]).unwrap();
        let wanted = Way::Out { container: "web".into(), path: "/etc/x".into(), to: HostSide::Path(".".into()) };
        assert_eq!(out.way, wanted);
        assert!(out.options.archive && out.options.follow && !out.quiet);
        let back = request(&["./a:b", "web:/x/", "-q"]).unwrap();
        let wanted = Way::In { from: HostSide::Path("./a:b".into()), container: "web".into(), path: "/x/".into() };
        assert_eq!((back.way, back.quiet), (wanted, true));
        assert!(matches!(request(&["-", "web:/x"]).unwrap().way, Way::In { from: HostSide::Stream, .. }));
        assert!(matches!(request(&["web:/x", "-"]).unwrap().way, Way::Out { to: HostSide::Stream, .. }));
        for (words, text) in [
            (["a:/x", "b:/y"], "copying between containers is not supported"),
            (["./x", "/y"], "must specify at least one container source"),
            (["", "a:/y"], "source can not be empty"),
            (["a:/y", ""], "destination can not be empty"),
            ([":/x", "y"], "the name of a container is needed before the colon"),
        ] {
            let error = request(&words).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.code), (text, 1), "{words:?}");
        }
    }
}
