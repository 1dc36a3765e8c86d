//! `bulkhead man DIR`: the manual pages, made of the same definitions as the parsers.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::{Entry, completion, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "man",
    about: "Write the manual pages to a directory",
    footer: "Examples:\n  bulkhead man /usr/local/share/man/man1",
    flags: Flags::Anywhere,
    build: ManFlags::augment_args,
    run: |matches| execute(&flags_of::<ManFlags>(matches)?.directory),
};

#[derive(Debug, Args)]
struct ManFlags {
    /// Directory; it is made when it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page for the program, for each group and for each command, and prints how many there are.
///
/// # Errors
///
/// A file that cannot be written.
pub fn execute(directory: &Path) -> Result<u8, CliError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| CliError::failed(format!("cannot write {path:?}: {error}"))
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let pages = pages().map_err(failed(directory))?;
    for (name, text) in &pages {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(failed(&path))?;
    }
    output::line(&format!("wrote {} pages to {}", pages.len(), directory.display()))?;
    Ok(0)
}

/// Every page, with its name.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    collect(completion::tree(), "bulkhead".to_owned(), &mut pages)?;
    Ok(pages)
}

fn collect(command: Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    pages.push((name.clone(), page(command.clone(), &name)?));
    for sub in command.get_subcommands().cloned() {
        let name = format!("{name}-{}", sub.get_name());
        collect(sub, name, pages)?;
    }
    Ok(())
}

fn page(command: Command, name: &str) -> std::io::Result<Vec<u8>> {
    let footer = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let called = name.replacen('-', " ", 2);
    // The footer has a form of its own, which the generator would run together.
    let command = command
        .display_name(name.to_owned())
        .bin_name(called)
        .disable_help_subcommand(true)
        .after_help(clap::builder::Resettable::<clap::builder::StyledStr>::Reset);
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("bulkhead ", env!("CARGO_PKG_VERSION")))
        .manual("bulkhead")
        .render(&mut text)?;
    notes(&footer, &mut text)?;
    // No date: the same source makes the same page. An argument that is left out would move those behind it.
    let undated = format!(".TH {} 1  ", name.to_uppercase());
    let dated = format!(".TH {} 1 \"\" ", name.to_uppercase());
    Ok(String::from_utf8_lossy(&text).replacen(&undated, &dated, 1).into_bytes())
}

/// What stands below the flags: text as it is, and examples with a heading of their own.
fn notes(footer: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    let (notes, examples) = match footer.split_once("Examples:\n") {
        Some((notes, examples)) => (notes.trim(), examples.trim_end()),
        None => (footer.trim(), ""),
    };
    for (heading, lines) in [("NOTES", notes), ("EXAMPLES", examples)] {
        if lines.is_empty() {
            continue;
        }
        writeln!(text, ".SH {heading}\n.nf")?;
        for line in lines.lines() {
            writeln!(text, "{}", escaped(line))?;
        }
        writeln!(text, ".fi")?;
    }
    Ok(())
}

/// A line that roff prints as it is.
fn escaped(line: &str) -> String {
    let plain = line.replace('\\', "\\e").replace('-', "\\-");
    if plain.starts_with(['.', '\'']) { format!("\\&{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(known, _)| known == name);
            String::from_utf8(found.unwrap_or_else(|| panic!("no page {name}")).1.clone()).unwrap()
        };
        assert!(page("bulkhead").contains("bulkhead\\-container"));
        assert!(page("bulkhead-run").contains(".SH EXAMPLES\n.nf\n"));
        let listing = page("bulkhead-container-ls");
        assert!(listing.contains("\\-\\-no\\-trunc") && listing.contains("bulkhead container ls"), "{listing}");
        let names: std::collections::BTreeSet<&String> = pages.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), pages.len(), "a name twice");
    }

    #[test]
    fn lines_stay_as_they_are() {
        assert_eq!(escaped(".x -a '\\n'"), "\\&.x \\-a '\\en'");
    }
}
