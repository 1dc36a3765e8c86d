//! Help and version, made from the tables.

use super::table::{COMMANDS, Flag, GLOBAL, Kind, Spec};
use crate::runc::{NAME, SPEC_VERSION};

/// Three lines, as callers read them.
pub(super) fn version() -> String {
    let commit = option_env!("BULKHEAD_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    format!("{NAME} version {}\ncommit: {commit}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

pub(super) fn program() -> String {
    let mut text = format!(
        "NAME:\n   {NAME} - Open Container Initiative runtime\n\n\
         A container is made from a bundle: a directory with a config.json and a root file system.\n\
         Engines call this program; people have 'bulkhead run'.\n\n\
         USAGE:\n   {NAME} [global flags] command [flags] [arguments]\n\nCOMMANDS:\n"
    );
    for spec in COMMANDS {
        text.push_str(&format!("   {:<11} {}\n", spec.name, spec.about));
    }
    text.push_str("\nGLOBAL FLAGS:\n");
    text.push_str(&flags(GLOBAL));
    text
}

pub(super) fn command(spec: &Spec) -> String {
    let mut text = format!("NAME:\n   {NAME} {} - {}\n\nUSAGE:\n   {NAME} {}", spec.name, spec.about, spec.name);
    if !spec.flags.is_empty() {
        text.push_str(" [flags]");
    }
    if !spec.words.is_empty() {
        text.push_str(&format!(" {}", spec.words));
    }
    text.push('\n');
    if let Some(reason) = spec.refused {
        text.push_str(&format!("\n{reason}.\n"));
    }
    if !spec.flags.is_empty() {
        text.push_str("\nFLAGS:\n");
        text.push_str(&flags(spec.flags));
    }
    text
}

fn flags(flags: &[Flag]) -> String {
    let names: Vec<String> = flags.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let help = match flag.kind {
            Kind::Refused(reason) => format!("{}: {reason}", flag.help),
            _ => flag.help.to_owned(),
        };
        text.push_str(&format!("   {name:<width$}   {help}\n"));
    }
    text
}

/// `--bundle DIR, -b DIR`.
fn name(flag: &Flag) -> String {
    let value = match flag.kind {
        Kind::Text(value) => format!(" {value}"),
        Kind::Switch | Kind::Refused(_) => String::new(),
    };
    let short = if flag.short.is_empty() { String::new() } else { format!(", -{}{value}", flag.short) };
    format!("--{}{value}{short}", flag.name)
}
