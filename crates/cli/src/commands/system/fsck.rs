//! `bulkhead system fsck`.

use clap::Args;
use serde_json::json;

use super::super::{Entry, flags_of};
use crate::error::{CliError, FAILED};
use crate::flags;
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Finding};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "fsck",
    about: "Check the store, and repair it where nothing is lost by that",
    footer: "Examples:\n  bulkhead system fsck\n  bulkhead system fsck --repair\n\n\
             Exit code 1: something is left wrong. It may run at any time.",
    flags: Flags::Anywhere,
    build: FsckFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct FsckFlags {
    /// Put right what can be without loss
    #[arg(long)]
    repair: bool,
    /// json [default: text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

fn execute(words: &FsckFlags) -> Result<u8, CliError> {
    let json = flags::optional("--format", words.format.as_deref(), |text| match text {
        "json" => Ok(true),
        "text" => Ok(false),
        _ => Err("json or text is needed".into()),
    })?;
    let findings = wire::fsck(words.repair)?;
    let left = findings.iter().filter(|finding| finding.repaired.is_none()).count();
    match json.unwrap_or(false) {
        true => output::line(&json!({ "Findings": findings, "Left": left }).to_string())?,
        false => output::line(&text(&findings, left, words.repair))?,
    }
    Ok(if left == 0 { 0 } else { FAILED })
}

fn text(findings: &[Finding], left: usize, repair: bool) -> String {
    if findings.is_empty() {
        return "nothing is wrong".to_owned();
    }
    let line = |finding: &Finding| {
        let done = finding.repaired.as_ref().map_or_else(String::new, |done| format!(" (repaired: {done})"));
        let line = format!("{}: {}{done}", finding.code, finding.message);
        output::escape::cell(&line).into_owned()
    };
    let mut lines: Vec<String> = findings.iter().map(line).collect();
    lines.push(match (findings.len().saturating_sub(left), left) {
        (repaired, 0) => format!("{repaired} repaired, nothing is left wrong"),
        (0, left) if !repair => format!("{left} wrong; 'bulkhead system fsck --repair' puts right what it can"),
        (repaired, left) => format!("{repaired} repaired, {left} left wrong"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(repaired: Option<&str>) -> Finding {
        Finding {
            code: "layer-stray",
            object: "layers/x".to_owned(),
            message: "\"layers/x\" belongs to no image".to_owned(),
            repaired: repaired.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_for_each_finding_and_one_for_all() {
        assert_eq!(text(&[], 0, true), "nothing is wrong");
        let shown = text(&[finding(Some("removed it")), finding(None)], 1, true);
        assert_eq!(
            shown,
            "layer-stray: \"layers/x\" belongs to no image (repaired: removed it)\n\
             layer-stray: \"layers/x\" belongs to no image\n1 repaired, 1 left wrong"
        );
        assert!(text(&[finding(None)], 1, false).ends_with("--repair' puts right what it can"));
    }
}
